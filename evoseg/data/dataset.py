"""A dataset as a value: stems, channels, a card, and samples that are read when asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError, unknown
from evoseg.base.notes import grouped, one_line
from evoseg.data.agreement import channels_of, known_of, mismatches, parts_of
from evoseg.data.card import DatasetCard
from evoseg.data.folder import scan
from evoseg.data.imageformat import ImageFormat, image_format, named_channels
from evoseg.data.objects import objects_of
from evoseg.data.reading import PLAIN, Reading
from evoseg.data.sources import Arrays, FolderSource, Part, Source, array_source
from evoseg.data.survey import Survey, survey

_FEW = 5


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
    """

    stem: str
    image: NDArray[Any]
    mask: NDArray[np.bool_] | None
    known: NDArray[np.bool_] | None
    values: NDArray[Any] | None = field(default=None, repr=False)
    points: NDArray[np.float64] | None = field(default=None, repr=False)
    moving: NDArray[Any] | None = field(default=None, repr=False)
    shift: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def labels(self) -> NDArray[np.int32] | None:
        """The objects, int32 (M, N), numbered from 1: by the mask's values, or what hangs together if it has one."""
        return None if self.values is None else objects_of(self.values)


@final
@dataclass(frozen=True, init=False, eq=False, repr=False)
class Dataset:
    """Images with masks or points, or pairs of images, from a folder or from arrays.

    Building one checks names, pairs and `dataset.yaml`; pixels are read by `load`. `open_dataset` also reads every
    file once, `check` lists every fault.

    Attributes
    ----------
    root : Path or None
        None for a dataset of arrays.
    source : Source
        What the parts are read from.
    """

    root: Path | None
    source: Source

    def __init__(self, path: str | Path, reading: Reading = PLAIN) -> None:
        """Look through a folder.

        Parameters
        ----------
        path : path
        reading : Reading
            Which page of its files, and which channels; what is left open, `dataset.yaml` may say.

        Raises
        ------
        DatasetError
            If the folder is missing, or for faults of its names, pairs and card, the first few of them.
        """
        root = Path(path)
        folder = scan(root)
        if folder.faults:
            raise DatasetError(first_faults(root, folder.faults))
        self._set(root, FolderSource(folder, reading))

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
            What the masks mean, as a run has recorded it (`Reading.masks`).

        Raises
        ------
        DatasetError
            If names, counts, dtypes or shapes do not fit, or the masks can be read in more than one way.
        """
        others = {"mask": masks, "known": known, "points": points, "moving": moving, "shift": shifts}
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
        return named_channels(self.channels, [facts.look for facts in self.survey.facts.values()])

    @cached_property
    def survey(self) -> Survey:
        """What the pixels say; the first use reads every file once."""
        return survey(self.source)

    def image_format(self, stems: Sequence[str]) -> ImageFormat:
        """Return what some of the images are like, for a pipeline that is made for such."""
        facts = self.survey.facts
        return image_format(self.channels, [facts[stem].look for stem in stems], self.card.pixel_size)

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
        if faults := mismatches(self.source, stem, parts):
            raise DatasetError(faults[0])
        return assemble(stem, parts, self.channels)

    def __len__(self) -> int:
        return len(self.stems)

    def _repr_html_(self) -> str:
        """Show a few images in a notebook."""
        from evoseg.data.display import dataset_html

        return dataset_html(self)

    def __repr__(self) -> str:
        where = f"'{self.root}'" if self.root else "arrays"
        return f"<Dataset {where}: {len(self.stems)} images, {len(self.labelled)} labelled>"


def first_faults(root: Path, faults: Sequence[str]) -> str:
    """Word the first few kinds of errors in a folder in one message."""
    lines = grouped(faults, root)
    if len(lines) == 1:
        return lines[0] if str(root) in lines[0] else f"{root}: {lines[0]}"
    rest = f"\n  and {len(lines) - _FEW} more" if len(lines) > _FEW else ""
    listed = "".join(f"\n  {line}" for line in lines[:_FEW])
    return f"{root}: {len(lines)} kinds of errors:{listed}{rest}\n`evoseg check {root}` shows all."


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
    shift = parts["shift"].array.astype(np.float64) if "shift" in parts else None
    return Sample(stem, image, None if values is None else values > 0, known_of(parts), values, points, moving, shift)


def _of_channels(image: NDArray[Any], n: int) -> NDArray[Any]:
    """Return an image with n channels, equal ones if it is grey."""
    return np.repeat(image, n, axis=2) if image.shape[2] == 1 and n > 1 else image
