"""Which embedders describe images: a ResNet of the user's own, EfficientNet-Lite0, and the slim ResNet of evoseg."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import write_atomically
from evoseg.core.errors import EvosegError
from evoseg.core.streams import stream
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split_to_search
from evoseg.library.collection import Library, bundled_folder, bundled_tasks, image_folders, own_vectors_folder
from evoseg.library.description import describe, find_seen, hash_images, mean_direction
from evoseg.library.descriptors import Vector
from evoseg.library.likeness import Norm, likeness
from evoseg.library.pictures import FOLDER, dataset_of, read_pictures
from evoseg.library.task import SolvedTask
from evoseg.runs.run_folder import FilesError

if TYPE_CHECKING:
    from evoseg.networks.embedding import Embedder

logger = logging.getLogger(__name__)

_NOISE_SIDE = 224
_NAME = "resnet"


def embedders() -> "tuple[Embedder, ...]":
    """Return the embedders in order of preference; those whose packages are not installed are left out.

    All of them describe every task that is stored, so that a machine without the preferred one can compare it as well.

    Raises
    ------
    WeightsError
        If the user's own weights have been damaged.
    """
    return tuple(_each_embedder())


def needed_embedders(library: Library) -> "tuple[Embedder, ...]":
    """Return the first embedders, in order of preference, that suffice to compare with all tasks of a library.

    Mostly that is one, and torch need not be imported for another.

    Raises
    ------
    WeightsError
        If the user's own weights have been damaged.
    """
    found: list[Embedder] = []
    for embedder in _each_embedder():
        found.append(embedder)
        if library.all_have_vectors([embedder.id for embedder in found]):
            break
    return tuple(found)


def _each_embedder() -> "Iterator[Embedder]":
    """Yield the embedders in order of preference; each is loaded only when it is asked for."""
    own = own_weights()
    if own is not None:
        yield _own(own, own.stat().st_mtime_ns)
    for name in ("efficientnet", "resnet"):
        if (found := _bundled(name)) is not None:
            yield found


@cache
def _bundled(name: str) -> "Embedder | None":
    """Return an embedder that comes with evoseg; None, with a log message, if a package is not installed."""
    from evoseg.networks import embedding

    try:
        return {"efficientnet": embedding.efficientnet, "resnet": embedding.resnet}[name]()
    except EvosegError as error:
        logger.info("an embedder is missing: %s", error)
        return None


@cache
def _own(path: Path, written: int) -> "Embedder":
    """Return the embedder of a file as it was at some time."""
    from evoseg.networks.embedding import resnet

    return resnet(path)


@cache
def drawn_noise(embedder: "Embedder") -> tuple[Vector, ...]:
    """Return the vectors of white noise and of noise with more and more power in coarse structures."""
    return tuple(embedder.embed(_noise(exponent)) for exponent in (0, 1, 2))


def likeness_to_noise(embedder: "Embedder", described: Mapping[str, Vector], norms: Mapping[str, Norm]) -> float:
    """Return how much a task looks like drawn noise to an embedder."""
    return max(likeness({embedder.id: noise}, described, norms).value for noise in drawn_noise(embedder))


def _noise(exponent: int) -> NDArray[np.float32]:
    """Draw noise whose amplitude falls with a power of the frequency."""
    white = stream(0, "noise", exponent).standard_normal((_NOISE_SIDE, _NOISE_SIDE))
    frequency = np.hypot(np.fft.fftfreq(_NOISE_SIDE)[:, None], np.fft.rfftfreq(_NOISE_SIDE)[None])
    frequency[0, 0] = 1
    return np.fft.irfft2(np.fft.rfft2(white) / frequency**exponent).astype(np.float32)[:, :, None]


def time_per_image(embedder: "Embedder") -> float:
    """Return the CPU time that an image of 512 x 512 px takes, in s, once the network is loaded."""
    image = stream(0, "embedders").integers(0, 256, (512, 512, 3), np.uint8)
    times = []
    for _ in range(3):
        began = process_time()
        embedder.embed(image)
        times.append(process_time() - began)
    return min(times)


def own_weights() -> Path | None:
    """Return the file of the user's own weights in $EVOSEG_HOME, None if there is none."""
    paths = (own_vectors_folder() / f"{_NAME}{suffix}" for suffix in (".safetensors", ".pth"))
    return next((path for path in paths if path.is_file()), None)


def set_own_weights(path: Path) -> "Embedder":
    """Copy the weights of a ResNet to $EVOSEG_HOME, so that tasks are compared by it from now on.

    Bundled tasks get vectors of it as far as evoseg has pictures of them.

    Raises
    ------
    MissingPackageError
        If torch or safetensors is not installed.
    WeightsError
        If the file does not hold the weights of a ResNet.
    FilesError
        If $EVOSEG_HOME cannot be written.
    """
    from evoseg.networks.embedding import resnet

    found = resnet(path)
    data, folder, vectors = path.read_bytes(), own_vectors_folder(), _vectors_of_bundled_tasks(found)
    place = folder / f"{_NAME}{path.suffix}"
    forget_own_weights()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with write_atomically(folder / f"{found.id}.npz") as file:
            np.savez(file, tasks=list(vectors), vectors=list(vectors.values()))
        with write_atomically(place) as file:
            file.write(data)
    except OSError as error:
        raise FilesError(f"{place}: cannot be written ({error.strerror}).") from error
    return found


def _vectors_of_bundled_tasks(embedder: "Embedder") -> dict[str, Vector]:
    """Return vectors of the bundled tasks whose pictures we may distribute, by id."""
    shown = {task.id: read_pictures(bundled_folder() / FOLDER / dataset_of(task)) for task in bundled_tasks()}
    return {i: mean_direction([embedder.embed(p.image) for p in pictures]) for i, pictures in shown.items() if pictures}


def forget_own_weights() -> None:
    """Go back to the embedders that come with evoseg."""
    shutil.rmtree(own_vectors_folder(), ignore_errors=True)


def describe_own_tasks(library: Library, embedder: "Embedder") -> tuple[int, int]:
    """Give vectors of an embedder to the user's own tasks whose images are still where they were.

    Returns
    -------
    described, missing : int
        Number of tasks that have a vector now, and of those whose images were not found.
    """
    tasks = [task for task in library.own() if embedder.id not in task.vectors]
    folders = image_folders(task.id for task in tasks)
    n = 0
    for task in tasks:
        try:
            vectors = _vectors_of(task, folders[task.id], embedder) if task.id in folders else {}
        except EvosegError as error:
            logger.warning("%s could not be described anew: %s", task.name, error)
            continue
        if vectors:
            # The preferred embedder comes first.
            library.replace(replace(task, vectors={**vectors, **task.vectors}))
            n += 1
    return n, len(tasks) - n


def _vectors_of(task: SolvedTask, folder: Path, embedder: "Embedder") -> dict[str, Vector]:
    """Return the vector of the images in a folder; none if they are not those that the task was solved on."""
    dataset = Dataset(folder)
    search = split_to_search(dataset).search
    if len(dataset.channels) != task.channels or find_seen(hash_images(dataset, search), task.hashes) is None:
        return {}
    return dict(describe(dataset, search, [embedder]).vectors)
