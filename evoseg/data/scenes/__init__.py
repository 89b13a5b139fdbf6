"""Drawn scenes with exact masks, for the demo, tests and examples."""

from evoseg.data.scenes.registry import SCENES, draw_dataset
from evoseg.data.scenes.scene import Draw, Scene

__all__ = ["SCENES", "Draw", "Scene", "draw_dataset"]
