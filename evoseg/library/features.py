"""Named numbers that say what images and objects are like, on a scale on which tasks can be compared.

Each descriptor made of such numbers is a unit vector of standardised features, with one more coordinate that is the
same for all: so the product of two is near 1 for two tasks that are both ordinary, too, and falls with their distance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import NDArray

MOST = 3.0
"""Deviations from the middle that count at most: one wild feature must not outweigh all others."""
LEAST = 1e-6
DIGITS = 4

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Feature:
    """A number that is measured of images or masks.

    Attributes
    ----------
    name : str
        As in files.
    words : str
        As in tables.
    centre, scale : float
        Median and robust deviation (interquartile range / 1.35) over the tasks of the seed library, of the logarithm
        to base 2 if `log`.
    unit : str
    log : bool
        Whether ratios matter rather than differences.
    """

    name: str
    words: str
    centre: float
    scale: float
    unit: str = ""
    log: bool = False

    def scaled(self, value: float) -> float:
        """Return a value on the feature's own scale, linear or logarithmic."""
        return log2(max(value, LEAST)) if self.log else value

    def standard(self, value: float) -> float:
        """Return how many deviations from the middle a value lies, at most `MOST`."""
        return min(max((self.scaled(value) - self.centre) / self.scale, -MOST), MOST)

    def shown(self, value: float) -> str:
        """Return a value for a person."""
        number = f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"
        return f"{number} {self.unit}".strip()


@dataclass(frozen=True)
class Descriptor:
    """Features that are compared together.

    Attributes
    ----------
    id : str
        Changes with the features, so that unlike vectors are never compared.
    features : tuple of Feature
    """

    id: str
    features: tuple[Feature, ...]

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return len(self.features) + 1

    def vector(self, values: Mapping[str, float]) -> Vector | None:
        """Return the unit vector of a task, float32 of shape (dim,); None if a feature was not measured."""
        standard = self.standard(values)
        if standard is None:
            return None
        z = np.array([*standard.values(), len(self.features) ** 0.5])
        return np.asarray(z / np.linalg.norm(z), np.float32)

    def standard(self, values: Mapping[str, float]) -> dict[str, float] | None:
        """Return the standardised features of a task; None if one was not measured."""
        if any(f.name not in values for f in self.features):
            return None
        return {f.name: f.standard(values[f.name]) for f in self.features}

    def why(self, one: Mapping[str, float], other: Mapping[str, float], n: int = 2) -> list[str]:
        """Say in which features two tasks agree most tellingly: alike, and both unlike most tasks.

        Parameters
        ----------
        one : mapping
            Of the stored task.
        other : mapping
            Of the task at hand.
        """
        found = []
        for f in self.features:
            a, b = f.standard(one[f.name]), f.standard(other[f.name])
            telling = min(abs(a), abs(b)) - abs(a - b)
            if a * b > 0 and telling > 0:
                found.append((telling, f"{f.words} {f.shown(one[f.name])} (here {f.shown(other[f.name])})"))
        return [words for _, words in sorted(found, key=lambda entry: -entry[0])[:n]]


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Return values as they are written to files, so that what is read again gives the same vectors."""
    return {name: float(f"{value:.{DIGITS}g}") for name, value in values.items()}
