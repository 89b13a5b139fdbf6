"""The format of the images that a pipeline was made for, and how other images differ from it.

The functions are copied into exported Python files, so they use numpy and plain values only.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import PipelineError, legible
from evoseg.core.notes import Note
from evoseg.datasets.figures import SeenFigures, measure_figures

SAMPLED = 16384
"""Pixels from which the usual values are taken, at most."""
FAR = 3.0
"""Factor by which values must lie beyond those of the search images, or fall short of them, to be far off."""
_MARK = "# made for: "
_MOST = 4096
"""Characters of that line, at most."""
_SAID = 3
_DTYPES = ("uint8", "uint16", "float32")
_UNITS_UM = {"nm": 1e-3, "um": 1.0, "µm": 1.0, "μm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}
_UNIT = f"({'|'.join(_UNITS_UM)})"
_NUMBER = r"(\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"

Sides = tuple[float, float]
"""Height and width of a pixel, µm."""


@dataclass(frozen=True)
class ImageFormat:
    """The format of the images that a pipeline was made for.

    Attributes
    ----------
    channels : tuple of str
        Their names, in order.
    dtype : str
        uint8, uint16 or float32.
    low, median : float
        The lowest 1st percentile of any of the images, and the median of their medians.
    high : (float, float)
        The lowest and the highest 99th percentile of any of the images.
    some_gray : bool
        Whether some of the images were grey ones among RGB images.
    pixel_size : str
        As `dataset.yaml` has it, such as "0.65 um"; "" if it is not known.
    figures : SeenFigures or None
        What they look like; None if that was not measured, as in early versions.
    """

    channels: tuple[str, ...]
    dtype: str
    low: float
    median: float
    high: tuple[float, float]
    some_gray: bool = False
    pixel_size: str = ""
    figures: SeenFigures | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows; `read` takes them back."""
        values = {"low": self.low, "median": self.median, "high": list(self.high)}
        document: dict[str, Any] = {"channels": list(self.channels), "dtype": self.dtype, "values": values}
        if self.some_gray:
            document["some_gray"] = True
        document |= {"pixel_size": self.pixel_size} if self.pixel_size else {}
        return document | ({} if self.figures is None else {"figures": self.figures.as_json()})

    @classmethod
    def read(cls, document: Any) -> "ImageFormat":
        """Return what a JSON value says.

        Raises
        ------
        PipelineError
            If it is not such a value.
        """
        try:
            values = document["values"]
            numbers = [float(v) for v in (values["low"], values["median"], *values["high"])]
            low, median, *high = (_rounded(v) for v in numbers)
            channels, pixel_size = tuple(document["channels"]), document.get("pixel_size", "")
            some_gray = document.get("some_gray", False)
            figures = SeenFigures.read(document["figures"]) if "figures" in document else None
            known = {"channels", "dtype", "values", "some_gray", "pixel_size", "figures"}
            fits = len(high) == 2 and all(map(math.isfinite, numbers)) and {*document} <= known
            fits = fits and 0 < len(channels) <= 64 and document["dtype"] in _DTYPES and type(some_gray) is bool
            if not fits or not all(_is_word(word) for word in (*channels, pixel_size)):
                raise ValueError("a value is not what it should be")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PipelineError(
                "the description of the images that the pipeline was made for cannot be read. Correct or remove "
                "it ('# made for:' in .evo, 'made_for' in JSON)."
            ) from error
        return cls(channels, document["dtype"], low, median, (high[0], high[1]), some_gray, pixel_size, figures)

    def distance(self, image: NDArray[Any]) -> float | None:
        """Return how far an image, shape (M, N, C), is from these; None if it is not known what they look like.

        From `evoseg.datasets.figures.UNFAMILIAR` on, it is unfamiliar. Channels beyond those of these are not seen.
        """
        return None if self.figures is None else self.figures.distance(self.measure(image))

    def measure(self, image: NDArray[Any]) -> NDArray[np.float64]:
        """Return the figures of an image, shape (M, N, C), on the scale of the values of these."""
        return measure_figures(image[:, :, : len(self.channels)], self.low, self.high[1])

    def mark(self) -> str:
        """Return the line by which the text of a pipeline remembers this."""
        return f"{_MARK}{json.dumps(self.as_json())}\n"

    @classmethod
    def marked(cls, text: str) -> "ImageFormat | None":
        """Return what the text of a pipeline remembers; None if it has no such line.

        Raises
        ------
        PipelineError
            If it has one that cannot be understood.
        """
        place = 0 if text.startswith(_MARK) else text.find("\n" + _MARK) + 1
        if not place and not text.startswith(_MARK):
            return None
        line = text[place : place + _MOST].splitlines()[0]
        try:
            return cls.read(json.loads(line[len(_MARK) :]))
        except (ValueError, RecursionError) as error:
            if isinstance(error, PipelineError):
                raise
            return cls.read(None)

    def __str__(self) -> str:
        values = f"values from about {self.low:g} to {self.high[1]:g}"
        size = f", pixels of {self.pixel_size}" if self.pixel_size else ""
        return f"{self.dtype}, {channel_words(len(self.channels), self.channels)}, {values}{size}"


