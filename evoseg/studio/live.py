"""The live answer: sums of curves over filtered planes, fitted to the strokes after each of them.

It is an ordinary pipeline of filters with a local receptive field, so an image is answered block by block, and what is
seen is what `evoseg apply` gives. Once the pretrained encoder has seen the painted images, one of the planes may be a
linear head on its features, a small network. Its held-out score comes from fits without some of the strokes, or of the
images.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from threading import Event
from time import perf_counter
from typing import Any, final

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError, EvosegError, MissingPackageError
from evoseg.core.kinds import Gray
from evoseg.core.streams import stream
from evoseg.datasets.dataset import Dataset
from evoseg.evolve.image_stats import measure_images
from evoseg.evolve.proposers.classics import chain, intakes
from evoseg.evolve.proposers.curve_sums import BANK, Levels
from evoseg.networks.frozen import N_FEATURES, Features, FrozenEncoder, LinearHead
from evoseg.operators import registry
from evoseg.operators.network import add_network, digest_of, measure_brightness
from evoseg.operators.network_file import MAX_CHANNELS
from evoseg.pipeline import IMAGE, Pipeline
from evoseg.pipeline.running import reaches, run_step
from evoseg.pipeline.value import step
from evoseg.studio.history import Box
from evoseg.studio.project import BytesCache, Project, StudioImage
from evoseg.studio.stroke_fit import HEAD, Encoded, FittedSum, fit_sum, rank_planes
from evoseg.studio.strokes import LabelRaster, groups_of

logger = logging.getLogger(__name__)

PLANE_BYTES = 2**29
"""Filtered planes that are kept in memory, in all."""
ANSWER_BYTES = 2**28
"""Answers that are kept in memory, in all."""
FEATURE_BYTES = 2**29
"""Features that are kept in memory, in all: enough for all of an image of 16 megapixels, shown anew at each stroke."""
MOST_ENCODED = 32
"""Images with labels up to which the pretrained encoder is asked; with more, features take too much time and memory."""
BLOCK = 1024
"""About the side of the blocks that large images are worked on in, px."""
GRID = 64
"""Blocks begin at multiples of this, px: filters at reduced scale take means over squares whose side divides it."""
INTAKES = 3
"""Ways from an image to a plane that all filters are applied to, the most telling ones."""
SAMPLES = 600
"""Pixels of each label that are sampled from each image, at most."""
AROUND = 1000
"""Pixels that are sampled from each image with labels, wherever they are."""
MOST_SAMPLES = 2000
"""Of one class, of all others, and wherever they are: how many are fitted to, at most."""
LEAST_MARGIN = 4
"""Levels between a typical pixel and the limit, at least, so that no division goes wild."""
FOLDS = 4
"""Groups of strokes, or of images, that are left out in turn."""
MOST_BLOCKS = 4
"""Blocks of an image that pixels are sampled from, at most: those with the most strokes."""
_RIM = 32
"""Width of what is kept of features around a block, since a head interpolates between them, px."""
_MEASURED = 6
"""Images that intakes are chosen by."""
_MEASURED_SIDE = 1024
_PATCH = 512
"""Side of the middle part by which images are compared that might be labelled next, px."""
_COMPARED = 24
"""Images that are compared, at most."""


@dataclass(frozen=True, eq=False)
class ClassModel:
    """The sum of one class.

    Attributes
    ----------
    label : int
        2 for foreground, 3 and more for further classes.
    plane : Pipeline
        Bright where the class is.
    leaves : tuple of Pipeline
        The planes that it adds up.
    level : int
        Above which a pixel belongs to the class.
    head : LinearHead or None
        Whose plane `HEAD` stands for, if that is one of the leaves.
    below, above : float, level
        How far the typical pixel of other labels, and of the class, is from that: what makes a value clear.
    """

    label: int
    plane: Pipeline
    leaves: tuple[Pipeline, ...]
    level: int
    head: LinearHead | None
    below: float
    above: float

    @cached_property
    def margins(self) -> NDArray[np.float32]:
        """How clear each of the 256 values is: positive for the class, 1 or -1 as on a typical stroke."""
        distance = np.arange(256) - self.level
        return np.where(distance > 0, distance / self.above, distance / self.below).astype(np.float32)

    @cached_property
    def pipeline(self) -> Pipeline:
        """The program that marks the class; if it has a network, `network` has to be added before it can run."""
        program = chain(self.plane, [("level", {"level": self.level, "polarity": "bright"})])
        if self.network is None:
            return program
        named = step("network", IMAGE, weights=digest_of(self.network))
        return Pipeline([named if s.operator == named.operator else s for s in program.steps])

    @cached_property
    def network(self) -> bytes | None:
        """The file of the network in the program, if there is one."""
        return None if self.head is None else self.head.network()


@dataclass(frozen=True)
class HeldOut:
    """How many pixels under strokes are right that the fit did not know.

    Attributes
    ----------
    what : str
        What was left out in turn: "strokes" or "images".
    n : int
        How many there are.
    share : float
        Of the pixels that are right: the mean over the labels, each counting alike; one half is chance for two.
    """

    what: str
    n: int
    share: float


@dataclass(frozen=True, eq=False)
class Model:
    """A fit to all strokes.

    Attributes
    ----------
    number : int
        Grows with each fit.
    classes : tuple of ClassModel
    n_strokes, n_images : int
        That it was fitted to.
    seconds : float, s
        That it took.
    """

    number: int
    classes: tuple[ClassModel, ...]
    n_strokes: int
    n_images: int
    seconds: float = 0.0


class NothingToFit(EvosegError, ValueError):
    """Too few strokes for an answer."""


@dataclass(frozen=True, eq=False)
class _Places:
    """Pixels of one image, and the values of planes there."""

    image: StudioImage
    rows: NDArray[np.intp]
    cols: NDArray[np.intp]
    values: dict[bytes, NDArray[np.uint8]] = field(default_factory=dict)


@dataclass(eq=False)
class _Pixels:
    """Sampled pixels of one image, painted and anywhere around, in some blocks; kept until its strokes change."""

    painted: _Places
    labels: NDArray[np.uint8]
    strokes: NDArray[np.int32]
    around: _Places
    boxes: Sequence[Box]
    features: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    """Of the painted ones, and of those around; None until the blocks have been encoded."""


@dataclass(frozen=True, eq=False)
class _Sample:
    """Some of the painted pixels of one image: their labels, and the strokes that they are under."""

    pixels: _Pixels
    chosen: NDArray[np.bool_]

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        return self.pixels.labels[self.chosen]

    @cached_property
    def strokes(self) -> NDArray[np.int32]:
        return self.pixels.strokes[self.chosen]

    def where(self, chosen: NDArray[np.bool_]) -> "_Sample":
        """Return some of these pixels."""
        mask = self.chosen.copy()
        mask[self.chosen] = chosen
        return _Sample(self.pixels, mask)


@final
class Live:
    """Fits, answers and says where to go next, for a project.

    Parameters
    ----------
    project : Project

    Attributes
    ----------
    stopped : threading.Event
        Once it is set, no more planes are computed, so that a fit ends soon.
    """

    def __init__(self, project: Project) -> None:
        self.stopped = Event()
        self._project = project
        self._planes = BytesCache[tuple[str, Box, bytes], Gray](PLANE_BYTES)
        self._answers = BytesCache[tuple[int, str, Box], "Answer"](ANSWER_BYTES)
        self._features = BytesCache[tuple[str, Box], Features](FEATURE_BYTES)
        self._brightness: dict[str, NDArray[np.float64]] = {}
        self._pixels: dict[str, tuple[int, _Pixels | None]] = {}
        self._number = 0

    # Fitting

    def fit(self, *, filters_only: bool = False) -> Model:
        """Fit to all strokes.

        Parameters
        ----------
        filters_only : bool
            Whether to do without the encoder, also where it has seen all images.

        Raises
        ------
        NothingToFit
            Naming what is missing.
        """
        start = perf_counter()
        samples = self._samples()
        labels = np.unique(np.concatenate([s.labels for s in samples])) if samples else np.empty(0)
        if not (len(labels) > 1 and labels[0] == 1):
            wanted = "background" if len(labels) and labels[0] != 1 else "an object"
            raise NothingToFit("Paint a stroke on an object and one on background." if not len(labels) else
                               f"Paint a stroke on {wanted}, too.")  # fmt: skip
        classes = tuple(self._fitted(samples, int(label), filters_only=filters_only) for label in labels[1:])
        self._number += 1
        n_strokes = sum(len(np.unique(s.strokes)) for s in samples)
        self._answers.drop(lambda key: key[0] < self._number - 1)
        return Model(self._number, classes, n_strokes, len(samples), perf_counter() - start)

    def encode_next(self) -> bool:
        """Let the pretrained encoder see the next block of an image with labels; return whether there was one.

        Once it has seen all, fits make use of it.
        """
        samples = self._samples()
        if not 0 < len(samples) <= MOST_ENCODED or self._encoder is None:
            return False
        for pixels in (s.pixels for s in samples):
            if self._features_of(pixels) is None:
                image = pixels.painted.image
                missing = (box for box in pixels.boxes if (image.id, box) not in self._features)
                self._encoded(image, next(missing, pixels.boxes[0]))  # a tile may have been quicker
                return True
        return False

    def held_out(self) -> list[HeldOut]:
        """Return the held-out scores that can be had: by strokes left out, and by images left out."""
        samples = self._samples()
        found = []
        strokes = [(i, int(stroke)) for i, s in enumerate(samples) for stroke in np.unique(s.strokes)]
        images = [(i, -1) for i in range(len(samples))]
        for what, units in (("strokes", strokes), ("images", images)):
            if len(units) > 1 and (share := self._left_out(samples, units)) is not None:
                found.append(HeldOut(what, len(units), share))
        return found

    def _left_out(self, samples: Sequence[_Sample], units: Sequence[tuple[int, int]]) -> float | None:
        """Return the share of right pixels of units that were left out in turn; None if too few remain for any fit."""
        right: dict[int, list[bool]] = {}
        order = stream(0, "studio", "folds").permutation(len(units))
        n_folds = min(FOLDS, len(units))
        for fold in range(n_folds):
            out = {units[i] for i in order[fold::n_folds]}
            kept, judged = zip(*(_divided(i, s, out) for i, s in enumerate(samples)), strict=True)
            known = np.unique(np.concatenate([s.labels for s in kept]))
            wanted = np.concatenate([s.labels for s in judged])
            if not (len(known) > 1 and known[0] == 1 and len(wanted)):
                continue
            fits = [self._fitted([s for s in kept if len(s.labels)], int(label)) for label in known[1:]]
            given = np.concatenate([self._decide(fits, s) for s in judged if len(s.labels)])
            for label in np.unique(wanted).tolist():
                if label in known:
                    right.setdefault(label, []).extend((given[wanted == label] == label).tolist())
        if len(right) < 2:
            return None
        return float(np.mean([np.mean(values) for values in right.values()]))

    def _decide(self, fits: Sequence[ClassModel], sample: _Sample) -> NDArray[np.uint8]:
        """Return the labels that a fit gives sampled pixels."""
        margins = np.stack([fit.margins[self._values(fit, sample)] for fit in fits])
        best = margins.argmax(axis=0)
        labels = np.array([fit.label for fit in fits], np.uint8)[best]
        return np.where(margins.max(axis=0) > 0, labels, np.uint8(1))

    def _fitted(self, samples: Sequence[_Sample], label: int, *, filters_only: bool = False) -> ClassModel:
        """Return the sum of curves for one class."""
        thinned = [_thinned(s, label, -(-MOST_SAMPLES // len(samples))) for s in samples]
        wanted = np.concatenate([s.labels for s in thinned]) == label
        first = [chain(intake, BANK[1]) for intake in self._intakes]
        ranks = rank_planes(self._painted(first, thinned), wanted)
        filtered = [chain(self._intakes[i], filters) for i in ranks[:INTAKES] for filters in BANK]
        planes = list(dict.fromkeys([*first, *filter(_is_local, filtered)]))
        painted, around = self._painted(planes, thinned), self._around(planes, samples)
        encoded = None if filters_only else self._encoded_pixels(thinned)
        found = fit_sum(planes, painted, wanted, around, encoded)
        values = np.concatenate([self._values(found, s) for s in thinned])
        below, above = (float(np.median(found.level - values[wanted == k].astype(int))) for k in (False, True))
        margins = max(LEAST_MARGIN, below), max(LEAST_MARGIN, -above)
        return ClassModel(label, found.plane, found.leaves, found.level, found.head, *margins)

    @cached_property
    def _intakes(self) -> list[Pipeline]:
        """The ways from an image to a plane that need nothing but a pixel's surroundings."""
        images = list(self._project.images.values())
        some = images[:: -(-len(images) // _MEASURED)]
        stats = measure_images([self._middle(image, _MEASURED_SIDE) for image in some])
        return [program for program in intakes(stats) if _is_local(program)]

    def _middle(self, image: StudioImage, side: int) -> NDArray[Any]:
        height, width = self._project.rows(image).shape
        top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
        return self._project.crop(image, (top, left, min(height, top + side), min(width, left + side)))

    def _samples(self) -> list[_Sample]:
        """Return sampled pixels of every image with labels: from each stroke and label alike."""
        found = []
        for image in self._project.images.values():
            if (pixels := self._pixels_of(image)) is not None:
                found.append(_Sample(pixels, np.ones(len(pixels.labels), bool)))
        return found

    def _pixels_of(self, image: StudioImage) -> _Pixels | None:
        version, labels = self._project.label_version(image), self._project.labels(image)
        if labels is None:
            return None
        if self._project.state(image) == "strokes":
            strokes = self._project.strokes(image)
            with strokes.lock:
                labels, version = strokes.labels.copy(), self._project.label_version(image)
        if image.id not in self._pixels or self._pixels[image.id][0] != version:
            self._pixels[image.id] = version, self._sample(image, labels)
        return self._pixels[image.id][1]

    def _sample(self, image: StudioImage, labels: LabelRaster) -> _Pixels | None:
        drawn = {b: np.count_nonzero(labels[b[0] : b[2], b[1] : b[3]]) for b in blocks_of(labels.shape)}
        kept = sorted((b for b in drawn if drawn[b]), key=lambda b: -drawn[b])[:MOST_BLOCKS]
        if not kept:
            return None
        seen = np.zeros_like(labels)
        for top, left, bottom, right in kept:
            seen[top:bottom, left:right] = labels[top:bottom, left:right]
        rng = stream(0, "studio", "sample", image.id)
        groups = groups_of(seen)
        places = []
        for label in np.unique(seen[seen > 0]).tolist():
            at = np.flatnonzero(seen == label)
            places.append(at if len(at) <= SAMPLES else rng.choice(at, SAMPLES, replace=False))
        flat = np.sort(np.concatenate(places))
        rows, cols = np.unravel_index(flat, labels.shape)
        around = _Places(image, *_draw(kept, AROUND, rng))
        return _Pixels(_Places(image, rows, cols), labels[rows, cols], groups[rows, cols], around, kept)

    # Planes

    def _painted(self, programs: Sequence[Pipeline], samples: Sequence[_Sample]) -> Levels:
        """Return the values of planes at painted pixels, shape (n_planes, n)."""
        parts = [[self._at(p, s.pixels.painted)[s.chosen] for p in programs] for s in samples]
        return np.concatenate(parts, axis=1)

    def _around(self, programs: Sequence[Pipeline], samples: Sequence[_Sample]) -> Levels:
        """Return their values at pixels from everywhere, of each image alike, shape (n_planes, n)."""
        some = _share_of_around(samples)
        return np.concatenate([[self._at(p, s.pixels.around)[some] for p in programs] for s in samples], axis=1)

    def _at(self, program: Pipeline, places: _Places) -> NDArray[np.uint8]:
        """Return the values of a plane at some pixels of an image."""
        digest = program.digests[-1]
        if digest not in places.values:
            values = np.zeros(len(places.rows), np.uint8)
            for box in blocks_of(self._project.rows(places.image).shape):
                inside = _in_box(places, box)
                if inside.any():
                    plane = self._plane(places.image, box, program)
                    values[inside] = plane[places.rows[inside] - box[0], places.cols[inside] - box[1]]
            places.values[digest] = values
        return places.values[digest]

    def _values(self, fit: FittedSum | ClassModel, sample: _Sample) -> NDArray[np.uint8]:
        """Return the values of a sum at sampled pixels."""
        given = {leaf: self._painted([leaf], [sample]) for leaf in fit.leaves if leaf != HEAD}
        if fit.head is not None and sample.pixels.features is not None:
            given[HEAD] = fit.head.levels(sample.pixels.features[0][sample.chosen])[None]
        return evaluate(fit.plane, given).ravel()

    def _plane(self, image: StudioImage, box: Box, program: Pipeline) -> Gray:
        """Return a plane of a block, computed once."""
        key = (image.id, box, program.digests[-1])
        return self._planes.get(key, lambda: self._filtered(image, box, program), lambda plane: plane.nbytes)

    def _filtered(self, image: StudioImage, box: Box, program: Pipeline) -> Gray:
        if self.stopped.is_set():
            raise NothingToFit("The studio is closing.")
        around = _grown(box, _on_grid(reaches(program.steps)[-1]), self._project.rows(image).shape)
        top, left, *_ = around
        plane = program.for_images(None)(self._project.crop(image, around))
        return np.ascontiguousarray(plane[box[0] - top :, box[1] - left :][: box[2] - box[0], : box[3] - box[1]])

    # The pretrained encoder

    @cached_property
    def _encoder(self) -> FrozenEncoder | None:
        """The pretrained encoder for images of as many channels as the first one with labels; None without weights."""
        image = self._samples()[0].pixels.painted.image
        channels = self._project.crop(image, (0, 0, 1, 1)).shape[2]
        try:
            return FrozenEncoder(min(channels, MAX_CHANNELS))
        except MissingPackageError as error:
            logger.info("the live answer consists of filters only: %s", error)
            return None

    def _encoded(self, image: StudioImage, box: Box) -> Features:
        """Return the features of a block and of a rim around it, computed once."""
        return self._features.get((image.id, box), lambda: self._encode(image, box), lambda found: found.nbytes)

    def _encode(self, image: StudioImage, box: Box) -> Features:
        if self.stopped.is_set() or self._encoder is None:
            raise NothingToFit("The studio is closing.")
        shape = self._project.rows(image).shape
        if image.id not in self._brightness:
            bands = ((top, 0, min(shape[0], top + BLOCK), shape[1]) for top in range(0, shape[0], BLOCK))
            sums = [measure_brightness(self._project.crop(image, band), self._encoder.channels) for band in bands]
            self._brightness[image.id] = np.sum(sums, axis=0)
        seen, kept = _grown(box, self._encoder.margin, shape), _grown(box, _RIM, shape)
        found = self._encoder.encode(self._project.crop(image, seen), self._brightness[image.id])
        return found.part(kept[0] - seen[0], kept[1] - seen[1], kept[2] - seen[0], kept[3] - seen[1])

    def _head_plane(self, image: StudioImage, box: Box, head: LinearHead) -> Gray:
        """Return the plane of a head in a block."""
        top, left, *_ = _grown(box, _RIM, self._project.rows(image).shape)
        plane = self._encoded(image, box).plane(head)
        return np.ascontiguousarray(plane[box[0] - top : box[2] - top, box[1] - left : box[3] - left])

    def _features_of(self, pixels: _Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Return the features of sampled pixels if their blocks have been encoded."""
        image = pixels.painted.image
        if pixels.features is None and all((image.id, box) in self._features for box in pixels.boxes):
            pixels.features = (
                self._features_at(pixels.painted, pixels.boxes),
                self._features_at(pixels.around, pixels.boxes),
            )
        return pixels.features

    def _features_at(self, places: _Places, boxes: Sequence[Box]) -> NDArray[np.float32]:
        found = np.zeros((len(places.rows), N_FEATURES), np.float32)
        for box in boxes:
            inside = _in_box(places, box)
            top, left, *_ = _grown(box, _RIM, self._project.rows(places.image).shape)
            found[inside] = self._encoded(places.image, box).at(places.rows[inside] - top, places.cols[inside] - left)
        return found

    def _encoded_pixels(self, samples: Sequence[_Sample]) -> Encoded | None:
        """Return the features of painted pixels, and of those around; None unless the encoder has seen all images."""
        found = [self._features_of(s.pixels) for s in samples]
        if self._encoder is None or any(features is None for features in found):
            return None
        both = [(painted[s.chosen], around) for (painted, around), s in zip(filter(None, found), samples, strict=True)]
        some = _share_of_around(samples)
        return Encoded(
            np.concatenate([painted for painted, _ in both]),
            np.concatenate([around[some] for _, around in both]),
            self._encoder.channels,
        )

    # Answers

    def answer(self, model: Model, image: StudioImage, box: Box) -> "Answer":
        """Return the answer for a block of an image, computed once."""
        key = (model.number, image.id, box)
        return self._answers.get(key, lambda: self._answered(model, image, box), lambda found: found.nbytes)

    def _answered(self, model: Model, image: StudioImage, box: Box) -> "Answer":
        best = np.full((box[2] - box[0], box[3] - box[1]), -np.inf, np.float32)
        labels = np.ones(best.shape, np.uint8)
        for fit in model.classes:
            given = {leaf: self._plane(image, box, leaf) for leaf in fit.leaves if leaf != HEAD}
            if fit.head is not None:
                given[HEAD] = self._head_plane(image, box, fit.head)
            plane = evaluate(fit.plane, given)
            margin = np.asarray(cv2.LUT(plane, fit.margins), np.float32)
            labels[(margin > 0) & (margin > best)] = fit.label
            best = np.maximum(best, margin)
        return Answer(labels, np.asarray(cv2.convertScaleAbs(1 - np.abs(best).clip(0, 1), alpha=255), np.uint8))

    def region(self, model: Model, image: StudioImage, box: Box, most_px: int) -> "Answer | None":
        """Return the answer for any box of an image; None if that is larger than some number of pixels."""
        if (box[2] - box[0]) * (box[3] - box[1]) > most_px:
            return None
        shape = (box[2] - box[0], box[3] - box[1])
        labels, doubt = np.ones(shape, np.uint8), np.zeros(shape, np.uint8)
        for block in blocks_of(self._project.rows(image).shape):
            top, left = max(box[0], block[0]), max(box[1], block[1])
            bottom, right = min(box[2], block[2]), min(box[3], block[3])
            if top < bottom and left < right:
                found = self.answer(model, image, block)
                here = slice(top - box[0], bottom - box[0]), slice(left - box[1], right - box[1])
                there = slice(top - block[0], bottom - block[0]), slice(left - block[1], right - block[1])
                labels[here], doubt[here] = found.labels[there], found.doubt[there]
        return Answer(labels, doubt)

    def outline(self, model: Model, image: StudioImage, row: float, col: float) -> list[tuple[float, float]]:
        """Return the outline of the object that the answer shows at a place, as (row, col) in px; [] if there is none.

        It runs through the middle of the outermost pixels, and holes are not part of it.
        """
        height, width = self._project.rows(image).shape
        top, left = max(0, int(row) - BLOCK), max(0, int(col) - BLOCK)
        box = (top, left, min(height, int(row) + BLOCK), min(width, int(col) + BLOCK))
        found = self.region(model, image, box, (2 * BLOCK) ** 2)
        if found is None or not (0 <= row < height and 0 <= col < width):
            return []
        here = int(row) - top, int(col) - left
        if found.labels[here] == 1:
            return []
        _, parts = cv2.connectedComponents((found.labels == found.labels[here]).astype(np.uint8), connectivity=4)
        part = (parts == parts[here]).astype(np.uint8)
        (line, *_), _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        return [(float(y + top) + 0.5, float(x + left) + 0.5) for x, y in line.reshape(-1, 2)]

    # Where to go next

    def next_region(self, model: Model, image: StudioImage, skip: Collection[tuple[int, int]] = ()) -> Box | None:
        """Return the largest doubtful region of an image without strokes in it; None if there is none.

        Parameters
        ----------
        skip : collection of (row, col)
            Middles of regions that were shown before.
        """
        height, width = self._project.rows(image).shape
        found = self.region(model, image, (0, 0, height, width), MOST_BLOCKS * BLOCK**2 * 2)
        if found is None:
            return None
        labels = self._project.labels(image)
        doubtful = cv2.blur(found.doubt, (5, 5)) > 128
        n, places, stats, _ = cv2.connectedComponentsWithStats(doubtful.astype(np.uint8), connectivity=8)
        touched = np.zeros(n, bool)
        if labels is not None:
            touched[np.unique(places[labels > 0])] = True
        for i in np.argsort(-stats[:, cv2.CC_STAT_AREA]).tolist():
            left, top, wide, high, _ = (int(v) for v in stats[i])
            middle = (top + high // 2, left + wide // 2)
            if i and not touched[i] and middle not in skip:
                return top, left, top + high, left + wide
        return None

    def next_image(self, model: Model, now: StudioImage) -> tuple[StudioImage, float] | None:
        """Return the unlabelled image that is most in doubt, with its mean doubt (0 to 1); None if all are labelled."""
        images = list(self._project.images.values())
        open_ones = [one for one in images if self._project.state(one) == "unlabelled" and one.id != now.id]
        best: tuple[StudioImage, float] | None = None
        for image in open_ones[:: max(1, -(-len(open_ones) // _COMPARED))]:
            try:
                doubt = self._mean_doubt(model, self._middle(image, _PATCH))
            except EvosegError:
                continue  # it cannot be read, which is said when it is opened
            if best is None or doubt > best[1]:
                best = image, doubt
        return best

    def _mean_doubt(self, model: Model, patch: NDArray[Any]) -> float:
        margins = []
        for fit in model.classes:
            given = {leaf: leaf.for_images(None)(patch) for leaf in fit.leaves if leaf != HEAD}
            if fit.head is not None and self._encoder is not None:
                brightness = measure_brightness(patch, self._encoder.channels)
                given[HEAD] = self._encoder.encode(patch, brightness).plane(fit.head)
            margins.append(np.abs(fit.margins[evaluate(fit.plane, given)]))
        return float((1 - np.min(margins, axis=0).clip(0, 1)).mean())

    def programs(self, model: Model) -> dict[int, Pipeline]:
        """Return the program of each class, with the format of the images that it was fitted to.

        Raises
        ------
        EvosegError
            If the folder cannot be read as a dataset.
        """
        self._project.save()
        dataset = Dataset(self._project.root)
        made_for = dataset.image_format(dataset.labelled)
        for network in filter(None, (fit.network for fit in model.classes)):
            add_network(network)
        return {fit.label: fit.pipeline.for_images(made_for) for fit in model.classes}


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says of a part of an image.

    Attributes
    ----------
    labels : uint8 array of shape (M, N)
        1 for background, 2 for foreground, 3 and more for classes.
    doubt : uint8 array of shape (M, N)
        255 at the boundary between labels, 0 where the sum is as clear as on a typical stroke.
    """

    labels: LabelRaster
    doubt: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.labels.nbytes + self.doubt.nbytes


def evaluate(program: Pipeline, given: Mapping[Pipeline, Gray]) -> Gray:
    """Return the value of a program whose sub-programs `given` are known."""
    known = {leaf.digests[-1]: plane for leaf, plane in given.items()}

    def value(i: int) -> NDArray[Any]:
        digest = program.digests[i]
        if digest not in known:
            due = program.steps[i]
            if IMAGE in due.inputs:
                raise DatasetError("a plane of the live answer is missing. Reload the page.")
            known[digest] = run_step(i, due, tuple(value(j) for j in due.inputs))
        return known[digest]

    return value(len(program) - 1)


def blocks_of(shape: Sequence[int]) -> list[Box]:
    """Return the blocks of an image, of about `BLOCK` px each way; they begin on the grid."""
    edges = [[*range(0, max(1, n - BLOCK // 2), _on_grid(BLOCK)), n] for n in shape[:2]]
    rows, cols = (list(pairwise(e)) for e in edges)
    return [(top, left, bottom, right) for top, bottom in rows for left, right in cols]


def _on_grid(n: int) -> int:
    """Return the next multiple of `GRID`."""
    return -(-n // GRID) * GRID


def _grown(box: Box, by: int, shape: Sequence[int]) -> Box:
    """Return a box with some of what lies around it."""
    return max(0, box[0] - by), max(0, box[1] - by), min(shape[0], box[2] + by), min(shape[1], box[3] + by)


def _share_of_around(samples: Sequence[_Sample]) -> slice:
    """Return which of the pixels from everywhere count, of each image alike."""
    return slice(-(-MOST_SAMPLES // len(samples)))


def _is_local(program: Pipeline) -> bool:
    return reaches(program.steps)[-1] != registry.WHOLE


def _in_box(places: _Places, box: Box) -> NDArray[np.bool_]:
    rows, cols = places.rows, places.cols
    inside: NDArray[np.bool_] = (rows >= box[0]) & (rows < box[2]) & (cols >= box[1]) & (cols < box[3])
    return inside


def _divided(i: int, sample: _Sample, out: Collection[tuple[int, int]]) -> tuple[_Sample, _Sample]:
    """Return the pixels of a sample that are kept, and those that are left out."""
    gone = {stroke for j, stroke in out if j == i}
    left_out = np.full(len(sample.labels), True) if -1 in gone else np.isin(sample.strokes, list(gone))
    return sample.where(~left_out), sample.where(left_out)


def _thinned(sample: _Sample, label: int, most: int) -> _Sample:
    """Return at most so many pixels of a class, and of others; evenly, so that each stroke keeps its share."""
    kept = np.zeros(len(sample.labels), bool)
    for places in (np.flatnonzero(sample.labels == label), np.flatnonzero(sample.labels != label)):
        kept[places[np.linspace(0, len(places) - 1, min(most, len(places))).astype(int)]] = True
    return sample.where(kept)


def _draw(boxes: Sequence[Box], n: int, rng: Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of pixels drawn evenly from parts of an image."""
    sizes = np.array([(bottom - top) * (right - left) for top, left, bottom, right in boxes])
    top, left, bottom, right = np.array(boxes)[rng.choice(len(boxes), n, p=sizes / sizes.sum())].T
    return rng.integers(top, bottom), rng.integers(left, right)
