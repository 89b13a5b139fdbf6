"""Answers of stored pipelines side by side: table, picture, page, and the pipeline that is picked."""

import json

import numpy as np
import pytest
from PIL import Image

import evoseg
from evoseg.core.errors import SettingsError
from evoseg.library.retrieval import ScaledPipeline
from evoseg.library.reuse import Answer, Signs
from evoseg.library.unlabelled import Candidate
from evoseg.report.reused import ReusedAnswers, reuse
from evoseg.runs.run_folder import FilesError
from tests.library.helpers import task
from tests.library.test_unlabelled import spots
from tests.llm_server import Server


@pytest.fixture(scope="module")
def found() -> ReusedAnswers:
    """Return two answers made by hand, on images with a truth."""
    images = spots()
    truths = [image[:, :, 0] < 120 for image in images]
    dataset = evoseg.Dataset.from_arrays(images, truths)
    answers = []
    for text, scale, score in ((0, 0.5, 0.25), (1, 1.0, 0.5)):
        source = task(f"task_{text}", texts=(text,), channels=1)
        program = source.pipelines[0].pipeline
        candidate = Candidate(ScaledPipeline(source, source.pipelines[0], scale), "otsu", program)
        signs = Signs(0.31, 2.0, 0.9, 0.12, 0.4, 0.05)
        shown = tuple(program(image) for image in images)
        answers.append(Answer(candidate, program.for_images(dataset.image_format(dataset.stems)), signs, shown, score))
    samples = tuple(map(dataset.load, dataset.stems))
    return ReusedAnswers("plates", "binary", tuple(answers), samples, evoseg.ReadOptions(page="2"))


NONE = ReusedAnswers("plates", "binary", (), (), evoseg.ReadOptions())


def test_the_table_says_what_the_filters_were_made_for(found):
    lines = str(found).splitlines()
    assert lines[0].split() == ["marks", "stable", "alike", "IoU", "filters", "made", "for"]
    assert " ".join(lines[1].split()) == "1 5.0 % 0.90 0.40 0.250 task_0"
    assert repr(found) == "<ReusedAnswers for plates: task_0 x 0.5, task_1>"


def test_a_picked_pipeline_is_taken_by_apply_and_export(found, tmp_path):
    path = found.pick(2, tmp_path / "picked")
    assert path == tmp_path / "picked" / "pipeline.evo"
    assert evoseg.read_pipeline(path.parent) == found.answers[1].pipeline
    assert "# reads: " in path.read_text() and "# made for: " in path.read_text()
    assert "import numpy" in evoseg.export(path.parent)
    folder = tmp_path / "new"
    folder.mkdir()
    Image.fromarray(spots(1)[0][:, :, 0]).save(folder / "a.png")
    (applied,) = evoseg.apply(path, folder, tmp_path / "out", page="0")
    assert not applied.fault and applied.answer.is_file()
    with pytest.raises(FilesError, match="not overwritten"):
        found.pick(1, tmp_path / "picked")


def test_numbers_that_are_not_there_are_one_error(found, tmp_path):
    for number in (0, 3):
        with pytest.raises(SettingsError, match=f"no answer {number}: they are numbered from 1 to 2"):
            found.pick(number, tmp_path)
    with pytest.raises(SettingsError, match="there are none"):
        NONE.pick(1, tmp_path)


def test_picture_and_page_show_every_answer_and_need_no_other_file(found, tmp_path):
    paths = found.save(tmp_path / "shown")
    with Image.open(paths["sheet"]) as sheet:
        assert sheet.width > 2 * 300 and sheet.height > 3 * 200
    page = paths["page"].read_text()
    assert page.count("<img ") == 2 * 3 and "http" not in page.replace("http-equiv", "")
    assert (
        "From the solved task task_0, lengths x 0.5, threshold set by Otsu" in page and "def pipeline(image):" in page
    )
    with pytest.raises(FilesError, match="not overwritten"):
        found.save(tmp_path / "shown")


def test_without_answers_it_says_so_and_writes_nothing(tmp_path):
    assert "finds anything here that is worth showing" in str(NONE)
    with pytest.raises(FilesError, match="nothing to save"):
        NONE.save(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert "<pre>" in NONE._repr_html_()


def test_the_document_is_json_and_a_notebook_sees_pictures(found):
    document = json.loads(json.dumps(found.to_json()))
    assert [one["source"] for one in document["answers"]] == ["task_0", "task_1"]
    assert [one["score"] for one in document["answers"]] == [0.25, 0.5] and document["llm"]["calls"] == 0
    assert found._repr_html_().count("<img ") == 4


def test_pictures_for_a_model_show_the_outlines_and_no_names(found):
    picture = found.draw(1)
    assert picture.dtype == np.uint8 and picture.shape[0] == 384 and picture.shape[1] > 2 * 384
    assert ((picture[:, :, 0] > 180) & (picture[:, :, 2] < 90)).any()  # orange


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"k": 0}, "k is 0"),
        ({"task": "cells"}, "unknown task 'cells'"),
        ({"what": "nuclei"}, "only a language model understands"),
        ({"agent": "openai:scripted-seeing"}, "needs to know what is to be marked"),
        ({"what": "nuclei", "agent": "openai:scripted"}, "not known to take pictures"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_at_once(options, words):
    with Server() as server:
        address = {"base_url": server.url} if "agent" in options else {}
        with pytest.raises(SettingsError, match=words):
            reuse("nowhere/", **options, **address)
        assert not server.requests


@pytest.mark.parametrize("acts", [["expert"], ["wrong schema", "expert"]])
def test_a_model_judges_each_answer(found, acts):
    from evoseg.llm.consulting import judge_answers
    from evoseg.llm.prompts import data_url

    pictures = [data_url(found.draw(number)) for number in (1, 2)]
    with Server(acts) as server:
        verdicts, cost = judge_answers("dark discs", pictures, "openai:scripted-seeing", base_url=server.url)
        content = server.requests[-1]["messages"][1]["content"]
    assert [(one.number, one.fits, one.marks) for one in verdicts] == [(1, 9, "dark discs"), (2, 8, "dark discs")]
    assert [part["type"] for part in content] == ["text", "image_url", "image_url"] and cost["calls"] == len(acts)