def _is_word(word: Any) -> bool:
    return isinstance(word, str) and len(word) <= 100 and word.isprintable()


def _rounded(value: float) -> float:
    """Round to six significant digits, which is as exact as these values are."""
    return float(f"{value:.6g}")


@dataclass(frozen=True)
class ImageTraits:
    """What one image contributes to the format of all.

    Attributes
    ----------
    dtype : str
    levels : (float, float, float)
        As `levels` gives them.
    gray : bool
        Whether the file holds one channel.
    labels : tuple of str
        What the file calls its channels; empty if it does not name each.
    """

    dtype: str
    levels: tuple[float, float, float]
    gray: bool
    labels: tuple[str, ...] = ()


def image_traits(arrays: Sequence[NDArray[Any]], dtype: str, labels: tuple[str, ...]) -> ImageTraits:
    """Return what an image, the first array, and its planes contribute; `dtype` is that of them all."""
    lows, medians, highs = zip(*map(levels, arrays), strict=True)
    return ImageTraits(dtype, (min(lows), float(np.median(medians)), max(highs)), arrays[0].shape[2] == 1, labels)


def image_format(channels: Sequence[str], traits: Sequence[ImageTraits], pixel_size: str = "") -> ImageFormat:
    """Return the format of some images.

    Parameters
    ----------
    channels : sequence of str
        The names on which they agree, planes last.
    traits : sequence of ImageTraits
        One or more.
    pixel_size : str
    """
    channels = named_channels(channels, traits)
    dtype = max((one.dtype for one in traits), key=_DTYPES.index)
    lows, medians, highs = zip(*(one.levels for one in traits), strict=True)
    high = (_rounded(min(highs)), _rounded(max(highs)))
    grays = {one.gray for one in traits}
    some_gray = channels[:3] == ("R", "G", "B") and True in grays
    return ImageFormat(
        channels, dtype, _rounded(min(lows)), _rounded(float(np.median(medians))), high, some_gray, legible(pixel_size)
    )


def named_channels(channels: Sequence[str], traits: Sequence[ImageTraits]) -> tuple[str, ...]:
    """Return the names of channels, planes last, with those that all files give them in place of evoseg's own."""
    labels = {one.labels for one in traits}
    named = [legible(name) for name in next(iter(labels))] if len(labels) == 1 else []
    return (*named, *channels[len(named) :])


def levels(image: NDArray[Any]) -> tuple[float, float, float]:
    """Return the lowest 1st percentile of an image's channels, the median of their medians, the highest 99th one.

    Parameters
    ----------
    image : array of shape (M, N, C)
        Of which a regular sample of pixels is looked at.
    """
    step = max(1, math.ceil(math.sqrt(image.shape[0] * image.shape[1] / SAMPLED)))
    # A long, narrow image keeps a sample, too.
    sample = np.sort(image[::step, ::step].reshape(-1, image.shape[2]), axis=0)
    low, median, high = (sample[round(share * (len(sample) - 1))] for share in (0.01, 0.5, 0.99))
    return float(low.min()), float(np.median(median)), float(high.max())


def channel_words(n: int, names: Sequence[str]) -> str:
    """Say how many channels there are, with their names."""
    named = f" ({' '.join(names)})" if len(names) == n else ""
    return f"1 channel{named}" if n == 1 else f"{n} channels{named}"


Difference = tuple[str, bool, str, str]
"""Its kind, whether the image cannot mean the same, what the image is, and what the pipeline was made for."""


def channel_differences(
    made_for: Mapping[str, Any], n: int, names: Sequence[str], reads: Sequence[int], colours: bool, alike: bool
) -> list[Difference]:
    """Compare the channels of an image with those that a pipeline was made for.

    Parameters
    ----------
    made_for : mapping
        As `ImageFormat.as_json` gives it.
    n, names : int, sequence of str
        Channels of the image, and their names if they are known.
    reads : sequence of int
        Which of its channels the pipeline looks at.
    colours : bool
        Whether it compares them with one another.
    alike : bool
        Whether all channels of the image are the same.
    """
    known = made_for["channels"]
    here = channel_words(n, names)
    expected = f"the pipeline was made for {channel_words(len(known), known)}"
    rgb = list(known) == ["R", "G", "B"]
    if n == 1 and rgb:
        if made_for.get("some_gray"):
            return []
        return [("channels", colours, here, expected + (" and compares their colours" if colours else ""))]
    if n < len(known):
        return [("channels", any(i >= n for i in reads), here, expected)]
    if n > len(known):
        if alike and len(known) == 1:
            return []
        taken = "the first" if len(known) == 1 else f"the first {len(known)}"
        return [("channels", False, here, f"{expected} and takes {taken}")]
    if rgb and n == 3 and alike and colours and not made_for.get("some_gray"):
        return [("channels", False, "3 equal channels (a grey image)", expected + " and compares their colours")]
    if n != len(names) or list(names) == list(known):
        return []
    if sorted(names) == sorted(known):
        wanted = ",".join(known)
        return [("names", True, here, f"{expected}, in this order. Take them with --channel {wanted}")]
    unnamed = any(name == "gray" or re.fullmatch(r"C\d+", name) for name in (*names, *known))
    return [("names", False, here, expected)] if rgb or not unnamed else []


