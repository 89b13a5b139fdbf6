"""The pipeline as a value: build, check, read, print, cost, run."""

from evoseg.pipeline.jsonform import read_json, write_json
from evoseg.pipeline.printer import FORM_VERSION, print_text
from evoseg.pipeline.reader import RevisionWarning, read_text
from evoseg.pipeline.rescaling import rescale
from evoseg.pipeline.value import IMAGE, MAX_STEPS, Pipeline, Step

__all__ = [
    "FORM_VERSION",
    "IMAGE",
    "MAX_STEPS",
    "Pipeline",
    "RevisionWarning",
    "Step",
    "print_text",
    "read_json",
    "read_text",
    "rescale",
    "write_json",
]
