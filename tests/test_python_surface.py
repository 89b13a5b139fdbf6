"""What people type in Python, line by line. Read it as documentation: every line runs."""

import json
import re
from inspect import signature

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils import estimator_checks as checks
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted

import evoseg
from evoseg.cli.main import run
from evoseg.runs.options import list_options, write_help
from evoseg.synthetic import draw_dataset


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("EVOSEG_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_dataset("nuclei", tmp_path_factory.mktemp("drawn") / "plates", n=10, shape=(60, 84), seed=1)


@pytest.fixture(scope="module")
def result(folder):
    return evoseg.search(evoseg.Dataset(folder), evaluations=30, workers=0, library="none")


@pytest.fixture(scope="module")
def searched(folder):
    usual = {"evaluations": 5, "workers": 0, "library": "none", "report": False}
    return lambda **options: evoseg.search(folder, **(usual | options))


@pytest.fixture(scope="module")
def images(folder):
    samples = [evoseg.Dataset(folder).load(stem) for stem in evoseg.Dataset(folder).stems]
    return [s.image for s in samples], [s.mask for s in samples]


@pytest.fixture
def image(folder):
    return evoseg.read_image(next((folder / "images").iterdir()))


def test_a_pipeline_prints_as_its_text_and_can_be_read_back(result):
    text = str(result.pipeline)
    assert text.startswith("# evoseg 1: ") and "def pipeline(image):\n" in text
    assert evoseg.read_pipeline(text) == result.pipeline
    assert repr(result.pipeline).startswith("<Pipeline of ") and "\n" not in repr(result.pipeline)


def test_a_pipeline_saves_and_exports_itself(result, image, tmp_path):
    result.pipeline.save(tmp_path / "a.evo")
    assert evoseg.read_pipeline(tmp_path / "a.evo") == result.pipeline
    result.pipeline.export(tmp_path / "find.py", to="python")
    result.pipeline.export(tmp_path / "find.cpp")  # the ending says the language
    assert "import cv2" in (tmp_path / "find.py").read_text()
    with pytest.raises(evoseg.EvosegError, match="exists"):
        result.pipeline.export(tmp_path / "find.py")
    with pytest.raises(evoseg.EvosegError, match="to="):
        result.pipeline.export(tmp_path / "find")


def test_a_path_may_begin_with_the_home_folder(result, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    draw_dataset("nuclei", "~/plates", n=2, shape=(60, 84), seed=1)
    assert len(evoseg.Dataset("~/plates")) == 2 and evoseg.check("~/plates").root == tmp_path / "plates"
    assert result.save("~/copy")["pipeline"] == tmp_path / "copy" / "pipeline.evo"
    evoseg.write_pipeline(result.pipeline, "~/best.evo")
    assert (tmp_path / "best.evo").read_text().startswith("# evoseg")


def test_an_export_without_a_file_is_the_code(result):
    assert "import cv2" in evoseg.export(result)
    assert "cv::Mat" in result.pipeline.export(to="cpp")
    with pytest.raises(evoseg.EvosegError, match='to="python"'):
        evoseg.export(result, "python")


def test_a_pipeline_is_scored_on_a_folder_a_dataset_or_arrays(result, folder):
    scores = evoseg.score(result.pipeline, folder)
    assert scores.mean["iou"] == pytest.approx(result.scores["test"])
    assert evoseg.score(result.run, evoseg.Dataset(folder), split="all").mean["dice"] > 0


def test_a_result_is_scored_by_any_metric_and_prints_as_the_command_does(result, folder, capsys):
    scores = evoseg.score(result, folder, metric="Dice")
    assert scores.metric == "dice" and scores.score == scores.mean["dice"]
    assert "\n" not in repr(scores) and "iou" in repr(scores)
    assert run(["score", result.run, str(folder), "--metric", "dice"]) == 0
    assert capsys.readouterr().out.startswith(f"{scores}\n")
    with pytest.raises(evoseg.EvosegError, match="did you mean dice"):
        evoseg.score(result, folder, metric="Dicee")


def test_results_say_in_a_line_what_they_are(result, folder):
    assert repr(result).startswith("<SearchResult of plates: IoU 0.") and repr(result).endswith(f", run {result.run}>")
    assert result.folder.name == result.run and result.report == result.folder / "report.html"
    assert repr(evoseg.similar(folder, 2)).startswith("<SimilarTasks of plates: ")
    assert {"search", "synthetic"} <= {*dir(evoseg)} and not {"Any", "TYPE_CHECKING", "import_module"} & {*dir(evoseg)}


def test_a_pipeline_is_applied_to_files(result, folder, tmp_path):
    answers = evoseg.apply(result.pipeline, folder / "images", out=tmp_path / "answers")
    assert len(answers) == 10 and answers[0].answer.is_file()


def test_a_pipeline_is_a_function_of_an_array(result, image):
    mask = result.pipeline(image)
    assert mask.dtype == bool and mask.shape == image.shape[:2]
    assert np.array_equal(result.pipeline(image[:, :, 0]), mask)


@pytest.mark.parametrize("convert", [np.float64, np.int64, lambda pixels: pixels.tolist()])
def test_an_image_of_another_type_is_converted_as_files_are(result, image, convert):
    pixels = image[:, :, 0]
    with pytest.warns(evoseg.ImageWarning, match="float32"):
        np.testing.assert_array_equal(result.pipeline(convert(pixels)), result.pipeline(pixels.astype(np.float32)))


def test_a_pipeline_takes_no_path(result):
    with pytest.raises(evoseg.EvosegError, match="takes an array. evoseg.read_image"):
        result.pipeline("plate.png")


def test_a_mask_is_taken_as_an_image_of_0_and_255(result, image):
    bright = image[:, :, 0] > 100
    np.testing.assert_array_equal(result.pipeline(bright), result.pipeline(np.uint8(255) * bright))
    with pytest.raises(evoseg.EvosegError, match="it must be uint8"):
        result.pipeline(np.array([["a"]]))


def test_a_dataset_is_a_folder_with_a_way_of_reading_it(folder):
    data = evoseg.Dataset(folder, channel=0)
    assert len(data) == 10 and data.load("nuclei_000").image.shape == (60, 84, 1)
    assert evoseg.check(folder).ok


def test_the_signature_of_a_search_fits_on_a_screen():
    parameters = signature(evoseg.search).parameters
    assert len(parameters) <= 14 and list(parameters) == list(signature(evoseg.search_classes).parameters)
    assert all(f"\n{name} : " in evoseg.search.__doc__ for name in parameters)


def test_seeds_may_be_numpy_integers_and_none_draws_one(folder, searched):
    for seed in np.arange(2):
        assert searched(seed=seed).seed == seed
    drawn, other = searched(seed=None).seed, searched(seed=None).seed
    assert isinstance(drawn, int) and drawn != other


@pytest.mark.parametrize("form", [lambda p: p, str, lambda p: [p, str(p)]])
def test_a_search_starts_from_a_pipeline_its_text_or_several(searched, result, form):
    assert set(searched(start=form(result.pipeline), evaluations=1).ancestors) == {"start"}


def test_a_search_starts_from_a_file(searched, result, tmp_path):
    result.pipeline.save(tmp_path / "a.evo")
    assert set(searched(start=tmp_path / "a.evo", evaluations=1).ancestors) == {"start"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seconds": "60"}, "seconds is '60' (str); it must be a number or None."),
        ({"evaluations": 2.5}, "evaluations is 2.5 (float); it must be a whole number or None."),
        ({"evaluations": True}, "evaluations is True (bool); it must be a whole number or None."),
        ({"seed": "3"}, "seed is '3' (str); it must be a whole number or None."),
        ({"seed": 1.5}, "seed is 1.5 (float); it must be a whole number or None."),
        ({"seed": np.random.default_rng(1)}, "seed is Generator(PCG64)"),
        ({"workers": 2.0}, "workers is 2.0 (float); it must be a whole number, text or None."),
        ({"workers": "two"}, "workers is 'two'; it must be a number of processes, or the scheduler of a Dask cluster"),
        ({"metric": 3}, "metric is 3 (int); it must be text or None."),
        ({"task": None}, "task is None (NoneType); it must be text, a path or an evoseg.Points."),
        ({"start": 3}, "start is 3 (int); it must be a pipeline, its text, its file or run, or a list of these."),
        ({"library": 5}, "library is 5 (int); it must be text, a path or an evoseg.Library."),
        ({"agent": 5}, "agent is 5 (int); it must be text, an evoseg.Agent or None."),
        ({"goal": 0.9}, "goal is 0.9 (float); it must be an evoseg.Goal or None."),
        ({"out": 5}, "out is 5 (int); it must be text, a path, an evoseg.Output or None."),
        ({"report": "no"}, "report is 'no' (str); it must be True or False."),
    ],
)
def test_an_option_of_another_type_is_one_error_that_names_it(folder, options, said):
    with pytest.raises(evoseg.EvosegError, match=re.escape(said)):
        evoseg.search(folder, **options)


def test_groups_name_their_options_as_well():
    with pytest.raises(evoseg.EvosegError, match=re.escape("calls is 2.5 (float); it must be a whole number.")):
        evoseg.Agent("openai:gpt-4.1-mini", calls=2.5)
    with pytest.raises(evoseg.EvosegError, match=re.escape("target_score is 'high' (str)")):
        evoseg.Goal(target_score="high")
    with pytest.raises(TypeError, match="Goal.. takes no 'score'; it takes target_score, max_ms_per_mpx, target"):
        evoseg.Goal(score=0.9)
    with pytest.raises(TypeError, match="did you mean seconds"):
        evoseg.search("plates/", secnods=60)


@pytest.mark.parametrize("data", [3, None, ([], [], []), [1, 2], {"a": 1}])
def test_data_of_another_type_is_one_error(data):
    with pytest.raises(evoseg.EvosegError, match="data|images, masks"):
        evoseg.search(data)


def test_images_and_masks_are_one_pair(searched, images):
    X, y = images
    with pytest.raises(TypeError, match="as in search.*images, masks"):
        evoseg.search(X, y)
    of_files = [mask[:, :, None] for mask in y]  # as evoseg.read_image returns them
    loaded = evoseg.Dataset.from_arrays(X, of_files)
    assert np.array_equal(loaded.load(loaded.stems[0]).mask, y[0])


def test_a_metric_may_be_written_as_it_is_printed(searched):
    assert searched(metric="IoU", evaluations=1).metric == "iou"
    with pytest.raises(evoseg.EvosegError, match="did you mean iou"):
        searched(metric="Iou2")


def test_a_search_scores_something_however_short_it_is(searched):
    found = searched(seconds=0.01, evaluations=None)
    assert found.stopped_by == "seconds" and found.evaluations > 0 and found.role in ("classic", "constant")
    assert found.history and str(found)


def test_a_search_without_report_leaves_its_pipeline_and_its_result(searched, tmp_path):
    found = searched(out=tmp_path / "run", report=False)
    assert set(found.files) == {"pipeline", "result"}
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        *("pipeline.evo", "result.json", "run.db", "run.lock")
    ]
    assert set(found.save(tmp_path / "copy")) == {"pipeline", "result"}
    assert "def pipeline(image)" in found._repr_html_()
    assert evoseg.SearchResult.load(tmp_path / "run").files == found.files


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param({"target_score": 0.99}, {"goal": evoseg.Goal(target_score=0.99)}, marks=pytest.mark.e2e),
        ({"max_ms_per_mpx": 9.0, "operators": "cpp"}, {"goal": evoseg.Goal(max_ms_per_mpx=9.0, target="cpp")}),
        pytest.param({"operators": "all"}, {}, marks=pytest.mark.e2e),
        pytest.param({"remember": False}, {"library": evoseg.Library("none")}, marks=pytest.mark.e2e),
        ({"executor": "local"}, {}),
        pytest.param({"overwrite": True}, {}, marks=pytest.mark.e2e),
        pytest.param({"llm_calls": 5, "llm_usd": 1.0}, {}, marks=pytest.mark.e2e),
        ({"channel": "gray"}, {}),
    ],
)
def test_keywords_of_version_0_1_work_for_one_release_and_warn_once(searched, old, new):
    with pytest.warns(FutureWarning, match="deprecated") as warned:
        before = searched(**old)
    assert len(warned) == 1 and all(f"{name}=" in str(warned[0].message) for name in old)
    assert warned[0].filename == __file__
    after = searched(**new)
    assert before.pipeline == after.pipeline and before.settings["operators"] != "all"


