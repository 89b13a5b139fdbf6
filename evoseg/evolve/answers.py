"""What evaluators answer, as a journal keeps it: compared bit for bit, and said in words."""

from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np

from evoseg.evolve.ports import Failed, Floats, Scored, TurnedAway, Verdict


@dataclass(frozen=True)
class Sampled:
    """Stands for what was sampled of a plane: too much to keep, and quick to have again.

    Attributes
    ----------
    digest : str
        Of the numbers.
    """

    digest: str


Answer = Verdict | Floats | Sampled | None


def same(one: Answer, other: Answer) -> bool:
    """Return whether two answers agree in every bit; of failures, in their reasons."""
    if isinstance(one, Scored) and isinstance(other, Scored):
        arrays = ((one.statistics, other.statistics), (one.scores, other.scores), (one.left_out, other.left_out))
        return one.pipeline == other.pipeline and all(_bits(a) == _bits(b) for a, b in arrays)
    if isinstance(one, TurnedAway) and isinstance(other, TurnedAway):
        return _bits(np.float64(one.score)) == _bits(np.float64(other.score))
    if isinstance(one, Failed) and isinstance(other, Failed):
        return one.reason == other.reason
    if isinstance(one, Sampled) and isinstance(other, Sampled):
        return one.digest == other.digest
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return _bits(one) == _bits(other)
    return one is None and other is None


def in_words(answer: Answer) -> str:
    """Say in a few words what an answer is."""
    if isinstance(answer, Scored):
        bits = _short(answer.statistics, answer.scores, answer.left_out)
        return f"scored {answer.score!r} as {answer.pipeline.digest[:12]}, bits {bits}"
    if isinstance(answer, TurnedAway):
        return f"turned away with {answer.score!r}"
    if isinstance(answer, Failed):
        return f"failed: {answer.reason}"
    if isinstance(answer, Sampled):
        return f"samples with digest {answer.digest}"
    if answer is None:
        return "no answer"
    return f"statistics that sum up to {float(answer.sum())!r}, bits {_short(answer)}"


def _bits(array: Floats | np.float64) -> tuple[tuple[int, ...], bytes]:
    return array.shape, array.tobytes()


def _short(*arrays: Floats) -> str:
    """Return a short digest: a last bit may not show in a mean."""
    return blake2b(b"".join(array.tobytes() for array in arrays), digest_size=4).hexdigest()


def stand_in(sample: Floats | Failed | None) -> Sampled | None:
    """Return what a journal keeps of a sample; None if there is none."""
    if sample is None or isinstance(sample, Failed):
        return None
    return Sampled(blake2b(sample.tobytes(), digest_size=8).hexdigest())


def contiguous(answer: Answer) -> Answer:
    """Return an answer as it comes back from a journal: how arrays lie in memory decides the last bit of a sum."""
    if isinstance(answer, np.ndarray):
        return np.ascontiguousarray(answer)
    if isinstance(answer, Scored):
        arrays = (np.ascontiguousarray(a) for a in (answer.statistics, answer.scores, answer.left_out))
        statistics, scores, left_out = arrays
        return replace(answer, statistics=statistics, scores=scores, left_out=left_out)
    return answer
