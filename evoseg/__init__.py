"""Write evoseg pipelines from images and masks: search, apply, export."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evoseg.app.api import resume, search
    from evoseg.app.applying import apply
    from evoseg.app.class_search import resume_classes, search_classes
    from evoseg.app.found import Found, FoundClasses
    from evoseg.app.pipelines import read_pipeline, write_pipeline
    from evoseg.app.reporting import write_report
    from evoseg.app.segmenter import Segmenter
    from evoseg.app.solved import similar
    from evoseg.base.errors import ImageWarning
    from evoseg.base.kinds import Kind
    from evoseg.data.checking import check
    from evoseg.data.dataset import Dataset, Sample
    from evoseg.data.reading import Reading
    from evoseg.evolve.plain import PlainTask
    from evoseg.pipeline.value import Pipeline

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "data.dataset",
    "Found": "app.found",
    "FoundClasses": "app.found",
    "ImageWarning": "base.errors",
    "Kind": "base.kinds",
    "Pipeline": "pipeline.value",
    "PlainTask": "evolve.plain",
    "Reading": "data.reading",
    "Sample": "data.dataset",
    "Segmenter": "app.segmenter",
    "apply": "app.applying",
    "check": "data.checking",
    "read_pipeline": "app.pipelines",
    "resume": "app.api",
    "resume_classes": "app.class_search",
    "search": "app.api",
    "search_classes": "app.class_search",
    "similar": "app.solved",
    "write_pipeline": "app.pipelines",
    "write_report": "app.reporting",
}

__all__ = [
    "Dataset",
    "Found",
    "FoundClasses",
    "ImageWarning",
    "Kind",
    "Pipeline",
    "PlainTask",
    "Reading",
    "Sample",
    "Segmenter",
    "__version__",
    "apply",
    "check",
    "read_pipeline",
    "resume",
    "resume_classes",
    "search",
    "search_classes",
    "similar",
    "write_pipeline",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a name's module when it is first asked for; `import evoseg` itself stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
