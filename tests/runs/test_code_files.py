"""Pipelines with Python operators: their form, their files, and whose code may run."""

import importlib.util
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import evoseg
from evoseg.core.errors import PipelineError
from evoseg.core.streams import stream
from evoseg.library.collection import read_task_files
from evoseg.library.exchange import current_revisions
from evoseg.library.task import StoredPipeline
from evoseg.library.task_files import read_file, write_task
from evoseg.operators import registry
from evoseg.pipeline import IMAGE, Pipeline, print_text, read_json, read_text, write_json
from evoseg.pipeline.explaining import pipeline_text
from evoseg.pipeline.value import step
from evoseg.runs.code_files import ConsentError, admit_file, is_known_code, keep_allowed, load_codes, write_sources
from evoseg.runs.run_folder import FilesError, home
from evoseg.sandbox import operators as code_operators
from evoseg.sandbox.operators import AdmittedCode
from tests.library.helpers import task
from tests.sandbox.conftest import skip_without_landlock

INVERT = """import numpy as np


def operator(plane: Gray, *, top: Annotated[int, Range(100, 255)] = 255) -> Gray:
    \"\"\"Turn bright into dark.\"\"\"
    return np.maximum(top - plane.astype(int), 0)
"""
ADMITTED = AdmittedCode(INVERT, 50.0)
DIGEST = ADMITTED.code.digest
IMAGE_OF = stream(3, "code files").integers(0, 256, (23, 31, 3)).astype(np.uint8)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    skip_without_landlock()
    monkeypatch.setenv("EVOSEG_HOME", str(tmp_path / "home"))
    forget_all()


def forget_all() -> None:
    """Begin as a new process does."""
    code_operators._known.clear()
    registry._CODES.clear()


def of_another_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVOSEG_HOME", str(tmp_path / "another"))
    forget_all()


@pytest.fixture
def inverting() -> Pipeline:
    keep_allowed([ADMITTED])
    return Pipeline([step("plane", IMAGE), step("python", 0, code=DIGEST, top=200), step("threshold", 1)])


def test_a_step_runs_its_source_with_its_parameters(inverting):
    plane = inverting.until(0)(IMAGE_OF)
    assert np.array_equal(inverting.until(1)(IMAGE_OF), np.maximum(200 - plane.astype(int), 0))


def test_text_and_json_name_the_digest_and_read_back_the_same(inverting):
    assert inverting.codes == (DIGEST,)
    text = print_text(inverting)
    assert f'python_1 = python(plane_1, code="{DIGEST}", top=200)' in text
    assert text.startswith("# evoseg 1: plane@1 python@1 threshold@1\n")
    assert read_text(text) == inverting == read_json(write_json(inverting))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("python(plane(image))", "needs the digest of its source"),
        ('python(plane(image), code="xyz")', "32 hexadecimal digits"),
        ('python(plane(image), code="DIGEST", tip=3)', "python has no parameter 'tip'; it has top"),
        ('python(plane(image), code="DIGEST", top=3)', "python: top is 3; it must lie within 100 to 255"),
        ('python(image, code="DIGEST")', "python takes a gray value, but the image gives a raw value"),
        (f'python(plane(image), code="{"0" * 32}")', f"the Python operator {'0' * 32} is not known here"),
    ],
)
def test_a_wrong_call_is_one_clear_error(inverting, call, words):
    call = call.replace("DIGEST", DIGEST)
    with pytest.raises(PipelineError, match=words):
        read_text(f"def pipeline(image):\n    return {call}\n")


def test_a_saved_pipeline_has_its_source_beside_it_and_runs_only_when_allowed(inverting, tmp_path, monkeypatch):
    path = tmp_path / "shared" / "invert.evo"
    path.parent.mkdir()
    inverting.save(path)
    source = path.parent / "code" / f"{DIGEST}.py"
    assert source.read_text() == INVERT
    expected = inverting(IMAGE_OF)
    of_another_home(monkeypatch, tmp_path)
    with pytest.raises(ConsentError, match=r"not from a search of yours.*--allow-code.*allow_code=True"):
        evoseg.read_pipeline(path)
    assert np.array_equal(evoseg.read_pipeline(path, allow_code=True)(IMAGE_OF), expected)
    forget_all()
    assert np.array_equal(evoseg.read_pipeline(path)(IMAGE_OF), expected)  # it stays allowed


