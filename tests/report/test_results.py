"""A search's result as a typed value: from the document of any version and back."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

import evoseg
from evoseg.report.results import BarredTask, FinalistScores, ModelUse, ReusedProgram, SearchResult
from evoseg.runs.run_folder import FilesError
from evoseg.runs.stored import FrontProgram

RUNS = Path(__file__).resolve().parents[1] / "fixtures/1c55e49/home/runs"
DOCUMENTS = sorted(RUNS.rglob("result.json"))
NEW = {
    "ancestors",
    "answers",
    "baselines_test_per_image",
    "comparisons_test",
    "detections_test",
    "final",
    "leaders",
    "looks",
    "made_for",
    "networks",
    "not_scored",
    "recommended",
    "scored_on",
    "verdict",
    "worst_test",
}
"""Keys that documents of commit 1c55e49 lack."""


def document_of(path: Path = DOCUMENTS[0]) -> dict:
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.parent.name)
def test_documents_of_the_first_version_are_read_whole(path):
    then = document_of(path)
    then["warm_start"] = [entry | {"won": None} if "role" in entry else entry for entry in then["warm_start"]]
    now = SearchResult.from_json(then).to_json()
    assert now.keys() == then.keys() | NEW
    rates = {"evaluations_per_second", "decided_per_second"}  # of seconds that are rounded now
    for key in then.keys() - rates:
        assert now[key] == then[key], key
    for key in rates:
        assert now[key] == pytest.approx(then[key], rel=0.01)


def test_a_result_that_becomes_a_document_comes_back_the_same():
    rng = random.Random(20261128)
    result = SearchResult.from_json(document_of())

    def number() -> float:
        return rng.choice([0.0, 1.0, rng.random(), rng.random() * 1e-9])

    for _ in range(50):
        stems = [rng.choice(["a", "ü", "x\udce9", "a b", "c/d"]) + str(i) for i in range(rng.randrange(4))]
        changed = replace(
            result,
            radius_px=rng.choice([None, number()]),
            dataset_path=rng.choice([None, "/data/\udcff"]),
            verdict=rng.choice([None, "better", "worse"]),
            interval_test=rng.choice([None, (number(), number())]),
            test_per_image={stem: number() for stem in stems},
            baselines_test_per_image={"all": {stem: number() for stem in stems}},
            not_scored=dict.fromkeys(stems, "too large"),
            history=tuple((i, number(), number()) for i in range(rng.randrange(4))),
            learning=tuple((i, number()) for i in range(rng.randrange(4))),
            warm_start=rng.choice(
                [(), (ReusedProgram("t", "1", "best", 1.0, {"a": 0.5}, None, 0.3, True, "d"), BarredTask("u", "s"))]
            ),
            front=tuple(FrontProgram(i, number(), 3, 1.5, "d", "text") for i in range(rng.randrange(3))),
            finalists=(FinalistScores("classic", number(), number(), 2, 0.5, "d"),),
            llm=rng.choice([ModelUse(), ModelUse(3, 0.01, "openai:x", faults={"timeout": 1}, macros={"m": "text"})]),
            looks=rng.choice([None, 1, 4]),
        )
        text = json.dumps(changed.to_json(), allow_nan=False)
        assert SearchResult.from_json(json.loads(text)) == changed


def test_keys_of_a_later_version_are_ignored():
    document = document_of() | {"colour": "red"}
    document["front"][0]["colour"] = "red"
    document["llm"]["colour"] = "red"
    assert SearchResult.from_json(document) == SearchResult.from_json(document_of())


@pytest.mark.parametrize("key", ["pipeline", "scores", "interval_test", "splits"])
def test_a_missing_key_is_named(key):
    document = document_of()
    del document[key]
    with pytest.raises(FilesError, match=f"evoseg 0.1.0, has no '{key}'"):
        SearchResult.from_json(document)


def test_a_value_of_another_type_is_named():
    with pytest.raises(FilesError, match="'scores'"):
        SearchResult.from_json(document_of() | {"scores": 0.5})
    with pytest.raises(FilesError, match="'pipeline'"):
        SearchResult.from_json(document_of() | {"pipeline": "nonsense"})


def test_a_result_is_loaded_from_its_folder_and_names_its_files_there():
    result = evoseg.SearchResult.load(RUNS / "plain")
    assert result.files["result"] == RUNS / "plain/result.json"
    assert str(result).startswith(f"{result.dataset}: IoU {result.scores['test']:.3f}")


def test_a_result_for_several_classes_is_loaded_and_gives_its_document_again():
    then = json.loads((RUNS / "classes/classes.json").read_text("utf-8"))
    result = evoseg.MulticlassResult.load(RUNS / "classes")
    now = result.to_json()
    assert now.keys() == then.keys()
    for key in then.keys() - {"classes", "reads"}:
        assert now[key] == then[key], key
    for one, other in zip(now["classes"], then["classes"], strict=True):
        assert {key: one[key] for key in other.keys() - {"run"}} == {key: other[key] for key in other.keys() - {"run"}}
    assert "mean IoU of 2 classes" in str(result)


def test_names_of_the_previous_release_work_with_a_warning():
    with pytest.warns(FutureWarning, match="SearchResult"):
        assert evoseg.Found is SearchResult
    with pytest.warns(FutureWarning, match="MulticlassResult"):
        assert evoseg.FoundClasses is evoseg.MulticlassResult
    with pytest.warns(FutureWarning, match="to_json"):
        assert SearchResult.from_json(document_of()).result == SearchResult.from_json(document_of()).to_json()
