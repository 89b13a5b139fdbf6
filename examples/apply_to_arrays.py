"""Search on images in memory, and apply the pipeline to new images.

The script draws its own images, takes about 10 s, and writes nothing except the run:

    python examples/apply_to_arrays.py
"""

import numpy as np

import evoseg

rng = np.random.default_rng(7)
scenes = [evoseg.synthetic.SCENES["spots"](rng, (160, 200)) for _ in range(11)]
images = [scene.image for scene in scenes]  # uint16, (M, N, 1); uint8 and float32 and any number of channels also work
masks = [scene.mask for scene in scenes]  # bool, (M, N)

result = evoseg.search((images[:10], masks[:10]), evaluations=300)
print(result.pipeline)
print(f"IoU on {len(result.test_per_image)} test images: {result.scores['test']:.3f}")

# A pipeline is a function. It does not adapt to images: the mask of an image depends on this image only.
new_image, truth = images[10], masks[10]
mask = result.pipeline(new_image)
print(f"new image: {mask.dtype} {mask.shape}, IoU {(mask & truth).sum() / (mask | truth).sum():.3f}")

# It is also a text that you can read, change and share.
again = evoseg.read_pipeline(str(result.pipeline))
assert again == result.pipeline
