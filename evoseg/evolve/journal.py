"""Remember what a search was told, so that it can be taken up again or proven again.

For a seed, a search does the same whenever it is told the same. So no population, tuner or random stream is ever
stored: a journal holds, in order, what the evaluators answered and why the search ended. A search that was cut short
is run again from its beginning with answers from the journal, and goes on by itself once that is used up.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from time import monotonic
from typing import Protocol, TypeVar, cast, final

from evoseg.base.errors import EvosegError
from evoseg.evolve.answers import Answer, contiguous, in_words, same, stand_in
from evoseg.evolve.budget import Budget, Clock
from evoseg.evolve.evaluator import AnyEvaluator
from evoseg.evolve.fitting import EVERYTHING, Effort
from evoseg.evolve.jobs import Executor
from evoseg.evolve.ports import Failed, Floats, Verdict
from evoseg.pipeline import Pipeline

END = "end"
"""What an entry is about that says why the search ended."""
ARRIVAL = "arrival"
"""What an entry is about that tells what came from outside, at a time of its own choosing."""


A = TypeVar("A")
Ask = Callable[[Sequence[Pipeline], Callable[[], bool]], Sequence[Answer]]


class JournalError(EvosegError, RuntimeError):
    """A journal that does not belong to the search that reads it."""


class EndOfJournal(Exception):
    """All that was recorded has been checked; not an error."""


@dataclass(frozen=True)
class Heading:
    """What an entry is about.

    Attributes
    ----------
    about : str
        Evaluator and method, such as "search.evaluate", or `END`, or `ARRIVAL`.
    question : str
        Digest of what was asked; of `END`, why the search ended; of `ARRIVAL`, at which border, and after a line break
        what came.
    seconds : float, s
        The clock when the answer was there.
    killed : bool
        Whether a program failed meanwhile for a limit, a lack of memory or the death of its process, so that another
        run may be told something else.
    """

    about: str
    question: str
    seconds: float = 0.0
    killed: bool = False


class Journal(Protocol):
    """Entries in their order: first those that were there are taken, then others are added."""

    def ahead(self) -> Heading | None:
        """Return the heading of the next entry, None if all have been taken."""
        ...

    def take(self, programs: Sequence[Pipeline]) -> list[Answer]:
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
    """Where a second evaluation disagrees with the journal.

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
    """A second evaluation disagrees with the journal.

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
    """Shows recorded times while there are any, and goes on from the last; the same for why the search ended.

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
        """Go by a journal from now on, and add to it once it is used up; without `extend`, raise EndOfJournal there."""
        self._journal = journal
        self._extend = extend

    @property
    def seconds(self) -> float:
        """Time since the start, without that between a cut and its resumption, s."""
        return super().seconds if self._shown is None else self._shown

    @property
    def replaying(self) -> bool:
        """Whether there are recorded answers that the search has not been told yet."""
        return self._journal is not None and self._journal.ahead() is not None

    def reason(self, evaluations: int, best: float) -> str | None:
        """Return why the search ends now, or None to go on."""
        if self._journal is None or self.stopped:
            return super().reason(evaluations, best)
        ahead = self._journal.ahead()
        if ahead is not None:
            if ahead.about != END:
                return None
            self.take(ahead, ())
            return ahead.question
        if not self._extend:
            raise EndOfJournal
        reason = super().reason(evaluations, best)
        # The stop may have come while that was being found out; it is sticky, so asking afterwards is safe.
        if reason is not None and not self.stopped:
            self._journal.add(Heading(END, reason, self.seconds), ())
        return reason

    def arrival(self, border: int, present: Callable[[], str]) -> str:
        """Return what has come from outside the search at a border between generations, "" if nothing.

        While the journal lasts, it is told again where it came; then `present` is asked, and its answer written down.
        """
        ahead = self._journal.ahead() if self._journal is not None else None
        if ahead is None:
            came = present() if self._extend else ""
            if came:
                self.add(Heading(ARRIVAL, f"{border}\n{came}"), ())
            return came
        at, _, came = ahead.question.partition("\n")
        if ahead.about != ARRIVAL or at != str(border):
            return ""
        self.take(ahead, ())
        return came

    def take(self, asked: Heading, programs: Sequence[Pipeline]) -> list[Answer]:
        """Take the next entry, which must be about this.

        Raises
        ------
        JournalError
            If it is not.
        """
        assert self._journal is not None
        found = self._journal.ahead()
        if found is None:
            raise EndOfJournal
        if (found.about, found.question) != (asked.about, asked.question):
            raise JournalError(
                f"entry {self.n_taken + 1} of the journal is about {found.about}, and now the search asks for "
                f"{asked.about} or for other programs: evoseg, a library or the settings have changed since."
            )
        answers = self._journal.take(programs)
        self.n_taken += 1
        self.n_answers += len(answers)
        self._killed_before = self.killed
        self.killed |= found.killed
        self._shown = found.seconds
        if self._extend and self._journal.ahead() is None:
            self._start = monotonic() - found.seconds
            self._shown = None
        return answers

    def take_back(self) -> None:
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


