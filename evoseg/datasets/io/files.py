"""Image and mask files, in and out: native values, one orientation rule, and a reason for every refusal."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from evoseg.core.disk import write_atomically
from evoseg.core.errors import DatasetError
from evoseg.core.untrusted import open_file
from evoseg.datasets.io import tiff
from evoseg.datasets.io.decoding import decode_in_child, read_header_in_child
from evoseg.datasets.io.formats import (
    LIMITS,
    RASTER,
    Decoded,
    Header,
    Limits,
    check_size,
    decode_raster,
    explain_errors,
    format_of,
    is_image_folder,
    pack_folder,
    read_bytes,
    read_raster_header,
)
from evoseg.datasets.reading import ALL_PAGES, DEFAULT_OPTIONS, ReadOptions, channel_indices, name_channels

FILLED = "pixels that are NaN are filled from their neighbours, and never scored"
"""Note about an image in which there were such pixels."""
_EXACT = 2**24
"""Whole numbers up to here are exact in float32."""

_TURNS: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
"""What brings a picture upright, by its EXIF or TIFF orientation."""
_TURNED_ASIDE = (5, 6, 7, 8)
"""Orientations that exchange rows and columns."""


@dataclass(frozen=True)
class Picture:
    """A decoded image, with the names of its channels and notes about its conversion.

    Attributes
    ----------
    image : uint8, uint16 or float32 array of shape (M, N, C)
    names : tuple of str
        Of the C channels.
    notes : tuple of str
        What was changed on the way, such as a dropped alpha channel.
    labels : tuple of str
        What the file itself calls the channels; empty if it does not name each.
    pixel_size_um : (float, float) or None, µm
        Height and width of a pixel; None if the file does not say it.
    unknown : bool array of shape (M, N) or None
        Pixels that were NaN in some channel, which `fill_unknown` has filled; None if there are none.
    """

    image: NDArray[Any]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    pixel_size_um: tuple[float, float] | None = None
    unknown: NDArray[np.bool_] | None = None


def read_image(path: str | Path, reading: ReadOptions = DEFAULT_OPTIONS) -> NDArray[Any]:
    """Read an image with its native values.

    8-bit, 16-bit and 32-bit float samples are kept. Other integers and doubles become float32, integers only where
    that is exact; 1-bit images become 0 and 255; a palette becomes its colours; NaN becomes the value of the nearest
    pixel that is known. A picture that tells viewers how to turn it (EXIF, or TIFF's own entry) is turned, and so is a
    mask: all arrays are upright.

    Parameters
    ----------
    path : path
    reading : ReadOptions
        Which page of a stack, and which channels.

    Returns
    -------
    uint8, uint16 or float32 array of shape (M, N, C)

    Raises
    ------
    DatasetError
        If the file is missing, empty, damaged, too large, of a format that is not read, or of another one than its
        ending says; if it holds several pages of which none is named, infinite values, nothing but NaN, or transparency
        that varies.
    """
    path = Path(path)
    return decode_picture(path, read_bytes(path), reading=reading).image


def read_header(path: Path, limits: Limits = LIMITS, reading: ReadOptions = DEFAULT_OPTIONS) -> Header:
    """Return what a file says about its pixels, checked against `limits`, without decoding them.

    Names and labels are those of the channels that `reading` chooses; all else is about the file.

    Raises
    ------
    DatasetError
        As `read_image`, as far as the header tells.
    """
    packed = b""
    with explain_errors(path):
        if is_image_folder(path):
            packed = pack_folder(path, about=True)
    with explain_errors(path), io.BytesIO(packed) if packed else open_file(path) as file:
        stored = format_of(path, file)
        if stored in RASTER:
            found = read_raster_header(path, file, stored)
        elif stored == "TIFF" and tiff.is_plain(path, file):
            found = tiff.header(path, file, reading)
        else:
            found = read_header_in_child(path, limits, reading, packed)
        check_size(path, found, limits)
        indices = channel_indices(path, found.names, found.labels, reading)
        labels = tuple(found.labels[i] for i in indices if found.labels)
        return replace(found, names=name_channels(found.names, indices), labels=labels)


def list_pages(path: Path, reading: ReadOptions = DEFAULT_OPTIONS) -> dict[str, ReadOptions]:
    """Return how to read each page of a file, by an ending for its name such as "t07_z0"; {} if it has one page only.

    Raises
    ------
    DatasetError
        As `read_header`.
    """
    sizes = dict(read_header(path, reading=replace(reading, page=ALL_PAGES)).pages)
    places = [[(axis, i) for i in range(n)] for axis, n in sizes.items()]
    digits = {axis: len(str(n - 1)) for axis, n in sizes.items()}
    return {
        "_".join(f"{axis.lower()}{i:0{digits[axis]}d}" for axis, i in page): replace(
            reading, page=",".join(f"{axis}={i}" for axis, i in page)
        )
        for page in product(*places)
        if page
    }


def channel_places(
    path: Path, reading: ReadOptions = DEFAULT_OPTIONS
) -> tuple[int, tuple[tuple[int, int], ...]] | None:
    """Return the number of pages of a file, and page and sample of each channel.

    None if they are laid out otherwise, or no page of a stack is chosen.

    Raises
    ------
    DatasetError
        As `read_header`.
    """
    head = read_header(path, reading=replace(reading, channel=""))
    indices = channel_indices(path, head.names, head.labels, reading)
    with explain_errors(path):
        found: tuple[int, list[tuple[int, int]]] | None = None
        if reading.page == ALL_PAGES and head.pages:
            return None
        if head.stored == "TIFF":
            with open_file(path) as file:
                found = tiff.channel_places(path, file, reading)
        elif head.stored in RASTER:
            found = 1, [(0, sample) for sample in range(len(head.names))]
    return None if found is None else (found[0], tuple(found[1][i] for i in indices))


def native_dtype(stored: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that images of a stored dtype are given."""
    if stored in (np.uint8, np.uint16, np.float32):
        return stored
    return np.dtype(np.uint8 if stored == np.bool_ else np.float32)


def decode_picture(path: Path, data: bytes, reading: ReadOptions = DEFAULT_OPTIONS) -> Picture:
    """Return the image in the bytes of a file, as `read_image` does, with its channel names and notes."""
    found = _decode(path, data, LIMITS, reading)
    head = found.header
    indices = channel_indices(path, head.names, head.labels, reading)
    notes = _check_alpha(path, found)
    pixels = found.pixels
    if head.palette:
        assert found.colours is not None
        if int(pixels.max()) >= len(found.colours):
            raise DatasetError(f"{path}: a palette index is beyond the palette's {len(found.colours)} colours.")
        pixels = found.colours[pixels[..., 0]]
    if reading.channel:
        pixels = pixels[..., indices]
    pixels, unknown = fill_unknown(path, pixels)
    pixels = native(path, pixels)
    if head.white_is_zero and pixels.dtype != np.float32:
        pixels = np.iinfo(pixels.dtype).max - pixels
    turn = 1 if reading.exif == "ignore" else head.orientation
    if turn != 1:
        notes += (f"turned upright (orientation {turn})",)
    names, labels = name_channels(head.names, indices), tuple(head.labels[i] for i in indices if head.labels)
    if unknown is not None:
        notes, unknown = (*notes, FILLED), upright(unknown, turn)
    return Picture(upright(pixels, turn), names, notes, labels, upright_pixel_size(head, reading), unknown)


def upright_pixel_size(head: Header, reading: ReadOptions) -> tuple[float, float] | None:
    """Return height and width of a pixel in µm as an image is read: upright, or as stored if that is asked for."""
    turned = head.orientation in _TURNED_ASIDE and reading.exif != "ignore"
    return head.pixel_size_um[::-1] if head.pixel_size_um and turned else head.pixel_size_um


@dataclass(frozen=True)
class StoredMask:
    """The pixels of a mask, upright, before it is decided what their values mean.

    Attributes
    ----------
    where : str
        File, for messages.
    pixels : array of shape (M, N)
        Whole numbers or floats: values, palette indices, or colours.
    colours : bool
        The pixels are colours, 0xRRGGBB; those of at most half the file's highest alpha are -1.
    table : uint8 array of shape (K, 3) or None
        The colours of palette indices.
    lossy : bool
        Compressed in a way that invents values (JPEG).
    white_first : bool
        The file shows its smallest stored value as white, so readers disagree; the pixels are as they are shown.
    declared : bool
        The format itself says that these are labels, 0 for background.
    single : bool
        The file shows one object, or one kind of foreground.
    """

    where: str
    pixels: NDArray[Any]
    colours: bool = False
    table: NDArray[np.uint8] | None = None
    lossy: bool = False
    white_first: bool = False
    declared: bool = False
    single: bool = False


def decode_mask(path: Path, data: bytes, limits: Limits = LIMITS, reading: ReadOptions = DEFAULT_OPTIONS) -> StoredMask:
    """Return the pixels in the bytes of a mask file; grey saved as colours is grey again."""
    found = _decode(path, data, limits, reading)
    head, pixels = found.header, found.pixels
    where = str(path)
    if pixels.dtype.kind == "f":
        _check_finite(path, pixels)
    if pixels.dtype == np.bool_:
        pixels = pixels.view(np.uint8)
    if head.white_is_zero and pixels.dtype.kind == "u":
        top = 1 if head.dtype == np.bool_ else np.iinfo(pixels.dtype).max
        pixels = pixels.dtype.type(top) - pixels
    table, alpha = found.colours, found.alpha
    if table is not None and alpha is not None:
        clear = np.unique(pixels[..., 0][_transparent(alpha)])
        # A transparent entry 0 is background, which is what index 0 of a label palette says, too.
        table, alpha = (table.copy(), None) if clear.tolist() in ([], [0]) else (table, alpha)
        table[clear[:1]] = 0
    if table is not None and alpha is not None:
        pixels, table = table[pixels[..., 0]], None
    values, colours = (pixels[..., 0], False) if table is not None else _flat(path, pixels, alpha)
    white_first = head.white_is_zero or (table is not None and _is_inverting(table))
    turn = 1 if reading.exif == "ignore" else head.orientation
    return StoredMask(where, upright(values, turn), colours, table, head.lossy, white_first)


def _flat(path: Path, pixels: NDArray[Any], alpha: NDArray[Any] | None) -> tuple[NDArray[Any], bool]:
    """Return (M, N) pixels of (M, N, C) ones, and whether they are colours rather than values."""
    if alpha is not None and alpha.min() == alpha.max() > 0:
        alpha = None
    if alpha is None and (pixels == pixels[..., :1]).all():
        return pixels[..., 0], False
    if pixels.shape[2] not in (1, 3):
        raise DatasetError(
            f"{path}: a mask of {pixels.shape[2]} channels that differ, which are neither grey nor RGB. Save one value "
            "per pixel."
        )
    if pixels.dtype != np.uint8:
        top = float(pixels.max())
        scale = 255.0 if pixels.dtype.kind == "f" and top <= 1 else 1.0 if top <= 255 else 255 / 65535
        if pixels.min() < 0 or top * scale > 255:
            raise DatasetError(f"{path}: colours of {pixels.min():g} to {top:g} are not read. Save the mask as 8-bit.")
        pixels = np.round(pixels * scale).astype(np.uint8)
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.int32)
    packed = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
    if alpha is not None:
        packed[_transparent(alpha)] = -1
    return packed, True


