"""Write the library that tests of this version open: python tests/library/make_fixture.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evoseg.library.collection import Library
from evoseg.library.store import MIGRATIONS
from evoseg.library.task_files import TransferResult
from tests.library.helpers import task

if __name__ == "__main__":
    path = Path(__file__).with_name(f"library-{len(MIGRATIONS)}.db")
    path.unlink(missing_ok=True)
    plates, wells = task("plates", 1), task("wells", 2, texts=(2,))
    with Library(path) as library:
        library.add([plates, wells])
        form = plates.best.pipeline.form
        library.add_transfer_results([TransferResult(plates.id, wells.id, form, 1.0, 0.1, 0.4, True)])
