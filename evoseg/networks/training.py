"""Trains an ensemble on a few examples, each of which is out of bag for one of its networks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from threading import Lock
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from evoseg.core.folds import Units, each_alone
from evoseg.core.kinds import Raw
from evoseg.networks.course import Course, Problem
from evoseg.networks.optimising import Stopwatch
from evoseg.networks.scenes import blob_sigma, draw_truth, measure_standard, usual_reduction
from evoseg.networks.values import (
    OUTPUTS,
    Example,
    Head,
    Keep,
    NetworkError,
    OnProgress,
    Planes,
    Progress,
    Trained,
    TrainingSettings,
    check_examples,
)

_MOST_LOOKING = 0.6
"""Of the time that is left, for looking at images out of bag."""
_TRIAL_SHARE = 0.15
"""Of the time, for each of two working resolutions."""
_TRIAL_SIDE = 1024
"""Of the part of an image that working resolutions are compared on, px."""
_TUNED_SHARE = 0.55
"""Of what is left for training, for a network whose encoder is trained as well."""
_LEAST_TUNED_S, _LEAST_TUNED_STEPS = 40.0, 400
"""CPU seconds, or steps, for training below which that is not done: gains were sure with 90 s, and not with 24 s."""
_SURE_GAIN = 0.02
"""Out-of-bag score by which a lower resolution must be ahead of the full one."""
_STEPS_BETWEEN_NEWS = 20


def train(
    examples: Sequence[Example],
    settings: TrainingSettings,
    views: Sequence[tuple[int, Raw]] = (),
    units: Units | None = None,
    on_progress: OnProgress = lambda progress: None,
    keep: Keep = lambda file, planes: list(planes),
) -> Trained:
    """Train an ensemble of small networks.

    Parameters
    ----------
    examples : sequence of Example
        At least 2, whose images have equally many channels.
    settings : TrainingSettings
    views : sequence of (int, image)
        Further images, each with the example that it belongs to: planes are made by the network that did not see that.
    units : intp array of shape (n_examples,), optional
        Which unit each example is of; those of one are left out together. By default, each is its own.
    on_progress : callable, optional
    keep : callable, optional
        Takes the file and the planes, one image's after the other, and returns all planes; by default, in memory.

    Returns
    -------
    Trained
        The same for the same arguments on one machine, whatever the number of threads, if the budget counts steps.

    Raises
    ------
    NetworkError
        If there are fewer than 2 examples, or one is not of its image's shape.
    MissingPackageError
        If the pretrained encoder's file is not the one that evoseg was tested with.
    """
    check_examples(examples, views)
    with _one_thread_each():
        units = each_alone(len(examples)) if units is None else units
        return _Training(examples, settings, units, on_progress).run(views, keep)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let torch and OpenCV compute in the calling thread: sums in a fixed order, and no fight for cores.

    torch.use_deterministic_algorithms is not called: all operations used here are deterministic on a CPU, and it would
    import torch's compiler, which takes a second.
    """
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


