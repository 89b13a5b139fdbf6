"""The ledger: which stored pipeline was tried on which other task, and what came of it."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from math import isfinite
from pathlib import Path

from evoseg.base.errors import legible
from evoseg.base.writing import whole_file
from evoseg.library.files import TaskError

LEDGER = "ledger.csv"
"""File of the seed library."""
COLUMNS = ("source", "target", "form", "scale", "retrieved", "refitted", "kept")
MAX_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Reuse:
    """One stored pipeline on another task.

    Attributes
    ----------
    source, target : str
        Ids of the tasks.
    form : str
        Of the pipeline as it is stored.
    scale : float
        By which its lengths were multiplied.
    retrieved : float or None
        Score as it was, with no number changed; None if that was not measured.
    refitted : float
        Score on the target's search images with its fitted numbers found there.
    kept : bool or None
        Whether it, or a descendant of it, became the target's answer; None if nothing was searched.
    """

    source: str
    target: str
    form: str
    scale: float
    retrieved: float | None
    refitted: float
    kept: bool | None = None

    @property
    def id(self) -> str:
        """Identity: what was tried where."""
        words = f"{self.source}|{self.target}|{self.form}|{self.scale:.4g}"
        return blake2b(words.encode(), digest_size=12).hexdigest()


def print_ledger(rows: Iterable[Reuse]) -> str:
    """Return rows as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in rows:
        retrieved = "" if r.retrieved is None else f"{r.retrieved:.4f}"
        kept = "" if r.kept is None else int(r.kept)
        writer.writerow([r.source, r.target, r.form, f"{r.scale:.4g}", retrieved, f"{r.refitted:.4f}", kept])
    return out.getvalue()


def write_ledger(rows: Iterable[Reuse], path: Path) -> None:
    """Write rows to a file, whole or not at all."""
    with whole_file(path) as file:
        file.write(print_ledger(rows).encode())


def read_ledger(path: Path) -> list[Reuse]:
    """Read a ledger's file; a missing one is empty.

    Raises
    ------
    TaskError
        Naming file and line.
    """
    if not path.exists():
        return []
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TaskError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, so it is no ledger.")
        lines = list(csv.reader(io.StringIO(path.read_text("utf-8"))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TaskError(f"{path}: cannot be read ({error}).") from error
    if not lines or tuple(lines[0]) != COLUMNS:
        raise TaskError(f"{path}: line 1 must be {','.join(COLUMNS)}.")
    return [_row(path, number, line) for number, line in enumerate(lines[1:], 2)]


def _row(path: Path, number: int, line: list[str]) -> Reuse:
    try:
        source, target, form, scale, retrieved, refitted, kept = line
        numbers = [float(text) for text in (scale, refitted, retrieved or "0")]
        if not all(isfinite(n) for n in numbers) or kept not in ("", "0", "1"):
            raise ValueError
    except ValueError:
        raise TaskError(f"{path}: line {number} is no row of a ledger: {legible(','.join(line))}") from None
    known = numbers[2] if retrieved else None
    return Reuse(source, target, form, numbers[0], known, numbers[1], bool(int(kept)) if kept else None)
