"""What a model proposes, from its words to values: programs, plane lists, edits, operators and experiments.

A model writes calls by names of its own: `leader(image)` and `p7(image)` are programs that it was shown, and
`p7_c(image)` is the value of the line `c` of one. They are expanded here, so a journal holds plain programs.
"""

import ast
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from string import ascii_lowercase

from evoseg.core.errors import PipelineError, legible
from evoseg.core.kinds import Kind
from evoseg.llm.prompts import quote_text
from evoseg.llm.structured import Answer, Edit, Experiment, NewOperator, Programs
from evoseg.operators import registry
from evoseg.operators.registry import PYTHON
from evoseg.pipeline import Pipeline, RevisionWarning, print_text, read_text
from evoseg.pipeline.textform import add_macros, find_macros, names_of
from evoseg.sandbox.code import digest_of_source

MOST_STEPS = 40
"""Largest number of steps; longer programs are hard to read and expensive to run."""
LONG = 9
"""Numbers of a parameter from which they are left out of what a model is shown: the search fits them."""
_REFERENCE = re.compile(r"\b(leader|other[0-9]{1,2}|p[0-9]{1,4})(?:_([a-z][a-z0-9_]*))?\(")
_LONG_TUPLE = re.compile(rf", \w+=\((?:[^(),]+, ?){{{LONG - 1},}}[^(),]*\)")
_IMAGE = re.compile(r"img_([0-9]{1,6})")

Admit = Callable[[Sequence[NewOperator]], list[str]]
"""Has operators tried out; returns for each what is wrong with it, "" for one that can be used from now on."""


@dataclass(frozen=True)
class AcceptedProgram:
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
class AcceptedPlanes:
    """Programs that return planes, for the search to make a sum of."""

    name: str
    idea: str
    planes: tuple[Pipeline, ...]


@dataclass(frozen=True)
class RefusedProposal:
    """A proposal that the reader did not accept."""

    name: str
    reason: str


@dataclass(frozen=True)
class Trial:
    """An experiment that has been read.

    Attributes
    ----------
    kind : str
        "try", "show" or "stats".
    programs : tuple of Pipeline
        One; to try a plane list, its planes. Empty to show the image itself.
    image : int
        Index of the search image to show.
    window : tuple of int
        Row, column, height and width of the part to show; empty for all of it.
    """

    kind: str
    programs: tuple[Pipeline, ...] = ()
    image: int = 0
    window: tuple[int, ...] = ()


