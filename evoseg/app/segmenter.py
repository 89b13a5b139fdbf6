"""A search with the habits of scikit-learn's estimators, which it does not need."""

from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from evoseg.app.api import search
from evoseg.app.datasets import Arrays
from evoseg.app.executing import LOCAL
from evoseg.app.found import Found
from evoseg.app.pipelines import Comparison
from evoseg.app.settings import DEFAULT, LLM_CALLS, LLM_USD
from evoseg.app.tasks import kind_scored_by
from evoseg.base.errors import DatasetError, EvosegError, SettingsError, unknown
from evoseg.base.kinds import Kind
from evoseg.data.dataset import Sample
from evoseg.data.files import native
from evoseg.pipeline import Pipeline
from evoseg.pipeline.running import as_raw

Images = Sequence[NDArray[Any]] | NDArray[Any]


class NotFittedError(EvosegError, ValueError, AttributeError):
    """A segmenter that was asked for masks before `fit`."""


class Segmenter:
    """Finds a pipeline from images and masks, and segments images with it.

    Parameters are kept as they are given and checked by `fit`, so that `get_params`, `set_params` and scikit-learn's
    `clone` work; they are those of `evoseg.search`.

    Attributes
    ----------
    found_ : Found
        The search's result, after `fit`.
    pipeline_ : Pipeline
        What `predict` applies, after `fit`.
    """

    found_: Found
    pipeline_: Pipeline

    def __init__(
        self,
        *,
        metric: str = "iou",
        seconds: float | None = None,
        evaluations: int | None = None,
        target_score: float | None = None,
        seed: int = 0,
        workers: int | None = None,
        executor: str = LOCAL,
        operators: str = "default",
        max_ms_per_mpx: float | None = None,
        library: str = DEFAULT,
        remember: bool = True,
        agent: str | None = None,
        base_url: str | None = None,
        llm_calls: int = LLM_CALLS,
        llm_tokens: int | None = None,
        llm_usd: float | None = LLM_USD,
        roles: str | Path | None = None,
        out: str | Path | None = None,
    ) -> None:
        self.metric = metric
        self.seconds = seconds
        self.evaluations = evaluations
        self.target_score = target_score
        self.seed = seed
        self.workers = workers
        self.executor = executor
        self.operators = operators
        self.max_ms_per_mpx = max_ms_per_mpx
        self.library = library
        self.remember = remember
        self.agent = agent
        self.base_url = base_url
        self.llm_calls = llm_calls
        self.llm_tokens = llm_tokens
        self.llm_usd = llm_usd
        self.roles = roles
        self.out = out

    def fit(self, images: Arrays, masks: Arrays) -> Self:
        """Search for a pipeline.

        With ten images or more the search keeps 30 % for its own test, as `evoseg.search` always does: `found_` says
        what they gave. `score` is for images of yours that it has not seen.

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
        if (output := kind_scored_by(self.metric).output) not in (Kind.MASK, Kind.LABELS):
            raise SettingsError(
                f"metric is {self.metric}, which scores {'points' if output is Kind.POINTS else 'shifts'}; a Segmenter "
                "takes masks. Use evoseg.search with a Dataset.from_arrays(images, points=...) or (moving=, shifts=)."
            )
        # By name: masks of several values would ask for a pipeline per class.
        self.found_ = search((images, masks), task=kind_scored_by(self.metric).name, **self.get_params())
        self.pipeline_ = self.found_.pipeline
        return self

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
        PipelineError
            If an image has another shape, or lacks a channel that the pipeline was made for.

        Warns
        -----
        ImageWarning
            If images differ from those of `fit`, or every answer is empty or full.
        """
        if not hasattr(self, "pipeline_"):
            raise NotFittedError("this segmenter has no pipeline yet; call fit(images, masks) first.")
        if isinstance(images, Mapping):
            raise DatasetError("images are a mapping; give its values, in the order in which masks are wanted.")
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
        task = kind_scored_by(self.metric).make(self.metric)
        scores = []
        for number, (answer, mask) in enumerate(zip(answers, masks, strict=True)):
            if np.shape(mask) != answer.shape:
                raise DatasetError(
                    f"mask {number} is {np.shape(mask)} but its image is {answer.shape}; they must match."
                )
            values = np.asarray(mask)
            # Scores look at answers and truths; the image is there for tasks that fit numbers to it.
            sample = Sample(str(number), answer[:, :, None], values > 0, None, values)
            scores.append(float(task.score(task.judge(answer, task.truth(task.item(sample))))))
        return float(np.mean(scores))

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name; `deep` is there for scikit-learn."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Raises
        ------
        SettingsError
            If there is none of that name; nothing is set then.
        """
        for name in params:
            if name not in self._names():
                raise SettingsError(unknown("parameter", name, self._names()))
        for name, value in params.items():
            setattr(self, name, value)
        return self

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in signature(cls.__init__).parameters if name != "self"]

    def __repr__(self) -> str:
        defaults = signature(type(self).__init__).parameters
        told = [f"{name}={value!r}" for name, value in self.get_params().items() if value != defaults[name].default]
        return f"Segmenter({', '.join(told)})"
