"""Write evoseg pipelines from images and masks: search, apply, export."""

__version__ = "0.1.0"
