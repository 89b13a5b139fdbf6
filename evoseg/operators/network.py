"""A small trained network as a step: an image in native values becomes planes of probabilities.

A program names a network by the digest of its file, and the networks that are in use are kept here by their digests.
Whoever reads a pipeline's file adds its networks, with `add_network`; they run in OpenCV, one copy per thread.
"""

import math
from base64 import b64decode
from collections.abc import Sequence
from hashlib import blake2b
from threading import local
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import PipelineError
from evoseg.core.kinds import Gray, Raw
from evoseg.operators.channels import native_channel
from evoseg.operators.gray import BORDER, as_gray
from evoseg.operators.network_file import NetworkFacts, read_network
from evoseg.operators.parameters import ContentDigest, OneOf
from evoseg.operators.registry import WHOLE, operator
from evoseg.operators.strips import Arrays, Params, Strip, TwoPass

NETWORK_STRIDE = 16
"""Heights and widths that networks take are multiples of it: they halve the image four times and double it again."""

NETWORK_TILE = 3 << 19
"""Most pixels that a network sees at a time; each takes about half a kilobyte of memory on the way."""

NETWORK_READY = 1 << 19
"""Pixels up to which a network stays ready for the next image: it keeps the memory that it has once taken."""

NETWORK_KEPT = 1 << 26
"""Most bytes of planes that a thread keeps for the next step that asks the same network about the same image."""

EXAMPLE_NETWORK = "b6f32b5ff16178c38b2b9c370e10c7c6"
"""Of a network of one layer, which shows the first channel, half of it and a quarter."""

_EXAMPLE = (
    "CAcSBmV2b3NlZzqKAgpnCgVpbWFnZQoCdzAKAncxEgJ2MBoCdjAiBENvbnYqFQoMa2VybmVsX3NoYXBlQAFAAaABByoRCgRwYWRz"
    "QABAAEAAQACgAQcqEAoHc3RyaWRlc0ABQAGgAQcqDAoFZ3JvdXAYAaABAgoeCgJ2MBIGcGxhbmVzGgZwbGFuZXMiCElkZW50aXR5"
    "EgZldm9zZWcqHAgDCAEIAQgBEAFCAncwSgwAAIA7AAAAOwAAgDoqFggDEAFCAncxSgwAAAAAAAAAAAAAAABaHwoFaW1hZ2USFgoU"
    "CAESEAoCCAEKAggBCgIIQAoCCEBiIAoGcGxhbmVzEhYKFAgBEhAKAggBCgIIAwoCCEAKAghAQgQKABAKcmgKBmV2b3NlZxJeeyJj"
    "aGFubmVscyI6IDEsICJvdXRwdXRzIjogWyJmb3JlZ3JvdW5kIiwgImRpc3RhbmNlIiwgInBvaW50cyJdLCAicmVkdWN0aW9uIjog"
    "MSwgInZlcnNpb24iOiAxfQ=="
)
_networks: dict[str, tuple[bytes, NetworkFacts]] = {}
"""File and facts of each network that is known, by its digest."""
_of_thread = local()
"""What a thread keeps: a network that is ready to run, since OpenCV's must not be shared, and its last planes."""


def digest_of(data: bytes) -> str:
    """Return the digest by which programs name a network's file: 32 hexadecimal digits."""
    return blake2b(data, digest_size=16).hexdigest()


def add_network(data: bytes) -> str:
    """Check a network's file, keep it for the programs that name it, and return its digest.

    Raises
    ------
    PipelineError
        If it is not a network that evoseg wrote.
    """
    digest = digest_of(data)
    if digest not in _networks:
        _networks[digest] = (bytes(data), read_network(data))
    return digest


def is_known_network(digest: str) -> bool:
    """Return whether a network is there to run."""
    return digest in _networks


def network_bytes(digest: str) -> bytes:
    """Return a network's file.

    Raises
    ------
    PipelineError
        If it has not been added.
    """
    return _known(digest)[0]