class TestSegmenter:
    def test_it_is_cloned_validated_and_tuned_by_scikit_learn(self, images):
        X, y = images
        model = evoseg.Segmenter(evaluations=5, n_jobs=0, library="none")
        twin = clone(model)
        assert twin is not model and twin.get_params() == model.get_params()
        scores = cross_val_score(model, X, y, cv=2)
        assert scores.shape == (2,) and np.isfinite(scores).all()
        search = GridSearchCV(model, {"metric": ["iou", "dice"]}, cv=2).fit(X, y)
        assert search.best_params_["metric"] in ("iou", "dice")
        assert search.predict(X[:1])[0].shape == X[0].shape[:2]

    def test_an_array_of_images_of_one_size_will_do(self, images):
        X, y = np.stack(images[0]), np.stack(images[1])
        model = evoseg.Segmenter(evaluations=5, n_jobs=0, library="none").fit(X, y)
        assert model.predict(X).shape == X.shape[:3] and 0 <= model.score(X, y[..., None]) <= 1
        with pytest.raises(evoseg.EvosegError, match="is one image; give a list"):
            model.predict(X[0])

    def test_it_leaves_no_run_and_no_solved_task_unless_it_is_asked_to(self, images, tmp_path, capsys):
        listed = []
        for out in (None, tmp_path / "run"):
            model = evoseg.Segmenter(evaluations=1, n_jobs=0, out=out, library=str(tmp_path / "own.db")).fit(*images)
            assert model.result_.folder == out
            assert run(["runs", "list"]) == 0 and run(["library", "list", "--library", str(tmp_path / "own.db")]) == 0
            listed.append(capsys.readouterr().out)
        assert "arrays" not in listed[0] and str(tmp_path / "run") in listed[1]
        assert "arrays" not in listed[1].replace(str(tmp_path / "run"), "")

    def test_scikit_learns_checks_pass(self):
        with pytest.warns(Warning, match="Can't test estimator"):  # it tests estimators of tables only
            check_estimator(evoseg.Segmenter())
        for check in (
            checks.check_parameters_default_constructible,
            checks.check_no_attributes_set_in_init,
            checks.check_do_not_raise_errors_in_init_or_set_params,
            checks.check_get_params_invariance,
            checks.check_set_params,
            checks.check_estimator_cloneable,
            checks.check_estimator_repr,
            checks.check_estimator_tags_renamed,
            checks.check_valid_tag_types,
        ):
            check("Segmenter", evoseg.Segmenter())
        with pytest.raises(sklearn.exceptions.NotFittedError):
            check_is_fitted(evoseg.Segmenter())
        with pytest.raises(sklearn.exceptions.NotFittedError, match="call fit"):
            evoseg.Segmenter().predict([])

    def test_random_state_is_what_scikit_learn_takes(self, images):
        for random_state in (3, np.int64(3), np.random.RandomState(3), np.random.default_rng(3), None):
            model = evoseg.Segmenter(evaluations=1, random_state=random_state, n_jobs=0, library="none").fit(*images)
            assert isinstance(model.result_.seed, int)
        with pytest.raises(evoseg.EvosegError, match="random_state is 'a'; it must be a whole number"):
            evoseg.Segmenter(random_state="a").fit(*images)

    def test_its_old_parameters_work_for_one_release(self):
        with pytest.warns(FutureWarning, match="random_state=..., n_jobs=..., goal=evoseg.Goal") as warned:
            model = evoseg.Segmenter(seed=7, workers=0, max_ms_per_mpx=20.0)
        assert len(warned) == 1
        assert (model.random_state, model.n_jobs, model.goal) == (7, 0, evoseg.Goal(max_ms_per_mpx=20.0))


