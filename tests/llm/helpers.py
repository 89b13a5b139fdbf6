"""Small stand-ins for what surrounds the model's part: images, material, a view, an asker on a scripted endpoint."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

import numpy as np

from evoseg.app.agents import cast_of
from evoseg.data.dataset import Sample
from evoseg.evolve.facts import Facts, survey_images
from evoseg.evolve.ports import Scored, SearchView
from evoseg.llm.asking import Asker
from evoseg.llm.client import Client, Endpoint
from evoseg.llm.leash import Caps, Purse
from evoseg.llm.rounds import Material
from evoseg.llm.schedule import Schedule
from evoseg.pipeline import Pipeline, read_text
from evoseg.store.calls import Ledger, LooseLedger
from tests.evolve.helpers import discs
from tests.llm_server import Server

CAST = cast_of(None)
QUICK = replace(CAST.schedule, deadline_s=3.0, faults_to_pause=3, pause_s=0.2)
SAMPLES = [Sample(f"disc_{i}", item["image"], item["mask"], None) for i, item in enumerate(discs(3))]


def facts() -> Facts:
    return survey_images([sample.image for sample in SAMPLES])


def material(**words: str) -> Material:
    return Material(words, len(SAMPLES), lambda: SAMPLES)


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
    caps: Caps | None = None,
    ledger: Ledger | None = None,
    schedule: Schedule = QUICK,
    model: str = "scripted",
    key: str = "sk-canary-7",
) -> Iterator[tuple[Asker, Purse, Server]]:
    """Yield an asker on a scripted endpoint."""
    with Server(acts) as server:
        client = Client(Endpoint(model, server.url, key))
        purse = Purse(caps or Caps(20), ledger or LooseLedger(), CAST.models.get(model))
        try:
            yield Asker(client, purse, schedule, Event()), purse, server
        finally:
            client.release()
