"""Programs out of a model's answer: read, never run; refused with the reader's words, or ready to be evaluated."""

import warnings
from collections.abc import Collection
from dataclasses import dataclass, field

from evoseg.base.errors import PipelineError, legible
from evoseg.base.kinds import Kind
from evoseg.llm.answers import Answer, Programs
from evoseg.operators import registry
from evoseg.pipeline import Pipeline, RevisionWarning, read_text
from evoseg.pipeline.macros import macros_in, with_macros

MOST_STEPS = 40
"""Longer ones are refused: nobody reads them, and they are dear to run."""


@dataclass(frozen=True)
class Idea:
    """A program of the model, accepted by the reader.

    Attributes
    ----------
    name, idea : str
        The model's own words.
    """

    name: str
    idea: str
    pipeline: Pipeline


@dataclass(frozen=True)
class Refused:
    """A program that the reader did not accept."""

    name: str
    reason: str


@dataclass
class Workshop:
    """Reads proposals, round by round of asking; keeps what is good.

    Parameters
    ----------
    output : Kind
        What a program must return.
    operators : collection of str
        Those that this search may use.
    channels : int
        Of the images.
    macros : dict of str to str
        Definitions that programs may use; those of accepted programs are added.
    """

    output: Kind
    operators: Collection[str]
    channels: int
    macros: dict[str, str] = field(default_factory=dict)
    ideas: list[Idea] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def review(self, answer: Answer) -> list[str]:
        """Take in the programs of an answer; return what is wrong with the others."""
        if not isinstance(answer, Programs):
            return []
        complaints = []
        for number, proposal in enumerate(answer.programs, 1):
            name = legible(proposal.name) or f"program {number}"
            try:
                idea = Idea(name, proposal.idea, self._read(proposal.program))
            except PipelineError as error:
                self.refused.append(Refused(name, str(error)))
                complaints.append(f"{name}: {error}")
                continue
            if idea.pipeline not in [known.pipeline for known in self.ideas]:
                self.ideas.append(idea)
        return complaints

    def _read(self, text: str) -> Pipeline:
        text = _unfenced(text)
        own = macros_in(text)
        with warnings.catch_warnings():
            # The model writes no revisions; should it copy some, the present ones are meant.
            warnings.simplefilter("ignore", RevisionWarning)
            pipeline = read_text(with_macros(text, self.macros))
        if pipeline.output is not self.output:
            raise PipelineError(f"it returns a {pipeline.output} value; this task needs a {self.output} value.")
        if len(pipeline) > MOST_STEPS:
            raise PipelineError(f"it has {len(pipeline)} steps; at most {MOST_STEPS} are wanted.")
        for s in pipeline.steps:
            if s.operator not in self.operators:
                needs = ", ".join(registry.get(s.operator).needs)
                raise PipelineError(f"{s.operator} is not among the operators of this search (it needs {needs}).")
        if pipeline.channels > self.channels:
            raise PipelineError(f"it reads channel {pipeline.channels - 1}, counted from 0; there are {self.channels}.")
        self.macros |= own
        return pipeline


def _unfenced(text: str) -> str:
    """Return a program without the fence that some models put around it."""
    lines = text.strip().splitlines()
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].startswith("```"):
        lines = lines[1:-1]
    return "\n".join(lines)
