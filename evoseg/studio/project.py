"""The folder that the studio is opened on: its images, what is known of each, and where things are put in it."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar, final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import expand
from evoseg.core.errors import DatasetError, legible
from evoseg.datasets.annotations import UNKNOWN, label_image
from evoseg.datasets.folder import Folder, scan
from evoseg.datasets.io.files import decode_mask
from evoseg.datasets.io.formats import LIMITS, read_bytes
from evoseg.datasets.io.tiff_rows import TiffRows
from evoseg.datasets.layouts.base import MASK_FOLDERS, image_folders, mask_folders
from evoseg.datasets.layouts.subfolders import PLAIN_LAYOUT, SCRIBBLED, SCRIBBLES
from evoseg.datasets.meaning import CLASSES, INSTANCES
from evoseg.datasets.sources import FolderSource
from evoseg.inference.inputs import Input, list_inputs
from evoseg.pipeline.running import ArrayRows
from evoseg.runs.run_folder import make_folder
from evoseg.studio.history import Box
from evoseg.studio.objects import MaskTask, ObjectStore
from evoseg.studio.strokes import Edit, LabelRaster, Strokes

OWN = ".evoseg"
"""The studio's own folder in a dataset: histories of strokes and of corrected objects."""
RUNS, RESULTS, LIVE, LIVE_FILTERS = "runs", "results", "live.evo", "live-filters.evo"
"""In the dataset: folders of runs and of results, and the live answer as a pipeline, whole and in filters only."""

_PUT_AWAY = "put-away-"
"""Prefix of the id of the stroke that erases all others when a mask takes their place."""

_FORMS: Mapping[MaskTask, str] = {"binary": "foreground", "instances": "separate objects"}
"""What the page calls the forms of masks."""

