"""The demo's own folder: a drawn dataset, and the result of a search on it."""

import shutil
from pathlib import Path

from evoseg.app.runs import FilesError, make_folder, write_whole
from evoseg.data.scenes import draw_dataset

SCENE, N_IMAGES, SHAPE, SEED = "cracks", 16, (240, 320), 20
DATASET, RESULT = "cracks", "result"
_MARK = ".evoseg-demo"


def prepare(folder: Path) -> bool:
    """Draw the dataset in a folder; return whether an earlier demo was replaced there.

    Raises
    ------
    FilesError
        If the folder holds files that no demo has made.
    """
    mark = folder / _MARK
    replaced = mark.exists()
    if not replaced and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FilesError(
            f"{folder}: exists, and no demo has made it, so it is left as it is. Choose another place with --out."
        )
    make_folder(folder)
    if not replaced:
        write_whole(mark, "evoseg demo replaces the folders cracks and result beside this file.\n")
    for name in (DATASET, RESULT):
        shutil.rmtree(folder / name, ignore_errors=True)
    draw_dataset(SCENE, folder / DATASET, N_IMAGES, SHAPE, SEED)
    return replaced
