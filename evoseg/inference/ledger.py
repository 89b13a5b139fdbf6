"""What a folder of results was made of: by which pipeline, and from which images."""

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from evoseg.core.untrusted import read_file
from evoseg.datasets.io.formats import is_image_folder, pack_folder
from evoseg.runs.run_folder import FilesError

LEDGER = "applied.jsonl"
_MOST_BYTES = 2**28
_CHUNK = 1 << 20


class Origin(NamedTuple):
    """The pipeline of a result, how files were read for it, and the files of its image: checksums and words."""

    pipeline: str
    reading: str
    image: str


class Ledger:
    """OUT/applied.jsonl, to which a line is added for each image that is done.

    Parameters
    ----------
    out : Path
        The folder of results; what an earlier call has noted there is read.
    pipeline : str
        Digest of the pipeline that is applied now.

    Raises
    ------
    FilesError
        If the file cannot be read.
    """

    def __init__(self, out: Path, pipeline: str) -> None:
        self._path = out / LEDGER
        self._pipeline = pipeline
        self._lock = Lock()
        self._origins: dict[str, Origin] = {}
        self._start = ""
        if not self._path.exists():
            return
        text = read_file(self._path, _MOST_BYTES, error=FilesError).decode("utf-8", "replace")
        # A kill may have left half a line, which the next one must not continue.
        self._start = "\n" if text and not text.endswith("\n") else ""
        for line in text.splitlines():
            try:
                name, *origin = (json.loads(line)[key] for key in ("name", *Origin._fields))
                self._origins[str(name)] = Origin(*map(str, origin))
            except (ValueError, TypeError, KeyError, RecursionError):
                continue  # half a line: nothing is known of the image

    def knows(self, stem: str) -> bool:
        """Return whether it is known what a result was made of."""
        return stem in self._origins

    def is_current(self, stem: str, reading: str) -> bool:
        """Return whether a result is by the pipeline, and from files read as they are now, or that is not known."""
        origin = self._origins.get(stem)
        return origin is None or (origin.pipeline, origin.reading) == (self._pipeline, reading)

    def is_from(self, stem: str, files: Sequence[Path]) -> bool:
        """Return whether a result is from files as they are now, or that is not known."""
        return not self.knows(stem) or self._origins[stem].image == digest_files(files)

    def add(self, stem: str, reading: str, files: Sequence[Path]) -> None:
        """Note that the result of an image is there."""
        origin = Origin(self._pipeline, reading, digest_files(files))
        line = json.dumps({"name": stem, **origin._asdict()}) + "\n"
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(self._start + line)
            self._start = ""
        self._origins[stem] = origin


def digest_files(paths: Sequence[Path]) -> str:
    """Return a checksum of the bytes of some files; of an image that is a folder, of all its files.

    Raises
    ------
    OSError
        If one cannot be read.
    """
    found = blake2b(digest_size=16)
    for path in paths:
        found.update(_digest(path))
    return found.hexdigest()


def _digest(path: Path) -> bytes:
    if is_image_folder(path):
        return blake2b(pack_folder(path), digest_size=16).digest()
    found = blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.digest()
