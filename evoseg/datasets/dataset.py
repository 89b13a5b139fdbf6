"""A dataset as a value: stems, channels, a card, and samples that are read when asked for."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from io import BytesIO
from pathlib import Path
from shlex import quote
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import expand
from evoseg.core.errors import DatasetError, unknown
from evoseg.core.notes import group_notes, one_line
from evoseg.core.transforms import TRANSFORMS
from evoseg.datasets.card import DatasetCard
from evoseg.datasets.figures import SeenFigures
from evoseg.datasets.folder import scan
from evoseg.datasets.imageformat import ImageFormat, image_format, named_channels
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions, absolute_path
from evoseg.datasets.sources import (
    Arrays,
    FolderSource,
    Part,
    Source,
    array_source,
    channels_of,
    known_of,
    mismatches,
    parts_of,
)
from evoseg.datasets.survey import Survey, common_pixel_size, objects_of, survey

MEASURED = 64
"""Images of a set, at most, that are measured to know what they look like."""
_FEW = 5
_SHOWN = 6
"""Images that a notebook shows."""
_SHOWN_SIDE = 160
"""Their longest side, px."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image with what is known about it.

    Attributes
    ----------
    stem : str
    image : uint8, uint16 or float32 array of shape (M, N, C)
        The same C for the whole dataset.
    mask : bool array of shape (M, N) or None
        True on foreground; None if the image is unlabelled.
    known : bool array of shape (M, N) or None
        True on pixels that count; None if all do.
    values : array of shape (M, N) or None
        The numbers that the mask's values mean, such as one per object or class; `mask` is where they are above 0.
    points : float64 array of shape (n, 2) or None
        True places (row, col) in px; None if there are none on file.
    moving : array like `image`, or None
        The second image of a pair.
    shift : float64 array of shape (2,) or None
        (dy, dx) in px: what is at (row, col) in `image` is at (row + dy, col + dx) in `moving`.
    rigid, affine : float64 array of shape (2, 3) or None
        As in `evoseg.core.transforms`: [[yy, yx, dy], [xy, xx, dx]] takes (row, col) of `image` to (yy row + yx col +
        dy, xy row + xx col + dx) of `moving`. A pair has a shift, or one of these.
    """

    stem: str
    image: NDArray[Any]
    mask: NDArray[np.bool_] | None
    known: NDArray[np.bool_] | None
    values: NDArray[Any] | None = field(default=None, repr=False)
    points: NDArray[np.float64] | None = field(default=None, repr=False)
    moving: NDArray[Any] | None = field(default=None, repr=False)
    shift: NDArray[np.float64] | None = field(default=None, repr=False)
    rigid: NDArray[np.float64] | None = field(default=None, repr=False)
    affine: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def labels(self) -> NDArray[np.int32] | None:
        """The objects, int32 (M, N), numbered from 1: by the mask's values, or connected regions if it has only one."""
        return None if self.values is None else objects_of(self.values)


