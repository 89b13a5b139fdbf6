"""Where the parts of a sample come from, files of a folder or arrays in memory, and whether they fit together."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import prefetch
from evoseg.core.errors import DatasetError, legible, unknown
from evoseg.core.notes import Note
from evoseg.core.transforms import (
    LEAST_SCALE,
    MOST_DEGREES,
    MOST_SCALE,
    RIGID,
    SHIFT,
    TRANSFORMS,
    as_transform,
    is_rigid,
    move_points,
)
from evoseg.datasets.annotations import (
    MaskSource,
    Scribbles,
    check_turned_edges,
    check_turned_sizes,
    digest_of,
    find_turned,
)
from evoseg.datasets.card import DatasetCard, class_word
from evoseg.datasets.documents import read_points
from evoseg.datasets.folder import Folder
from evoseg.datasets.imageformat import size_text
from evoseg.datasets.io.files import (
    FILLED,
    StoredMask,
    decode_mask,
    decode_picture,
    fill_pixels,
    fill_unknown,
    native,
    read_header,
)
from evoseg.datasets.io.formats import channel_names, read_bytes
from evoseg.datasets.maskrules import decide
from evoseg.datasets.maskstats import MaskStats, mask_stats
from evoseg.datasets.meaning import CLASSES, INSTANCES, Decision, Meaning
from evoseg.datasets.outlines.annotated import Outlines, are_traced, count_classes
from evoseg.datasets.paging import split_stacks
from evoseg.datasets.reading import DEFAULT_OPTIONS, ReadOptions


@dataclass(frozen=True)
class Part:
    """One file or array of a sample.

    Attributes
    ----------
    where : str
        Path, or a name for an array, for messages.
    array : array
        Image or plane: uint8, uint16 or float32 (M, N, C). Mask: numbers (M, N), foreground above 0 and left out below.
        Known area: numbers (M, N), counted where above 0.
        Points: float64 (n, 2), (row, col) in px. Shift: float64 (2,), (dy, dx) in px.
        Rigid and affine: float64 (2, 3), as in `evoseg.core.transforms`.
    names : tuple of str
        Of the channels; empty for masks.
    notes : tuple of str
        What was changed on the way.
    digest : str
        sha256 of the file, or of dtype, shape and values of the array.
    strokes : bool
        Whether a mask is scribbles.
    labels : tuple of str
        What the file itself calls the channels; empty if it does not name each.
    pixel_size : str
        Of an image, as the file says it, in the form of `dataset.yaml`; "" if it does not.
    unknown : bool array of shape (M, N) or None
        Pixels of an image or plane that were NaN.
    """

    where: str
    array: NDArray[Any]
    names: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str
    strokes: bool = False
    labels: tuple[str, ...] = ()
    pixel_size: str = ""
    unknown: NDArray[np.bool_] | None = None


class Source(Protocol):
    """What a dataset is read from.

    Parts are "image", "mask", "known", "points" and "planes/NAME"; of pairs "moving", and "shift", "rigid" or "affine",
    of
    which `transform` says the kind; it is "shift" if there are no pairs.
    """

    card: DatasetCard
    stems: tuple[str, ...]
    labelled: tuple[str, ...]
    planes: tuple[str, ...]
    reading: ReadOptions
    transform: str

    @property
    def decision(self) -> Decision:
        """What the masks mean; the first use looks at all of them, unless `reading` says it."""

    def has(self, part: str, stem: str) -> bool:
        """Return whether the part exists."""

    def where(self, part: str, stem: str) -> str:
        """Return what to call the part in a message."""

    def names(self, part: str, stem: str) -> tuple[str, ...]:
        """Return the channel names of an image or plane, without decoding it."""

    def read(self, part: str, stem: str) -> Part:
        """Return the part, or raise a DatasetError about it."""


def reading_for_record(source: Source) -> ReadOptions:
    """Return how a source is read, with what its masks and tables mean, for the record of a run."""
    transform = "" if source.transform == SHIFT else source.transform
    return replace(source.reading, masks=source.reading.masks or source.decision.meaning.text, transform=transform)


class FolderSource:
    """Parts from the files of a folder, read as is said, or else as its card says."""

    def __init__(self, folder: Folder, reading: ReadOptions = DEFAULT_OPTIONS) -> None:
        self.reading = replace(reading.or_else(folder.card.reading), value=0)
        folder, self._pages = split_stacks(folder, self.reading)
        folder, self.transform = _with_transforms(folder, self.reading.transform)
        folder = _with_bad_pixels(folder, self.reading.bad_pixels)
        self.folder = folder
        self.card = folder.card
        self._masks, self._unknown_class = _of_classes(folder, self.reading.class_names)
        self.stems = tuple(sorted(folder.images))
        truths = folder.masks.keys() | folder.points.keys() | (folder.transforms.rows.keys() & folder.moving.keys())
        self.labelled = tuple(stem for stem in self.stems if stem in truths)
        self.planes = tuple(sorted(folder.planes))
        self._files: dict[str, dict[str, Path]] = {
            "image": folder.images,
            "mask": {stem: mask.path for stem, mask in folder.masks.items()},
            "known": folder.known,
            "points": folder.points,
            "moving": folder.moving,
            **{kind: {} for kind in TRANSFORMS},
            self.transform: dict.fromkeys(folder.transforms.rows, folder.transforms.path),
        }
        self._files |= {f"planes/{name}": files for name, files in folder.planes.items()}

    @cached_property
    def decision(self) -> Decision:
        """What the masks mean; the first use reads all of them, unless `reading` says it."""
        if self.reading.masks:
            return Decision(Meaning.recorded(self.reading.masks))
        if self._unknown_class:
            return Decision(Meaning(), unclear=self._unknown_class)
        folder, masks, reading = self.folder, self._masks, self._reading("mask")
        turned = [] if reading.exif or self._pages else find_turned(folder.images, masks, reading)
        if wrong := check_turned_sizes(folder.root, turned):
            return Decision(Meaning(), unclear=wrong)
        stats = [one for some in prefetch(self._stats, sorted(masks.keys() & folder.images.keys())) for one in some]
        decision = decide(stats, self.card, str(folder.root))
        if turned and not decision.unclear:
            wrong, doubt = check_turned_edges(folder.root, turned, masks, reading, decision.meaning)
            warnings = (*decision.warnings, *([doubt] if doubt else []))
            decision = replace(decision, unclear=wrong, warnings=warnings)
        if self.card.outlines == "pixels" or (not self.card.outlines and are_traced(masks, reading)):
            warnings = (*decision.warnings, *([] if self.card.outlines else [_TRACED]))
            decision = replace(decision, meaning=replace(decision.meaning, traced=True), warnings=warnings)
        if self._wants_classes and any(mask.n_objects for mask in masks.values()):
            names, wrong = _class_names(folder, self.card.classes or dict(enumerate(self.reading.class_names, 1)))
            meaning = replace(decision.meaning, task=CLASSES, names=names)
            unclear = decision.unclear or wrong
            return replace(decision, meaning=meaning, why="the outlines name classes", unclear=unclear)
        if not (several := [mask for mask in masks.values() if mask.n_objects > 1]):
            return decision
        task = self.card.task or INSTANCES
        why = f"in {len(several)} of {len(masks)} masks each value is one object"
        return replace(decision, meaning=replace(decision.meaning, task=task), why=why, certain=False)

    def _stats(self, stem: str) -> list[MaskStats]:
        """Return what a mask holds; nothing if it cannot be read, which is said elsewhere."""
        try:
            stored = self._masks[stem].stored(self._reading("mask", stem))
            known = self.read("known", stem).array > 0 if stored and self.has("known", stem) else None
        except DatasetError:
            return []
        return [mask_stats(one, known) for one in stored]

    @property
    def _wants_classes(self) -> bool:
        return self.card.task == CLASSES or bool(self.card.classes)

    def by_class(self, names: Mapping[int, str]) -> "FolderSource":
        """Return the source with its outlines drawn as classes instead of objects, numbered as is said, if anything is.

        Masks in which values are classes anyhow, and those that are read as a run has recorded it, are left alone.
        """
        numbered = any(mask.n_objects for mask in self._masks.values())
        if self.reading.masks or not numbered or (self._wants_classes and not names):
            return self
        other = copy(self)
        other.__dict__.pop("decision", None)
        other.card = replace(self.card, task=CLASSES, classes=dict(names) or self.card.classes)
        return other

    def under(self, masks: str) -> Self:
        """Return the source with its masks read as a run has recorded it."""
        other = copy(self)
        other.__dict__.pop("decision", None)
        other.reading = replace(self.reading, masks=masks)
        return other

    def has(self, part: str, stem: str) -> bool:
        """Return whether the file exists."""
        return stem in self._files[part]

    def where(self, part: str, stem: str) -> str:
        """Return the file's path."""
        return str(self._files[part][stem])

    def names(self, part: str, stem: str) -> tuple[str, ...]:
        """Return the channel names in the file's header."""
        return read_header(self._files[part][stem], reading=self._reading(part, stem)).names

    def read(self, part: str, stem: str) -> Part:
        """Read the file, once."""
        path = self._files[part][stem]
        if part == "mask":
            mask, decision = self._masks[stem], self.decision
            if decision.unclear:
                raise DatasetError(decision.unclear)
            values = mask.read(self._reading(part, stem), decision.meaning)
            return Part(str(path), values.array, (), (), values.digest, strokes=isinstance(mask, Scribbles))
        if part in TRANSFORMS:
            truth = self.folder.transforms.truth(stem, part)
            return Part(str(path), truth, (), (), sha256(np.ascontiguousarray(truth).tobytes()).hexdigest())
        data = read_bytes(path)
        reading = self._reading(part, stem)
        if part == "points":
            return Part(str(path), read_points(path, data), (), (), sha256(data).hexdigest())
        if part == "known":
            known = known_pixels(decode_mask(path, data, reading=reading))
            return Part(str(path), known, (), (), digest_of(data, reading))
        found = decode_picture(path, data, reading=reading)
        picture = Part(
            str(path),
            found.image,
            found.names,
            found.notes,
            digest_of(data, reading),
            labels=found.labels,
            pixel_size=size_text(found.pixel_size_um),
            unknown=found.unknown,
        )
        if part != "image" or self._bad_pixels is None:
            return picture
        array, unknown = self._bad_pixels.fill(path, picture.array, picture.unknown)
        both = sha256(f"{picture.digest} {self._bad_pixels.digest}".encode()).hexdigest()
        return replace(picture, array=array, unknown=unknown, digest=both)

    @cached_property
    def _bad_pixels(self) -> "BadPixels | None":
        """The pixels that are unknown in every image, None if no file says so."""
        path = self.folder.bad_pixels
        return None if path is None else BadPixels.from_file(path, self.reading)

    def _reading(self, part: str, stem: str = "") -> ReadOptions:
        """Return how to read a part: pages are those of all files, channels those of images alone."""
        reading = replace(self.reading.of_images, transform="")  # which pixels do not depend on
        reading = replace(reading, page=self._pages.get((part, stem), reading.page))
        return reading if part in ("image", "moving") else replace(reading, channel="")


