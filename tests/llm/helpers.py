"""Small stand-ins for what surrounds the model's part: images, a view, a client on a scripted endpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import numpy as np

from evoseg.core.kinds import Kind
from evoseg.datasets.dataset import Sample
from evoseg.evolve.advising import AdviserView
from evoseg.evolve.image_stats import ImageStats, measure_images
from evoseg.evolve.ports import Evaluation, Scored
from evoseg.evolve.proposers.random_programs import make_vocabulary
from evoseg.llm.agent_session import load_roles
from evoseg.llm.calls import CallLog, MemoryCallLog
from evoseg.llm.client import Client, Endpoint
from evoseg.llm.limits import UsageLimits, UsageTracker
from evoseg.llm.proposals import ProposalParser
from evoseg.llm.roles import Schedule
from evoseg.llm.structured import StructuredClient
from evoseg.llm.workshop import TaskContext, Workshop
from evoseg.operators import registry
from evoseg.pipeline import Pipeline, read_text
from tests.evolve.helpers import discs
from tests.llm_server import Server

ROLE_SET = load_roles(None)
QUICK = ROLE_SET.schedule.model_copy(update={"deadline_s": 3.0, "faults_to_pause": 3, "pause_s": 0.2})
SAMPLES = [Sample(f"disc_{i}", item["image"], item["mask"], None) for i, item in enumerate(discs(3))]
OPERATORS = registry.operators()


def facts() -> ImageStats:
    return measure_images([sample.image for sample in SAMPLES])


def material(**words: str) -> TaskContext:
    task = {"name": "binary", "metric": "iou", "returns": "mask"}
    return TaskContext(words, len(SAMPLES), SAMPLES.__getitem__, task=task)


def workshop(*, sees: bool = False, **words: str) -> Workshop:
    return Workshop(material(**words), sees=sees)


def parser(**more: object) -> ProposalParser:
    names = {op.name for op in OPERATORS}
    return ProposalParser(**{"output": Kind.MASK, "operators": names, "channels": 3, "n_images": 3} | more)


def pipeline(*lines: str) -> Pipeline:
    return read_text("def pipeline(image):\n" + "\n".join(f"    {line}" for line in lines))


def scored(program: Pipeline, *scores: float) -> Scored:
    values = np.array(scores, np.float64)
    return Scored(program, np.stack([values, values], axis=1), values, values)


def view(*best: Scored, **more: object) -> AdviserView:
    """Return a view of a search in which every program that is evaluated scores 0.5, 0.6 and 0.7."""

    def evaluate(programs: Sequence[Pipeline]) -> list[Evaluation | None]:
        return [scored(program, 0.5, 0.6, 0.7) for program in programs]

    stats = facts()
    usual = {"evaluate": evaluate, "vocabulary": make_vocabulary(stats), "evaluations": 900, "evaluations_left": 100}
    return AdviserView(
        best, best, lambda n, rng: list(best[:1]) * n, stats, lambda programs: [None for _ in programs], **usual | more
    )


@contextmanager
def asking(
    acts: Sequence[str],
    limits: UsageLimits | None = None,
    log: CallLog | None = None,
    schedule: Schedule = QUICK,
    model: str = "scripted",
    key: str = "sk-canary-7",
    folder: Path | None = None,
) -> Iterator[tuple[StructuredClient, UsageTracker, Server]]:
    """Yield a client on a scripted endpoint."""
    with Server(acts, folder=folder) as server:
        client = Client(Endpoint(model, server.url, key))
        tracker = UsageTracker(limits or UsageLimits(20), log or MemoryCallLog(), ROLE_SET.models.get(model))
        try:
            yield StructuredClient(client, tracker, schedule, Event()), tracker, server
        finally:
            client.release()