def describe_network(digest: str) -> NetworkFacts:
    """Return what is known of a network.

    Raises
    ------
    PipelineError
        If it has not been added.
    """
    return _known(digest)[1]


def _known(digest: str) -> tuple[bytes, NetworkFacts]:
    try:
        return _networks[digest]
    except KeyError:
        raise PipelineError(
            f"the network {digest} has not been loaded: a pipeline only names it, and so does a pickle. Read the "
            f"pipeline from its file (evoseg.read_pipeline), with {digest}.onnx beside it, in its run's folder or in "
            "the folder networks/ of evoseg's own. Pipeline.save writes both files."
        ) from None


add_network(b64decode(_EXAMPLE))


def measure_brightness(image: NDArray[Any], channels: int) -> NDArray[np.float64]:
    """Return the number of an image's pixels, the sum and the sum of squares of each channel; parts of it add up.

    Parameters
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
    channels : int
        As in `prepare`.

    Returns
    -------
    float64 array of shape (channels, 3)
    """
    found = np.zeros((channels, 3))
    strip = max(1, NETWORK_TILE // max(1, image.shape[1]))
    for index in range(channels):
        if index >= image.shape[2]:
            found[index] = found[index - 1]
            continue
        for first in range(0, len(image), strip):
            values = native_channel(image[first : first + strip], index).astype(np.float64)
            found[index] += values.size, values.sum(), np.square(values).sum()
    return found


def match_brightness(sums: NDArray[np.float64], brightness: Sequence[tuple[float, float]]) -> NDArray[np.float32]:
    """Return the gains and offsets that give channels the mean and deviation which a network is used to.

    Parameters
    ----------
    sums : float64 array of shape (channels, 3)
        Of the whole image, as `measure_brightness` returns them.
    brightness : sequence of (float, float)
        Mean and standard deviation of each channel in the images that the network was trained on, each of which was
        given these as well; empty for one that takes images as they are.

    Returns
    -------
    float32 array of shape (channels, 2)
    """
    matched = np.tile(np.array([1.0, 0.0]), (len(sums), 1))
    for channel, ((n, total, squares), (wanted, spread)) in enumerate(zip(sums, brightness, strict=False)):
        mean = total / n
        deviation = math.sqrt(max(squares / n - mean**2, 0.0))
        # An image without contrast stays without.
        gain = spread / deviation if deviation > 1e-6 * max(abs(mean), 1e-12) else 1.0
        matched[channel] = gain, wanted - gain * mean
    return matched.astype(np.float32)


def prepare(
    image: NDArray[Any], channels: int, reduction: int, matched: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return an image as a network takes it.

    Parameters
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
        In native values. NaN counts as 0 and floats are bounded, as in all operators that look at native values.
    channels : int
        How many the network was trained on. Those that the image lacks are its last one, those beyond are not seen.
    reduction : int
        1, 2 or 4: how many pixels of a row the network sees as one, by their mean.
    matched : float32 array of shape (channels, 2), optional
        Gain and offset of each channel, as `match_brightness` returns them.

    Returns
    -------
    float32 array of shape (channels, h, w), with h and w multiples of 16
        Beyond its lower and its right border the image goes on mirrored.
    """
    rows, cols = image.shape[:2]
    block = NETWORK_STRIDE * reduction
    below, right = -rows % block, -cols % block
    size = ((cols + right) // reduction, (rows + below) // reduction)
    prepared = np.empty((channels, size[1], size[0]), np.float32)
    for index in range(channels):
        if index >= image.shape[2]:
            prepared[index] = prepared[index - 1]
            continue
        values = native_channel(image, index).astype(np.float32)
        padded = cv2.copyMakeBorder(values, 0, below, 0, right, BORDER)
        prepared[index] = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    if matched is not None:
        prepared *= matched[:, :1, None]
        prepared += matched[:, 1:, None]
    return prepared


def restore(planes: NDArray[np.float32], reduction: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return what a network gave as 8-bit planes of the image's own size.

    Parameters
    ----------
    planes : float32 array of shape (K, h, w)
        Numbers from 0 to 1; others are clipped.
    reduction : int
        As in `prepare`; enlarged by linear interpolation.
    shape : (M, N)
        Of the image.

    Returns
    -------
    uint8 array of shape (K, M, N)
    """
    rows, cols = shape
    restored = np.empty((len(planes), rows, cols), np.uint8)
    size = (planes.shape[2] * reduction, planes.shape[1] * reduction)
    for plane, target in zip(planes, restored, strict=True):
        large = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)[:rows, :cols]
        target[...] = as_gray(cv2.convertScaleAbs(np.clip(large, 0, 1), alpha=255))
    return restored


def network_reach(weights: str) -> int:
    """Return how far away a pixel of the image can influence a network's planes, in pixels, its brightness apart.

    At least four times the side of the blocks from which the network starts, so that strips begin at the edge of one.
    """
    facts = describe_network(weights)
    # Reducing and enlarging look a pixel of the network's further, each.
    return facts.reduction * max(facts.reach + 2, 4 * NETWORK_STRIDE)


def network_cost(weights: str) -> float:
    """Return what a network costs, in ns per pixel of the image."""
    facts = describe_network(weights)
    return 3.0 * facts.channels + 2.0 * len(facts.outputs) + 0.048 * facts.macs / facts.reduction**2


def _measure(arrays: Arrays, strip: Strip, params: Params) -> NDArray[np.float64]:
    return measure_brightness(arrays[0], describe_network(params["weights"]).channels)


def _match(parts: Sequence[NDArray[np.float64]], params: Params) -> NDArray[np.float32]:
    return match_brightness(np.sum(parts, axis=0), describe_network(params["weights"]).brightness)


def _ask(arrays: Arrays, matched: NDArray[np.float32], strip: Strip, params: Params) -> Gray:
    return one_plane(arrays[0], params["weights"], params["output"], matched)


@operator(
    revision=1,
    cost=lambda p: network_cost(p["weights"]),
    reach=WHOLE,
    two_pass=TwoPass(_measure, _match, _ask, anywhere=True, margin=lambda p: network_reach(p["weights"])),
)
def network(
    image: Raw,
    *,
    weights: Annotated[str, ContentDigest()] = EXAMPLE_NETWORK,
    output: Annotated[str, OneOf("foreground", "distance", "points")] = "foreground",
) -> Gray:
    """Ask a small network that was trained on images like these, pixel by pixel.

    The network's file has to be there, and the network to have the output. Each channel is first given the mean and
    the deviation that the network is used to, so that an image may be lighter or darker as a whole. Beyond that, a
    pixel depends on those around it: 200 to each side for a network that evoseg trains, twice or four times as many if
    it sees the image reduced. It takes about 700 ms per megapixel, divided by 4 or 16 then. Planes may differ by one
    level between versions of OpenCV.

    Parameters
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
        In native values. Channels that the network was trained on and the image lacks are its last one.
    weights : str
        Digest of the network's file, DIGEST.onnx, which lies beside the pipeline. The default is an example, which
        shows the first channel of 8-bit images.
    output : str
        foreground, the probability that a pixel belongs to it (255 is certain); distance, from a pixel to the rim of
        its object, as a share of the greatest there (0 on the background); or points, a blob around each, 255 in its
        middle. A network has those that its task needs.
    """
    facts = describe_network(weights)
    matched = match_brightness(measure_brightness(image, facts.channels), facts.brightness)
    return one_plane(image, weights, output, matched)


def one_plane(image: NDArray[Any], weights: str, output: str, matched: NDArray[np.float32]) -> Gray:
    """Return one plane of a network, whose image is given the brightness that it is used to."""
    outputs = describe_network(weights).outputs
    if output not in outputs:
        raise PipelineError(f"the network {weights} does not give '{output}', but {' and '.join(outputs)}.")
    return as_gray(network_planes(image, weights, matched)[outputs.index(output)].copy())


def network_planes(image: NDArray[Any], weights: str, matched: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
    """Return all planes of a network, shape (K, M, N); the last ones of each thread are kept for its other outputs."""
    facts = describe_network(weights)
    if len(facts.outputs) == 1:
        return computed_planes(image, weights, matched)
    pixels = blake2b(image.tobytes(), digest_size=16).digest()
    key = (weights, image.shape, image.dtype.str, pixels, None if matched is None else matched.tobytes())
    if getattr(_of_thread, "asked", None) != key:
        _of_thread.asked = None
        planes = computed_planes(image, weights, matched)
        if planes.nbytes > NETWORK_KEPT:
            return planes
        _of_thread.asked, _of_thread.planes = key, planes
    kept: NDArray[np.uint8] = _of_thread.planes
    return kept


def computed_planes(
    image: NDArray[Any],
    weights: str,
    matched: NDArray[np.float32] | None = None,
    most_pixels: int = NETWORK_TILE,
) -> NDArray[np.uint8]:
    """Run a network on an image, tile by tile, and return its planes, shape (K, M, N).

    Parameters
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
    weights : str
        Digest of the network.
    matched : float32 array of shape (channels, 2), optional
        As of `prepare`.
    most_pixels : int
        Of a tile, as the network sees it.
    """
    facts = describe_network(weights)
    rows, cols = image.shape[:2]
    planes = np.empty((len(facts.outputs), rows, cols), np.uint8)
    block = NETWORK_STRIDE * facts.reduction
    margin = -(-network_reach(weights) // block) * block
    pixels = most_pixels * facts.reduction**2
    # What is narrower than a block is padded to one.
    height = max(math.isqrt(pixels), pixels // max(cols, block))
    for above, top, bottom, below in cut_tiles(rows, height, margin, block):
        for before, left, right, after in cut_tiles(cols, pixels // max(below - above, block), margin, block):
            seen = prepare(image[above:below, before:after], facts.channels, facts.reduction, matched)
            net = ready_network(weights, seen.shape)
            net.setInput(seen[None])
            found = restore(net.forward()[0], facts.reduction, (below - above, after - before))
            inner = found[:, top - above : bottom - above, left - before : right - before]
            planes[:, top:bottom, left:right] = inner
    if rows * cols > NETWORK_READY * facts.reduction**2:
        _of_thread.ready = _of_thread.net = None
    return planes


def cut_tiles(length: int, most: int, margin: int, block: int) -> list[tuple[int, int, int, int]]:
    """Cut the rows or columns of an image into tiles with a margin, which begin on multiples of a block.

    Returns
    -------
    list of (first, start, end, last)
        Rows `first` to `last` are seen, and rows `start` to `end` of the result are taken.
    """
    if length <= most:
        return [(0, 0, length, length)]
    # Where the margins alone would fill a tile, tiles are larger than asked for.
    inner = max(most - 2 * margin, margin)
    n_tiles = -(-length // inner)
    inner = -(-length // (n_tiles * block)) * block
    return [
        (max(0, start - margin), start, min(length, start + inner), min(length, start + inner + margin))
        for start in range(0, length, inner)
    ]


def ready_network(weights: str, shape: tuple[int, ...]) -> Any:
    """Return this thread's own copy of a network, ready to run on images of a shape, (C, h, w).

    OpenCV 4 chooses by the first image how it convolves, and then a later one of another shape may differ by one level.
    """
    if getattr(_of_thread, "ready", None) != (weights, shape):
        _of_thread.net = cv2.dnn.readNetFromONNX(np.frombuffer(network_bytes(weights), np.uint8))
        _of_thread.ready = (weights, shape)
    return _of_thread.net
