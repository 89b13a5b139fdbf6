"""The segmenter: scikit-learn's habits, without scikit-learn."""

import pickle

import numpy as np
import pytest

import evoseg
from evoseg import session
from evoseg.core.errors import DatasetError, PipelineError, SettingsError
from evoseg.sklearn import NOTHING_KEPT


@pytest.fixture(scope="module")
def arrays(dataset):
    data = evoseg.Dataset(dataset)
    samples = [data.load(stem) for stem in data.labelled]
    return [s.image for s in samples], [s.mask for s in samples]


@pytest.fixture(scope="module")
def model(arrays):
    images, masks = arrays
    return evoseg.Segmenter(evaluations=40, n_jobs=0, library=evoseg.Library(remember=False), report=True).fit(
        images, masks
    )


def test_it_segments_and_scores(model, arrays):
    images, masks = arrays
    answers = model.predict(images)
    assert [a.shape for a in answers] == [m.shape for m in masks]
    by_hand = np.mean([(a & m).sum() / (a | m).sum() for a, m in zip(answers, masks, strict=True)])
    assert model.score(images, masks) == pytest.approx(by_hand)
    assert model.pipeline_ == model.result_.pipeline


def test_an_array_of_images_gives_an_array_of_masks(model, arrays):
    stack = np.stack(arrays[0][:3])
    answer = model.predict(stack)
    assert (answer.shape, answer.dtype) == (stack.shape[:3], np.bool_)
    np.testing.assert_array_equal(answer[1], model.predict(arrays[0][1:2])[0])
    assert model.predict([]) == []


def test_parameters_are_read_and_set_by_name_and_kept_as_given():
    model = evoseg.Segmenter(seconds=3, random_state=7)
    assert model.get_params()["seconds"] == 3
    # What scikit-learn's clone does.
    twin = type(model)(**model.get_params(deep=False))
    assert twin.get_params() == model.get_params()
    assert model.set_params(random_state=8, metric="dice") is model
    assert repr(model) == "Segmenter(metric='dice', seconds=3, random_state=8)"
    with pytest.raises(SettingsError, match="did you mean seconds"):
        model.set_params(random_state=1, secnods=4)
    assert model.random_state == 8


def test_it_takes_every_option_of_a_search():
    from inspect import signature

    renamed = {"random_state": "seed", "n_jobs": "workers"}
    names = {renamed.get(name, name) for name in evoseg.Segmenter().get_params()}
    assert set(signature(evoseg.search).parameters) - names == {"data", "task", "progress"}
    assert list(signature(evoseg.Segmenter).parameters) == list(evoseg.Segmenter().get_params())


def test_it_travels_in_a_pickle(model, arrays):
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(arrays[0])[0], model.predict(arrays[0])[0])
    assert twin.result_.scores == model.result_.scores


def test_an_interrupt_names_no_folder_that_is_gone(arrays, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        evoseg.Segmenter(evaluations=40, n_jobs=0).fit(*arrays)
    assert caught.value.__notes__ == [NOTHING_KEPT]
    with pytest.raises(KeyboardInterrupt) as caught:
        evoseg.Segmenter(evaluations=40, n_jobs=0, out=tmp_path / "run").fit(*arrays)
    monkeypatch.undo()
    assert f"evoseg.resume({str(tmp_path / 'run')!r})" in caught.value.__notes__[0]
    assert evoseg.resume(tmp_path / "run", arrays, report=False).evaluations == 40


def test_faults_are_named(model, arrays):
    images, masks = arrays
    with pytest.raises(ValueError, match="call fit"):
        evoseg.Segmenter().predict(images)
    with pytest.raises(DatasetError, match="12 images and 11 masks"):
        model.score(images, masks[1:])
    with pytest.raises(DatasetError, match="mask 0 is"):
        model.score(images[:1], [masks[0][1:]])
    with pytest.raises(PipelineError, match="shape"):
        model.predict([images[0][0, 0]])
    with pytest.raises(DatasetError, match="mapping"):
        model.predict({"a": images[0]})
    with pytest.raises(SettingsError, match="seconds is -1"):
        evoseg.Segmenter(seconds=-1).fit(images, masks)


def test_notebooks_show_a_dataset_a_pipeline_and_a_result(model, dataset, arrays):
    shown = evoseg.Dataset(dataset)._repr_html_()
    assert shown.count("data:image/jpeg;base64,") == 6
    assert "12 images, 12 labelled" in shown
    deep = evoseg.Dataset.from_arrays([np.arange(600, dtype=np.uint16).reshape(20, 30)], title="a <b>")
    assert "a &lt;b&gt;" in deep._repr_html_()
    assert model.pipeline_.steps[0].operator in model.pipeline_._repr_html_()
    assert "data:image/png;base64," in model.result_._repr_html_()
