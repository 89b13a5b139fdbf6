"""Roles of a language model, as files that people edit: front matter and a prompt."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.random import Generator
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evoseg.core.errors import EvosegError, unknown
from evoseg.core.untrusted import YamlError, read_file, read_yaml
from evoseg.evolve.ports import Scored
from evoseg.pipeline import Pipeline

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
T = TypeVar("T", bound=BaseModel)

AKIN = 0.6
"""Share of common operators from which two programs count as related."""


class Entries(BaseModel):
    """Entries of a file that people write; unknown entries and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Schedule(Entries):
    """Which role is asked in which round, and when to stop.

    Attributes
    ----------
    first, warmup : str, int
        The role of the first rounds, and the number of these rounds.
    opening : tuple of str
        Roles that are asked once, before the first round.
    every : mapping of str to int
        Roles that are asked in every n-th round after those; 0 means never. A role that gives no programs is
        asked before one that does.
    otherwise : str
        The role of all other rounds.
    programs, parents : int
        Numbers of programs that are requested, and of parents that are shown, in a round.
    patience : int
        Number of consecutive rounds without a program among the best, after which the model is not asked any more.
    temperature : float, ranks
        Of the draw of parents: the smaller it is, the more the best are preferred.
    same_lineage : float
        A program's weight is multiplied by this for each related parent that was drawn already.
    deadline_s : float, s
        Time limit of a whole call.
    faults_to_pause, pause_s : int, float (s)
        After this number of consecutive faults, nothing is sent for this time.
    """

    first: str = "generate"
    warmup: Count = 2
    opening: tuple[str, ...] = Field((), strict=False)
    every: Mapping[str, Count] = Field(default_factory=dict)
    otherwise: str = "evolve"
    programs: Count = 4
    parents: Count = 3
    patience: Count = 8
    temperature: Amount = 3.0
    same_lineage: Amount = 0.3
    deadline_s: Amount = 60.0
    faults_to_pause: Count = 5
    pause_s: Amount = 60.0

    def chain(self, number: int, gives_programs: Mapping[str, bool]) -> tuple[str, ...]:
        """Return the roles of a round, numbered from 1; the last one gives programs."""
        if number <= self.warmup:
            return (*self.opening, self.first) if number == 1 else (self.first,)
        later = number - self.warmup
        due = [name for name, n in self.every.items() if n > 0 and later % n == 0]
        last = next((name for name in due if gives_programs[name]), self.otherwise)
        return (*(name for name in due if not gives_programs[name]), last)


def draw_parents(ranked: Sequence[Scored], n: int, schedule: Schedule, rng: Generator) -> list[Scored]:
    """Draw up to n different parents by Gibbs weights over their ranks, with a penalty for relatives of those drawn.

    Parameters
    ----------
    ranked : sequence of Scored
        Best first.
    """
    left = list(range(len(ranked)))
    drawn: list[int] = []
    while left and len(drawn) < n:
        kin = np.array([sum(are_related(ranked[i].pipeline, ranked[j].pipeline) for j in drawn) for i in left])
        weights = np.exp(-np.array(left) / max(schedule.temperature, 1e-6)) * schedule.same_lineage**kin
        total = weights.sum()
        place = int(rng.choice(len(left), p=weights / total)) if total > 0 else 0
        drawn.append(left.pop(place))
    return [ranked[i] for i in drawn]


def are_related(one: Pipeline, other: Pipeline) -> bool:
    """Return whether two programs are made of mostly the same operators.

    Crossover and tuning give a program so many ancestors that its operators say more than its ancestry.
    """
    first, second = (Counter(s.operator for s in pipeline.steps) for pipeline in (one, other))
    return (first & second).total() >= AKIN * (first | second).total()


INPUTS = (
    "card",
    "description",
    "similar",
    "parents",
    "best",
    "tried",
    "refused",
    "critique",
    "macros",
    "wanted",
    "choices",
    "pictures",
)
"""What a role can be given as input."""
PARTS = ("form", "operators", "programs")
"""What a prompt may hold in double braces: how a pipeline is written, the operators, how many programs are wanted."""
OUTPUTS = ("programs", "description", "critique", "verdicts", "task")
SCHEDULE, MODELS, FORM, README = "schedule.yaml", "models.yaml", "form.md", "README.md"
MOST_BYTES = 1 << 18


class RoleError(EvosegError, ValueError):
    """A file of a role, of the schedule or of prices that cannot be used."""


class Role(Entries):
    """A role of the model.

    Attributes
    ----------
    name, purpose : str
    output : str
        One of `OUTPUTS`: what an answer must look like.
    inputs : tuple of str
        Of `INPUTS`: what it is told, as one JSON document.
    prompt : str
        Trusted words; double braces stand for `PARTS`.
    temperature : float or None
        None leaves it to the endpoint.
    max_tokens : int
        Of an answer.
    """

    name: str
    purpose: str
    output: str
    inputs: tuple[str, ...] = Field(strict=False)
    prompt: str = ""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=100, le=100_000)] = 2000


