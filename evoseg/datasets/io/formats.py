"""What an image file is and says: the formats that are read, header, limits and errors; PNG, JPEG and BMP."""

import io
import math
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError, MissingPackageError
from evoseg.core.untrusted import read_file

if TYPE_CHECKING:
    from PIL import Image, ImageFile


@dataclass(frozen=True)
class FileFormat:
    """A format of image files that is read.

    Attributes
    ----------
    name : str
    endings : tuple of str
        Of file names, in lower case; the usual one comes first.
    package : str
        That reads such files; "" if evoseg's own dependencies do.
    install : str
        What pip is to install for it.
    """

    name: str
    endings: tuple[str, ...]
    package: str = ""
    install: str = "'evoseg[formats]'"


FILE_FORMATS = (
    FileFormat("PNG", ("png",)),
    FileFormat("JPEG", ("jpg", "jpeg")),
    FileFormat("BMP", ("bmp",)),
    FileFormat("TIFF", ("tif", "tiff", "ome.tif", "ome.tiff")),
    FileFormat("NPY", ("npy",)),
    FileFormat("NPZ", ("npz",)),
    FileFormat("HDF5", ("h5", "hdf5", "hdf"), "h5py"),
    FileFormat("NIfTI", ("nii", "nii.gz"), "nibabel"),
    FileFormat("DICOM", ("dcm", "dicom"), "pydicom"),
    FileFormat("Zarr", ("zarr", "ome.zarr"), "zarr"),
    FileFormat("CZI", ("czi",), "pylibCZIrw"),
    FileFormat("ND2", ("nd2",), "nd2"),
    FileFormat("LIF", ("lif",), "readlif", "readlif"),  # under the GPL, so that it is in no extra of evoseg
)
"""All formats; `evoseg.datasets.io.stacks.READERS` has the readers of those that are neither TIFF nor Pillow's."""

RASTER = ("PNG", "JPEG", "BMP")
"""Those that Pillow reads."""

_NAMES = [one.name for one in FILE_FORMATS]
FORMATS = f"{', '.join(_NAMES[:-1])} and {_NAMES[-1]}"

SUFFIXES = {ending: one.name for one in FILE_FORMATS for ending in one.endings}
"""File endings that are read, in lower case, and the format that each promises."""

_MAGICK = "ImageMagick converts them: magick mogrify -format png FILES."
_FIJI = "Fiji (Bio-Formats) or bfconvert exports them as OME-TIFF."
_SLIDE = "QuPath, or libvips with OpenSlide (vips copy), exports regions of them as TIFF."
_NUMPY = "Save each array as .npy or TIFF: numpy.save(path, array) in Python."
_FOREIGN = (
    ("gif webp jp2 j2k jxl heic heif avif tga ppm pgm pbm pnm ico", _MAGICK),
    ("psd xcf", "Export them as PNG or TIFF from GIMP or Photoshop."),
    ("svg pdf", "Export them as PNG from Inkscape."),
    ("mat", _NUMPY),
    ("n5", "Fiji's HDF5 reader or ilastik export them as TIFF; in Python, zarr and tifffile.imwrite."),
    ("nrrd mha mhd mrc", "Fiji opens such volumes and saves slices as TIFF; in Python, SimpleITK writes NIfTI."),
    ("lsm oib oif vsi stk ims dv", _FIJI),
    ("svs ndpi scn mrxs bif", _SLIDE),
    ("dm3 dm4 emd ser spm", "Fiji or HyperSpy exports them as TIFF."),
    ("exr hdr fits fit", "Fiji exports FITS as 32-bit TIFF; ImageMagick converts EXR and HDR."),
    ("raw dng cr2 cr3 nef arw orf", "darktable or RawTherapee export them as 16-bit TIFF."),
)
FOREIGN_SUFFIXES: dict[str, str] = {ending: how for endings, how in _FOREIGN for ending in endings.split()}
"""Endings of files that hold images, but not in a format that is read, and what converts them."""

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (4, b"ftyp", "HEIC or AVIF"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\xffO\xffQ", "JPEG 2000"),
    (0, b"8BPS", "Photoshop"),
    (0, b"%PDF", "PDF"),
    (0, b"\x93NUMPY", "NPY"),
    (0, b"\x89HDF", "HDF5"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"\x1f\x8b", "gzip"),
    (0, b"ZISRAWFILE", "CZI"),
    (0, b"\xda\xce\xbe\n", "ND2"),
    (0, b"p\0\0\0", "LIF"),
    (0, b"SIMPLE  =", "FITS"),
    (128, b"DICM", "DICOM"),
    (344, b"n+1\0", "NIfTI"),
    (4, b"n+2\0", "NIfTI"),
    (0, b"<svg", "SVG"),
)
_CONTAINERS = {"zip": ("NPZ", "Zarr"), "gzip": ("NIfTI",)}
"""Formats that others are wrapped in; then the name says which."""