@dataclass
class ProposalParser:
    """Reads the proposals of answers, and collects those that are valid.

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
    references : mapping of str to Pipeline
        Programs that may be called by a name.
    codes : mapping of str to str
        Digests of Python operators, by what the model calls them.
    admit : callable
        See `Admit`; it adds to `codes`.
    n_images : int
        How many search images there are.
    """

    output: Kind
    operators: Collection[str]
    channels: int
    macros: dict[str, str] = field(default_factory=dict)
    references: Mapping[str, Pipeline] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)
    admit: Admit = lambda operators: ["operators written in Python are not available in this search."] * len(operators)
    n_images: int = 1
    accepted: list[AcceptedProgram] = field(default_factory=list)
    planes: list[AcceptedPlanes] = field(default_factory=list)
    refused: list[RefusedProposal] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    findings: str = ""
    _refused_operators: set[str] = field(default_factory=set)

    def review(self, answer: Answer) -> list[str]:
        """Add the valid proposals of an answer; return the problems of the others."""
        if not isinstance(answer, Programs):
            return []
        self.findings = quote_text(answer.findings).strip() or self.findings
        problems = self._admit(answer.operators)
        for number, proposal in enumerate(answer.programs, 1):
            name = legible(proposal.name) or f"program {number}"
            self._take(name, proposal.idea, problems, partial(self._program, proposal.program))
        for number, edit in enumerate(answer.edits, 1):
            name = legible(edit.name) or f"edit {number}"
            self._take(name, edit.idea, problems, partial(self._edited, edit))
        for number, listed in enumerate(answer.plane_lists, 1):
            name = legible(listed.name) or f"plane list {number}"
            try:
                found = AcceptedPlanes(name, listed.idea, self._planes(listed.planes))
            except PipelineError as error:
                self._refuse(name, str(error), problems)
                continue
            self._repaired(name)
            if found.planes not in [known.planes for known in self.planes]:
                self.planes.append(found)
        for number, experiment in enumerate(answer.experiments, 1):
            try:
                trial = self._trial(experiment)
            except PipelineError as error:
                self._refuse(f"experiment {number}", str(error), problems)
                continue
            if trial not in self.trials:
                self.trials.append(trial)
        return problems

    def take_trials(self, most: int) -> list[Trial]:
        """Return the experiments that were asked for since, at most so many, and forget all."""
        trials, self.trials = self.trials[:most], []
        return trials

    def _take(self, name: str, idea: str, problems: list[str], read: Callable[[], Pipeline]) -> None:
        try:
            accepted = AcceptedProgram(name, idea, read())
        except PipelineError as error:
            self._refuse(name, str(error), problems)
            return
        self._repaired(name)
        if accepted.pipeline not in [known.pipeline for known in self.accepted]:
            self.accepted.append(accepted)

    def _repaired(self, name: str) -> None:
        self.refused = [refused for refused in self.refused if refused.name != name]

    def _refuse(self, name: str, reason: str, problems: list[str]) -> None:
        self.refused.append(RefusedProposal(name, reason))
        problems.append(f"{name}: {reason}")

    def _admit(self, operators: Sequence[NewOperator]) -> list[str]:
        problems: list[str] = []
        good = []
        for operator in map(_with_usual_name, operators):
            if self.codes.get(operator.name) == digest_of_source(operator.source):
                continue  # sent again, with a correction of something else or in a later round
            if registry_has(operator.name) or _REFERENCE.match(f"{operator.name}("):
                self._refuse(operator.name, "evoseg has something of this name; choose another.", problems)
            elif operator.name in self.codes:
                self._refuse(operator.name, "an earlier operator of yours has this name; choose another.", problems)
            else:
                good.append(operator)
        for operator, fault in zip(good, self.admit(good) if good else (), strict=True):
            if fault:
                self._refuse(operator.name, fault, problems)
                self._refused_operators.add(operator.name)
            else:
                self._refused_operators.discard(operator.name)
        return problems

    def _program(self, text: str) -> Pipeline:
        text = call_codes(_unfenced(text), self.codes)
        macros = find_macros(text) if "def " in text else {}
        pipeline = self.read(text)
        if pipeline.output is not self.output:
            raise PipelineError(f"it returns a {pipeline.output} value; this task needs a {self.output} value.")
        # What a name such as `leader` means changes from round to round.
        self.macros |= {name: text for name, text in macros.items() if not _REFERENCE.search(text.partition("\n")[2])}
        return pipeline

    def _planes(self, texts: Sequence[str]) -> tuple[Pipeline, ...]:
        planes = tuple(dict.fromkeys(self.read(text) for text in texts))
        for number, plane in enumerate(planes, 1):
            if plane.output is not Kind.GRAY:
                raise PipelineError(f"plane {number} is a {plane.output} value; sums are made of gray planes.")
        if len(planes) < 2:
            raise PipelineError("all planes are the same; a sum needs at least two different ones.")
        return planes

    def _edited(self, edit: Edit) -> Pipeline:
        """Return a program with one expression replaced."""
        name = edit.of.strip().partition("(")[0]
        if name not in self.references:
            raise PipelineError(f"there is no program '{legible(name)}'; there are {', '.join(self.references)}.")
        header, *lines = [_with_names(line, self.codes) for line in _body(self.references[name])]
        wanted, new = edit.replace.strip().replace("'", '"'), edit.by.strip()
        at = [i for i, line in enumerate(lines) if line.strip().startswith((f"{wanted} = ", f"{wanted} "))]
        if len(at) == 1:
            left, sign, _ = lines[at[0]].partition(" = ") if wanted != "return" else ("    return", " ", "")
            lines[at[0]] = f"{left}{sign}{new}"
            return self._program("\n".join([header, *lines]))
        if not any(wanted in line for line in lines):
            lines = [_LONG_TUPLE.sub("", line) for line in lines]  # as the model was shown it; numbers are fitted anew
        if (n := sum(line.count(wanted) for line in lines)) != 1:
            raise PipelineError(
                f"'{legible(wanted)}' occurs {n} times in {name}. Name a line of it, or 'return'. It is now:\n"
                f"{shown_text(self.references[name], self.codes)}"
            )
        return self._program("\n".join([header, *(line.replace(wanted, new) for line in lines)]))

    def _trial(self, experiment: Experiment) -> Trial:
        if experiment.kind == "try" and experiment.planes:
            return Trial("try", self._planes(experiment.planes))
        if experiment.kind == "try":
            return Trial("try", (self._program(experiment.program),))
        if experiment.kind == "stats":
            plane = self.read(experiment.program)
            if plane.output is not Kind.GRAY:
                raise PipelineError(f"stats describes gray planes; this is a {plane.output} value.")
            return Trial("stats", (plane,))
        number = _IMAGE.fullmatch(experiment.image.strip())
        if number is None or not 1 <= int(number[1]) <= self.n_images:
            raise PipelineError(f"image: there are img_001 to img_{self.n_images:03d}.")
        if len(experiment.window) not in (0, 4) or any(n < 0 for n in experiment.window):
            raise PipelineError("window: four numbers, row, column, height and width in px, or none for all of it.")
        itself = experiment.program.strip() in ("", "image")
        programs = () if itself else (self.read(experiment.program),)
        return Trial("show", programs, int(number[1]) - 1, tuple(experiment.window))

    def read(self, text: str) -> Pipeline:
        """Return the program that a text or an expression describes.

        Raises
        ------
        PipelineError
            If it cannot be used in this search.
        """
        text = _unfenced(text)
        if "def pipeline" not in text and not text.lstrip().startswith(("def ", "import ", "from ")) and text.strip():
            text = f"def pipeline(image):\n    return {text.strip()}"
        text = call_codes(text, self.codes)
        for name in self._refused_operators:
            if re.search(rf"\b{name}\s*\(", text) and f"def {name}(" not in text:
                raise PipelineError(f"it calls {name}, which was refused.")
        with warnings.catch_warnings():
            # The model writes no revisions; should it copy some, the present ones are meant.
            warnings.simplefilter("ignore", RevisionWarning)
            pipeline = read_text(add_macros(text, {**self._referred(text), **self.macros}))
        if len(pipeline) > MOST_STEPS:
            raise PipelineError(f"it has {len(pipeline)} steps; at most {MOST_STEPS} are wanted.")
        for s in pipeline.steps:
            if s.operator not in self.operators and not registry.get(s.operator).code:
                raise PipelineError(f"{s.operator} is not among the operators of this search.")
        if pipeline.channels > self.channels:
            raise PipelineError(f"it reads channel {pipeline.channels - 1}, counted from 0; there are {self.channels}.")
        return pipeline

    def _referred(self, text: str) -> dict[str, str]:
        """Return macros for the programs, and the lines of programs, that a text calls by name."""
        found: dict[str, str] = {}
        for match in _REFERENCE.finditer(text):
            program, line = match[1], match[2]
            if program not in self.references:
                raise PipelineError(f"there is no program '{program}'; there are {', '.join(self.references)}.")
            pipeline = self.references[program]
            if line:
                lines = lines_of(pipeline)
                if line not in lines:
                    raise PipelineError(f"{program} has no line '{line}'; it has {', '.join(lines)}.")
                pipeline = pipeline.until(lines.index(line))
            name = f"{program}_{line}" if line else program
            found[name] = "\n".join([f"def {name}(image):", *_body(pipeline)[1:]])
        return found


