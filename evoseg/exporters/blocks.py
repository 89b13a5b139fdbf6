"""Filters written in another language, one block each, and what can be written with them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from evoseg.core.kinds import Kind
from evoseg.exporters.excerpts import ExportError
from evoseg.operators.registry import Operator, get
from evoseg.pipeline.value import Pipeline

_WORDS = {Kind.MASK: "masks", Kind.GRAY: "planes"}


@dataclass(frozen=True)
class Filters:
    """The filters of one language.

    Attributes
    ----------
    target : str
        What the language is called in options: ``--to`` and ``--for``.
    what : str
        What its files are called in messages.
    file : str
        Where the blocks are, below this package; they are parted by empty lines, and the first is a comment on all.
    opening : str
        Regular expression for the start of a block; its group is the name that the block defines.
    outputs : tuple of Kind
        What pipelines may give.
    prefix : str
        What stands before an operator's name in the name of its block.
    """

    target: str
    what: str
    file: str
    opening: str
    outputs: tuple[Kind, ...]
    prefix: str = ""

    @property
    def gives(self) -> str:
        """What pipelines may give, in words."""
        return " and ".join(_WORDS[kind] for kind in self.outputs)

    def carry(self, op: Operator) -> bool:
        """Return whether pipelines with an operator can be written."""
        return self.prefix + op.name in _blocks(self)

    def check(self, pipelines: Iterable[Pipeline]) -> None:
        """Refuse pipelines with operators that are not carried.

        Raises
        ------
        ExportError
            Naming them.
        """
        wanted = dict.fromkeys(get(s.operator) for pipeline in pipelines for s in pipeline.steps)
        missing = [op for op in wanted if not self.carry(op)]
        if not missing:
            return
        names = ", ".join(f"'{op.called}' (code {op.code})" if op.code else f"'{op.name}'" for op in missing)
        filters = "the filters alone (RUN#readable), or " if any(op.ready_made for op in missing) else ""
        raise ExportError(
            f"{names}: not supported by {self.what}. Export {filters}to Python (--to python), which supports every "
            f"default operator, or search with --target {self.target}."
        )

    def text(self, pipelines: Iterable[Pipeline]) -> str:
        """Return the blocks that some pipelines use, with all that those lean on.

        Raises
        ------
        ExportError
            Naming the operators that are not carried.
        """
        pipelines = list(pipelines)
        self.check(pipelines)
        blocks = _blocks(self)
        needed, waiting = set[str](), [self.prefix + s.operator for pipeline in pipelines for s in pipeline.steps]
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += [word for word in re.findall(r"\w+", blocks[name]) if word in blocks]
        return "\n\n".join(blocks[name] for name in blocks if name in needed)


@cache
def _blocks(filters: Filters) -> dict[str, str]:
    """Return the filters and what they share, by name, in their order."""
    text = files(__package__).joinpath(filters.file).read_text("utf-8")
    found = {}
    for block in text.strip().split("\n\n")[1:]:
        first = re.search(filters.opening, block, re.MULTILINE)
        assert first, block.splitlines()[0]
        found[first[1]] = block
    return found
