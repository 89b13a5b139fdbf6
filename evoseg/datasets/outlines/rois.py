"""ImageJ: a .roi file, or a .zip of them as the ROI Manager saves it, per image."""

from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from evoseg.core.errors import DatasetError
from evoseg.core.untrusted import read_file
from evoseg.datasets.io.formats import explain_errors
from evoseg.datasets.outlines.annotated import Annotated, Outline, naming, no_area
from evoseg.datasets.outlines.areas import ellipse, rectangle
from evoseg.datasets.outlines.recognising import ReadableFormat

_MOST_BYTES = 256 * 2**20
_MOST_ROIS = 200_000


def read_rois(path: Path, root: Path) -> list[Annotated]:
    """Return the areas of a file: polygons, freehand and traced outlines, rectangles, ovals, and composites of them.

    Raises
    ------
    DatasetError
        If it is not such a file, or its ROIs lie on several planes of a stack; the message names the ROI.
    """
    from roifile import ROI_SUBTYPE, ImagejRoi

    objects, left_out, planes, n_boxes = [], [], set(), 0
    for name, data in _files(path, root):
        with naming(path, name):
            try:
                roi = ImagejRoi.frombytes(data)
                parts, form = _parts(roi), roi.roitype.name.lower()
            except DatasetError:
                raise
            except Exception as error:  # damaged bytes make the decoder raise almost anything
                raise DatasetError(f"not a ROI of ImageJ ({error or type(error).__name__})") from error
        if parts is None or roi.subtype == ROI_SUBTYPE.TEXT:
            left_out.append(no_area("text" if roi.subtype == ROI_SUBTYPE.TEXT else form))
            continue
        planes.add((roi.z_position or roi.position, roi.t_position))
        objects.append(Outline(name, parts))
        n_boxes += form == "rect" and not roi.composite
    if len(planes) > 1:
        raise DatasetError(
            f"{path}: the ROIs lie on {len(planes)} planes of a stack; a mask is of one plane. Save those of one."
        )
    return [Annotated(tuple(objects), left_out=tuple(left_out), n_boxes=n_boxes)]


def _parts(roi: Any) -> list[Any] | None:
    """Return what `draw_region` draws; None if the ROI has no area."""
    from roifile import ROI_OPTIONS, ROI_TYPE

    box = float(roi.left), float(roi.top), float(roi.right - roi.left), float(roi.bottom - roi.top)
    if roi.subpixelrect and roi.options & ROI_OPTIONS.SUB_PIXEL_RESOLUTION:
        box = roi.xd, roi.yd, roi.widthd, roi.heightd
    x, y, width, height = box
    if roi.multi_coordinates is not None:
        # A composite is the even-odd area of all its paths.
        return [tuple(_flat(path) for path in roi.coordinates(multi=True) if len(path) > 2)]
    if roi.roitype == ROI_TYPE.RECT:
        return [rectangle(x, y, width, height)]
    if roi.roitype == ROI_TYPE.OVAL:
        return [ellipse(x + width / 2, y + height / 2, width / 2, height / 2)]
    if roi.roitype in (ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED):
        return [_flat(roi.coordinates())]
    return None


def _flat(corners: Any) -> list[float]:
    """Return corners as x, y, x, y, ..."""
    return [float(value) for value in corners.reshape(-1)]


def _files(path: Path, root: Path) -> list[tuple[str, bytes]]:
    """Return the ROIs in a file, with their names."""
    with explain_errors(path):
        data = read_file(path, _MOST_BYTES, inside=root)
        if path.suffix.lower() != ".zip":
            return [("the ROI", data)]
        found, n_bytes = [], 0
        try:
            with ZipFile(BytesIO(data)) as archive:
                members = [one for one in archive.infolist() if one.filename.lower().endswith(".roi")]
                if len(members) > _MOST_ROIS:
                    raise DatasetError(f"{path}: {len(members)} ROIs; at most {_MOST_ROIS} are read. Cut the image.")
                for one in members:
                    with archive.open(one) as file:
                        found.append((one.filename, file.read(_MOST_BYTES - n_bytes + 1)))
                    n_bytes += len(found[-1][1])
                    if n_bytes > _MOST_BYTES:
                        raise DatasetError(f"{path}: more than {_MOST_BYTES >> 20} MB of ROIs. Is it the right file?")
        except BadZipFile as error:
            raise DatasetError(f"{path}: not a ZIP archive that can be read ({error}). Save it again.") from error
        return found


ROIS = ReadableFormat(
    "ImageJ ROI",
    ("roi", "zip"),
    lambda head: head.startswith(b"Iout") or b".roi" in head,
    lambda root: partial(read_rois, root=root),
)
