"""Medical images: NIfTI through nibabel, DICOM through pydicom."""

import gzip
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from evoseg.core.errors import DatasetError
from evoseg.datasets.io.formats import damaged
from evoseg.datasets.io.readers.stack import UM_PER, Stack, read_planes
from evoseg.datasets.reading import ReadOptions

if TYPE_CHECKING:
    from pydicom import Dataset

_NIFTI_AXES = "XYZTC"
_NIFTI_2 = 540
"""The first number of a NIfTI-2 file, the length of its header."""


def open_nifti(path: Path, file: BinaryIO, reading: ReadOptions) -> Stack:
    """Open a NIfTI file: voxel (i, j, k) is column i and row j of plane k, with its slope and intercept applied."""
    import nibabel

    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    stream: Any = gzip.GzipFile(fileobj=file) if compressed else file
    start = stream.read(4)
    stream.seek(0)
    length = {struct.unpack(f"{order}i", start)[0] for order in "<>"} if len(start) == 4 else set()
    if not length & {348, _NIFTI_2}:
        raise damaged(path, "it does not begin with a header of NIfTI")
    kind = nibabel.Nifti2Image if _NIFTI_2 in length else nibabel.Nifti1Image
    image = kind.from_stream(stream)
    data, dtype = image.dataobj, image.get_data_dtype()
    shape = image.shape
    while len(shape) > len(_NIFTI_AXES) and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= len(_NIFTI_AXES):
        raise DatasetError(f"{path}: {len(shape)} axes of {' x '.join(map(str, shape))} are not read; 2 to 5 are.")
    unit = UM_PER.get(image.header.get_xyzt_units()[0], 0.0)
    sizes = [float(size) * unit for size in image.header.get_zooms()[:3]]
    spacing = [*sizes, 0.0, 0.0, 0.0][: len(shape)]
    spacing[3:] = [0.0] * len(spacing[3:])
    axes = _NIFTI_AXES[: len(shape)][::-1]
    colours = dtype.names is not None and {"R", "G", "B"} <= {*dtype.names}
    if not colours and (data.slope, data.inter) != (1, 0):
        dtype = np.dtype(np.float64)

    def read(index: tuple[int | slice, ...]) -> NDArray[Any]:
        colour, index = (index[-1], index[:-1]) if colours else (slice(None), index)
        padding = (0,) * (len(image.shape) - len(shape))
        values = np.asanyarray(data[(*index[::-1], *padding)]).T
        return np.stack([values[name] for name in "RGB"], axis=-1)[..., colour] if colours else values

    if colours:
        return Stack(axes + "S", (*shape[::-1], 3), np.dtype(np.uint8), read, spacing_um=(*spacing[::-1], 0.0))
    return Stack(axes, shape[::-1], dtype, read, spacing_um=tuple(spacing[::-1]))


def open_dicom(path: Path, file: BinaryIO, reading: ReadOptions) -> Stack:
    """Open a DICOM file, with its rescale slope and intercept applied and MONOCHROME1 inverted, so that high is bright.

    The window is for display and changes nothing.
    """
    import pydicom
    from pydicom.pixels import apply_rescale, pixel_array
    from pydicom.pixels.utils import pixel_dtype

    data = pydicom.dcmread(file)
    if not {"PixelData", "FloatPixelData", "DoubleFloatPixelData"} & {*data.dir()} or "Rows" not in data:
        raise DatasetError(f"{path}: holds no image ({data.get('Modality', 'of no modality')}). Is it the right file?")
    if data.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise DatasetError(f"{path}: palette colours in DICOM files are not read. Export it as PNG or TIFF.")
    n_frames, n_samples = int(data.get("NumberOfFrames", 1) or 1), int(data.get("SamplesPerPixel", 1))
    colours = n_samples > 1
    shape = (n_frames, int(data.Rows), int(data.Columns), *([n_samples] if colours else []))
    axes = ("T" if "FrameTime" in data else "Z") + ("YXS" if colours else "YX")
    rescaled = _rescale(data)
    dtype = pixel_dtype(data, as_float="PixelData" not in data)
    top = (1 << int(data.get("BitsStored", 8))) - 1 if dtype.kind == "u" else -1
    inverted = data.get("PhotometricInterpretation") == "MONOCHROME1" and dtype.kind in "ui"

    def plane(place: tuple[int, ...]) -> NDArray[Any]:
        try:
            values = pixel_array(data, index=place[0])
        except RuntimeError as error:
            if "plugin" not in str(error) and "decompress" not in str(error):
                raise
            raise DatasetError(
                f"{path}: its compression ({data.file_meta.TransferSyntaxUID.name}) is not read by the packages that "
                "are installed. Decompress it, as with dcmdjpeg or gdcmconv --raw, or try pip install pylibjpeg[all]."
            ) from error
        if inverted:
            values = top - values
        return values if rescaled is None else np.asarray(apply_rescale(values, rescaled))

    spacing = _pixel_spacing(data)
    return Stack(
        axes,
        shape,
        np.dtype(np.float64) if rescaled is not None else dtype,
        lambda index: read_planes(shape[:1], index, plane),
        spacing_um=(0.0, *spacing, 0.0) if colours else (0.0, *spacing),
    )


def _shared(data: "Dataset", group: str) -> "Dataset | None":
    """Return a functional group that all frames of a file share; None if there is none."""
    for functional in data.get("SharedFunctionalGroupsSequence", ()) or ():
        for found in functional.get(group, ()) or ():
            return found
    return None


def _rescale(data: "Dataset") -> "Dataset | None":
    """Return what holds the slope and intercept; None if they change nothing."""
    for place in (data, _shared(data, "PixelValueTransformationSequence")):
        if place is not None and "RescaleSlope" in place and "RescaleIntercept" in place:
            slope, intercept = float(place.RescaleSlope), float(place.RescaleIntercept)
            return place if (slope, intercept) != (1, 0) else None
    return None


def _pixel_spacing(data: "Dataset") -> tuple[float, float]:
    """Return the distance between rows and between columns in µm, (0, 0) if it is not known."""
    for place in (data, _shared(data, "PixelMeasuresSequence")):
        spacing = None if place is None else place.get("PixelSpacing")
        if spacing is not None and len(spacing) == 2:
            return float(spacing[0]) * UM_PER["mm"], float(spacing[1]) * UM_PER["mm"]
    return 0.0, 0.0