def test_a_missing_or_changed_source_is_named(inverting, tmp_path, monkeypatch):
    path = tmp_path / "shared" / "invert.evo"
    path.parent.mkdir()
    inverting.save(path)
    of_another_home(monkeypatch, tmp_path)
    source = path.parent / "code" / f"{DIGEST}.py"
    source.write_text(INVERT.replace("255)", "254)"))
    with pytest.raises(PipelineError, match=r"\.py: damaged"):
        evoseg.read_pipeline(path, allow_code=True)
    source.unlink()
    with pytest.raises(FilesError, match="needs the Python operator"):
        evoseg.read_pipeline(path, allow_code=True)


def test_leave_for_a_run_covers_all_that_it_has(inverting, tmp_path, monkeypatch):
    write_sources([ADMITTED], tmp_path / "run")
    (tmp_path / "run" / "run.db").touch()
    of_another_home(monkeypatch, tmp_path)
    load_codes("", tmp_path / "run")
    assert not is_known_code(DIGEST)
    load_codes("", tmp_path / "run", allow_code=True)
    assert is_known_code(DIGEST)


def test_what_is_kept_as_allowed_counts_only_for_its_own_content(inverting, tmp_path):
    (kept,) = (home() / "code").iterdir()
    kept.write_text(json.dumps({"source": INVERT.replace("255", "254"), "cost": 1.0}))
    forget_all()
    with pytest.raises(FilesError, match="needs the Python operator"):
        load_codes(f'code="{kept.stem}"')


@pytest.mark.parametrize("name", ["generator", "read_password_file"])
def test_a_hostile_file_is_refused_by_name_and_not_remembered(name, tmp_path):
    file = Path(__file__).parents[1] / "sandbox" / "hostile" / f"{name}.py"
    with pytest.raises(PipelineError, match=f"{name}.py: "):
        admit_file(file)
    assert not (home() / "code").exists() and not registry._CODES


def test_an_exported_python_file_runs_the_source_itself_and_warns(inverting, tmp_path):
    exported = inverting.export(tmp_path / "inverting.py")
    assert "THIS FILE RUNS THEM DIRECTLY" in exported.read_text() and INVERT in exported.read_text()
    spec = importlib.util.spec_from_file_location("inverting", exported)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.self_test() and np.array_equal(module.pipeline(IMAGE_OF), inverting(IMAGE_OF))


@pytest.mark.parametrize("to", ["cpp", "imagej"])
def test_other_languages_refuse_by_name(inverting, to):
    with pytest.raises(evoseg.EvosegError, match=rf"'python' \(code {DIGEST}\): not supported by"):
        evoseg.export(inverting, to=to)


def test_a_json_document_has_the_source_beside_it(inverting, tmp_path):
    exported = inverting.export(tmp_path / "inverting.json")
    assert (tmp_path / "code" / f"{DIGEST}.py").read_text() == INVERT
    assert evoseg.read_pipeline(exported) == inverting


def test_a_bundle_holds_the_source(inverting, tmp_path):
    with zipfile.ZipFile(inverting.export(tmp_path / "inverting.zip")) as bundle:
        assert bundle.read(f"code/{DIGEST}.py").decode() == INVERT


def test_a_shared_task_holds_the_source_and_is_read_only_when_allowed(inverting, tmp_path, monkeypatch):
    stored = StoredPipeline("best", inverting, 0.8, current_revisions(inverting))
    shared = task("inverted", pipelines=(stored,))
    path = tmp_path / "inverted.yaml"
    write_task(shared, path)
    assert read_file(path).pipelines == shared.pipelines
    of_another_home(monkeypatch, tmp_path)
    with pytest.raises(ConsentError, match=rf"inverted\.yaml: .*{DIGEST}.*--allow-code"):
        read_task_files([path])
    assert read_task_files([path], allow_code=True)[0].pipelines == shared.pipelines
    forget_all()
    assert read_file(path).pipelines == shared.pipelines  # it stays allowed


def test_the_explanation_shows_the_source(inverting):
    assert INVERT in pipeline_text(inverting) and "Turn bright into dark." in pipeline_text(inverting)


def test_what_the_code_sees_of_the_image_counts_as_all_its_channels(tmp_path):
    file = tmp_path / "red.py"
    file.write_text("def operator(image: Raw) -> Gray:\n    return image[:, :, 0]\n")
    pipeline = Pipeline([step("python", IMAGE, code=admit_file(file).code.digest)])
    assert pipeline.reads(3) == (0, 1, 2) and pipeline.channels == 1 and pipeline.compares_colours