class _Witness(ABC):
    """An evaluator between the search and the one that does the work.

    Parameters
    ----------
    name : str
        The same in every process.
    evaluator : Evaluator
    executor : Executor
        What the evaluator runs its jobs by.
    clock : RecordedClock
    """

    def __init__(self, name: str, evaluator: AnyEvaluator, executor: Executor, clock: RecordedClock) -> None:
        self._name = name
        self._evaluator = evaluator
        self._executor = executor
        self._clock = clock
        self.few = evaluator.few

    def judge(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = lambda: False
    ) -> list[Floats | Failed | None]:
        """Return what `Evaluator.judge` does or did."""
        about = Heading(f"{self._name}.judge", _digest(programs))
        answers = self._told(about, programs, self._evaluator.judge, out_of_time) if programs else []
        return cast(list[Floats | Failed | None], answers)

    def prove(self, programs: Sequence[Pipeline]) -> list[Floats | Failed]:
        """Return what `Evaluator.prove` does or did."""
        return self._proven(Heading(f"{self._name}.judge", _digest(programs)), programs) if programs else []

    @abstractmethod
    def _proven(self, about: Heading, programs: Sequence[Pipeline]) -> list[Floats | Failed]: ...

    def evaluate(
        self,
        candidates: Sequence[Pipeline],
        out_of_time: Callable[[], bool] = lambda: False,
        effort: Effort = EVERYTHING,
    ) -> list[Verdict | None]:
        """Return what `Evaluator.evaluate` does or did."""
        about = Heading(f"{self._name}.evaluate", _digest(candidates, effort))
        ask = partial(self._evaluator.evaluate, effort=effort)
        answers = self._told(about, candidates, ask, out_of_time) if candidates else []
        return cast(list[Verdict | None], answers)

    def probe(
        self, programs: Sequence[Pipeline], out_of_time: Callable[[], bool] = lambda: False
    ) -> list[Floats | Failed | None]:
        """Return what `Evaluator.probe` does; of what it did, the journal holds digests only."""
        about = Heading(f"{self._name}.probe", _digest(programs))
        return self._sampled(about, programs, out_of_time) if programs else []

    @abstractmethod
    def _sampled(
        self, about: Heading, programs: Sequence[Pipeline], out_of_time: Callable[[], bool]
    ) -> list[Floats | Failed | None]: ...

    def _sampled_again(self, about: Heading, programs: Sequence[Pipeline]) -> list[Floats | Failed | None]:
        """Sample planes of which the journal has digests, and compare.

        Raises
        ------
        DiffersError
            If a plane is another one.
        JournalError
            If a plane cannot be had at all now, which says nothing of what it was.
        """
        clock = self._clock
        recorded = clock.take(about, programs)
        known = [i for i, answer in enumerate(recorded) if answer is not None]
        samples = self._evaluator.probe([programs[i] for i in known], lambda: clock.stopped)
        if clock.stopped:
            raise KeyboardInterrupt
        found: list[Floats | Failed | None] = [None] * len(programs)
        for i, sample in zip(known, samples, strict=True):
            if isinstance(sample, Failed) and sample.transient:
                raise JournalError(
                    f"a plane that the journal was made with cannot be computed now: {sample.reason}. The run is as it "
                    "was; try again when the machine has more memory to spare, or with fewer workers."
                )
            self._compare(about, programs[i], recorded[i], stand_in(sample))
            found[i] = sample
        return found

    def _compare(self, about: Heading, program: Pipeline, then: Answer, now: Answer) -> None:
        if not same(then, now):
            raise DiffersError(Difference(self._clock.n_taken, about.about, program, in_words(then), in_words(now)))

    @abstractmethod
    def _told(
        self, about: Heading, programs: Sequence[Pipeline], ask: Ask, out_of_time: Callable[[], bool]
    ) -> list[Answer]: ...

    @property
    def _n_given_up(self) -> int:
        return getattr(self._executor, "n_given_up", 0)


