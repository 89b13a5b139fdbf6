"""Record what the evaluators of a search return, so that the search can be resumed or replayed.

For a given seed, a search does the same whenever its evaluators return the same. So no population, tuner or random
stream is stored: a journal holds, in order, what the evaluators returned and why the search ended. A search that was
interrupted runs again from its beginning with the recorded results, and continues by itself after the last one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from time import monotonic
from typing import Protocol, TypeVar, cast, final

import numpy as np

from evoseg.core.errors import EvosegError
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.evaluation.evaluator import EVERYTHING, Effort, Evaluator
from evoseg.evolve.ports import Evaluation, Failed, Floats, Pruned, Scored
from evoseg.pipeline import Pipeline


@dataclass(frozen=True)
class Sampled:
    """Stands for what was sampled of a plane: too much to keep, and quick to have again.

    Attributes
    ----------
    digest : str
        Of the numbers.
    """

    digest: str


Answer = Evaluation | Floats | Sampled | None


def same(one: Answer, other: Answer) -> bool:
    """Return whether two answers agree in every bit; of failures, in their reasons."""
    if isinstance(one, Scored) and isinstance(other, Scored):
        arrays = ((one.statistics, other.statistics), (one.scores, other.scores), (one.left_out, other.left_out))
        return one.pipeline == other.pipeline and all(_bits(a) == _bits(b) for a, b in arrays)
    if isinstance(one, Pruned) and isinstance(other, Pruned):
        return _bits(np.float64(one.score)) == _bits(np.float64(other.score))
    if isinstance(one, Failed) and isinstance(other, Failed):
        return one.reason == other.reason
    if isinstance(one, Sampled) and isinstance(other, Sampled):
        return one.digest == other.digest
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return _bits(one) == _bits(other)
    return one is None and other is None


def in_words(answer: Answer) -> str:
    """Describe an answer in a few words."""
    if isinstance(answer, Scored):
        bits = _short(answer.statistics, answer.scores, answer.left_out)
        return f"scored {answer.score!r} as {answer.pipeline.digest[:12]}, bits {bits}"
    if isinstance(answer, Pruned):
        return f"pruned with {answer.score!r}"
    if isinstance(answer, Failed):
        return f"failed: {answer.reason}"
    if isinstance(answer, Sampled):
        return f"samples with digest {answer.digest}"
    if answer is None:
        return "no answer"
    return f"statistics that sum up to {float(answer.sum())!r}, bits {_short(answer)}"


def _bits(array: Floats | np.float64) -> tuple[tuple[int, ...], bytes]:
    return array.shape, array.tobytes()


def _short(*arrays: Floats) -> str:
    """Return a short digest: a last bit may not show in a mean."""
    return blake2b(b"".join(array.tobytes() for array in arrays), digest_size=4).hexdigest()


def stand_in(sample: Floats | Failed | None) -> Sampled | None:
    """Return what a journal keeps of a sample; None if there is none."""
    if sample is None or isinstance(sample, Failed):
        return None
    return Sampled(blake2b(sample.tobytes(), digest_size=8).hexdigest())


def contiguous(answer: Answer) -> Answer:
    """Return an answer as it comes back from a journal: how arrays lie in memory decides the last bit of a sum."""
    if isinstance(answer, np.ndarray):
        return np.ascontiguousarray(answer)
    if isinstance(answer, Scored):
        arrays = (np.ascontiguousarray(a) for a in (answer.statistics, answer.scores, answer.left_out))
        statistics, scores, left_out = arrays
        return replace(answer, statistics=statistics, scores=scores, left_out=left_out)
    return answer


END = "end"
"""What an entry is about that says why the search ended."""
ARRIVAL = "arrival"
"""What an entry is about that tells what came from outside, at a time of its own choosing."""


A = TypeVar("A")
Ask = Callable[[Sequence[Pipeline], Callable[[], bool]], Sequence[Answer]]


class JournalError(EvosegError, RuntimeError):
    """A journal that does not belong to this search."""


class EndOfJournal(Exception):
    """The end of the journal; not an error."""


@dataclass(frozen=True)
class Heading:
    """What an entry is about.

    Attributes
    ----------
    about : str
        JobEvaluator and method, such as "search.evaluate", or `END`, or `ARRIVAL`.
    question : str
        Digest of what was asked; of `END`, why the search ended; of `ARRIVAL`, at which border, and after a line break
        what came.
    seconds : float, s
        The clock when the answer was there.
    killed : bool
        Whether a program failed meanwhile for a limit, a lack of memory or the death of its process, so that another
        run may get other results.
    """

    about: str
    question: str
    seconds: float = 0.0
    killed: bool = False


class Journal(Protocol):
    """Entries in their order: first those that were there are taken, then others are added."""

    def peek(self) -> Heading | None:
        """Return the heading of the next entry, None if all have been taken."""
        ...

    def next_entry(self, programs: Sequence[Pipeline]) -> list[Answer]:
        """Take the next entry: one answer for each of the programs that were asked about."""
        ...

    def add(self, heading: Heading, answers: Sequence[Answer]) -> None:
        """Add an entry behind all others."""
        ...

    def cut(self) -> None:
        """Forget the entry that was taken last, and all behind it."""
        ...


@dataclass(frozen=True)
class Difference:
    """Where a replay differs from the journal.

    Attributes
    ----------
    entry : int
        Number of the entry, from 1.
    about : str
    program : Pipeline
    recorded, now : str
        The two answers, in words.
    """

    entry: int
    about: str
    program: Pipeline
    recorded: str
    now: str


class DiffersError(Exception):
    """A replay differs from the journal.

    Parameters
    ----------
    difference : Difference
        The first one.
    """

    def __init__(self, difference: Difference) -> None:
        super().__init__(difference)
        self.difference = difference


@final
class RecordedClock(Clock):
    """A clock that shows recorded times while there are any, and then goes on from the last.

    Parameters
    ----------
    budget : Budget
    reserve_s : float, s
        As of any clock.

    Attributes
    ----------
    killed : bool
        Whether an entry that was taken is marked so.
    withheld : bool
        Whether something was left out of the journal that another try may answer otherwise; nothing was added since.
    """

    def __init__(self, budget: Budget, reserve_s: float = 0.0) -> None:
        super().__init__(budget, reserve_s)
        self._journal: Journal | None = None
        self._shown: float | None = None
        self._extend = True
        self.killed = self._killed_before = False
        self.withheld = False
        self.n_taken = 0
        self.n_answers = 0

    def follow(self, journal: Journal, *, extend: bool = True) -> None:
        """Follow a journal, and extend it after its last entry; without `extend`, raise EndOfJournal there."""
        self._journal = journal
        self._extend = extend

    @property
    def seconds(self) -> float:
        """Time since the start, without that between a cut and its resumption, s."""
        return super().seconds if self._shown is None else self._shown

    @property
    def replaying(self) -> bool:
        """Whether there are recorded answers that the search has not received yet."""
        return self._journal is not None and self._journal.peek() is not None

    def reason(self, evaluations: int, best: float) -> str | None:
        """Return why the search ends now, or None to go on."""
        if self._journal is None or self.stopped:
            return super().reason(evaluations, best)
        ahead = self._journal.peek()
        if ahead is not None:
            if ahead.about != END:
                return None
            self.next_entry(ahead, ())
            return ahead.question
        if not self._extend:
            raise EndOfJournal
        reason = super().reason(evaluations, best)
        # The stop may have come while that was being found out; it is sticky, so asking afterwards is safe.
        if reason is not None and not self.stopped:
            self._journal.add(Heading(END, reason, self.seconds), ())
        return reason

    def external_event(self, border: int | str, present: Callable[[], str]) -> str:
        """Return what has come from outside the search at a border between generations or stages, "" if nothing.

        While the journal lasts, it is returned where it was recorded; then `present` is called, and its result is
        recorded.
        """
        ahead = self._journal.peek() if self._journal is not None else None
        if ahead is None:
            came = present() if self._extend else ""
            if came:
                self.add(Heading(ARRIVAL, f"{border}\n{came}"), ())
            return came
        at, _, came = ahead.question.partition("\n")
        if ahead.about != ARRIVAL or at != str(border):
            return ""
        self.next_entry(ahead, ())
        return came

    def next_entry(self, asked: Heading, programs: Sequence[Pipeline]) -> list[Answer]:
        """Take the next entry, which must be about this.

        Raises
        ------
        JournalError
            If it is not.
        """
        assert self._journal is not None
        found = self._journal.peek()
        if found is None:
            raise EndOfJournal
        if (found.about, found.question) != (asked.about, asked.question):
            raise JournalError(
                f"entry {self.n_taken + 1} of the journal is about {found.about}, but the search now evaluates "
                f"{asked.about} or other programs: evoseg, a library or the settings have changed since."
            )
        answers = self._journal.next_entry(programs)
        self.n_taken += 1
        self.n_answers += len(answers)
        self._killed_before = self.killed
        self.killed |= found.killed
        self._shown = found.seconds
        if self._extend and self._journal.peek() is None:
            self._start = monotonic() - found.seconds
            self._shown = None
        return answers

    def undo_entry(self) -> None:
        """Forget the entry that was taken last, and all behind it, as if the search had been cut off before."""
        assert self._journal is not None
        self._journal.cut()
        self.n_taken -= 1
        self.killed = self._killed_before
        if self._shown is not None:
            self._start, self._shown = monotonic() - self._shown, None

    def add(self, heading: Heading, answers: Sequence[Answer]) -> None:
        """Add an entry, if there is a journal and nothing before it was withheld."""
        if self._journal is not None and not self.withheld:
            self._journal.add(replace(heading, seconds=self.seconds), answers)


class JournalledEvaluator(ABC):
    """An evaluator that stands between the search and the evaluator that does the work.

    Parameters
    ----------
    name : str
        The same in every process.
    evaluator : Evaluator
    clock : RecordedClock
    """

    def __init__(self, name: str, evaluator: Evaluator, clock: RecordedClock) -> None:
        self._name = name
        self._evaluator = evaluator
        self._clock = clock
        self.few = evaluator.few

    def judge(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = lambda: False
    ) -> list[Floats | Failed | None]:
        """Return what `Evaluator.judge` does or did."""
        about = Heading(f"{self._name}.judge", _digest(programs))
        answers = self._answer(about, programs, self._evaluator.judge, out_of_time) if programs else []
        return cast(list[Floats | Failed | None], answers)

    def judge_finished(self, programs: Sequence[Pipeline]) -> list[Floats | Failed]:
        """Return what `Evaluator.judge_finished` does or did."""
        return self._judge_finished(Heading(f"{self._name}.judge", _digest(programs)), programs) if programs else []

    @abstractmethod
    def _judge_finished(self, about: Heading, programs: Sequence[Pipeline]) -> list[Floats | Failed]: ...

    def evaluate(
        self,
        candidates: Sequence[Pipeline],
        out_of_time: Callable[[], bool] = lambda: False,
        effort: Effort = EVERYTHING,
    ) -> list[Evaluation | None]:
        """Return what `Evaluator.evaluate` does or did."""
        about = Heading(f"{self._name}.evaluate", _digest(candidates, effort))
        ask = partial(self._evaluator.evaluate, effort=effort)
        answers = self._answer(about, candidates, ask, out_of_time) if candidates else []
        return cast(list[Evaluation | None], answers)

    def sample_pixels(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = lambda: False
    ) -> list[Floats | Failed | None]:
        """Return what `Evaluator.sample_pixels` does; of earlier results, the journal holds digests only."""
        about = Heading(f"{self._name}.probe", _digest(programs))
        return self._sample(about, programs, out_of_time) if programs else []

    @abstractmethod
    def _sample(
        self, about: Heading, programs: Sequence[Pipeline], out_of_time: Callable[[], bool]
    ) -> list[Floats | Failed | None]: ...

    def _sample_again(self, about: Heading, programs: Sequence[Pipeline]) -> list[Floats | Failed | None]:
        """Sample planes of which the journal has digests, and compare.

        Raises
        ------
        DiffersError
            If a plane is another one.
        JournalError
            If a plane cannot be had at all now, which says nothing of what it was.
        """
        clock = self._clock
        recorded = clock.next_entry(about, programs)
        known = [i for i, answer in enumerate(recorded) if answer is not None]
        samples = self._evaluator.sample_pixels([programs[i] for i in known], lambda: clock.stopped)
        if clock.stopped:
            raise KeyboardInterrupt
        found: list[Floats | Failed | None] = [None] * len(programs)
        for i, sample in zip(known, samples, strict=True):
            if isinstance(sample, Failed) and sample.transient:
                raise JournalError(
                    f"a plane of the original run cannot be computed now: {sample.reason}. The run has not been "
                    "changed; try again with more free memory, or with fewer workers."
                )
            self._compare(about, programs[i], recorded[i], stand_in(sample))
            found[i] = sample
        return found

    def _compare(self, about: Heading, program: Pipeline, then: Answer, now: Answer) -> None:
        if not same(then, now):
            raise DiffersError(Difference(self._clock.n_taken, about.about, program, in_words(then), in_words(now)))

    @abstractmethod
    def _answer(
        self, about: Heading, programs: Sequence[Pipeline], ask: Ask, out_of_time: Callable[[], bool]
    ) -> list[Answer]: ...

    @property
    def n_given_up(self) -> int:
        """As of the evaluator that does the work."""
        return self._evaluator.n_given_up


@final
class RecordedEvaluator(JournalledEvaluator):
    """Answers from the journal while that lasts, and then records what the evaluator returns."""

    def _answer(
        self, about: Heading, programs: Sequence[Pipeline], ask: Ask, out_of_time: Callable[[], bool]
    ) -> list[Answer]:
        if self._replaying():
            return self._clock.next_entry(about, programs)
        return self._ask_and_record(
            about, lambda: [contiguous(answer) for answer in ask(programs, out_of_time)], lambda a: a
        )

    def _judge_finished(self, about: Heading, programs: Sequence[Pipeline]) -> list[Floats | Failed]:
        """Answer from the journal only where that knows no failure: what failed once is tried again.

        What may come out otherwise is not written down, and then nothing after it either: a search that is resumed
        begins with it.
        """
        if self._replaying():
            answers = cast(list[Floats | Failed], self._clock.next_entry(about, programs))
            if not any(isinstance(answer, Failed) for answer in answers):
                return answers
            self._clock.undo_entry()
        wanted, n_given_up = not self._clock.stopped, self.n_given_up
        answers = [cast(Floats | Failed, contiguous(answer)) for answer in self._evaluator.judge_finished(programs)]
        if any(isinstance(answer, Failed) and answer.transient for answer in answers):
            self._clock.withheld = True
        elif wanted:
            self._clock.add(replace(about, killed=self.n_given_up > n_given_up), answers)
        return answers

    def _sample(
        self, about: Heading, programs: Sequence[Pipeline], out_of_time: Callable[[], bool]
    ) -> list[Floats | Failed | None]:
        if self._replaying():
            try:
                return self._sample_again(about, programs)
            except DiffersError as error:
                raise JournalError(
                    f"planes differ from those of the original run (entry {error.difference.entry}): NumPy, OpenCV "
                    "or the machine is different. Resume the run where it was made, or start a new search."
                ) from error
        return self._ask_and_record(about, lambda: self._evaluator.sample_pixels(programs, out_of_time), stand_in)

    def _replaying(self) -> bool:
        if self._clock.replaying and self._clock.stopped:
            # Choosing among the first part of what was found would be worse than what is there already.
            raise KeyboardInterrupt
        return self._clock.replaying

    def _ask_and_record(self, about: Heading, ask: Callable[[], list[A]], kept: Callable[[A], Answer]) -> list[A]:
        clock = self._clock
        wanted, n_given_up = not clock.stopped, self.n_given_up
        answers = ask()
        # What an interrupt has cut short is done anew when the search is resumed, and so is all that follows it.
        if wanted and not (clock.stopped and any(answer is None for answer in answers)):
            clock.add(replace(about, killed=self.n_given_up > n_given_up), [kept(answer) for answer in answers])
        return answers


@final
class ReplayChecker(JournalledEvaluator):
    """Evaluates again and compares with the journal, bit for bit."""

    def _answer(
        self, about: Heading, programs: Sequence[Pipeline], ask: Ask, out_of_time: Callable[[], bool]
    ) -> list[Answer]:
        clock = self._clock
        recorded = clock.next_entry(about, programs)
        known = [i for i, answer in enumerate(recorded) if answer is not None]  # time ran out on the others
        answers = ask([programs[i] for i in known], lambda: clock.stopped)
        if clock.stopped:
            raise KeyboardInterrupt
        for i, now in zip(known, answers, strict=True):
            self._compare(about, programs[i], recorded[i], now)
        return recorded

    def _judge_finished(self, about: Heading, programs: Sequence[Pipeline]) -> list[Floats | Failed]:
        answers = self._answer(about, programs, lambda some, _: self._evaluator.judge_finished(some), lambda: False)
        return cast(list[Floats | Failed], answers)

    def _sample(
        self, about: Heading, programs: Sequence[Pipeline], out_of_time: Callable[[], bool]
    ) -> list[Floats | Failed | None]:
        return self._sample_again(about, programs)


def _digest(programs: Sequence[Pipeline], effort: Effort | None = None) -> str:
    text = "".join(program.digest for program in programs)
    if effort is not None:
        text += "|".join(float(number).hex() for number in (effort.floor, effort.climb, effort.compare))
    return blake2b(text.encode(), digest_size=16).hexdigest()
