"""Pages of operators from the registry: a page per family, a section and a picture per operator."""

import re
from inspect import cleandoc, getsource
from itertools import groupby
from pathlib import Path
from textwrap import dedent

import evoseg.operators  # registers them
from _generate import pictures
from evoseg.datasets.io.files import write_image
from evoseg.operators import registry
from evoseg.operators.registry import Operator
from evoseg.pipeline.explaining import domain_words, reach_words, signature

_HEAD = """\
# Operators

Pipelines consist of these {n} operators. `evoseg operators show NAME` prints the same information in a terminal. The
kinds of values are *raw*, an image as it was read, with all its channels; *gray*, a plane with 8 bits; *mask*, the
foreground; *labels*, a number for each object; and *points*, coordinates (row, col).

The pictures are made from scikit-image's example images when this site is built, with the inputs on the left and the
output on the right. *Fitted* parameters are computed from the images during a search and are fixed in a finished
pipeline. The cost is for one thread, by a model that `make bench` compares with measured times. The receptive field
is how far from a pixel something can lie and still change the output there; *whole* means anywhere in the image.

```{{toctree}}
:maxdepth: 1

{families}
```

| operator | inputs | output | what it does |
| --- | --- | --- | --- |
{rows}
"""


def write(folder: Path) -> None:
    """Write index.md, FAMILY.md and pictures/OPERATOR.png into a folder."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    found = sorted(registry.operators(retired=True), key=lambda op: (op.family, op.name))
    families = {family: list(members) for family, members in groupby(found, key=lambda op: op.family)}
    for old in folder.glob("*.md"):
        if old.stem not in {*families, "index"}:
            old.unlink()
    for family, members in families.items():
        module = getattr(evoseg.operators, family)
        about = cleandoc(module.__doc__ or "")
        page = [f"# {family.capitalize()}", about, *map(section, members)]
        write_changed(folder / f"{family}.md", "\n\n".join(page) + "\n")
    for op in found:
        write_image(folder / "pictures" / f"{op.name}.png", pictures.drawn(op), overwrite=True)
    rows = "\n".join(
        f"| [{op.name}](#op-{op.name}) | {', '.join(op.inputs)} | {op.output} | {op.summary} |"
        for op in sorted(found, key=lambda op: op.name)
    )
    write_changed(folder / "index.md", _HEAD.format(n=len(found), families="\n".join(families), rows=rows))


def section(op: Operator) -> str:
    """Return the Markdown section of an operator."""
    parts = _parts(cleandoc(op.function.__doc__ or ""))
    cost, reach = op.cost(_defaults(op)), reach_words(op.reach(_defaults(op)))
    facts = [f"revision {op.revision}", f"{cost:.1f} ms per megapixel", f"receptive field {reach}"]
    facts += ["the order of its inputs does not matter"] * op.commutative
    facts += ["retired: read and run, but no longer proposed"] * op.retired
    lines = [f"(op-{op.name})=\n## {op.name}", parts["Summary"], f"```python\n{signature(op)}\n```"]
    lines += [f"![{op.name}: inputs and output](pictures/{op.name}.png)", f"*{_drawn_with(op)}*"]
    lines += [_inputs(op, parts.get("Parameters", "")), _parameters(op, parts.get("Parameters", ""))]
    lines += [f"Output: {_flowing(parts['Returns'])}.", f"{'; '.join(facts).capitalize()}."]
    lines += [f"{head}: {_flowing(parts[head])}" for head in ("Notes", "References") if head in parts]
    code = dedent(getsource(op.function)).strip()
    path = f"evoseg/operators/{op.family}.py"
    lines.append(f"<details>\n<summary>Source code, {path}</summary>\n\n```python\n{code}\n```\n\n</details>")
    return "\n\n".join(filter(None, lines))


def write_changed(path: Path, text: str) -> None:
    """Write a page unless it says so already, so that a second build reads only what changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


def _defaults(op: Operator) -> tuple[registry.Value, ...]:
    return tuple(p.default for p in op.parameters)


def _parts(docstring: str) -> dict[str, str]:
    """Return the sections of a NumPy docstring by heading; what comes before the first is the summary."""
    head, *rest = re.split(r"^(\w+)\n-+\n", docstring, flags=re.MULTILINE)
    bodies = (body.strip("\n") for body in rest[1::2])
    return {"Summary": head.strip()} | dict(zip(rest[::2], bodies, strict=True))


def _entries(body: str) -> dict[str, tuple[str, str]]:
    """Return what a Parameters section says: type and meaning by name; names that share an entry share them."""
    entries = {}
    for entry in re.split(r"\n(?=\S)", body):
        head, _, meaning = entry.partition("\n")
        names, _, kind = head.partition(" : ")
        entries |= {name.strip(): (kind, _flowing(meaning)) for name in names.split(",")}
    return entries


def _inputs(op: Operator, body: str) -> str:
    own = {p.name for p in op.parameters}
    said = [(name, meaning) for name, (_, meaning) in _entries(body).items() if name not in own and meaning]
    return "\n".join(f"- `{name}`: {meaning}" for name, meaning in said)


def _parameters(op: Operator, body: str) -> str:
    if not op.parameters:
        return ""
    meanings = [_entries(body)[p.name][1] for p in op.parameters]
    rows = [
        f"| `{p.name}` | {_literal(p.default)} | {domain_words(p)} | {_cell(meaning if new else 'as above')} |"
        for p, meaning, new in zip(op.parameters, meanings, _differ(meanings), strict=True)
    ]
    return "\n".join(["| parameter | default | values | |", "| --- | --- | --- | --- |", *rows])


def _differ(meanings: list[str]) -> list[bool]:
    """Say of each meaning whether it is another than the one before; an empty one always is."""
    return [not now or now != before for before, now in zip(["", *meanings], meanings, strict=False)]


def _literal(value: registry.Value) -> str:
    return f"`{value!r}`" if not isinstance(value, tuple) or len(value) <= 9 else f"{len(value)} numbers"


def _drawn_with(op: Operator) -> str:
    drawn, defaults = op.named(pictures.values(op)), op.named(_defaults(op))
    other = [f"{name}={value!r}" for name, value in drawn.items() if value != defaults[name]]
    if not op.parameters:
        return "Inputs and output."
    return f"Inputs, and output with {', '.join(other) or 'the default parameters'}."


def _flowing(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
