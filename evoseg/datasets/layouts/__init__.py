"""Ways in which folders hold images and truths; `evoseg.datasets.folder` tells them apart."""
