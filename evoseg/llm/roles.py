"""Roles of a language model, as files that people edit: front matter and a prompt."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evoseg.core.errors import EvosegError, unknown
from evoseg.core.untrusted import YamlError, read_file, read_yaml

Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
T = TypeVar("T", bound=BaseModel)


class Entries(BaseModel):
    """Entries of a file that people write; unknown entries and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Schedule(Entries):
    """Which roles are asked, how much they are told, and when to stop.

    Attributes
    ----------
    opening : tuple of str
        Roles that are asked once, before the first round.
    role : str
        The role of every round.
    rounds : int
        Rounds over which a search with a budget of evaluations is spread.
    programs, others, experiments : int
        Numbers of proposals that are requested, of programs that are shown beside the leader, and of experiments that
        may be made, in a round.
    patience : int
        Number of consecutive rounds without a held-out gain, after which the model is not asked any more.
    deadline_s : float, s
        Time limit of a whole call.
    faults_to_pause, pause_s : int, float (s)
        After this number of consecutive faults, nothing is sent for this time.
    """

    opening: tuple[str, ...] = Field(("describe",), strict=False)
    role: str = "propose"
    rounds: Annotated[int, Field(ge=1)] = 8
    programs: Count = 5
    others: Count = 2
    experiments: Count = 6
    patience: Count = 3
    deadline_s: Amount = 120.0
    faults_to_pause: Count = 5
    pause_s: Amount = 60.0

    def chain(self, number: int) -> tuple[str, ...]:
        """Return the roles of a round, numbered from 1; the last one gives programs."""
        return (*self.opening, self.role) if number == 1 else (self.role,)


INPUTS = (
    "card",
    "description",
    "similar",
    "budget",
    "leader",
    "others",
    "last_round",
    "tried",
    "refused",
    "operators",
    "macros",
    "wanted",
    "choices",
    "shown",
    "overview",
    "pictures",
)
"""What a role can be given as input."""
PARTS = ("form", "operators", "programs", "experiments")
"""What a prompt may hold in double braces.

How a pipeline is written, the operators, how many proposals are wanted, and how many experiments may be made.
"""
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
    """Read the roles in some folders; what comes later replaces what comes first.

    Of a schedule and of prices, single entries are replaced; of roles, whole files.

    Raises
    ------
    RoleError
        Naming the file and the problem.
    """
    files: dict[str, Path] = {}
    models: dict[str, ModelFacts] = {}
    schedules: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise RoleError(f"{folder}: no such folder. Give one with files such as generate.md.")
        files |= {path.name: path for path in sorted(folder.iterdir()) if path.suffix in (".md", ".yaml")}
        if (folder / MODELS).is_file():
            models |= _models(folder / MODELS)
        if (folder / SCHEDULE).is_file():
            schedules.append(folder / SCHEDULE)
    paths = [path for name, path in files.items() if path.suffix == ".md" and name not in (FORM, README)]
    roles = {role.name: role for role in map(read_role, paths)}
    for name in (SCHEDULE, FORM):
        if name not in files:
            raise RoleError(f"{folders[0]}: holds no {name}. Install evoseg again.")
    return RoleSet(roles, _schedule(schedules, roles), models, _text(files[FORM]).strip())


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


def _schedule(paths: Sequence[Path], roles: Mapping[str, Role]) -> Schedule:
    entries: dict[str, Any] = {}
    for path in paths:
        entries |= _mapping(path, _text(path))
        _checked(Schedule, path, entries)
    schedule = Schedule.model_validate(entries)
    for name in (schedule.role, *schedule.opening):
        _known(paths[-1], "role", name, roles)
    if roles[schedule.role].output != "programs":
        raise RoleError(f"{paths[-1]}: {schedule.role} gives no programs, so it cannot be the role of a round.")
    if given := next((name for name in schedule.opening if roles[name].output != "description"), None):
        raise RoleError(f"{paths[-1]}: {given} gives no description, so it cannot open a conversation.")
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
