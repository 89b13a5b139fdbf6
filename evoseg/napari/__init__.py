"""The napari plug-in: train a pipeline from a Labels layer, run it on an Image layer, go on in the studio."""