@dataclass(frozen=True)
class Limits:
    """Limits of what is decoded: a file beyond them is refused before its pixels are read."""

    file_bytes: int = 512 * 2**20
    pixels: int = 64 * 10**6
    array_bytes: int = 2**30


LIMITS = Limits()


@dataclass(frozen=True)
class Header:
    """What a file says about its pixels, known without decoding them.

    Attributes
    ----------
    stored : str
        One of `FILE_FORMATS`, by name.
    shape : tuple of int
        (M, N) as stored, before any rotation.
    names : tuple of str
        Names of the C channels without alpha: ("gray",), ("R", "G", "B") or ("C1", "C2", ...).
    dtype : numpy dtype
        As stored.
    alpha : bool
        The file holds transparency.
    palette : bool
        Pixels are indices into a table of colours.
    orientation : int
        EXIF or TIFF orientation, 1 = upright.
    lossy : bool
        Compressed in a way that invents values (JPEG).
    white_is_zero : bool
        TIFF whose smallest value is white.
    labels : tuple of str
        What the file itself calls the channels; empty if it does not name each.
    pages : tuple of (str, int)
        Along which axes the pages of a stack lie, and how many; empty if there is one page.
    pixel_size_um : (float, float) or None, µm
        Height and width of a pixel; None if the file does not say it.
    """

    stored: str
    shape: tuple[int, int]
    names: tuple[str, ...]
    dtype: np.dtype[Any]
    alpha: bool = False
    palette: bool = False
    orientation: int = 1
    lossy: bool = False
    white_is_zero: bool = False
    labels: tuple[str, ...] = ()
    pages: tuple[tuple[str, int], ...] = ()
    pixel_size_um: tuple[float, float] | None = None


@dataclass(frozen=True)
class Decoded:
    """A file's header and pixels as stored.

    Attributes
    ----------
    header : Header
    pixels : array of shape (M, N, C)
        Native values without alpha; palette indices (C = 1) if `header.palette`.
    alpha : array of shape (M, N) or None
    colours : uint8 array of shape (K, 3) or None
        The palette.
    """

    header: Header
    pixels: NDArray[Any]
    alpha: NDArray[Any] | None = None
    colours: NDArray[np.uint8] | None = None


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, or say why it cannot be had."""
    with explain_errors(path):
        if is_image_folder(path):
            return pack_folder(path)
        return read_file(path, LIMITS.file_bytes, advice="Cut the image into tiles.")


def is_image_folder(path: Path) -> bool:
    """Return whether a path is a folder that is one image."""
    return SUFFIXES.get(ending_of(path.name)) == "Zarr" and path.is_dir()


def pack_folder(folder: Path, *, about: bool = False) -> bytes:
    """Return a folder that is one image as the bytes of a zip without compression, always the same for the same files.

    Parameters
    ----------
    folder : Path
    about : bool
        Whether only files that describe arrays are needed.

    Raises
    ------
    DatasetError
        If it is too large, or has links out of the folder.
    """
    packed, left = io.BytesIO(), LIMITS.file_bytes
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_dir() or (about and path.name not in _ABOUT_ARRAYS):
                continue
            advice = "Take a smaller scale as a folder of its own."
            data = read_file(path, left, inside=folder, advice=advice)
            left -= len(data)
            archive.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), data)
    return packed.getvalue()


_ABOUT_ARRAYS = (".zattrs", ".zgroup", ".zarray", ".zmetadata", "zarr.json")


class _Quiet:
    """Keeps decoders' warnings to itself, from the first thread that enters until the last one leaves.

    `warnings.catch_warnings` alone swaps filters that all threads share: two that overlap would leave the wrong ones.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")
                warnings.filterwarnings("error", message="Image size")

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_QUIET = _Quiet()


