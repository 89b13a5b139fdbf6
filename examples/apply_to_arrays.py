"""Arrays in, arrays out: search on images in memory and apply the pipeline to new ones.

Draws its own images, takes about 10 s, and writes nothing but the run that every search leaves:

    python examples/apply_to_arrays.py
"""

import numpy as np

import evoseg
from evoseg.data.scenes import SCENES

rng = np.random.default_rng(7)
scenes = [SCENES["spots"](rng, (160, 200)) for _ in range(11)]
images = [scene.image for scene in scenes]  # uint16, (M, N, 1); uint8, uint16 and float32 of any channels will do
masks = [scene.mask for scene in scenes]  # bool, (M, N)

found = evoseg.search((images[:10], masks[:10]), evaluations=300)
print(found.result["pipeline"])
print(f"IoU on {len(found.test_per_image)} test images: {found.scores['test']:.3f}")

# A pipeline is a function. It fits nothing, so it says the same of an image whatever else there is.
new_image, truth = images[10], masks[10]
mask = found.pipeline(new_image)
print(f"new image: {mask.dtype} {mask.shape}, IoU {(mask & truth).sum() / (mask | truth).sum():.3f}")

# It is also a text, for people to read, change and send around.
again = evoseg.read_pipeline(found.result["pipeline"])
assert again == found.pipeline
