"""A scikit-learn compatible estimator; scikit-learn itself is optional."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from evoseg.api import search
from evoseg.core.deprecation import warn_deprecated
from evoseg.core.errors import DatasetError, EvosegError, SettingsError, unknown
from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Sample
from evoseg.datasets.io.files import native
from evoseg.evolve.tasks.task_kinds import find_kind_of_metric
from evoseg.metrics import METRICS, metric_name
from evoseg.operators.network import add_network, network_bytes
from evoseg.pipeline import Pipeline
from evoseg.pipeline.running import as_raw
from evoseg.report.results import SearchResult
from evoseg.runs.opening import Arrays
from evoseg.runs.options import Library, Output, document_options, option, option_fields, update_keywords
from evoseg.runs.pipeline_files import Comparison
from evoseg.runs.run_folder import scratch
from evoseg.runs.settings import cores

NOTHING_KEPT = (
    "nothing of this search is kept. One of a Segmenter(out=FOLDER) can be continued by evoseg.resume(FOLDER, (images, "
    "masks))."
)

Images = Sequence[NDArray[Any]] | NDArray[Any]

_RENAMED = {"seed": "random_state", "workers": "n_jobs"}
"""Options of a search that scikit-learn calls otherwise."""
_METRICS = (*METRICS[Kind.MASK], *METRICS[Kind.LABELS])
_OWN: dict[str, Any] = {
    "metric": option("iou", f"Metric to maximise: {', '.join(_METRICS[:-1])} or {_METRICS[-1]}"),
    "random_state": option(
        0,
        "Random seed of the search: a number, a RandomState or a Generator to draw it from, or None for a new one",
    ),
    "n_jobs": option(
        -1,
        "Number of worker processes; -1 for one per CPU core, None for 1, 0 to run everything in this process; or the "
        "scheduler of a Dask cluster, as dask://HOST:PORT",
    ),
    "report": option(False, "Whether to draw the report and the pictures of the run"),
}
"""Parameters whose default or name is not that of a search."""
_FIELDS = {
    name: _OWN.get(name, info)
    for name, info in ((_RENAMED.get(name, name), info) for name, info in option_fields().items())
    if name not in ("task", "progress")
}
DEFAULTS = {name: info.default for name, info in _FIELDS.items()}


_NETWORKS = "_networks"
"""In a pickled segmenter: the files of its networks, which pipelines only name."""


class NotFittedError(EvosegError, ValueError, AttributeError):
    """A segmenter that was asked for masks before `fit`."""


class Segmenter:
    """Finds a pipeline from images and masks, and segments images with it.

    Parameters are stored as they are given and checked by `fit`, so that `get_params`, `set_params` and scikit-learn's
    `clone`, `cross_val_score` and `GridSearchCV` work. Images may differ in size where they come as a list.

    The files of a fit are temporary unless `out` or `report` asks for them, and the solved task is added to the library
    only with `library=evoseg.Library(...)`: a cross-validation would leave a run and a solved task for each fold.

    Attributes
    ----------
    result_ : SearchResult
        The search's result, after `fit`.
    pipeline_ : Pipeline
        The pipeline that `predict` applies, after `fit`.
    """

    metric: str
    result_: SearchResult
    pipeline_: Pipeline

    def __init__(self, **parameters: Any) -> None:
        current = self._check_names(parameters)
        for name, default in DEFAULTS.items():
            setattr(self, name, current.get(name, default))

    def fit(self, images: Arrays, masks: Arrays) -> Self:
        """Search for a pipeline.

        With ten images or more the search keeps 30 % for its own test, as `evoseg.search` always does: `result_` holds
        its scores. `score` is for images of yours that it has not seen.

        Parameters
        ----------
        images : sequence or mapping of arrays of shape (M, N) or (M, N, C)
            uint8, uint16 or float32.
        masks : likewise, of shape (M, N)
            Foreground where above 0, or a number per object if the metric is of instances; None leaves an image
            unlabelled.

        Raises
        ------
        SettingsError
            If the metric is of points or shifts, which are not given as masks.
        EvosegError
            As `evoseg.search`.
        """
        kind = find_kind_of_metric(metric_name(self.metric))
        if (output := kind.output) not in (Kind.MASK, Kind.LABELS):
            raise SettingsError(
                f"metric is {self.metric}, which scores {'points' if output is Kind.POINTS else 'shifts'}; a Segmenter "
                "takes masks. Use evoseg.search with a Dataset.from_arrays(images, points=...) or (moving=, shifts=)."
            )
        options = self.get_params()
        options["seed"] = _seed(options.pop("random_state"))
        options["workers"] = _workers(options.pop("n_jobs"))
        # By name: masks of several values would ask for a pipeline per class.
        options["task"] = kind.name
        if isinstance(library := options["library"], str | Path):
            options["library"] = Library(library, remember=False)
        data = (_as_list(images), _as_list(masks))
        if _keeps_files(options):
            self.result_ = search(data, **options)
        else:
            with scratch() as folder:
                try:
                    self.result_ = replace(search(data, **options | {"out": folder}), files={})
                except KeyboardInterrupt as error:
                    error.__notes__ = [NOTHING_KEPT]  # the run's folder, which they name, is about to go
                    raise
        self.pipeline_ = self.result_.pipeline
        return self

    @property
    def found_(self) -> SearchResult:
        """The name of `result_` in version 0.1."""
        warn_deprecated("Segmenter.found_", "Segmenter.result_")
        return self.result_

    def predict(self, images: Images) -> Any:
        """Return the mask of each image, or its labels if the metric is of instances.

        Parameters
        ----------
        images : sequence of arrays of shape (M, N) or (M, N, C), or one array of shape (n, M, N) or (n, M, N, C)

        Returns
        -------
        list of bool arrays of shape (M, N), or bool array of shape (n, M, N) if one array was given; labels are int32

        Raises
        ------
        NotFittedError
        DatasetError
            If the images are one image.
        PipelineError
            If an image has another shape, or lacks a channel that the pipeline was made for.

        Warns
        -----
        ImageWarning
            If images differ from those of `fit`, or every answer is empty or full.
        """
        if not hasattr(self, "pipeline_"):
            raise _not_fitted("this segmenter has no pipeline yet; call fit(images, masks) first.")
        if isinstance(images, Mapping):
            raise DatasetError("images are a mapping; give its values, in the order in which masks are wanted.")
        if isinstance(images, np.ndarray) and self._is_one_image(images):
            raise DatasetError(
                f"the array of shape {images.shape} is one image; give a list of images, as in predict([image])."
            )
        comparison, run = Comparison(self.pipeline_), self.pipeline_.for_images(None)
        masks = []
        for number, image in enumerate(images):
            # As in `fit`: doubles and other integers become float32.
            raw = as_raw(native(f"image {number}", np.asarray(image)))
            comparison.look(f"image {number}", raw)
            masks.append(run(raw))
            comparison.answer(run.output, masks[-1])
        comparison.tell()
        return np.stack(masks) if isinstance(images, np.ndarray) and masks else masks

    def _is_one_image(self, array: NDArray[Any]) -> bool:
        """Return whether an array is one image such as those of `fit`, rather than several."""
        made_for = self.pipeline_.made_for
        return array.ndim == 2 or (
            array.ndim == 3 and made_for is not None and array.shape[2] == len(made_for.channels)
        )

    def score(self, images: Images, masks: Images) -> float:
        """Return the mean of the metric over images; 1 is perfect.

        Raises
        ------
        DatasetError
            If there are not as many masks as images, or none.
        """
        answers = self.predict(images)
        if len(answers) != len(masks) or not len(answers):
            raise DatasetError(
                f"{len(answers)} images and {len(masks)} masks; as many of each are needed, and one at least."
            )
        metric = metric_name(self.metric)
        task = find_kind_of_metric(metric).make(metric)
        scores = []
        for number, (answer, mask) in enumerate(zip(answers, masks, strict=True)):
            if _plane(mask).shape != answer.shape:
                raise DatasetError(
                    f"mask {number} is {np.shape(mask)} but its image is {answer.shape}; they must match."
                )
            values = _plane(mask)
            # Scores look at answers and truths; the image is there for tasks that fit numbers to it.
            sample = Sample(str(number), answer[:, :, None], values > 0, None, values)
            scores.append(float(task.score(task.judge(answer, task.target(task.arrays(sample))))))
        return float(np.mean(scores))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; `deep` is there for scikit-learn."""
        return {name: getattr(self, name) for name in DEFAULTS}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name.

        Raises
        ------
        SettingsError
            If there is none of that name; nothing is set then.
        """
        for name, value in self._check_names(parameters).items():
            setattr(self, name, value)
        return self

    @staticmethod
    def _check_names(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters under today's names.

        Raises
        ------
        SettingsError
            If there is none of a name.
        """
        executor = {"workers": parameters["executor"]} if parameters.get("executor", "local") != "local" else {}
        given = {name: value for name, value in parameters.items() if name != "executor"} | executor
        current = update_keywords(given, "Segmenter", _RENAMED)
        for name in current:
            if name not in DEFAULTS:
                raise SettingsError(unknown("parameter", name, DEFAULTS))
        return current

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: the attributes, and the networks that the pipelines name."""
        found: SearchResult | None = getattr(self, "result_", None)
        named = () if found is None or found.accurate is None else found.accurate.networks
        return {**vars(self), _NETWORKS: [network_bytes(digest) for digest in named]}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take over what was pickled, and make its networks known in this process."""
        for file in state.get(_NETWORKS, ()):
            add_network(file)
        vars(self).update({name: value for name, value in state.items() if name != _NETWORKS})

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what this estimator takes: images, each with its mask."""
        from sklearn.utils import InputTags, Tags, TargetTags

        taken = InputTags(one_d_array=False, two_d_array=False, three_d_array=True)
        return Tags(estimator_type=None, target_tags=TargetTags(required=True), input_tags=taken)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "pipeline_")

    def __repr__(self) -> str:
        chosen = [f"{name}={value!r}" for name, value in self.get_params().items() if value is not DEFAULTS[name]]
        return f"Segmenter({', '.join(chosen)})"


Segmenter.__init__.__signature__ = Signature(  # type: ignore[attr-defined]
    [
        Parameter("self", Parameter.POSITIONAL_OR_KEYWORD),
        *(Parameter(name, Parameter.KEYWORD_ONLY, default=default) for name, default in DEFAULTS.items()),
    ]
)
Segmenter.__doc__ = document_options(Segmenter.__doc__ or "", _FIELDS)


def _keeps_files(options: Mapping[str, Any]) -> bool:
    """Return whether somebody asked for the files of the run."""
    out = options["out"]
    return bool(options["report"]) or (out.folder if isinstance(out, Output) else out) is not None


def _as_list(arrays: Any) -> Arrays:
    return list(arrays) if isinstance(arrays, np.ndarray) else arrays


def _plane(mask: Any) -> NDArray[Any]:
    """Return a mask as (M, N), as which `read_image` gives (M, N, 1)."""
    values = np.asarray(mask)
    return values[:, :, 0] if values.ndim == 3 and values.shape[2] == 1 else values


def _seed(random_state: Any) -> int | None:
    """Return the seed that scikit-learn's `random_state` stands for."""
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    if random_state is None or isinstance(random_state, int | np.integer):
        return None if random_state is None else int(random_state)
    raise SettingsError(
        f"random_state is {random_state!r}; it must be a whole number, a RandomState, a Generator or None."
    )


def _workers(n_jobs: Any) -> Any:
    """Return the workers that scikit-learn's `n_jobs` stands for."""
    if n_jobs is None:
        return 1
    if isinstance(n_jobs, int | np.integer) and n_jobs < 0:
        return max(1, cores() + 1 + int(n_jobs))
    return n_jobs


def _not_fitted(message: str) -> Exception:
    """Return an error that is scikit-learn's as well, if that is installed."""
    try:
        from sklearn.exceptions import NotFittedError as OfSklearn
    except ImportError:
        return NotFittedError(message)
    made: Exception = type("NotFittedError", (NotFittedError, OfSklearn), {})(message)
    return made