def _with_transforms(folder: Folder, wanted: str) -> tuple[Folder, str]:
    """Return which kind of transform the pairs of a folder have, and the folder with what is wrong with that."""
    try:
        kind, wrong = folder.transforms.choose_kind(wanted), []
    except DatasetError as error:
        kind, wrong = wanted or SHIFT, [Note.of(error, folder.transforms.path)]
    if wanted and not folder.moving:
        wrong = [Note(folder.root, f"the transform is {wanted}, but there are no pairs/. Leave transform out.")]
    return replace(folder, problems=tuple(sorted([*folder.problems, *wrong]))), kind


def _with_bad_pixels(folder: Folder, path: str) -> Folder:
    """Return a folder with the file of bad pixels that was named, if any, instead of its own."""
    if not path:
        return folder
    wrong = []
    if not Path(path).is_file():
        wrong = [Note(path, "no such file. Name the file that marks bad pixels.")]
    elif folder.moving:
        wrong = [Note(path, "bad pixels are named, but they cannot be left out of pairs/. Leave bad_pixels out.")]
    return replace(folder, bad_pixels=Path(path), problems=tuple(sorted([*folder.problems, *wrong])))


@dataclass(frozen=True, eq=False)
class BadPixels:
    """Pixels that are unknown in every image, such as the gaps and the dead pixels of a detector.

    Attributes
    ----------
    path : Path
    where : bool array of shape (M, N)
    digest : str
        Checksum of the file.
    """

    path: Path
    where: NDArray[np.bool_]
    digest: str

    @classmethod
    def from_file(cls, path: Path, reading: ReadOptions = DEFAULT_OPTIONS) -> Self:
        """Read a mask in which values above 0 are bad.

        Raises
        ------
        DatasetError
            If it cannot be read, or marks every pixel.
        """
        data, reading = read_bytes(path), replace(DEFAULT_OPTIONS, exif=reading.exif)
        bad = known_pixels(decode_mask(path, data, reading=reading))
        if bad.all():
            raise DatasetError(f"{path}: marks every pixel as bad. Pixels above 0 are bad, and 0 are good.")
        return cls(path, bad, digest_of(data, reading))

    def fill(
        self, where: Path, image: NDArray[Any], unknown: NDArray[np.bool_] | None
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return an image, shape (M, N, C), in which bad pixels are filled, and where it is unknown, bool (M, N).

        Parameters
        ----------
        where : Path
            Of the image, for messages.
        image : array of shape (M, N, C)
        unknown : bool array of shape (M, N), optional
            Where it was NaN.

        Raises
        ------
        DatasetError
            If the image has another size, or no pixel is left.
        """
        if self.where.shape != image.shape[:2]:
            raise DatasetError(
                f"{where}: the image is {image.shape[:2]} but {self.path.name} is {self.where.shape}; bad pixels are "
                "those of all images, pixel for pixel. Export them at the size of the images."
            )
        unknown = self.where if unknown is None else self.where | unknown
        if unknown.all():
            raise DatasetError(f"{where}: every pixel is NaN or bad. Remove the image.")
        return fill_pixels(image, unknown), unknown


_TRACED = (
    "all outlines run from pixel to pixel, as findContours of OpenCV traces objects, so the pixels on them are read as "
    "parts of the objects. If whole numbers are edges of pixels instead, write `outlines: edges` into dataset.yaml."
)


def _of_classes(folder: Folder, names: Sequence[str]) -> tuple[Mapping[str, MaskSource], str]:
    """Return the masks of the objects of some classes, of all if none is named, and what is wrong with the names."""
    if not names:
        return folder.masks, ""
    known = count_classes(folder.masks)
    if not known:
        listed = ", ".join(names)
        return folder.masks, (
            f"{folder.root}: there are no outlines with classes from which to choose {listed}. If masks have values, "
            "foreground: in dataset.yaml says which are foreground."
        )
    if unknown_names := [name for name in names if name not in known]:
        return folder.masks, f"{folder.root}: {unknown('class', unknown_names[0], known)}"
    return {s: m.of_classes(names) if isinstance(m, Outlines) else m for s, m in folder.masks.items()}, ""


def _class_names(folder: Folder, wanted: Mapping[int, str]) -> tuple[tuple[str, ...], str]:
    """Return the names of the classes 1, 2 ... of outlines, and what is wrong; "" is no class.

    Parameters
    ----------
    folder : Folder
    wanted : mapping of int to str
        The classes by number; all in the order of the alphabet if there are none.
    """
    known = count_classes(folder.masks)
    n_objects = sum(mask.n_objects for mask in folder.masks.values())
    if not known:
        return (), (
            f"{folder.root}: its {n_objects} objects have no classes, which the task classes needs. Take the task "
            "instances or binary, or name their classes where they were drawn."
        )
    if not wanted and (without := n_objects - sum(known.values())):
        return (), (
            f"{folder.root}: {without} of {n_objects} outlines have no class. Name theirs, or the classes to search "
            f"for, as in --classes {','.join(known)} (classes: in dataset.yaml); all others are then background."
        )
    words = {class_word(name): name for name in known}
    if len(words) < len(known):
        alike = next(name for name in known if name not in words.values())
        what = f"the class '{legible(alike)}' has almost the same name as another"
        return (), f"{folder.root}: {what}. Rename one of them."
    numbers = wanted or dict(enumerate(known, 1))
    if unknown_names := [name for name in numbers.values() if class_word(name) not in words]:
        return (), f"{folder.root}: {unknown('class', unknown_names[0], known)}"
    return tuple(words[class_word(numbers[i])] if i in numbers else "" for i in range(1, max(numbers) + 1)), ""


def known_pixels(stored: StoredMask) -> NDArray[np.bool_]:
    """Return where a file of known/ marks a pixel, bool of shape (M, N): by its colour if it has a palette.

    Raises
    ------
    DatasetError
        If JPEG has changed its values.
    """
    pixels = stored.pixels
    if stored.lossy and (n := len(np.unique(pixels))) > 2:
        raise DatasetError(
            f"{stored.where}: a JPEG with {n} distinct values; its compression has changed pixels. Export it as PNG."
        )
    if stored.table is not None:
        marks: NDArray[np.bool_] = np.any(stored.table > 0, axis=1)
        # A label palette may have further black entries.
        marks[1:] |= not marks[0]
        return np.asarray(marks[np.minimum(pixels, len(marks) - 1)])
    return np.asarray(pixels > 0)


class ArraySource:
    """Parts from arrays in memory, under the same rules as files."""

    planes: tuple[str, ...] = ()

    def __init__(self, parts: Mapping[str, Mapping[str, NDArray[Any]]], title: str, meaning: str = "") -> None:
        self.reading = ReadOptions(masks=meaning)
        self.card = DatasetCard(title=title)
        self.stems = tuple(sorted(parts["image"]))
        truths = ("mask", "points", *TRANSFORMS)
        self.labelled = tuple(stem for stem in self.stems if any(stem in parts[part] for part in truths))
        self.transform = next((kind for kind in TRANSFORMS if parts[kind]), SHIFT)
        self._arrays = parts

    @cached_property
    def decision(self) -> Decision:
        """What the masks mean; the first use looks at all of them, unless `reading` says it."""
        if self.reading.masks:
            return Decision(Meaning.recorded(self.reading.masks))
        known = self._arrays.get("known", {})
        stats = [
            mask_stats(self._stored(stem), known[stem] > 0 if stem in known else None) for stem in self._arrays["mask"]
        ]
        return decide(stats, self.card, "masks", _REMEDY)

    def _stored(self, stem: str) -> StoredMask:
        return StoredMask(self.where("mask", stem), self._arrays["mask"][stem])

    def under(self, masks: str) -> Self:
        """Return the source with its masks read as a run has recorded it."""
        other = copy(self)
        other.__dict__.pop("decision", None)
        other.reading = replace(self.reading, masks=masks)
        return other

    def has(self, part: str, stem: str) -> bool:
        """Return whether the array was given."""
        return stem in self._arrays[part]

    def where(self, part: str, stem: str) -> str:
        """Return words for the array."""
        return f"{part} '{stem}'"

    def names(self, part: str, stem: str) -> tuple[str, ...]:
        """Return the channel names that its shape implies."""
        array = self._arrays[part][stem]
        return channel_names(array.shape[2] if array.ndim == 3 else 1, colour=True)

    def read(self, part: str, stem: str) -> Part:
        """Check the array and bring it to its form."""
        array, where = self._arrays[part][stem], self.where(part, stem)
        digest = sha256(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()
        if part == "mask":
            if self.decision.unclear:
                raise DatasetError(self.decision.unclear)
            meaning = self.decision.meaning
            values = array if meaning.first else meaning.values(self._stored(stem))
            return Part(where, values, (), (), meaning.signed(digest))
        if part in ("known", "points", *TRANSFORMS):
            return Part(where, array, (), (), digest)
        image, unknown = fill_unknown(where, array if array.ndim == 3 else array[..., None])
        image = np.ascontiguousarray(native(where, image))
        notes = () if unknown is None else (FILLED,)
        return Part(where, image, self.names(part, stem), notes, digest, unknown=unknown)


_REMEDY = (
    "Give arrays of bool, or of whole numbers: 0 is background, above 0 foreground, a class or an object, and below 0 "
    "left out."
)

Arrays = Sequence[NDArray[Any] | None] | Mapping[str, NDArray[Any]]
"""Arrays in order (None where one is missing), or by stem."""


def array_source(
    images: Arrays, others: Mapping[str, Arrays | None], names: Sequence[str] | None, title: str, meaning: str = ""
) -> ArraySource:
    """Build a source from arrays, pairing mappings by name and sequences by position; `others` are further parts.

    `meaning` is what a run has recorded of its masks; it is decided from the masks if left out.
    """
    if isinstance(images, Mapping):
        stems = [str(name) for name in images]
    else:
        stems = [str(name) for name in names] if names is not None else [f"{i:03d}" for i in range(len(images))]
    if not stems:
        raise DatasetError("no images: give at least one array.")
    if repeated := [stem for i, stem in enumerate(stems) if stem in stems[:i]]:
        raise DatasetError(f"image '{repeated[0]}' is given twice; names must differ.")
    parts = {part: _by_stem(part, arrays, stems) for part, arrays in {"image": images, **others}.items()}
    for part in {"mask", "known"} & {*parts}:  # `read_image` gives an image of one channel the shape (M, N, 1)
        parts[part] = {stem: a[..., 0] if a.ndim == 3 and a.shape[2] == 1 else a for stem, a in parts[part].items()}
    for part, arrays in parts.items():
        for stem, array in arrays.items():
            _check_array(part, stem, array)
    return ArraySource(parts, title, meaning)


def _by_stem(part: str, arrays: Arrays | None, stems: list[str]) -> dict[str, NDArray[Any]]:
    if arrays is None:
        return {}
    if isinstance(arrays, Mapping):
        if lone := [name for name in arrays if str(name) not in stems]:
            raise DatasetError(f"{part} '{lone[0]}' has no image; names of {part}s must be those of images.")
        return {str(name): np.asarray(array) for name, array in arrays.items()}
    if len(arrays) != len(stems):
        raise DatasetError(
            f"{len(arrays)} {part}s for {len(stems)} names of images; give one per image, None where there is none."
        )
    return {stem: np.asarray(array) for stem, array in zip(stems, arrays, strict=True) if array is not None}


def _check_array(part: str, stem: str, array: NDArray[Any]) -> None:
    if part == "points":
        if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "uif" or not np.isfinite(array).all():
            raise DatasetError(f"points '{stem}': {array.dtype} of shape {array.shape}; rows of (row, col) are needed.")
        return
    if part in TRANSFORMS:
        shape, form = ((2,), "(dy, dx)") if part == SHIFT else ((2, 3), "[[yy, yx, dy], [xy, xx, dx]]")
        if array.shape != shape or array.dtype.kind not in "uif" or not np.isfinite(array).all():
            raise DatasetError(f"{part} '{stem}': {array.dtype} of shape {array.shape}; {form} is needed.")
        if part == RIGID and not is_rigid(array):
            raise DatasetError(f"rigid '{stem}': not a rotation and a shift. Give it as affine=.")
        return
    ranks = (2, 3) if part in ("image", "moving") else (2,)
    form = "(M, N) or (M, N, C)" if part in ("image", "moving") else "(M, N)"
    if array.ndim not in ranks or not array.size or array.dtype.kind not in "buif":
        raise DatasetError(
            f"{part} '{stem}': {array.dtype} of shape {array.shape}; a non-empty array of shape {form} is needed."
        )
    if part == "mask" and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DatasetError(f"mask '{stem}': has NaN or infinite values. Give -1 to pixels that are to be left out.")


def parts_of(source: Source, stem: str) -> list[str]:
    """Return the parts that an image has, its own pixels first."""
    every = ["image", *(f"planes/{name}" for name in source.planes), "mask", "known", "points", "moving", *TRANSFORMS]
    return [part for part in every if source.has(part, stem)]


def channels_of(source: Source, stems: Sequence[str]) -> tuple[str, ...]:
    """Return the channel names on which the named images of a source agree.

    Raises
    ------
    DatasetError
        If two images differ in more than grey against RGB, or two files of a plane do at all.
    """
    first: dict[tuple[str, ...], str] = {}
    for stem in stems:
        for part in ("image", "moving"):
            if source.has(part, stem):
                first.setdefault(source.names(part, stem), source.where(part, stem))
    kinds = sorted(first, key=len, reverse=True)
    if len(kinds) > 1 and set(kinds) != {("R", "G", "B"), ("gray",)}:
        raise _unequal(first[kinds[0]], kinds[0], first[kinds[1]], kinds[1])
    names = kinds[0]
    for plane in source.planes:
        names += plane_channels(source, plane, stems)
    return names


def plane_channels(source: Source, plane: str, stems: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the channels that a plane adds: its own, with a suffix if there are several."""
    found: dict[tuple[str, ...], str] = {}
    for stem in stems:
        if source.has(f"planes/{plane}", stem):
            found.setdefault(source.names(f"planes/{plane}", stem), source.where(f"planes/{plane}", stem))
    if len(found) > 1:
        (names, where), (others, other) = list(found.items())[:2]
        raise _unequal(where, names, other, others)
    if not found:
        return ()
    (names,) = found
    return (plane,) if len(names) == 1 else tuple(f"{plane}.{name}" for name in names)


def _unequal(where: str, names: tuple[str, ...], other: str, others: tuple[str, ...]) -> DatasetError:
    return DatasetError(
        f"{where}: has the channels {' '.join(names)}, but {Path(other).name} has {' '.join(others)}; all images of a "
        "dataset need the same ones (only grey and RGB mix). Export them alike, or as two datasets."
    )


def known_of(parts: Mapping[str, Part]) -> NDArray[np.bool_] | None:
    """Return where the truth says anything, shape (M, N), None if everywhere.

    That is where the known area is above 0, a mask of whole numbers is not below 0, and the image and its planes are
    not NaN. Parts agree in size.
    """
    known: NDArray[np.bool_] | None = parts["known"].array > 0 if "known" in parts else None
    for part in parts.values():
        if part.unknown is not None:
            known = ~part.unknown if known is None else known & ~part.unknown
    if "mask" in parts and parts["mask"].array.dtype.kind == "i":
        said = parts["mask"].array >= 0
        if not said.all():
            known = said if known is None else known & said
    return known


def mismatches(parts: Mapping[str, Part]) -> list[Note]:
    """Say which parts differ in size from their image."""
    image = parts["image"]
    rows_cols = image.array.shape[:2]
    problems: list[Note] = []
    for part, found in parts.items():
        if part == "points":
            problems += _outside(found, image)
        elif part in TRANSFORMS:
            problems += _beyond(found, image, part)
        elif found.array.shape[:2] != rows_cols:
            what = "moving image" if part == "moving" else part.replace("planes/", "plane ")
            said = (
                f"{what} is {found.array.shape[:2]} but {Path(image.where).name} is {rows_cols}; a {what} must match "
                f"its image pixel for pixel. Re-export the {what} at the image's size."
            )
            problems.append(Note(found.where, said))
    return problems


def _outside(points: Part, image: Part) -> list[Note]:
    """Say if points lie beyond their image: rows and columns may have changed places."""
    rows, cols = image.array.shape[:2]
    beyond = int(np.sum(np.any((points.array < -0.5) | (points.array > np.array([rows, cols]) - 0.5), axis=1)))
    if not beyond:
        return []
    said = (
        f"{beyond} of {len(points.array)} points lie outside {Path(image.where).name}, which has {rows} rows and "
        f"{cols} columns. Are y (row) and x (column) in the columns that the first line names?"
    )
    return [Note(points.where, said)]


def _beyond(truth: Part, image: Part, kind: str) -> list[Note]:
    """Say if a transform is more than what is looked for."""
    rows, cols = image.array.shape[:2]
    transform, middle = as_transform(truth.array), (np.array([[rows, cols]]) - 1) / 2
    dy, dx = (move_points(transform, middle) - middle)[0]
    name, said = Path(image.where).stem, ""
    degrees = abs(np.degrees(np.arctan2(transform[1, 0] - transform[0, 1], np.trace(transform[:, :2]))))
    scales = np.linalg.svd(transform[:, :2], compute_uv=False)
    if abs(dy) > rows // 2 or abs(dx) > cols // 2:
        said = (
            f"{name} is shifted by ({dy:g}, {dx:g}) px, more than half of its {rows} rows or {cols} columns. Are dy "
            "and dx in pixels, and in the right columns?"
        )
    elif degrees > MOST_DEGREES:
        said = f"{name} is rotated by {degrees:.0f} degrees; at most {MOST_DEGREES} are found. Turn the images first."
    elif kind != SHIFT and (scales[1] < LEAST_SCALE or scales[0] > MOST_SCALE):
        said = (
            f"{name} is scaled by factors of {scales[1]:.2f} to {scales[0]:.2f}; from {LEAST_SCALE} to {MOST_SCALE} "
            "are found. Scale the images first."
        )
    return [Note(truth.where, said)] if said else []