@contextmanager
def explain_errors(path: Path) -> Iterator[None]:
    """Turn whatever a decoder raises into a `DatasetError` about `path`.

    Damaged bytes make decoders raise almost anything (struct.error, IndexError, zlib.error, ...), so this border
    catches broadly. Pillow's warning about giant images counts as an error.
    """
    try:
        with _QUIET:
            yield
    except DatasetError:
        raise
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file.") from error
    except MemoryError as error:
        raise DatasetError(f"{path}: not enough memory to decode it. Cut the image into tiles.") from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            words = f"cannot be read ({error.strerror}). Check the file and its permissions."
            raise DatasetError(f"{path}: {words}") from error
        if "Decompression" in type(error).__name__:
            raise DatasetError(f"{path}: {str(error).split(',')[0]}. Cut the image into tiles.") from error
        raise damaged(path, error) from error


def damaged(path: Path, why: Exception | str) -> DatasetError:
    """Return the error for a file whose content breaks off or makes no sense."""
    said = (str(why) or type(why).__name__).splitlines()[0][:160]
    return DatasetError(f"{path}: the file is damaged or cut off ({said}). Copy or export it again.")


def format_of(path: Path, file: BinaryIO) -> str:
    """Return the format of an open file by its first bytes, which its ending must agree with.

    Raises
    ------
    DatasetError
        For an empty file, a format that is not read, or an ending that promises another format.
    """
    start = file.read(360)
    file.seek(0)
    if not start:
        raise DatasetError(f"{path}: the file is empty (0 bytes). Copy or export it again.")
    found = next((name for at, mark, name in _SIGNATURES if start[at : at + len(mark)] == mark), None)
    promised = SUFFIXES.get(ending_of(path.name))
    if found is None:
        raise DatasetError(f"{path}: not an image that can be read; {FORMATS} are. Export it as PNG or TIFF.")
    if promised in _CONTAINERS.get(found, ()):
        found = promised
    if found not in SUFFIXES.values():
        raise DatasetError(f"{path}: {found} files are not read; {FORMATS} are. Export it as PNG or TIFF.")
    form = next(one for one in FILE_FORMATS if one.name == found)
    if promised != found:
        raise DatasetError(
            f"{path}: the content is {found}, although the file name ends in '{path.suffix}'. Rename it to "
            f".{form.endings[0]}."
        )
    if form.package and find_spec(form.package) is None:
        raise DatasetError(
            f"{path}: is a {form.name} image; reading these needs {form.package}: pip install {form.install}."
        )
    return form.name


def check_size(path: Path, header: Header, limits: Limits) -> None:
    """Raise a `DatasetError` if decoding would take more than `limits`."""
    rows, cols = header.shape
    depth = len(header.names) + header.alpha
    n_bytes = math.prod((rows, cols, depth, header.dtype.itemsize))
    if rows * cols > limits.pixels or n_bytes > limits.array_bytes:
        raise DatasetError(
            f"{path}: {rows} x {cols} pixels of {depth} x {header.dtype} ({n_bytes / 2**20:.0f} MB); at most "
            f"{limits.pixels / 1e6:.0f} million pixels and {limits.array_bytes / 2**20:.0f} MB are read. "
            "Cut the image into tiles."
        )
    if not rows * cols * depth:
        raise DatasetError(f"{path}: the image has no pixels ({rows} x {cols} x {depth}). Export it again.")


def ending_of(name: str) -> str:
    """Return the ending of an image file that is read, in lower case and without its dot; "" for all other files."""
    return _ending_among(name, SUFFIXES)


def foreign_ending(name: str) -> str:
    """Return the ending of a file that holds an image in a format that is not read; "" for all others."""
    return _ending_among(name, FOREIGN_SUFFIXES)


def _ending_among(name: str, known: Mapping[str, str]) -> str:
    words = name.lower().split(".")
    endings = (".".join(words[-2:]), words[-1]) if len(words) > 2 else words[1:]
    return next((ending for ending in endings if ending in known), "")


def channel_names(count: int, colour: bool) -> tuple[str, ...]:
    """Return the names of `count` channels: gray, R G B, or C1 C2 ..."""
    if colour and count == 3:
        return ("R", "G", "B")
    return ("gray",) if count == 1 else tuple(f"C{i + 1}" for i in range(count))


_EXIF_ORIENTATION = 274
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


def read_raster_header(path: Path, file: BinaryIO, stored: str) -> Header:
    """Return what an open file of format `stored` says about its pixels."""
    return _open_raster(path, file, stored)[1]


def decode_raster(path: Path, file: BinaryIO, stored: str, limits: Limits) -> Decoded:
    """Return the pixels of an open file of format `stored`, checked against `limits` first."""
    image, head = _open_raster(path, file, stored)
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


def _open_raster(path: Path, file: BinaryIO, stored: str) -> tuple["ImageFile.ImageFile", Header]:
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
    return int(exif.get(_EXIF_ORIENTATION, 1))


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