IMAGE_BYTES = 2**29
"""Decoded images that are kept in memory, in all."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@final
class BytesCache(Generic[K, V]):
    """Values within a budget of bytes, made when they are first asked for; those long unused go first. Thread-safe.

    A value that alone exceeds the budget is kept until the next one comes.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held = 0
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._making: dict[K, Lock] = {}
        self._lock = Lock()

    def get(self, key: K, make: Callable[[], V], size: Callable[[V], int]) -> V:
        """Return a value; threads that ask for the same one wait for the first."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key][0]
            making = self._making.setdefault(key, Lock())
        with making:
            with self._lock:
                if key in self._values:
                    return self._values[key][0]
            try:
                value = make()
            except BaseException:
                with self._lock:
                    self._making.pop(key, None)
                raise
            with self._lock:
                self._making.pop(key, None)
                self._values[key] = value, size(value)
                self._held += self._values[key][1]
                while self._held > self._budget and len(self._values) > 1:
                    self._held -= self._values.popitem(last=False)[1][1]
            return value

    def __contains__(self, key: K) -> bool:
        with self._lock:
            return key in self._values

    def drop(self, of: Callable[[K], bool]) -> None:
        """Forget the values with some keys."""
        with self._lock:
            for key in [key for key in self._values if of(key)]:
                self._held -= self._values.pop(key)[1]

    @property
    def held(self) -> int:
        """Bytes that are kept."""
        return self._held


Versions = tuple[tuple[str, int], ...]
"""Ids of images with the versions of their strokes and masks."""


@final
@dataclass(frozen=True, eq=False)
class StudioImage:
    """One image of the project.

    Attributes
    ----------
    id : str
        What addresses call it: a checksum of its name, so that no name ever becomes a path.
    stem : str
    input : Input
    """

    id: str
    stem: str
    input: Input


@final
class Project:
    """A folder that is open in the studio.

    Attributes
    ----------
    root : Path
    images : dict of str to StudioImage
        By id, in the order of their names.
    labelling : Lock
        Held while strokes change, and while a mask takes their place: an image has one or the other.
    """

    def __init__(self, root: Path) -> None:
        """Open a folder of images, or a dataset.

        Raises
        ------
        EvosegError
            If there is no such folder, or no image in it.
        """
        self.root = expand(root).absolute()
        if not self.root.is_dir():
            raise DatasetError(f"{root}: no such folder. Name a folder of images, or a dataset.")
        inputs = sorted(list_inputs([self.root]), key=lambda image: image.stem)
        self.images = {(key := _id_of(image.stem)): StudioImage(key, image.stem, image) for image in inputs}
        self._rows = BytesCache[str, ArrayRows | TiffRows](IMAGE_BYTES)
        self._strokes: dict[str, Strokes] = {}
        self._objects: dict[str, ObjectStore] = {}
        self._mask_versions: Counter[str] = Counter()
        self._saved_task: MaskTask | None = None
        self.labelling = Lock()
        self._lock = Lock()
        self._huge = Lock()
        self._masks = BytesCache[tuple[str, int], LabelRaster](IMAGE_BYTES // 4)

    @cached_property
    def folder(self) -> Folder:
        """The files as every command sees them, before anything was painted."""
        return scan(self.root)

    @cached_property
    def _masked(self) -> set[str]:
        """Stems of the images with masks, as they are now."""
        strokes = self.root / SCRIBBLES
        return {stem for stem, mask in self.folder.masks.items() if mask.path.parent != strokes}

    @cached_property
    def _tested(self) -> frozenset[str]:
        return frozenset(self.folder.card.splits.get("test", ()))

    @cached_property
    def paintable(self) -> str:
        """Why neither strokes nor masks can be saved in this folder; "" if they can."""
        layout = self.folder.layout
        if layout in (PLAIN_LAYOUT.name, SCRIBBLED.name) or (not layout and self._is_plain):
            return ""
        return (
            "Strokes are saved in scribbles/ and corrected objects in masks/, which are not part of the layout of "
            f"this folder ({layout or 'unknown'}). Put the images into images/ to label them."
        )

    @property
    def _is_plain(self) -> bool:
        places = {image.input.path.parent for image in self.images.values()}
        return places == {next(iter(image_folders(self.root)), self.root)}

    def image(self, key: str) -> StudioImage:
        """Return an image by its id.

        Raises
        ------
        DatasetError
        """
        if key not in self.images:
            raise DatasetError(f"there is no image {legible(key)}. Reload the page.")
        return self.images[key]

    def state(self, image: StudioImage) -> str:
        """Return "mask", "test" (a mask that is kept for testing), "strokes" or "unlabelled"."""
        if image.stem in self._masked:
            return "test" if image.stem in self._tested else "mask"
        opened = self._strokes.get(image.id)
        drawn = (
            opened.any
            if opened is not None
            else self._stroke_file(image).is_file() or self._log("strokes", image).is_file()
        )
        if drawn:
            return "test" if image.stem in self._tested else "strokes"
        return "unlabelled"

    def rows(self, image: StudioImage) -> ArrayRows | TiffRows:
        """Return an image, read if need be.

        Raises
        ------
        DatasetError
            If it cannot be read.
        """
        return self._rows.get(image.id, image.input.read, _size_of)

    def crop(self, image: StudioImage, box: Box) -> NDArray[Any]:
        """Return the pixels of a box, shape (M, N, C)."""
        rows = self.rows(image)
        top, left, bottom, right = box
        if isinstance(rows, ArrayRows):
            return rows.array[top:bottom, left:right]
        with self._huge:  # one file position
            return rows.rows(top, bottom)[:, left:right]

    def why_not_paint(self, image: StudioImage) -> str:
        """Return why an image cannot be painted on; "" if it can."""
        if image.stem in self._masked:
            where = " It was saved under Correct, where it can be taken back." if self._owns_mask(image) else ""
            return f"This image has a mask, which is used instead of strokes.{where}"
        if image.stem in self.folder.known:
            return "This image has a file in known/, which cannot be combined with strokes. Move it away to paint."
        return self._why_not_label(image)

    def why_not_correct(self, image: StudioImage) -> str:
        """Return why no objects of an image can be corrected to make a mask; "" if they can."""
        if image.stem in self._masked and not self._owns_mask(image):
            return "This image has a mask that was not made in the studio. Move it away to make another."
        return self._why_not_label(image)

    def _why_not_label(self, image: StudioImage) -> str:
        shape = self.rows(image).shape
        if shape[0] * shape[1] > LIMITS.pixels:
            return (
                f"Searches read images of up to {LIMITS.pixels / 1e6:.0f} megapixels; label a part of this one, "
                "cut out as an image of its own."
            )
        return self.paintable

    def strokes(self, image: StudioImage) -> Strokes:
        """Return the strokes on an image.

        Raises
        ------
        DatasetError
            If it cannot be painted on, or what is stored cannot be read.
        """
        with self._lock:
            opened = self._strokes.get(image.id)
        if opened is not None and image.stem not in self._masked:
            return opened
        if reason := self.why_not_paint(image):
            raise DatasetError(f"{image.stem}: {reason}")
        return self._open_strokes(image)

    def _open_strokes(self, image: StudioImage) -> Strokes:
        with self._lock:
            if image.id in self._strokes:
                return self._strokes[image.id]
        opened = Strokes(self._stroke_file(image), self._log("strokes", image), self.rows(image).shape)
        with self._lock:
            # Another thread may have been quicker; there must be one writer.
            return self._strokes.setdefault(image.id, opened)

    def objects(self, image: StudioImage) -> ObjectStore:
        """Return the objects of an image that are corrected by hand.

        Raises
        ------
        DatasetError
            If they cannot be, or what is stored cannot be read.
        """
        if reason := self.why_not_correct(image):
            raise DatasetError(f"{image.stem}: {reason}")
        return self._open_objects(image)

    def _open_objects(self, image: StudioImage) -> ObjectStore:
        with self._lock:
            if image.id not in self._objects:
                log = self._log("objects", image)
                self._objects[image.id] = ObjectStore(self._mask_file(image), log, self.rows(image).shape)
            return self._objects[image.id]

    def _owns_mask(self, image: StudioImage) -> bool:
        """Return whether the mask of an image is of its corrected objects."""
        known = image.id in self._objects or self._log("objects", image).is_file()
        return known and self._open_objects(image).owns_mask

    def save_mask(self, image: StudioImage, task: MaskTask) -> None:
        """Write the objects of an image as its mask; its strokes are set aside, since a dataset has one or the other.

        Raises
        ------
        DatasetError
            If there are none, the folder's masks are of another form, or the image has another mask.
        """
        with self.labelling:
            self._save_mask(image, task)

    def _save_mask(self, image: StudioImage, task: MaskTask) -> None:
        objects = self.objects(image)
        if objects.beginning is None:
            raise DatasetError(f"{image.stem}: there are no objects yet. Begin with an answer.")
        if self._source.folder.masks and not self._has_plain_masks:
            raise DatasetError(
                "The masks of this folder are colours, classes, or numbers with a meaning of their own, and objects "
                "would be misread among them."
            )
        had_mask = image.stem in self._masked
        if self._masked - {image.stem} and (known := self.mask_task() or task) != task:
            raise DatasetError(
                f"The masks of other images hold {_FORMS[known]}; among masks of another form they would be "
                f"misread. Save this one as {_FORMS[known]}, too, or remove the others first."
            )
        try:
            if not had_mask:
                self._put_strokes_away(image)
            objects.save(task)
        except (DatasetError, OSError):
            if not had_mask:
                self._bring_strokes_back(image)
            raise
        self._saved_task = task
        self._masked.add(image.stem)
        self._mask_changed(image)

    def _put_strokes_away(self, image: StudioImage) -> None:
        strokes = self._open_strokes(image)
        height, width = self.rows(image).shape
        corners = ((0, 0), (0, width), (height, width), (height, 0))
        if strokes.any:
            strokes.add(Edit(id=f"{_PUT_AWAY}{uuid4().hex}", tool="polygon", label=UNKNOWN, points=corners))
            strokes.save()

    def _bring_strokes_back(self, image: StudioImage) -> None:
        strokes = self._open_strokes(image)
        if strokes.last is not None and strokes.last.id.startswith(_PUT_AWAY):
            strokes.undo(for_good=True)  # a redo would erase the strokes

    def withdraw_mask(self, image: StudioImage) -> None:
        """Remove the mask that was made of the objects of an image, and bring its strokes back.

        Raises
        ------
        DatasetError
            If there is none, or it was changed by another program.
        """
        with self.labelling:
            self.objects(image).withdraw()
            self._masked.discard(image.stem)
            self._mask_changed(image)
            self._bring_strokes_back(image)

    def _mask_changed(self, image: StudioImage) -> None:
        self._mask_versions[image.id] += 1
        self._masks.drop(lambda key: key[0] == image.id)

    def mask_task(self) -> MaskTask | None:
        """Return what the masks of the folder say; None if there are none.

        Raises
        ------
        DatasetError
            If they cannot be read.
        """
        if self._saved_task is not None or not self._source.folder.masks:
            return self._saved_task
        task = self.folder.card.task or self._source.decision.meaning.task
        return "instances" if task == INSTANCES else "binary"

    @property
    def _has_plain_masks(self) -> bool:
        """Whether, in the masks that were there, numbers are objects, or all above 0 is foreground."""
        meaning = self._source.decision.meaning
        return meaning.plain and meaning.task != CLASSES and not self.folder.card.classes

    def labels(self, image: StudioImage) -> LabelRaster | None:
        """Return what is known of an image for fitting: strokes, or 1 and 2 where its mask says so; None for nothing.

        Images that are kept for testing tell nothing.
        """
        state = self.state(image)
        if state == "strokes" and not self.why_not_paint(image):
            return self.strokes(image).labels
        return self.mask(image) if state == "mask" else None

    def mask(self, image: StudioImage) -> LabelRaster:
        """Return the mask of an image as labels: 2 where it marks something, 1 for background, 0 where it is unknown.

        Raises
        ------
        DatasetError
            If it cannot be read.
        """
        # A fit may be reading the file while another mask is saved; what it finds must not be kept as the new one.
        key = (image.id, self._mask_versions[image.id])
        return self._masks.get(key, lambda: self._read_mask(image), lambda labels: labels.nbytes)

    def _read_mask(self, image: StudioImage) -> LabelRaster:
        if image.stem not in self._source.folder.masks or self._owns_mask(image):
            file = self._mask_file(image)
            return np.where(label_image(decode_mask(file, read_bytes(file))).pixels > 0, 2, 1).astype(np.uint8)
        values = self._source.read("mask", image.stem).array
        return np.where(values < 0, 0, np.where(values > 0, 2, 1)).astype(np.uint8)

    @cached_property
    def _source(self) -> FolderSource:
        """The masks that were there when the folder was opened, but for those that were taken back."""
        masks = {stem: mask for stem, mask in self.folder.masks.items() if stem in self._masked}
        return FolderSource(replace(self.folder, masks=masks))

    def label_versions(self) -> Versions:
        """Return what tells states of the labels apart."""
        with self._lock:
            opened = self._strokes.keys() | self._mask_versions.keys()
        versions = ((key, self.label_version(self.images[key])) for key in opened)
        return tuple(sorted((key, version) for key, version in versions if version))

    def label_version(self, image: StudioImage) -> int:
        """Return a number that grows with each change of an image's strokes or mask."""
        strokes = self._strokes.get(image.id)
        return self._mask_versions[image.id] + (strokes.version if strokes is not None else 0)

    def save(self) -> None:
        """Write all strokes that are not on disk as images yet, for the commands that read them.

        Raises
        ------
        DatasetError, OSError
            If those of an image cannot be written; those of all others are.
        """
        with self._lock:
            opened = list(self._strokes.values())
        errors: list[DatasetError | OSError] = []
        for strokes in opened:
            try:
                strokes.save()
            except (DatasetError, OSError) as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def place(self, folder: str, name: str) -> Path:
        """Return a new path in one of the dataset's folders, which is made if need be."""
        make_folder(self.root / folder)
        return self.root / folder / name

    def _stroke_file(self, image: StudioImage) -> Path:
        found = [mask.path for stem, mask in self.folder.masks.items() if stem == image.stem]
        return next((path for path in found if path.parent == self.root / SCRIBBLES), None) or (
            self.root / SCRIBBLES / f"{image.stem}.png"
        )

    def _mask_file(self, image: StudioImage) -> Path:
        # Masks beside images that lie in the folder itself are read from masks/ alone.
        there = mask_folders(self.root) if image_folders(self.root) else []
        folder = next(iter(there), self.root / MASK_FOLDERS[0])
        return folder / f"{image.stem}.png"

    def _log(self, what: str, image: StudioImage) -> Path:
        return self.root / OWN / what / f"{image.id}.jsonl"


def _id_of(stem: str) -> str:
    return blake2b(stem.encode("utf-8", "surrogateescape"), digest_size=9).hexdigest()


def _size_of(rows: ArrayRows | TiffRows) -> int:
    return rows.array.nbytes if isinstance(rows, ArrayRows) else 0
