"""What an exported Python file holds beside its pipeline: how it reads and writes images, and its self-test.

The Python exporter copies these functions into the file, so they use numpy and OpenCV only. Other exporters draw the
same test images in their own language.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Places = tuple[int, Sequence[tuple[int, int]]]
"""How many pages a file has, and on which of them, and where among its samples, each channel lies."""
DEPTHS = ("uint8", "uint16")
"""The two drawn images: uint8 with three channels, and uint16 with one and turned by its diagonal."""


def read_image(path: Path | str, places: Places | None, n_channels: int) -> NDArray[Any]:
    """Return an image as (M, N, C), colours in the order R, G, B and without transparency.

    Parameters
    ----------
    path : path
    places : (int, places), optional
        Where the channels are in files of several pages.
    n_channels : int
        Of the images that the pipeline was made for; 0 if that is not known.

    Raises
    ------
    ValueError
        If OpenCV cannot read the file, or it is laid out in another way.
    """
    # OpenCV's own functions take no path with letters beyond ASCII on Windows.
    data = np.fromfile(path, np.uint8)
    pages = decoded_pages(data) if data.size else []
    if not pages:
        raise ValueError(f"not an image that OpenCV {cv2.__version__} can read. Save it as plain TIFF of 8 or 16 bits.")
    if places is not None:
        n_pages, channels = places
        if len(pages) != n_pages or any(sample >= pages[page].shape[2] for page, sample in channels):
            raise ValueError(f"{len(pages)} pages are laid out in another way than in the images of the search.")
        image = np.dstack([pages[page][:, :, sample] for page, sample in channels])
    elif len(pages) == 1:
        image = pages[0]
    elif len(pages) == n_channels and len({page.shape for page in pages}) == 1 == pages[0].shape[2]:
        image = np.dstack(pages)
    else:
        raise ValueError(f"holds {len(pages)} pages. Save one image per file.")
    if n_channels == 1 and image.shape[2] == 3 and (image == image[:, :, :1]).all():
        image = image[:, :, :1]  # a grey image with transparency
    return as_native(image)


def decoded_pages(data: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """Return the pages in the bytes of a file, each of shape (M, N, C), with colours in the order R, G, B."""
    depth = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
    # PNG says in its 26th byte whether it holds transparency.
    if data.size > 25 and data[:4].tobytes() == b"\x89PNG" and data[25] in (4, 6):
        whole = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if whole is not None and np.ptp(whole[:, :, -1]):
            raise ValueError("transparency varies, so its colours depend on the viewer. Flatten the image.")
    try:
        # OpenCV before 4.7 reads the first page only.
        several = hasattr(cv2, "imdecodemulti") and data[:2].tobytes() in (b"II", b"MM")
        pages = cv2.imdecodemulti(data, depth)[1] if several else [cv2.imdecode(data, depth)]
    except cv2.error:
        return []
    pages = [page[:, :, None] if page.ndim == 2 else page[:, :, ::-1] for page in pages if page is not None]
    return pages


def as_native(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image of shape (M, N) or (M, N, C) as uint8, uint16 or float32 of shape (M, N, C).

    Raises
    ------
    ValueError
        If it has another shape, or values that 32-bit floats do not hold.
    """
    if image.ndim not in (2, 3) or not image.size or image.dtype.kind not in "buif":
        raise ValueError(f"{image.dtype} of shape {image.shape} is no image of shape (M, N) or (M, N, C).")
    if image.ndim == 2:
        image = image[:, :, None]
    if image.dtype.kind == "b":
        image = image.astype(np.uint8) * np.uint8(255)
    elif image.dtype not in (np.uint8, np.uint16, np.float32):
        if image.dtype.kind != "f" and max(abs(int(image.min())), abs(int(image.max()))) > 2**24:
            raise ValueError(f"{image.dtype} values are too large for 32-bit floats. Rescale the image to 16 bits.")
        image = image.astype(np.float32)
    if image.dtype == np.float32 and not np.isfinite(image).all():
        raise ValueError("there are NaN or infinite values. Fill them first.")
    return np.ascontiguousarray(image)


def write_file(path: Path | str, image: NDArray[Any]) -> None:
    """Write an image, in the format of its ending."""
    path = Path(path)
    done, data = cv2.imencode(path.suffix, image)
    if not done:
        raise ValueError("could not be written.")
    data.tofile(path)


def drawn_image(depth: str) -> NDArray[Any]:
    """Draw discs, a thin line and grain on a slanted ground, with integers only."""
    row, col = np.indices((96, 131), np.int64)
    ground = 90 + row // 4 + col // 6
    ground[(row - 30) ** 2 + (col - 34) ** 2 < 300] += 80
    ground[(row - 62) ** 2 + (col - 90) ** 2 < 420] -= 70
    ground[(row - 20) ** 2 + (col - 100) ** 2 < 40] += 60
    ground[abs(3 * row - col - 110) < 5] -= 50
    grain = (row * 7919 + col * 104729 + row * col * 31) % 23
    shades = np.clip(ground + grain, 0, 255)
    if depth == "uint16":
        return np.stack([shades.T * 200], axis=2).astype(np.uint16)
    return np.stack([shades, shades // 2 + 2 * grain, 235 - shades // 2], axis=2).astype(np.uint8)


def fingerprint(result: NDArray[Any]) -> str:
    """Return the SHA-256 of a result's pixels."""
    if result.dtype == np.float64:
        result = np.round(result, 3) + 0.0
    return hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest()
