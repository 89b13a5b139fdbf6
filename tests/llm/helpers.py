"""Small stand-ins for what surrounds the model's part: images, material, a view, an asker on a scripted endpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event

import numpy as np

from evoseg.datasets.dataset import Sample
from evoseg.evolve.image_stats import ImageStats, measure_images
from evoseg.evolve.ports import Scored, SearchView
from evoseg.llm.agent_session import load_roles
from evoseg.llm.calls import CallLog, MemoryCallLog
from evoseg.llm.client import Client, Endpoint
from evoseg.llm.limits import UsageLimits, UsageTracker
from evoseg.llm.roles import Schedule
from evoseg.llm.rounds import TaskContext
from evoseg.llm.structured import StructuredClient
from evoseg.pipeline import Pipeline, read_text
from tests.evolve.helpers import discs
from tests.llm_server import Server

ROLE_SET = load_roles(None)
QUICK = ROLE_SET.schedule.model_copy(update={"deadline_s": 3.0, "faults_to_pause": 3, "pause_s": 0.2})
SAMPLES = [Sample(f"disc_{i}", item["image"], item["mask"], None) for i, item in enumerate(discs(3))]


def facts() -> ImageStats:
    return measure_images([sample.image for sample in SAMPLES])


def material(**words: str) -> TaskContext:
    return TaskContext(words, len(SAMPLES), lambda: SAMPLES)


def pipeline(*lines: str) -> Pipeline:
    return read_text("def pipeline(image):\n" + "\n".join(f"    {line}" for line in lines))


def scored(program: Pipeline, *scores: float) -> Scored:
    values = np.array(scores, np.float64)
    return Scored(program, np.stack([values, values], axis=1), values, values)


def view(*best: Scored) -> SearchView:
    return SearchView(best, best, lambda n, rng: list(best[:1]) * n, facts(), lambda programs: [None for _ in programs])


@contextmanager
def asking(
    acts: Sequence[str],
    limits: UsageLimits | None = None,
    log: CallLog | None = None,
    schedule: Schedule = QUICK,
    model: str = "scripted",
    key: str = "sk-canary-7",
) -> Iterator[tuple[StructuredClient, UsageTracker, Server]]:
    """Yield an asker on a scripted endpoint."""
    with Server(acts) as server:
        client = Client(Endpoint(model, server.url, key))
        tracker = UsageTracker(limits or UsageLimits(20), log or MemoryCallLog(), ROLE_SET.models.get(model))
        try:
            yield StructuredClient(client, tracker, schedule, Event()), tracker, server
        finally:
            client.release()