def _transparent(alpha: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a mask is transparent, beside its most opaque pixels: overlays are often half transparent."""
    found: NDArray[np.bool_] = alpha <= alpha.max() / 2
    return found


def _is_inverting(table: NDArray[np.uint8]) -> bool:
    """Return whether a palette is a ramp from white to black, as ImageJ's inverting LUT."""
    return len(table) == 256 and bool((table == np.arange(255, -1, -1)[:, None]).all())


def read_first_mask_values(path: Path, data: bytes, reading: ReadOptions = DEFAULT_OPTIONS) -> NDArray[Any]:
    """Return the values of a mask file, shape (M, N), by the rules of runs that recorded no meaning of their masks.

    Labels and palette indices are kept; of colours the largest channel counts, and alpha is ignored: foreground is
    above 0, whatever the other masks hold.
    """
    found = _decode(path, data, LIMITS, reading)
    head = found.header
    if head.white_is_zero:
        raise DatasetError(
            f"{path}: the mask stores white as 0, so readers disagree about which side is foreground. "
            "Save it as PNG with background 0."
        )
    values: NDArray[Any] = found.pixels.max(axis=2)
    if values.dtype.kind == "f":
        _check_finite(path, values)
    if head.lossy and (n := len(np.unique(values))) > 2:
        raise DatasetError(
            f"{path}: a JPEG mask with {n} distinct values; its compression has changed pixels, most of them at the "
            "edges of objects. Re-export the mask as PNG."
        )
    return upright(values, head.orientation)


def _decode(path: Path, data: bytes, limits: Limits, reading: ReadOptions) -> Decoded:
    with explain_errors(path):
        file = io.BytesIO(data)
        stored = format_of(path, file)
        if stored in RASTER:
            return decode_raster(path, file, stored, limits)
        read = tiff.decode if stored == "TIFF" and tiff.is_plain(path, file) else None
        found = read(path, file, limits, reading) if read else decode_in_child(path, data, limits, reading)
    if reading.page == ALL_PAGES and found.header.pages:
        listed = ", ".join(f"{n} along {axis}" for axis, n in found.header.pages)
        raise DatasetError(f"{path}: one page is to be read here, but 'all' of {listed} are asked for. Name one.")
    return found


def _check_alpha(path: Path, found: Decoded) -> tuple[str, ...]:
    """Drop transparency that is the same everywhere, with a note; refuse any other."""
    if found.alpha is None:
        return ()
    low, high = found.alpha.min(), found.alpha.max()
    if low != high:
        raise DatasetError(
            f"{path}: transparency varies from {low} to {high}, so its colours depend on the viewer. "
            "Flatten the image, or save its alpha channel under planes/."
        )
    return ("constant alpha channel dropped",)


def native(path: Path | str, pixels: NDArray[Any]) -> NDArray[Any]:
    """Convert decoded values to uint8, uint16 or float32, or raise an error about `path`."""
    target = native_dtype(pixels.dtype)
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind == "f":
        _check_finite(path, pixels)
        if pixels.dtype.itemsize > 4 and np.abs(pixels).max() > np.finfo(np.float32).max:
            raise DatasetError(f"{path}: values beyond the range of 32-bit floats. Rescale the image.")
    elif target == np.float32 and max(abs(int(pixels.min())), abs(int(pixels.max()))) > _EXACT:
        raise DatasetError(
            f"{path}: {pixels.dtype} values up to {int(pixels.max())} are not exact in 32-bit floats. "
            "Rescale the image to 16 bits."
        )
    return pixels.astype(target, copy=False)


def fill_unknown(path: Path | str, pixels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Fill pixels that are NaN with the values of the nearest pixel that is known.

    Parameters
    ----------
    path : path
        For messages.
    pixels : array of shape (M, N, C)

    Returns
    -------
    filled : array of shape (M, N, C)
    unknown : bool array of shape (M, N) or None
        Where some channel was NaN; None if nowhere.

    Raises
    ------
    DatasetError
        If no pixel is known.
    """
    unknown = np.isnan(pixels).any(axis=2) if pixels.dtype.kind == "f" else np.zeros((1, 1), bool)
    if not unknown.any():
        return pixels, None
    if unknown.all():
        raise DatasetError(f"{path}: every pixel is NaN in some channel. Export it again, or remove it.")
    return fill_pixels(pixels, unknown), unknown


def fill_pixels(pixels: NDArray[Any], unknown: NDArray[np.bool_]) -> NDArray[Any]:
    """Return an image, (M, N, C), with unknown pixels, (M, N), as the nearest of those that are known, at least one."""
    import cv2

    # Each pixel that is known has a number, and each other one that of the nearest.
    numbers = cv2.distanceTransformWithLabels(unknown.view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)[1]
    known = np.flatnonzero(~unknown)
    owner = np.zeros(int(numbers.max()) + 1, np.intp)
    owner[numbers.ravel()[known]] = known
    return np.asarray(pixels.reshape(-1, pixels.shape[2])[owner[numbers.ravel()]].reshape(pixels.shape))


def _check_finite(path: Path | str, values: NDArray[Any]) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        nan = int(np.isnan(values).sum())
        infinite = int(finite.size - finite.sum()) - nan
        raise DatasetError(
            f"{path}: {nan} NaN and {infinite} infinite of {values.size} values. Fill them before use, and leave those "
            "pixels out of the score with a file under known/."
        )


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return pixels as they are to be shown, by an EXIF or TIFF orientation."""
    return np.ascontiguousarray(_TURNS.get(orientation, _TURNS[1])(pixels))


def write_mask(path: str | Path, mask: NDArray[np.bool_], *, overwrite: bool = False) -> None:
    """Write a mask as an 8-bit PNG, 0 and 255; the file appears whole or not at all.

    Parameters
    ----------
    path : path ending in .png
    mask : bool array of shape (M, N)
    overwrite : bool
        Replace a file that is there already.

    Raises
    ------
    DatasetError
        If the array is no mask, the ending is not .png, or the file exists and `overwrite` is False.
    """
    path = Path(path)
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise DatasetError(f"{path}: a mask is a bool array of shape (M, N), not {mask.dtype} of {mask.shape}.")
    _check_ending(path, ("png",))
    _write_whole(path, lambda file: _save_png(mask.view(np.uint8) * np.uint8(255), file), overwrite)


def write_labels(path: str | Path, labels: NDArray[np.int32], *, overwrite: bool = False) -> None:
    """Write labels as a 32-bit TIFF, which holds any number of objects; the file appears whole or not at all.

    Parameters
    ----------
    path : path ending in .tif or .tiff
    labels : int32 array of shape (M, N)
        0 is background.
    overwrite : bool
        Replace a file that is there already.

    Raises
    ------
    DatasetError
        If the array holds no labels, the ending is another, or the file exists and `overwrite` is False.
    """
    path = Path(path)
    if labels.ndim != 2 or labels.dtype != np.int32:
        raise DatasetError(f"{path}: labels are an int32 array of shape (M, N), not {labels.dtype} of {labels.shape}.")
    _check_ending(path, ("tif", "tiff"))
    _write_whole(path, lambda file: _save_tiff(labels, file), overwrite)


def write_image(path: str | Path, image: NDArray[Any], *, overwrite: bool = False) -> None:
    """Write an image as PNG (8 bits grey or RGB, 16 bits grey) or TIFF (anything), by its ending.

    Parameters
    ----------
    path : path ending in .png, .tif or .tiff
    image : uint8, uint16 or float32 array of shape (M, N) or (M, N, C)
    overwrite : bool
        Replace a file that is there already.

    Raises
    ------
    DatasetError
        If the array or the ending does not fit, or the file exists and `overwrite` is False.
    """
    path = Path(path)
    if image.ndim not in (2, 3) or native_dtype(image.dtype) != image.dtype:
        raise DatasetError(
            f"{path}: an image is uint8, uint16 or float32 of shape (M, N, C), not {image.dtype} of {image.shape}."
        )
    _check_ending(path, ("png", "tif", "tiff"))
    image = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if path.suffix.lower() != ".png":
        _write_whole(path, lambda file: _save_tiff(image, file), overwrite)
        return
    if (image.dtype.name, *image.shape[2:]) not in (("uint8",), ("uint8", 3), ("uint16",)):
        raise DatasetError(
            f"{path}: PNG is written from grey or RGB of 8 bits, or grey of 16, not {image.dtype} of {image.shape}. "
            "Write it as .tif."
        )
    _write_whole(path, lambda file: _save_png(image, file), overwrite)


def _save_png(image: NDArray[Any], file: BinaryIO) -> None:
    from PIL import Image

    Image.fromarray(image).save(file, format="PNG")


def _save_tiff(image: NDArray[Any], file: BinaryIO) -> None:
    """Save colours as RGB and other channels with axes CYX, the form that ImageJ reads."""
    import tifffile

    if image.ndim == 2 or image.shape[2] == 3:
        photometric = "minisblack" if image.ndim == 2 else "rgb"
        tifffile.imwrite(file, image, photometric=photometric, metadata=None)
    else:
        planes = np.ascontiguousarray(np.moveaxis(image, -1, 0))
        tifffile.imwrite(file, planes, imagej=True, photometric="minisblack", metadata={"axes": "CYX"})


def _check_ending(path: Path, endings: tuple[str, ...]) -> None:
    if path.suffix[1:].lower() not in endings:
        raise DatasetError(f"{path}: the name must end in {' or '.join('.' + ending for ending in endings)}.")


def _write_whole(path: Path, save: Callable[[BinaryIO], None], overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise DatasetError(
            f"{path}: exists already and is not overwritten. Choose another name, or use overwrite=True."
        )
    with write_atomically(path) as file:
        save(file)
