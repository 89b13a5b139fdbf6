"""Search for a pipeline from Python, look at its scores, and save it.

The script draws its own images, takes about 20 s, and writes to the folder found/:

    python examples/search_from_python.py
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import evoseg

with TemporaryDirectory() as scratch:
    # Put the path of your own folder here: images/ and masks/ with equal file names.
    folder = evoseg.draw_dataset("vessels", Path(scratch) / "vessels", n=12, shape=(200, 260), seed=1)
    print(evoseg.check(folder))

    result = evoseg.search(folder, metric="dice", seconds=15, seed=0)

print(result.pipeline)
print(f"Dice on {len(result.test_per_image)} test images: {result.scores['test']:.3f}, 95 % CI {result.interval_test}")
print("for comparison:", result.baselines_test)
print(result.verdict)
worst = min(result.test_per_image, key=result.test_per_image.get)
print(f"worst on {worst}: {result.test_per_image[worst]:.3f}")

for name, path in result.save("found", overwrite=True).items():
    print(f"{name:9s} {path}")
