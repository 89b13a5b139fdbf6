"""Screen plates: search on one annotated plate, then count and measure nuclei on the others.

The script draws its own plates, takes about 20 s, and writes to the folder screened/:

    python examples/screen_plates.py
"""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

import evoseg

out = Path("screened")
plates = out / "plates"
plates.mkdir(parents=True, exist_ok=True)

# The annotated plate: images and masks as arrays. For your own, use evoseg.Dataset("plate_01/").
rng = np.random.default_rng(3)
wells = [evoseg.synthetic.SCENES["nuclei"](rng, (200, 260)) for _ in range(10)]
model = evoseg.Segmenter(evaluations=400, random_state=1).fit([w.image for w in wells], [w.mask for w in wells])
print(model.result_.pipeline)
print(f"IoU on held-out wells: {model.result_.scores['test']:.3f}")

# The plates to screen, as files whose names contain plate and well.
for plate in "AB":
    for well in range(6):
        scene = evoseg.synthetic.SCENES["nuclei"](rng, (200, 260))
        evoseg.write_image(plates / f"{plate}_{well:02d}.tif", scene.image, overwrite=True)

table = out / "objects.csv"
for done in evoseg.apply(model.pipeline_, plates, out, table=table, overwrite=True, workers=2):
    if done.fault:
        print("left out:", done.fault)

counts: dict[str, list[float]] = defaultdict(list)
with table.open() as file:
    for row in csv.DictReader(file):
        counts[row["image"]].append(float(row["area_px"]))
for image, areas in sorted(counts.items()):
    print(f"{image}: {len(areas):3d} nuclei, median area {np.median(areas):.0f} px")
