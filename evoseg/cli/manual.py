"""The page docs/commands.md, made from the help of the commands.

python -m evoseg.cli.manual > docs/commands.md
"""

import io
import os
from contextlib import redirect_stdout

import typer

from evoseg.cli.main import app, run

_INTRODUCTION = """\
# Commands

This page is the output of `evoseg COMMAND --help`. Results go to stdout, everything else to stderr; with `--json`,
stdout is exactly one document or empty. Nothing is overwritten without `--overwrite`, except that `evoseg report RUN`
replaces the run's own `report.html`.

| exit code | |
| --- | --- |
| 0 | done |
| 1 | an error that you can act on: one message; `--debug` adds the traceback |
| 2 | an option or value that does not exist |
| 3 | a search ended below `--min-score` |
| 130 | interrupted; everything is saved |

The results of a search go to a new folder under `$EVOSEG_HOME/runs` (by default in your user data folder), or to
`--out`. Commands that take a pipeline accept a file, such a folder, or the id of a run; `RUN#readable` and
`RUN#accurate` are the two pipelines of a run, and `RUN#3` is number 3 of its Pareto front (`evoseg runs show RUN
--front`). `evoseg runs resume RUN` continues a search that was interrupted or killed. Searches on several machines:
[cluster.md](cluster.md).
"""


def manual() -> str:
    """Return the page; it wraps lines at 80 columns if the terminal has as many."""
    parts = [f"<!-- python -m evoseg.cli.manual, typer {typer.__version__} -->", _INTRODUCTION]
    parts += [f"## {' '.join(('evoseg', *words))}\n\n```\n{_help(words)}\n```\n" for words in commands()]
    return "\n".join(parts)


def commands() -> list[tuple[str, ...]]:
    """Return the words of every command, such as ("runs", "list")."""
    found: list[tuple[str, ...]] = [(str(getattr(c.callback, "__name__", c.name)),) for c in app.registered_commands]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        found += [(str(group.name), str(c.name)) for c in group.typer_instance.registered_commands if not c.hidden]
    return found


def _help(words: tuple[str, ...]) -> str:
    with redirect_stdout(io.StringIO()) as printed:
        run([*words, "--help"])
    return printed.getvalue().strip()


if __name__ == "__main__":
    os.environ["COLUMNS"] = "80"
    print(manual(), end="")
