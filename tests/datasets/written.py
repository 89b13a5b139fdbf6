"""Images written as files."""

import tifffile
from PIL import Image


def put(path, array):
    """Write an array as TIFF or as whatever the ending says, in a folder that need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, array)
    else:
        Image.fromarray(array).save(path)
    return path