class ModelFacts(Entries):
    """What is known of a model.

    Attributes
    ----------
    usd_in, usd_out : float
        Price of a million tokens.
    pictures : bool
        Whether it takes them.
    picture_tokens : int
        The most that one counts for.
    as_of : str
        When the price was so, such as 2025-08; "" if the file does not say.
    """

    usd_in: Amount
    usd_out: Amount
    pictures: bool = False
    picture_tokens: Count = 2000
    as_of: Annotated[str, Field(pattern=r"^(\d{4}-\d\d)?$")] = ""


@dataclass(frozen=True)
class RoleSet:
    """All roles with their schedule and the models' prices."""

    roles: Mapping[str, Role]
    schedule: Schedule
    models: Mapping[str, ModelFacts]
    form: str


def read_roles(folders: Sequence[Path]) -> RoleSet:
    """Read the roles in some folders; what comes later replaces what comes first, file by file.

    Raises
    ------
    RoleError
        Naming the file and the problem.
    """
    files: dict[str, Path] = {}
    models: dict[str, ModelFacts] = {}
    for folder in folders:
        if not folder.is_dir():
            raise RoleError(f"{folder}: no such folder. Give one with files such as generate.md.")
        files |= {path.name: path for path in sorted(folder.iterdir()) if path.suffix in (".md", ".yaml")}
        if (folder / MODELS).is_file():
            models |= _models(folder / MODELS)
    paths = [path for name, path in files.items() if path.suffix == ".md" and name not in (FORM, README)]
    roles = {role.name: role for role in map(read_role, paths)}
    for name in (SCHEDULE, FORM):
        if name not in files:
            raise RoleError(f"{folders[0]}: holds no {name}. Install evoseg again.")
    return RoleSet(roles, _schedule(files[SCHEDULE], roles), models, _text(files[FORM]).strip())


def read_role(path: Path) -> Role:
    """Read one role.

    Raises
    ------
    RoleError
        Naming the file and the problem.
    """
    parts = re.match(r"---\n(.*?)\n---\n(.*)", _text(path), re.DOTALL)
    if not parts:
        raise RoleError(f"{path}: must begin with front matter between two lines '---'; README.md shows how.")
    prompt = parts[2].strip()
    role = _checked(Role, path, _mapping(path, parts[1])).model_copy(update={"prompt": prompt})
    _known(path, "output", role.output, OUTPUTS)
    for name in role.inputs:
        _known(path, "input", name, INPUTS)
    for piece in prompt.split("{{")[1:]:
        name, end, _ = piece.partition("}}")
        if end:
            _known(path, "part", name, PARTS)
    return role


def _schedule(path: Path, roles: Mapping[str, Role]) -> Schedule:
    schedule = _checked(Schedule, path, _mapping(path, _text(path)))
    for name in (schedule.first, schedule.otherwise, *schedule.opening, *schedule.every):
        _known(path, "role", name, roles)
    for name in (schedule.first, schedule.otherwise):
        if roles[name].output != "programs":
            raise RoleError(f"{path}: {name} gives no programs, so it cannot be a round of its own.")
    return schedule


def _models(path: Path) -> dict[str, ModelFacts]:
    return {name: _checked(ModelFacts, path, entry, name) for name, entry in _mapping(path, _text(path)).items()}


def _checked(model: type[T], path: Path, entries: Any, name: str = "") -> T:
    """Return a file's entries as a model.

    Raises
    ------
    RoleError
        For the first entry that is wrong or missing.
    """
    try:
        return model.model_validate(entries)
    except ValidationError as error:
        (first, *_) = error.errors()
    where = ".".join(map(str, [*([name] if name else []), *first["loc"]]))
    if first["type"] == "extra_forbidden":
        raise RoleError(f"{path}: {unknown('entry', where, [n for n in model.model_fields if n != 'prompt'])}")
    raise RoleError(f"{path}: {where}: {first['msg']}. agents/README.md says what each entry is.")


def _text(path: Path) -> str:
    try:
        # Roles lie in a folder that the user names, and go to a model: a link must not lead to other files.
        data = read_file(path, MOST_BYTES, inside=path.parent, error=RoleError, advice="Is it a prompt?")
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise RoleError(f"{path}: not a text in UTF-8.") from error
    except OSError as error:
        raise RoleError(f"{path}: cannot be read ({error.strerror}).") from error


def _mapping(path: Path, text: str) -> dict[str, Any]:
    try:
        entries = read_yaml(text)
    except YamlError as error:
        raise RoleError(f"{path}: {error}") from error
    if not isinstance(entries, dict):
        raise RoleError(f"{path}: must hold `key: value` lines.")
    return {str(key): value for key, value in entries.items()}


def _known(path: Path, what: str, name: Any, known: Any) -> None:
    if not isinstance(name, str) or name not in known:
        raise RoleError(f"{path}: {unknown(what, str(name), known)}")
