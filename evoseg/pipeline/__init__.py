"""The pipeline as a value: build, check, read, print, cost and run it."""

from evoseg.pipeline.jsonform import read_json, write_json
from evoseg.pipeline.structure import rescale
from evoseg.pipeline.textform import FORM_VERSION, RevisionWarning, print_text, read_text
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
