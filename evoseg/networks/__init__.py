"""Small networks, trained on the images of one task; its modules import torch, but not the package itself."""

from evoseg.networks.process import TrainingProcess
from evoseg.networks.values import NetworkError, PackedExamples, Progress, Trained, TrainingSettings

__all__ = [
    "NetworkError",
    "PackedExamples",
    "Progress",
    "Trained",
    "TrainingProcess",
    "TrainingSettings",
]
