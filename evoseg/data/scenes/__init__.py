"""Drawn scenes with exact masks, points and shifts, for the demo, tests and examples."""

from evoseg.data.scenes.beamlines import Frame, Pair, diffraction, draw_frames, draw_pairs, element_maps
from evoseg.data.scenes.registry import SCENES, draw_dataset
from evoseg.data.scenes.scene import Draw, Scene

__all__ = [
    "SCENES",
    "Draw",
    "Frame",
    "Pair",
    "Scene",
    "diffraction",
    "draw_dataset",
    "draw_frames",
    "draw_pairs",
    "element_maps",
]