class _Training:
    """One training, from examples to the file."""

    def __init__(
        self, examples: Sequence[Example], settings: TrainingSettings, units: Units, on_progress: OnProgress
    ) -> None:
        self._watch = Stopwatch(settings.stretch, settings.threads)
        self._problem = Problem(examples, settings, measure_standard(examples, examples[0].image.shape[2]), units)
        self._sigma = blob_sigma(examples, settings.head)
        self._on_progress = on_progress
        self._lock = Lock()
        self._n_steps = 0
        self._n_planned = 0
        self._stage = "starting"
        self._notes: dict[str, Any] = {}

    def run(self, views: Sequence[tuple[int, Raw]], keep: Keep) -> Trained:
        """Choose the working resolution, train, and look at all images out of bag."""
        examples = self._problem.examples
        images = [(i, example.image) for i, example in enumerate(examples)] + list(views)
        course = self._choose_course([image for _, image in images])
        self._stage = "training"
        reserved_s = course.predicting_seconds([image for _, image in images])
        self._refuse_if_too_large(reserved_s)
        share = self._left_share(reserved_s)
        tuned = self._tuned_share(course, share)
        self._n_planned -= ceil(tuned * (self._problem.settings.steps or 0)) * (self._problem.n_networks - 1)
        course.train(*self._budget(share - tuned))
        if tuned:
            self._stage = "training the encoder, too"
            course.tune(*self._budget(tuned))
        self._stage = "looking at images out of bag"
        self._tell()
        file = course.write()
        planes = keep(file, (course.planes_out_of_bag(i, image) for i, image in images))
        self._notes |= {
            "encoder": course.encoder,
            "reduction": course.reduction,
            "networks": self._problem.n_networks,
            "steps": course.n_steps,
            "tuning_steps": course.n_tuning_steps,
            "windows": course.n_windows,
            "out_of_bag": [self._score(example, found) for example, found in zip(examples, planes, strict=False)],
        }
        n = len(examples)
        return Trained(file, planes[:n], planes[n:], self._watch.seconds, self._notes)

    def _refuse_if_too_large(self, reserved_s: float) -> None:
        """Refuse images that take most of the time to be looked at once, before anything has been learned."""
        if not self._can_look(reserved_s):
            seconds = self._problem.settings.seconds or 0.0
            if reserved_s <= _MOST_LOOKING * seconds:
                raise NetworkError(
                    f"of {seconds:.0f} s for training, {self._watch.seconds:.0f} s were over before it began: the "
                    "machine is busy, or slow. Give more time"
                )
            raise NetworkError(
                f"the images are too many, or too large, for {seconds:.0f} s of training: only to run networks on them "
                f"once takes about {reserved_s:.0f} s. Give more time, or fewer or smaller images"
            )

    def _can_look(self, looking_s: float, before_s: float = 0.0) -> bool:
        """Return whether there is time to look at images, after something else that takes time."""
        seconds = self._problem.settings.seconds
        return seconds is None or looking_s <= _MOST_LOOKING * (seconds - self._watch.seconds - before_s)

    def _choose_course(self, images: Sequence[Raw]) -> Course:
        """Return the better of the usual working resolution and the full one, by short trials out of bag.

        The usual one where there is no time to look at all images at full resolution in the end.
        """
        examples = self._problem.examples
        usual = Course(self._problem, usual_reduction(examples, self._problem.settings.head), self._count_step)
        steps = self._problem.settings.steps or 0
        self._n_planned = steps * self._problem.n_networks
        if usual.reduction == 1:
            return usual
        full = Course(self._problem, 1, self._count_step)
        parts = [part_of(example, _TRIAL_SIDE) for example in examples]
        trials_s = self._trial_seconds((usual, full), [part.image for part in parts])
        if not self._can_look(full.predicting_seconds(images), before_s=trials_s):
            return usual
        self._n_planned += 2 * ceil(_TRIAL_SHARE * steps) * self._problem.n_networks
        scores = {}
        for course in (usual, full):
            self._stage = f"trying 1/{course.reduction} of the resolution"
            course.train(*self._budget(_TRIAL_SHARE))
            planes = [course.planes_out_of_bag(i, part.image) for i, part in enumerate(parts)]
            scores[course.reduction] = [self._score(part, found) for part, found in zip(parts, planes, strict=True)]
        self._notes["resolution_scores"] = {str(reduction): found for reduction, found in scores.items()}
        is_better = np.mean(scores[usual.reduction]) - np.mean(scores[1]) > _SURE_GAIN
        return usual if is_better or not self._can_look(full.predicting_seconds(images)) else full

    def _trial_seconds(self, courses: Sequence[Course], images: Sequence[Raw]) -> float:
        """Return about what trials of some courses take, which train and then look at images."""
        seconds = self._problem.settings.seconds or 0.0
        training_s = sum(max(_TRIAL_SHARE * seconds, course.starting_seconds) for course in courses)
        looking_s = sum(course.predicting_seconds(images) for course in courses)
        # One thread looks, and the stopwatch counts the time of all.
        return training_s + self._watch.of_one_thread(looking_s)

    def _score(self, example: Example, planes: Planes) -> float:
        return score_planes(example, self._problem.settings.head, planes, self._sigma)

    def _budget(self, share: float) -> tuple[float | None, int | None]:
        """Return a share of the budget, as seconds of all networks together or steps of each."""
        settings = self._problem.settings
        if settings.seconds is not None:
            return share * settings.seconds, None
        return None, ceil(share * (settings.steps or 0))

    def _left_share(self, reserved_s: float) -> float:
        """Return the share of the budget that is left, beside what is needed at the end; at least a tenth."""
        seconds = self._problem.settings.seconds
        return 1.0 if seconds is None else max(0.1, 1 - (self._watch.seconds + reserved_s) / seconds)

    def _tuned_share(self, course: Course, share: float) -> float:
        """Return the part of a share of the budget that is for a network whose encoder is trained as well."""
        seconds, steps = self._budget(share)
        long = seconds >= _LEAST_TUNED_S if seconds is not None else (steps or 0) >= _LEAST_TUNED_STEPS
        return _TUNED_SHARE * share if course.is_pretrained and long else 0.0

    def _count_step(self) -> None:
        with self._lock:
            self._n_steps += 1
            if self._n_steps % _STEPS_BETWEEN_NEWS == 0:
                self._tell()

    def _tell(self) -> None:
        seconds = self._problem.settings.seconds
        share = self._n_steps / max(1, self._n_planned) if seconds is None else self._watch.seconds / seconds
        self._on_progress(Progress(min(1.0, share), self._stage))


def score_planes(example: Example, head: Head, planes: Planes, sigma: float = 0.0) -> float:
    """Return how well planes agree with the truth, 0 to 1.

    The IoU of the foreground at 0.5; for points, twice the overlap of the blobs divided by their sum.

    Parameters
    ----------
    example : Example
    head : str
    planes : dict of str to uint8 array of shape (M, N)
    sigma : float
        Of the blobs of points, px.
    """
    truth = draw_truth(example, head, sigma)[:, :, 0]
    known = np.ones(truth.shape, bool) if example.known is None else example.known
    plane = planes[OUTPUTS[head][0]][known]
    if head == "points":
        given, wanted = plane / np.float32(255), truth[known]
        total = float(given.sum() + wanted.sum())
        return 2 * float(np.minimum(given, wanted).sum()) / total if total else 1.0
    found, there = plane > 127, truth[known] > 0
    union = np.count_nonzero(found | there)
    return np.count_nonzero(found & there) / union if union else 1.0


def part_of(example: Example, side: int) -> Example:
    """Return at most side x side px of an example, around the middle of what is marked there."""
    shape = example.image.shape[:2]
    is_points = example.truth.dtype == np.float64
    places = example.truth if is_points else np.argwhere(example.truth > 0)
    middle = np.median(places, axis=0) if len(places) else np.array(shape) / 2
    corner = np.clip(middle - side // 2, 0, np.maximum(0, np.array(shape) - side)).astype(int)
    box = tuple(slice(start, start + side) for start in corner.tolist())
    truth: NDArray[Any] = example.truth[box] if not is_points else _points_within(places, corner, side)
    return Example(example.image[box], truth, None if example.known is None else example.known[box])


def _points_within(points: NDArray[Any], corner: NDArray[Any], side: int) -> NDArray[Any]:
    inside = np.all((points >= corner) & (points < corner + side), axis=1)
    return np.asarray(points[inside] - corner)
