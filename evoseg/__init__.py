"""Write evoseg pipelines from images and masks: search, apply, export."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evoseg.api import export, propose_task, replay, resume, score, search
    from evoseg.class_search import resume_classes, search_classes
    from evoseg.core.errors import EvosegError, ImageWarning
    from evoseg.core.kinds import Kind
    from evoseg.datasets.checking import check
    from evoseg.datasets.dataset import Dataset, Sample
    from evoseg.datasets.io.files import read_image, write_image
    from evoseg.datasets.reading import ReadOptions
    from evoseg.evolve.tasks.plain_task import PlainTask
    from evoseg.inference.apply import apply
    from evoseg.library.similar_tasks import similar
    from evoseg.pipeline.value import Pipeline
    from evoseg.report.page import write_report
    from evoseg.report.results import MulticlassResult, SearchResult
    from evoseg.report.reused import ReusedAnswers, reuse
    from evoseg.runs.options import Agent, Goal, Library, Output, Points, SearchOptions
    from evoseg.runs.pipeline_files import read_pipeline, write_pipeline
    from evoseg.runs.status import Status
    from evoseg.sklearn import Segmenter
    from evoseg.synthetic import draw_dataset

__version__ = "0.2.0.dev0"

_HOMES = {
    "Agent": "runs.options",
    "Dataset": "datasets.dataset",
    "EvosegError": "core.errors",
    "Goal": "runs.options",
    "ImageWarning": "core.errors",
    "Kind": "core.kinds",
    "Library": "runs.options",
    "MulticlassResult": "report.results",
    "Output": "runs.options",
    "Pipeline": "pipeline.value",
    "PlainTask": "evolve.tasks.plain_task",
    "Points": "runs.options",
    "ReadOptions": "datasets.reading",
    "ReusedAnswers": "report.reused",
    "Sample": "datasets.dataset",
    "SearchOptions": "runs.options",
    "SearchResult": "report.results",
    "Segmenter": "sklearn",
    "Status": "runs.status",
    "apply": "inference.apply",
    "check": "datasets.checking",
    "draw_dataset": "synthetic",
    "export": "api",
    "propose_task": "api",
    "read_image": "datasets.io.files",
    "read_pipeline": "runs.pipeline_files",
    "replay": "api",
    "resume": "api",
    "resume_classes": "class_search",
    "reuse": "report.reused",
    "score": "api",
    "search": "api",
    "search_classes": "class_search",
    "similar": "library.similar_tasks",
    "write_image": "datasets.io.files",
    "write_pipeline": "runs.pipeline_files",
    "write_report": "report.page",
}

_RENAMED = {"Found": "SearchResult", "FoundClasses": "MulticlassResult", "Reading": "ReadOptions"}
"""Public names of version 0.1, with today's."""

__all__ = [
    "Agent",
    "Dataset",
    "EvosegError",
    "Goal",
    "ImageWarning",
    "Kind",
    "Library",
    "MulticlassResult",
    "Output",
    "Pipeline",
    "PlainTask",
    "Points",
    "ReadOptions",
    "ReusedAnswers",
    "Sample",
    "SearchOptions",
    "SearchResult",
    "Segmenter",
    "Status",
    "__version__",
    "apply",
    "check",
    "draw_dataset",
    "export",
    "propose_task",
    "read_image",
    "read_pipeline",
    "replay",
    "resume",
    "resume_classes",
    "reuse",
    "score",
    "search",
    "search_classes",
    "similar",
    "write_image",
    "write_pipeline",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a name's module when it is first asked for; `import evoseg` itself stays cheap."""
    if name in _RENAMED:
        from evoseg.core.deprecation import warn_deprecated

        warn_deprecated(f"evoseg.{name}", f"evoseg.{_RENAMED[name]}")
        name = _RENAMED[name]
    if name == "synthetic":
        return _import_module(f"{__name__}.synthetic")
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(_import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*__all__, "synthetic", *(name for name in globals() if name.startswith("__"))})