class TestCommandLine:
    """The command line takes the same options, each under its flat name."""

    def test_h_is_help(self, capsys):
        for words in (["-h"], ["search", "-h"], ["runs", "list", "-h"]):
            assert run(words) == 0
            assert "Usage: evoseg" in capsys.readouterr().out

    def test_an_exported_file_is_told_from_a_pipeline(self, result, tmp_path, capsys):
        result.pipeline.export(tmp_path / "find.py")
        assert run(["show", str(tmp_path / "find.py")]) == 1
        assert "Is this an exported Python file? Name the run" in capsys.readouterr().err

    def test_a_folder_beside_or_above_a_dataset_names_it(self, folder, tmp_path, capsys):
        assert run(["search", str(folder / "images")]) == 1
        assert f"is part of the dataset {folder}. Name that folder." in capsys.readouterr().err
        for name in ("a", "b"):
            draw_dataset("nuclei", tmp_path / name, n=2, shape=(32, 32), seed=1)
        assert run(["check", str(tmp_path)]) == 1
        assert "this folder holds 2 datasets (a, b). Name one of them." in capsys.readouterr().out

    def test_check_counts_images_that_cannot_be_used(self, tmp_path, capsys):
        drawn = draw_dataset("nuclei", tmp_path / "drawn", n=4, shape=(32, 32), seed=1)
        evoseg.write_image(drawn / "masks" / "nuclei_000.png", np.zeros((8, 8), np.uint8), overwrite=True)
        assert run(["check", str(drawn)]) == 1
        assert "  3 images and 1 that cannot be used, 3 labelled" in capsys.readouterr().out

    def test_every_option_of_a_search_is_in_its_help(self, capsys):
        assert run(["search", "--help"]) == 0
        help = " ".join(capsys.readouterr().out.split())
        for leaf in list_options():
            if leaf.flat not in ("goal", "progress"):
                assert write_help(leaf.info, cli=True) in help

    def test_options_of_version_0_1_work_for_one_release_with_a_note(self, folder, tmp_path, result, capsys):
        result.pipeline.save(tmp_path / "a.evo")
        usual = ["--evaluations", "2", "--library", "none", "--no-report", "--json", "--workers", "0"]
        old = ["--for", "cpp", "--start", str(tmp_path / "a.evo"), "--operators", "cpp"]
        assert run(["search", str(folder), *usual, *old]) == 0
        told = capsys.readouterr()
        for name, new in (("--for", "--target"), ("--start", "--warm-start"), ("--operators", "--target")):
            assert f"note: {name} is deprecated and will be removed in the next release. Use {new} instead." in told.err
        settings = json.loads(told.out)["settings"]
        assert settings["operators"] == "cpp" and len(settings["start"]) == 1
        assert run(["search", str(folder), "--executor", "dask://host:8786", "--workers", "2"]) == 2
        assert "Leave one out" in capsys.readouterr().err
