"""Roles of a language model, as files that people edit: front matter and a prompt."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from evoseg.base.errors import EvosegError, unknown
from evoseg.base.untrusted import YamlError, read_file, read_yaml
from evoseg.llm.schedule import Schedule

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
    "pictures",
)
"""What a role may be told."""
PARTS = ("form", "operators", "programs")
"""What a prompt may hold in double braces: how a pipeline is written, the operators, how many programs are wanted."""
OUTPUTS = ("programs", "description", "critique")
SCHEDULE, MODELS, FORM, README = "schedule.yaml", "models.yaml", "form.md", "README.md"
MOST_BYTES = 1 << 18


class RoleError(EvosegError, ValueError):
    """A file of a role, of the schedule or of prices that cannot be used."""


@dataclass(frozen=True)
class Role:
    """A part that the model plays.

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
    inputs: tuple[str, ...]
    prompt: str
    temperature: float | None = None
    max_tokens: int = 2000


@dataclass(frozen=True)
class ModelFacts:
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

    usd_in: float
    usd_out: float
    pictures: bool = False
    picture_tokens: int = 2000
    as_of: str = ""


@dataclass(frozen=True)
class Cast:
    """All that the files say."""

    roles: Mapping[str, Role]
    schedule: Schedule
    models: Mapping[str, ModelFacts]
    form: str


def read_cast(folders: Sequence[Path]) -> Cast:
    """Read the roles in some folders; what comes later replaces what comes first, file by file.

    Raises
    ------
    RoleError
        Naming file and fault.
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
    return Cast(roles, _schedule(files[SCHEDULE], roles), models, _text(files[FORM]).strip())


def read_role(path: Path) -> Role:
    """Read one role.

    Raises
    ------
    RoleError
        Naming the file and the fault.
    """
    parts = re.match(r"---\n(.*?)\n---\n(.*)", _text(path), re.DOTALL)
    if not parts:
        raise RoleError(f"{path}: must begin with front matter between two lines '---'; README.md shows how.")
    entries, prompt = _mapping(path, parts[1]), parts[2].strip()
    known = {f.name for f in fields(Role)} - {"prompt"}
    for name in entries:
        _known(path, "entry", name, known)
    if missing := [name for name in ("name", "purpose", "output", "inputs") if name not in entries]:
        raise RoleError(f"{path}: the front matter lacks {', '.join(missing)}.")
    if not isinstance(entries["inputs"], list):
        raise RoleError(f"{path}: inputs must be a list, such as [card, parents].")
    _known(path, "output", entries["output"], OUTPUTS)
    for name in entries["inputs"]:
        _known(path, "input", name, INPUTS)
    for piece in prompt.split("{{")[1:]:
        name, end, _ = piece.partition("}}")
        if end:
            _known(path, "part", name, PARTS)
    warmth, most = entries.get("temperature"), entries.get("max_tokens", Role.max_tokens)
    if warmth is not None and not (_is_number(warmth) and 0 <= warmth <= 2):
        raise RoleError(f"{path}: temperature is {warmth}; it must be a number from 0 to 2.")
    if not isinstance(most, int) or not 100 <= most <= 100_000:
        raise RoleError(f"{path}: max_tokens is {most}; it must be a whole number from 100 to 100000.")
    words = {name: str(entries[name]) for name in ("name", "purpose", "output")}
    return Role(**words, inputs=tuple(entries["inputs"]), prompt=prompt, temperature=warmth, max_tokens=most)


def _schedule(path: Path, roles: Mapping[str, Role]) -> Schedule:
    entries = _mapping(path, _text(path))
    defaults: dict[str, Any] = {f.name: f.default for f in fields(Schedule)}
    for name, value in entries.items():
        _known(path, "entry", name, defaults)
        if name == "every":
            right = isinstance(value, dict) and all(isinstance(n, int) and n >= 0 for n in value.values())
        elif name == "opening":
            right = isinstance(value, list)
        elif isinstance(defaults[name], str):
            right = isinstance(value, str)
        else:
            right = _is_number(value) and value >= 0 and (isinstance(defaults[name], float) or isinstance(value, int))
        if not right:
            raise RoleError(f"{path}: {name} cannot be {value!r}; README.md says what it is.")
    schedule = Schedule(**entries | {"opening": tuple(entries.get("opening", ()))})
    for name in (schedule.first, schedule.otherwise, *schedule.opening, *schedule.every):
        _known(path, "role", name, roles)
    for name in (schedule.first, schedule.otherwise):
        if roles[name].output != "programs":
            raise RoleError(f"{path}: {name} gives no programs, so it cannot be a round of its own.")
    return schedule


def _models(path: Path) -> dict[str, ModelFacts]:
    found = {}
    for name, entry in _mapping(path, _text(path)).items():
        try:
            facts = ModelFacts(**entry)
            right = all(_is_number(n) and n >= 0 for n in (facts.usd_in, facts.usd_out, facts.picture_tokens))
            right = right and re.fullmatch(r"(\d{4}-\d\d)?", facts.as_of) is not None
        except TypeError:
            right = False
        if not right:
            raise RoleError(
                f"{path}: {name} must have usd_in and usd_out, and may have pictures, picture_tokens "
                "and as_of, the year and month of the price."
            )
        found[str(name)] = facts
    return found


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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
