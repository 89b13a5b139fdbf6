"""PNG, JPEG and BMP, through Pillow."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from evoseg.base.errors import DatasetError, MissingPackageError
from evoseg.data.formats import Decoded, Header, Limits, channel_names, check_size

if TYPE_CHECKING:
    from PIL import Image, ImageFile

_ORIENTATION = 274
_DEEP_PNG = {2: 3, 4: 2, 6: 4}
"""PNG colour types whose 16-bit samples Pillow cuts to 8 bits, with their samples per pixel."""

_MODES: dict[str, tuple[int, str, bool]] = {
    "1": (1, "bool", False),
    "L": (1, "uint8", False),
    "LA": (1, "uint8", True),
    "RGB": (3, "uint8", False),
    "RGBA": (3, "uint8", True),
    "P": (1, "uint8", False),
    "I;16": (1, "uint16", False),
    "I;16B": (1, "uint16", False),
    "I": (1, "int32", False),
    "F": (1, "float32", False),
}
"""Pillow's modes that are read: channels without alpha, dtype, alpha."""


def header(path: Path, file: BinaryIO, stored: str) -> Header:
    """Return what an open file of format `stored` says about its pixels."""
    return _open(path, file, stored)[1]


def decode(path: Path, file: BinaryIO, stored: str, limits: Limits) -> Decoded:
    """Return the pixels of an open file of format `stored`, checked against `limits` first."""
    image, head = _open(path, file, stored)
    check_size(path, head, limits)
    if stored == "PNG" and head.dtype == np.uint16 and image.mode != "I;16":
        return _decode_png(head, file)
    if stored == "PNG" and _is_plain(image):
        with suppress(MissingPackageError):
            return _decode_png(head, file)  # in half the time that Pillow takes
    image.load()
    if head.palette:
        table = np.asarray(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        alpha = np.asarray(image.convert("RGBA"))[..., 3] if head.alpha else None
        return Decoded(head, np.array(image)[..., None], alpha, table)
    shown: Image.Image = image
    if "transparency" in image.info and image.mode in ("L", "RGB", "1"):
        shown = image.convert("RGBA" if image.mode == "RGB" else "LA")
    pixels: NDArray[Any] = np.array(shown)
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if head.alpha:
        return Decoded(head, pixels[..., :-1], pixels[..., -1])
    return Decoded(head, pixels)


def _open(path: Path, file: BinaryIO, stored: str) -> tuple["ImageFile.ImageFile", Header]:
    """Open a file without decoding it."""
    from PIL import Image

    start = file.read(26)
    file.seek(0)
    image = Image.open(file, formats=[stored])
    if stored == "PNG" and getattr(image, "n_frames", 1) > 1:
        raise DatasetError(f"{path}: an animation of several pictures. Export one picture per file.")
    if image.mode not in _MODES:
        raise DatasetError(f"{path}: colour mode {image.mode} is not read. Export it as grey or RGB.")
    channels, dtype, alpha = _MODES[image.mode]
    if stored == "PNG" and start[24] == 16 and start[25] in _DEEP_PNG:
        samples = _DEEP_PNG[start[25]]
        channels, dtype, alpha = (samples - 1 + samples % 2, "uint16", samples % 2 == 0)
    palette = image.mode == "P"
    return image, Header(
        stored=stored,
        shape=(image.height, image.width),
        names=channel_names(3 if palette else channels, colour=True),
        dtype=np.dtype(dtype),
        alpha=alpha or ("transparency" in image.info and image.mode in ("P", "L", "RGB", "1")),
        palette=palette,
        orientation=_orientation(image, file),
        lossy=stored == "JPEG",
    )


def _orientation(image: "Image.Image", file: BinaryIO) -> int:
    """Return how the picture is to be turned, if possible without decoding it."""
    from PIL import Image

    # For a PNG, Pillow's own getexif decodes all pixels, as words about the picture may follow them.
    early = image.format == "PNG" and not _words_after_pixels(file)
    exif = Image.Image.getexif(image) if early else image.getexif()
    return int(exif.get(_ORIENTATION, 1))


def _words_after_pixels(file: BinaryIO) -> bool:
    """Return whether a PNG's chunks of EXIF or text, or the end of a damaged one, come after its pixels."""
    here = file.tell()
    file.seek(8)
    late = False
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        late = late or head[4:] == b"IDAT"
        if late and head[4:] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            break
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    file.seek(here)
    return head[4:] != b"IEND"


def _is_plain(image: "ImageFile.ImageFile") -> bool:
    """Return whether an opened PNG holds 8-bit grey or RGB samples and nothing else."""
    rawmodes = [tile[3] for tile in image.tile]
    return rawmodes == [image.mode] and image.mode in ("L", "RGB") and "transparency" not in image.info


def _decode_png(head: Header, file: BinaryIO) -> Decoded:
    """Decode a PNG by libpng; 16-bit colours, which Pillow would cut to 8 bits, only it can."""
    try:
        import imagecodecs
    except ImportError as error:
        raise MissingPackageError("16-bit colour PNG files need the package imagecodecs.") from error
    file.seek(0)
    pixels: NDArray[Any] = imagecodecs.png_decode(file.read())
    pixels = pixels.reshape(*head.shape, -1)
    n = len(head.names)
    return Decoded(head, np.ascontiguousarray(pixels[..., :n]), pixels[..., n] if head.alpha else None)