@final
class Recorded(_Witness):
    """Answers from the journal while that lasts; then asks the evaluator and writes down what it says."""

    def _told(
        self, about: Heading, programs: Sequence[Pipeline], ask: Ask, out_of_time: Callable[[], bool]
    ) -> list[Answer]:
        if self._replaying():
            return self._clock.take(about, programs)
        return self._asked(about, lambda: [contiguous(answer) for answer in ask(programs, out_of_time)], lambda a: a)

    def _proven(self, about: Heading, programs: Sequence[Pipeline]) -> list[Floats | Failed]:
        """Answer from the journal only where that knows no failure: what failed once is tried again.

        What may come out otherwise is not written down, and then nothing after it either: a search that is resumed
        begins with it.
        """
        if self._replaying():
            answers = cast(list[Floats | Failed], self._clock.take(about, programs))
            if not any(isinstance(answer, Failed) for answer in answers):
                return answers
            self._clock.take_back()
        wanted, n_given_up = not self._clock.stopped, self._n_given_up
        answers = [cast(Floats | Failed, contiguous(answer)) for answer in self._evaluator.prove(programs)]
        if any(isinstance(answer, Failed) and answer.transient for answer in answers):
            self._clock.withheld = True
        elif wanted:
            self._clock.add(replace(about, killed=self._n_given_up > n_given_up), answers)
        return answers

    def _sampled(
        self, about: Heading, programs: Sequence[Pipeline], out_of_time: Callable[[], bool]
    ) -> list[Floats | Failed | None]:
        if self._replaying():
            try:
                return self._sampled_again(about, programs)
            except DiffersError as error:
                raise JournalError(
                    f"planes that the journal was made with differ now (entry {error.difference.entry}): NumPy, OpenCV "
                    "or the machine is another one than then. Resume the run where it was made, or start a new search."
                ) from error
        return self._asked(about, lambda: self._evaluator.probe(programs, out_of_time), stand_in)

    def _replaying(self) -> bool:
        if self._clock.replaying and self._clock.stopped:
            # Choosing among the first part of what was found would be worse than what is there already.
            raise KeyboardInterrupt
        return self._clock.replaying

    def _asked(self, about: Heading, ask: Callable[[], list[A]], kept: Callable[[A], Answer]) -> list[A]:
        clock = self._clock
        wanted, n_given_up = not clock.stopped, self._n_given_up
        answers = ask()
        # What an interrupt has cut short is done anew when the search is resumed, and so is all that follows it.
        if wanted and not (clock.stopped and any(answer is None for answer in answers)):
            clock.add(replace(about, killed=self._n_given_up > n_given_up), [kept(answer) for answer in answers])
        return answers


@final
class Checked(_Witness):
    """Asks the evaluator once more and compares with the journal, bit for bit."""

    def _told(
        self, about: Heading, programs: Sequence[Pipeline], ask: Ask, out_of_time: Callable[[], bool]
    ) -> list[Answer]:
        clock = self._clock
        recorded = clock.take(about, programs)
        known = [i for i, answer in enumerate(recorded) if answer is not None]  # time ran out on the others
        answers = ask([programs[i] for i in known], lambda: clock.stopped)
        if clock.stopped:
            raise KeyboardInterrupt
        for i, now in zip(known, answers, strict=True):
            self._compare(about, programs[i], recorded[i], now)
        return recorded

    def _proven(self, about: Heading, programs: Sequence[Pipeline]) -> list[Floats | Failed]:
        answers = self._told(about, programs, lambda some, _: self._evaluator.prove(some), lambda: False)
        return cast(list[Floats | Failed], answers)

    def _sampled(
        self, about: Heading, programs: Sequence[Pipeline], out_of_time: Callable[[], bool]
    ) -> list[Floats | Failed | None]:
        return self._sampled_again(about, programs)


def _digest(programs: Sequence[Pipeline], effort: Effort | None = None) -> str:
    text = "".join(program.digest for program in programs)
    if effort is not None:
        text += "|".join(float(number).hex() for number in (effort.floor, effort.climb, effort.compare))
    return blake2b(text.encode(), digest_size=16).hexdigest()
