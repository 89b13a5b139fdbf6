"""Search for a pipeline from Python, look at what it is worth, and keep it.

Draws its own images, takes about 20 s, and writes into the folder found/:

    python examples/search_from_python.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import evoseg
from evoseg.data.scenes import draw_dataset

with TemporaryDirectory() as scratch:
    # Put the path of your own folder here: images/ and masks/ with equal file names.
    folder = draw_dataset("vessels", Path(scratch) / "vessels", n=12, shape=(200, 260), seed=1)
    print(evoseg.check(folder))

    found = evoseg.search(folder, metric="dice", seconds=15, seed=0)

print(found.result["pipeline"])
print(f"Dice on {len(found.test_per_image)} test images: {found.scores['test']:.3f}, 95 % within {found.interval_test}")
print("for comparison:", found.baselines_test)
print(found.verdict)
worst = min(found.test_per_image, key=found.test_per_image.get)
print(f"worst on {worst}: {found.test_per_image[worst]:.3f}")

for name, path in found.save("found", overwrite=True).items():
    print(f"{name:9s} {path}")