def pixel_differences(made_for: Mapping[str, Any], image: NDArray[Any]) -> list[Difference]:
    """Compare dtype and values of an image, shape (M, N, C), with what a pipeline was made for."""
    values = made_for["values"]
    low, (dimmest, brightest) = values["low"], values["high"]
    usual = f"{made_for['dtype']} with values from about {low:g} to {brightest:g}"
    if str(image.dtype) != made_for["dtype"]:
        return [("dtype", False, f"{image.dtype}", f"the pipeline was made for {usual}")]
    first, median, last = levels(image)
    expected = f"the pipeline was made for values from about {low:g} to {brightest:g}"
    if last - low > FAR * (brightest - low) > 0:
        return [("values", False, "pixel values much higher", expected)]
    if last - low < (dimmest - low) / FAR:
        return [("values", False, "pixel values much lower", expected)]
    # Bright ground instead of dark: the median has changed sides.
    side, other = (share_of(*three) for three in ((low, values["median"], brightest), (first, median, last)))
    if min(side, other) < 0.3 and max(side, other) > 0.7:
        ground = "bright" if other > side else "dark"
        made = "dark" if other > side else "bright"
        return [("ground", False, f"a {ground} ground", f"the pipeline was made for a {made} one")]
    return []


def share_of(low: float, value: float, high: float) -> float:
    """Return where a value lies between two others, 0 to 1."""
    return (value - low) / (high - low) if high > low else 0.5


def pixel_size_differences(made_for: ImageFormat, size: str) -> list[Difference]:
    """Compare the size of pixels, as `dataset.yaml` has it, with that which a pipeline was made for."""
    here, there = sides_in_um(size), sides_in_um(made_for.pixel_size)
    if here is None or there is None or same_size(here, there, within=0.05):
        return []
    return [("pixel size", False, f"pixels of {legible(size)}", f"the pipeline was made for {made_for.pixel_size}")]


def sides_in_um(size: str) -> Sides | None:
    """Return height and width of a pixel from a text such as "0.65 um" or "0.5 x 0.25 um", else None."""
    found = re.fullmatch(rf"\s*{_NUMBER}(?:\s*{_UNIT}?\s*[x×]\s*{_NUMBER})?\s*{_UNIT}\b.*", size)
    if not found:
        return None
    first, its_unit, second, unit = found.groups()
    height, width = float(first) * _UNITS_UM[its_unit or unit], float(second or first) * _UNITS_UM[unit]
    return (height, width) if height and width else None


def in_um(size: str) -> float | None:
    """Return the side of a square pixel in µm; None if pixels are not square, or the text is no size."""
    sides = sides_in_um(size)
    return sides[0] if sides and sides[0] == sides[1] else None


def same_size(one: Sides, other: Sides, within: float) -> bool:
    """Return whether pixels have the same height and width, within a share of the other's."""
    return all(abs(a - b) <= within * b for a, b in zip(one, other, strict=True))


def size_text(size_um: tuple[float, float] | None) -> str:
    """Return height and width of a pixel in µm as `dataset.yaml` would have it: "0.65 um"; "" if they are not known.

    Pixels that are not square, by more than 1 %, are "0.5 x 0.25 um", which `in_um` does not take for one length.
    """
    if size_um is None:
        return ""
    height, width = size_um
    if abs(height - width) <= 0.01 * max(height, width):
        return f"{math.sqrt(height * width):.6g} um"
    return f"{height:.6g} x {width:.6g} um"


def notes_of(found: Iterable[tuple[str, Sequence[Difference]]]) -> list[Note]:
    """Return the differences of images, by their names, as notes: all of one kind have one text, so that they group."""
    found = list(found)
    said: dict[tuple[str, str], dict[str, None]] = {}
    for _, differences in found:
        for kind, _, here, expected in differences:
            said.setdefault((kind, expected), {})[here] = None
    return [
        Note(name, f"{' or '.join([*said[kind, expected]][:_SAID])}, but {expected}.", ("difference", kind))
        for name, differences in found
        for kind, _, _, expected in differences
    ]