@final
@dataclass(frozen=True, init=False, eq=False, repr=False)
class Dataset:
    """Images with masks or points, or pairs of images, from a folder or from arrays.

    Building one checks names, pairs and `dataset.yaml`; pixels are read by `load`. `open_dataset` also reads every
    file once, `check` lists every problem.

    Attributes
    ----------
    root : Path or None
        None for a dataset of arrays.
    source : Source
        What the parts are read from.
    """

    root: Path | None
    source: Source

    def __init__(
        self,
        path: str | Path,
        reading: ReadOptions = DEFAULT_OPTIONS,
        *,
        axes: str = "",
        page: str | int = "",
        channel: str | int = "",
        series: str | int = "",
        classes: str = "",
        transform: str = "",
        bad_pixels: str | Path | None = None,
    ) -> None:
        """Open a folder; no pixels are read yet.

        Parameters
        ----------
        path : path
        reading : ReadOptions
            How its files are read, as one value. What is left open, `dataset.yaml` may say.
        axes, page, channel, series : str
            The same, one by one: the axes of a stack such as "CYX", its page such as 3, "T=0,Z=3" or "all", the
            channels of an image such as 0 or "DAPI,actin", and the image of a file that holds several.
        classes : str
            Which classes of outlines are objects, such as "nucleus,mitosis"; all if empty.
        transform : str
            What moves the images of pairs: "shift", "rigid" or "affine"; if empty, what the table of them says.
        bad_pixels : path, optional
            File whose pixels above 0 are unknown in every image, of their size (default: bad_pixels.* beside images/).

        Raises
        ------
        DatasetError
            If the folder is missing, or its names, pairs or card have problems, of which it lists the first few.
        """
        root = expand(path)
        own = ReadOptions(
            axes,
            str(page),
            str(channel),
            series=str(series),
            classes=classes,
            transform=transform,
            bad_pixels=absolute_path(bad_pixels),
        )
        reading = own.or_else(reading)
        source = FolderSource(scan(root), reading)
        if source.folder.problems:
            raise DatasetError(summarise_problems(root, source.folder.problems))
        self._set(root, source)

    @classmethod
    def from_source(cls, root: Path | None, source: Source) -> Self:
        """Return the dataset that a source holds."""
        dataset = cls.__new__(cls)
        dataset._set(root, source)
        return dataset

    @classmethod
    def from_arrays(
        cls,
        images: Arrays,
        masks: Arrays | None = None,
        known: Arrays | None = None,
        names: Sequence[str] | None = None,
        title: str = "",
        points: Arrays | None = None,
        moving: Arrays | None = None,
        shifts: Arrays | None = None,
        meaning: str = "",
        rigid: Arrays | None = None,
        affine: Arrays | None = None,
    ) -> Self:
        """Build a dataset from arrays, under the same rules as files.

        Parameters
        ----------
        images : sequence, or mapping of name to array
            Each (M, N) or (M, N, C); uint8, uint16 and float32 are kept, others become float32 where that is exact.
        masks, known : sequence or mapping like `images`, optional
            Each (M, N); None or a missing name leaves an image unlabelled, or all known. Known areas count above 0.
            What the masks mean is decided over all of them, as for files: True, or numbers above 0 where 0 is
            background; numbers below 0 are left out; soft values are read at half of the highest, probabilities at 0.5.
        names : sequence of str, optional
            Stems of sequences; "000", "001", ... if left out.
        title : str
            Of the card.
        points : sequence or mapping like `images`, optional
            Each (n, 2), (row, col) in px; n may be 0.
        moving : sequence or mapping like `images`, optional
            The second image of each pair, of the same size.
        shifts : sequence or mapping like `images`, optional
            (dy, dx) of each pair, from the image to the moving one, px.
        meaning : str
            What the masks mean, as a run has recorded it (`ReadOptions.masks`).
        rigid, affine : sequence or mapping like `images`, optional
            In place of shifts: transforms of pairs, (2, 3), as those of a `Sample`.

        Raises
        ------
        DatasetError
            If names, counts, dtypes or shapes do not fit, or the masks can be read in more than one way.
        """
        others = {"mask": masks, "known": known, "points": points, "moving": moving, "shift": shifts}
        others |= {"rigid": rigid, "affine": affine}
        dataset = cls.from_source(None, array_source(images, others, names, title, meaning))
        for stem in dataset.stems:
            dataset.load(stem)
        return dataset

    def _set(self, root: Path | None, source: Source) -> None:
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "source", source)

    @property
    def card(self) -> DatasetCard:
        """What `dataset.yaml` says."""
        return self.source.card

    @property
    def title(self) -> str:
        """The card's title, or the folder's name, on one line."""
        return one_line(self.card.title or (self.root.resolve().name if self.root else "arrays"))

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of all images, sorted."""
        return self.source.stems

    @property
    def labelled(self) -> tuple[str, ...]:
        """Names of the images that have a mask or points, sorted."""
        return self.source.labelled

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """Names of the C channels of every image: ("gray",), ("R", "G", "B") or ("C1", ...), then the planes' names.

        Raises
        ------
        DatasetError
            If the images do not agree; greys among RGB images do.
        """
        return channels_of(self.source, self.stems)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the files themselves call the channels, planes last, as far as all agree; else the channels' names."""
        return named_channels(self.channels, [facts.traits for facts in self.survey.facts.values()])

    @property
    def pixel_size(self) -> str:
        """The size of a pixel with its unit, such as "0.65 um".

        As `dataset.yaml` says it; or else as the files do, if all agree; "" if it is not known.
        """
        return self.card.pixel_size or common_pixel_size(self.survey)

    @cached_property
    def survey(self) -> Survey:
        """Statistics of all images and masks; the first use reads every file once."""
        return survey(self.source)

    def image_format(self, stems: Sequence[str]) -> ImageFormat:
        """Return the format of some of the images, which is recorded with pipelines that are made for them."""
        stems = tuple(stems)
        if stems not in self._formats:
            facts = self.survey.facts
            known = image_format(self.channels, [facts[stem].traits for stem in stems], self.pixel_size)
            measured = stems[:: -(-len(stems) // MEASURED)]
            figures = SeenFigures.of([known.measure(self.load(stem).image) for stem in measured])
            self._formats[stems] = replace(known, figures=figures)
        return self._formats[stems]

    @cached_property
    def _formats(self) -> dict[tuple[str, ...], ImageFormat]:
        """What `image_format` has found."""
        return {}

    def load(self, stem: str) -> Sample:
        """Read one image with its planes, mask and known area.

        Planes are appended to the channels of the image; where their dtypes differ, all take the widest of uint8,
        uint16, float32, with unchanged values.

        Raises
        ------
        DatasetError
            If the stem is unknown, a file cannot be read, or sizes or channels differ.
        """
        if stem not in self.stems:
            raise DatasetError(unknown("image", stem, self.stems))
        parts = {part: self.source.read(part, stem) for part in parts_of(self.source, stem)}
        if problems := mismatches(parts):
            raise DatasetError(problems[0])
        return assemble(stem, parts, self.channels)

    def __len__(self) -> int:
        return len(self.stems)

    def _repr_html_(self) -> str:
        """Show counts and a few images, foreground outlined, in a notebook."""
        figures = "".join(map(self._figure, (self.labelled or self.stems)[:_SHOWN]))
        counts = f"{len(self.stems)} images, {len(self.labelled)} labelled, channels {', '.join(self.channels)}"
        return f"<div><b>{escape(self.title)}</b><br>{escape(counts)}<br>{figures}</div>"

    def _figure(self, stem: str) -> str:
        from PIL import Image

        from evoseg.drawing import draw_outlines, resize_picture, to_rgb

        sample = self.load(stem)
        picture = to_rgb(sample.image)
        factor = _SHOWN_SIDE / max(picture.shape[:2])
        shape = (max(1, round(picture.shape[0] * factor)), max(1, round(picture.shape[1] * factor)))
        small = (
            resize_picture(picture, shape)
            if sample.mask is None
            else draw_outlines(picture, sample.mask, None, shape, 1)
        )
        file = BytesIO()
        Image.fromarray(small).save(file, "JPEG", quality=85)
        name = escape(stem.encode("utf-8", "replace").decode(), quote=True)
        data = b64encode(file.getvalue()).decode()
        return f'<img alt="{name}" title="{name}" src="data:image/jpeg;base64,{data}"> '

    def __repr__(self) -> str:
        where = f"'{self.root}'" if self.root else "arrays"
        return f"<Dataset {where}: {len(self.stems)} images, {len(self.labelled)} labelled>"


def summarise_problems(root: Path, problems: Sequence[str]) -> str:
    """Return one message about the first few kinds of problems of a folder."""
    lines = group_notes(problems, root)
    if len(lines) == 1:
        return lines[0] if str(root) in lines[0] else f"{root}: {lines[0]}"
    rest = f"\n  and {len(lines) - _FEW} more" if len(lines) > _FEW else ""
    listed = "".join(f"\n  {line}" for line in lines[:_FEW])
    return f"{root}: {len(lines)} kinds of errors:{listed}{rest}\n`evoseg check {quote(str(root))}` shows all."


def assemble(stem: str, parts: Mapping[str, Part], channels: tuple[str, ...]) -> Sample:
    """Put the parts of a sample together: greys among RGB images get three equal channels, planes come last."""
    planes = [part.array for name, part in parts.items() if name.startswith("planes/")]
    image = parts["image"].array
    own = len(channels) - sum(plane.shape[2] for plane in planes)
    image = _of_channels(image, own)
    if planes:
        image = np.concatenate([image, *planes], axis=2)
    moving = _of_channels(parts["moving"].array, own) if "moving" in parts else None
    if moving is not None:
        dtype = np.result_type(image, moving)
        image, moving = image.astype(dtype, copy=False), moving.astype(dtype, copy=False)
    values = parts["mask"].array if "mask" in parts else None
    points = parts["points"].array if "points" in parts else None
    truths = {kind: parts[kind].array.astype(np.float64) for kind in TRANSFORMS if kind in parts}
    mask = None if values is None else values > 0
    return Sample(stem, image, mask, known_of(parts), values, points, moving, **truths)


def _of_channels(image: NDArray[Any], n: int) -> NDArray[Any]:
    """Return an image with n channels, equal ones if it is grey."""
    return np.repeat(image, n, axis=2) if image.shape[2] == 1 and n > 1 else image