def _with_usual_name(operator: NewOperator) -> NewOperator:
    """Return an operator whose function is called `operator`, also where the model gave it the operator's own name."""
    source = operator.source
    if "def operator(" not in source:
        source = re.sub(rf"(?m)^def {operator.name}\(", "def operator(", source)
    return operator.model_copy(update={"source": source})


def registry_has(name: str) -> bool:
    """Return whether a name is that of an operator of evoseg."""
    return name in {PYTHON, "pipeline", "image"} or name in {op.name for op in registry.operators(retired=True)}


def lines_of(pipeline: Pipeline) -> list[str]:
    """Return what a model knows the lines of a program by, the last one left out: a, b, c, ..., a1, b1, ..."""
    return [f"{ascii_lowercase[i % 26]}{i // 26 or ''}" for i in range(len(pipeline) - 1)]


def _body(pipeline: Pipeline) -> list[str]:
    """Return the lines of a program's text, from `def` on, with short names."""
    text = print_text(pipeline.for_images(None)).rstrip()
    names = names_of(pipeline)
    short = {names[i]: line for i, line in enumerate(lines_of(pipeline))}
    lines = re.sub(r"\b[a-z_0-9]+_[0-9]+\b", lambda match: short.get(match[0], match[0]), text).splitlines()
    return lines[next(i for i, line in enumerate(lines) if line.startswith("def ")) :]


def call_codes(text: str, codes: Mapping[str, str]) -> str:
    """Return a text in which calls of Python operators by name are those by their digests."""
    if not any(re.search(rf"\b{name}\s*\(", text) for name in codes):
        return text
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text  # whoever reads it next says what is wrong
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in codes:
            node.keywords.insert(0, ast.keyword("code", ast.Constant(codes[node.func.id])))
            node.func.id = PYTHON
    return ast.unparse(tree)


def shown_text(pipeline: Pipeline, codes: Mapping[str, str] | None = None) -> str:
    """Return a program as the model sees it.

    Without revisions and long lists of fitted numbers, and with Python operators by their names.
    """
    text = _with_names("\n".join(_body(pipeline)), codes or {})
    # Single quotes need no escape in JSON, and one space does as well as four.
    return re.sub(r"(?m)^    ", " ", _LONG_TUPLE.sub("", text).replace('"', "'"))


def _with_names(text: str, codes: Mapping[str, str]) -> str:
    """Return text in which Python operators are called by their names."""
    for name, digest in codes.items():
        text = re.sub(rf"\bpython\((.*?), code=\"{digest}\"", rf"{name}(\1", text)
    return text


def _unfenced(text: str) -> str:
    """Return a program without the fence that some models put around it."""
    lines = text.strip().splitlines()
    if len(lines) > 2 and lines[0].startswith("```") and lines[-1].startswith("```"):
        lines = lines[1:-1]
    return "\n".join(lines)
