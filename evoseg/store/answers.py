"""Answers of evaluators as rows: JSON's kinds of value, and float64 numbers as bytes."""

import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from evoseg.base.errors import PipelineError
from evoseg.evolve.answers import Answer, Sampled
from evoseg.evolve.ports import Failed, Floats, Scored, TurnedAway
from evoseg.pipeline import Pipeline, print_text, read_text

SCORED, TURNED_AWAY, FAILED = "scored", "turned away", "failed"
MEASURED, SAMPLED, NONE = "measured", "sampled", "none"
_SEPARATOR = "\0"


class AnswerError(ValueError):
    """Rows that no answer has been written as."""


def as_row(answer: Answer) -> dict[str, Any]:
    """Return an answer as a row, without its place."""
    if isinstance(answer, Scored):
        numbers = (answer.statistics, answer.scores, answer.left_out)
        n_images = len(answer.scores)
        text = print_text(answer.pipeline, settled=False)
        return _row(SCORED, answer.score, text, n_images, b"".join(map(_bytes, numbers)))
    if isinstance(answer, TurnedAway):
        return _row(TURNED_AWAY, answer.score, None, None, struct.pack("<d", answer.score))
    if isinstance(answer, Failed):
        words = f"{answer.reason}{_SEPARATOR}{answer.traceback}"
        return _row(FAILED, None, words.encode("utf-8", "backslashreplace").decode())
    if isinstance(answer, Sampled):
        return _row(SAMPLED, None, answer.digest)
    if answer is None:
        return _row(NONE)
    return _row(MEASURED, None, None, len(answer), _bytes(answer))


def as_answer(row: Mapping[str, Any], program: Pipeline) -> Answer:
    """Return the answer about a program that a row was made from.

    Raises
    ------
    AnswerError
        If the row was made from none.
    """
    outcome = row["outcome"]
    if outcome == NONE:
        return None
    if outcome == SAMPLED:
        return Sampled(str(row["words"]))
    if outcome == FAILED:
        reason, _, traceback = str(row["words"]).partition(_SEPARATOR)
        return Failed(program, reason, traceback)
    try:
        numbers = np.frombuffer(row["numbers"], "<f8").astype(np.float64)
        if outcome == TURNED_AWAY:
            return TurnedAway(program, float(numbers[0]))
        n = int(row["n_images"])
        if outcome == MEASURED:
            return numbers.reshape(n, -1)
        if outcome == SCORED:
            left_out, scores, statistics = numbers[-n:], numbers[-2 * n : -n], numbers[: -2 * n].reshape(n, -1)
            return Scored(read_text(row["words"], settled=False), statistics.copy(), scores.copy(), left_out.copy())
    except (ValueError, TypeError, IndexError, PipelineError) as error:
        raise AnswerError(str(error)) from error
    raise AnswerError(f"an answer cannot be '{outcome}'")


def checksum(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return a digest of the rows of an entry: SQLite may notice a damaged page, but not a flipped bit of a number."""
    digest = blake2b(digest_size=8)
    for row in rows:
        digest.update(f"{row['place']}|{row['outcome']}|{row['words']}|{row['n_images']}|".encode())
        numbers = row["numbers"]
        digest.update(numbers if isinstance(numbers, bytes) else repr(numbers).encode())
    return digest.digest()


def _row(
    outcome: str,
    score: float | None = None,
    words: str | None = None,
    n_images: int | None = None,
    numbers: bytes | None = None,
) -> dict[str, Any]:
    return {"outcome": outcome, "score": score, "words": words, "n_images": n_images, "numbers": numbers}


def _bytes(array: Floats) -> bytes:
    return np.ascontiguousarray(array, "<f8").tobytes()
