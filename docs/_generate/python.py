"""The page of the Python interface: what `evoseg` offers, by autodoc."""

from pathlib import Path

import evoseg
from _generate.operators import write_changed

_HEAD = """\
# Python

The public interface of `import evoseg`. These example scripts run as they are:
[search](../../examples/search_from_python.py), [apply to arrays](../../examples/apply_to_arrays.py),
[screen plates](../../examples/screen_plates.py), [follow a camera](../../examples/live_frames.py).
"""


def write(path: Path) -> None:
    """Write a section for each public name."""
    names = [name for name in evoseg.__all__ if not name.startswith("_")]
    write_changed(path, "\n".join([_HEAD, *map(_section, sorted(names, key=str.lower))]))


def _section(name: str) -> str:
    thing = getattr(evoseg, name)
    directive = "autoclass" if isinstance(thing, type) else "autofunction"
    options = "\n   :members:\n" if isinstance(thing, type) else "\n"
    return f"## {name}\n\n```{{eval-rst}}\n.. {directive}:: evoseg.{name}{options}```\n"
