"""Write the library that tests of this version open: python tests/store/make_fixture.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evoseg.library.ledger import Reuse
from evoseg.library.shelf import Library
from evoseg.store.library import MIGRATIONS
from tests.library.helpers import task

if __name__ == "__main__":
    path = Path(__file__).with_name(f"library-{len(MIGRATIONS)}.db")
    path.unlink(missing_ok=True)
    plates, wells = task("plates", 1), task("wells", 2, texts=(2,))
    with Library(path) as library:
        library.add([plates, wells])
        form = plates.best.pipeline.form
        library.record([Reuse(plates.id, wells.id, form, 1.0, 0.1, 0.4, True)])
