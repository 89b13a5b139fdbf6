"""Evaluate everything in a run's journal once more."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evoseg.app.agents import told_again
from evoseg.app.datasets import Data, opened
from evoseg.app.executing import hired
from evoseg.app.recording import data_of, recorded_splits, refuse_other_operators, settings_of
from evoseg.app.runs import run_folder, scratch
from evoseg.app.settings import moved
from evoseg.app.stopping import stoppable
from evoseg.base.errors import EvosegError
from evoseg.evolve.evaluator import AnyEvaluator
from evoseg.evolve.jobs import Executor
from evoseg.evolve.journal import Checked, Difference, DiffersError, EndOfJournal, RecordedClock
from evoseg.evolve.method import USUAL
from evoseg.evolve.search import Progress
from evoseg.evolve.solve import RESERVE_S, solve
from evoseg.library.warm import WarmStart, with_warm_start
from evoseg.operators import registry
from evoseg.store.runs import open_journal, read_run


@dataclass(frozen=True)
class Replayed:
    """What came of evaluating a run once more.

    Attributes
    ----------
    run : str
    entries : int
        Of the journal, that were compared.
    answers : int
        In these entries.
    difference : Difference or None
        The first one; nothing is compared after it.
    """

    run: str
    entries: int
    answers: int
    difference: Difference | None

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows."""
        difference = None
        if self.difference is not None:
            difference = vars(self.difference) | {"program": self.difference.program.digest}
        return {
            "run": self.run,
            "entries": self.entries,
            "answers": self.answers,
            "identical": difference is None,
            "first_difference": difference,
        }


def replay(
    run: str | Path,
    data: Data | None = None,
    *,
    workers: int | None = None,
    executor: str | None = None,
    task: str | Path | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Replayed:
    """Search again as a run did, evaluate all candidates anew, and compare with the journal bit for bit.

    Nothing of the run is changed. One that was interrupted is replayed as far as it got.

    Parameters
    ----------
    run : str or path
        Id or folder of the run.
    data : path, Dataset, or (images, masks), optional
        Its dataset, if that has moved or was given as arrays.
    workers : int, optional
        Processes, by default as many as before.
    executor : str, optional
        What evaluates, as for `search`; by default what did before.
    task : path, optional
        The file of a task of your own, if the run has one.
    progress : callable, optional
        Called after each generation.

    Raises
    ------
    EvosegError
        If there is no such run, its dataset or the operators have changed since, or the search itself asks for
        something else than it did.
    KeyboardInterrupt
        At the first Ctrl-C.
    """
    folder = run_folder(run)
    record = read_run(folder.path)
    refuse_other_operators(record)
    asked = moved(settings_of(record, task), executor, workers)
    dataset = opened(data_of(record, data), asked.reading)
    splits = recorded_splits(record, dataset)
    settings = asked.search_settings()
    clock = RecordedClock(settings.budget, RESERVE_S)

    def checked(name: str, evaluator: AnyEvaluator, executor: Executor) -> AnyEvaluator:
        return Checked(name, evaluator, executor, clock)

    # What the model has said is in the journal; nobody is asked.
    guests = [told_again(clock)] if asked.agent else []
    difference = None
    with (
        registry.with_ipp(asked.ipp),
        hired(asked.executor) as hire,
        open_journal(folder.path) as journal,
        scratch() as packs,
        stoppable(clock),
    ):
        clock.follow(journal, extend=False)
        try:
            solve(
                dataset,
                splits,
                asked.the_task(),
                settings,
                Path(packs),
                clock,
                progress,
                witness=checked,
                method=replace(USUAL, proposers=with_warm_start(WarmStart(asked.offers, asked.seconds))),
                guests=guests,
                hire=hire,
            )
        except EndOfJournal:
            pass
        except DiffersError as error:
            difference = error.difference
        except EvosegError as error:
            if clock.stopped:
                raise KeyboardInterrupt from error
            raise
        if clock.stopped:
            raise KeyboardInterrupt
    return Replayed(folder.name, clock.n_taken, clock.n_answers, difference)
