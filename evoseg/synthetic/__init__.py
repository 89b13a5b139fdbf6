"""Drawn scenes with exact masks, points and shifts, for the demo, tests and examples."""

from evoseg.synthetic.beamlines import (
    Frame,
    Pair,
    diffraction,
    draw_detector_frames,
    draw_frames,
    draw_pairs,
    element_maps,
    two_modalities,
)
from evoseg.synthetic.scene import Draw, Scene
from evoseg.synthetic.scenes import SCENES, draw_dataset

__all__ = [
    "SCENES",
    "Draw",
    "Frame",
    "Pair",
    "Scene",
    "diffraction",
    "draw_dataset",
    "draw_detector_frames",
    "draw_frames",
    "draw_pairs",
    "element_maps",
    "two_modalities",
]
