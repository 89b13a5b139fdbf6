"""The command `evoseg`: its commands, what goes to stderr, and exit codes.

Nothing heavy is imported here or in the modules of commands; each command imports what it needs when it runs.
"""

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import wraps
from types import FrameType
from typing import Annotated, Any, TextIO, cast

import typer

from evoseg import __version__
from evoseg.cli.data import check, critique, describe, similar
from evoseg.cli.doctor import doctor
from evoseg.cli.inference import apply, score
from evoseg.cli.library import library
from evoseg.cli.reuse import reuse
from evoseg.cli.runs import runs
from evoseg.cli.search import demo, search
from evoseg.cli.show import export, operators, report, show
from evoseg.cli.studio import studio
from evoseg.core.deprecation import DeprecatedNameWarning
from evoseg.core.errors import ImageWarning
from evoseg.core.notes import escape_text

DONE, ERROR, MISUSE, BELOW, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes; 3 is a search that ended below --min-score."""

app = typer.Typer(
    name="evoseg",
    help="Search for short image segmentation pipelines, given images and a few masks; apply and export them.",
    epilog="Example: evoseg demo",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
_EXAMPLES: dict[Callable[..., None], str] = {
    demo: "evoseg demo --seconds 20",
    check: "evoseg check plates/",
    describe: "evoseg describe plates/",
    search: "evoseg search plates/ --seconds 60 --out found/",
    similar: "evoseg similar plates/ -k 5",
    reuse: "evoseg reuse new_images/",
    apply: "evoseg apply found/ new_images/ --out segmented/",
    score: "evoseg score found/ plates/ --split test",
    show: "evoseg show found/",
    critique: "evoseg critique found/ plates/ --agent openai:gpt-4.1-mini",
    report: "evoseg report found/",
    studio: "evoseg studio plates/",
    doctor: "evoseg doctor",
    export: "evoseg export found/ --to python --out segment.py",
}


class _Interrupted(Exception):
    """Stands for KeyboardInterrupt, which versions of Typer treat in different ways, each without its notes."""


def _guarded(command: Callable[..., None]) -> Callable[..., None]:
    @wraps(command)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as error:
            raise _Interrupted from error

    return guarded


def _stand_in(command: Callable[..., None]) -> Callable[..., None]:
    """Return what the list of commands shows of one that gets its options later."""

    def listed() -> None: ...

    listed.__name__, listed.__doc__ = command.__name__, command.__doc__
    return listed


def _complete_search(arguments: Sequence[str]) -> None:
    """Give `search` its options if it is asked for; importing their model takes as long as all other commands."""
    if "search" in arguments:
        from evoseg.cli.shared import add_search_options

        (info,) = (info for info in app.registered_commands if getattr(info.callback, "__name__", "") == "search")
        info.callback = _guarded(add_search_options(search))


for command, example in _EXAMPLES.items():
    app.command(epilog=f"Example: {example}")(_stand_in(command) if command is search else _guarded(command))
for group, name in ((operators, "operators"), (library, "library"), (runs, "runs")):
    for member in group.registered_commands:
        assert member.callback is not None
        member.callback = _guarded(member.callback)
    app.add_typer(group, name=name)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"evoseg {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and log more; also allowed after a command.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str
        Without the program's name.
    """
    with redirect_stdout(cast(TextIO, _Shown(sys.stdout))), redirect_stderr(cast(TextIO, _Shown(sys.stderr))):
        return _run(*_without_debug(list(arguments)))


def _run(arguments: list[str], debug: bool) -> int:
    before = _listen(debug)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            warnings.simplefilter("always", ImageWarning)
            warnings.simplefilter("always", DeprecatedNameWarning)
            _complete_search(arguments)
            code = app(args=arguments, prog_name="evoseg", standalone_mode=False)
            sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except (Exception, KeyboardInterrupt) as error:
        if debug and not hasattr(error, "show"):
            traceback.print_exc()
        return _reported(error)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Take --debug out, wherever it stands before a lone --."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    kept = [argument for argument in arguments[:end] if argument != "--debug"]
    return kept + arguments[end:], len(kept) < end


def _listen(debug: bool) -> Any:
    """Send logs to stderr, take SIGTERM for Ctrl-C; return who handled that signal before."""
    root = logging.getLogger("evoseg")
    if not any(isinstance(handler, _Stderr) for handler in root.handlers):
        root.addHandler(_Stderr())
    root.setLevel(logging.DEBUG if debug else logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # names of files may hold what a terminal cannot show
    try:
        return signal.signal(signal.SIGTERM, _interrupt)
    except ValueError:  # not in the main thread
        return None


class _Shown:
    """A stream that shows what a terminal would act on: names of files and titles may hold anything."""

    def __init__(self, stream: TextIO) -> None:
        # Under this name rich finds the stream for the codes of a live line, which are its own.
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write text with control characters escaped."""
        self.rich_proxied_file.write(escape_text(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


class _Stderr(logging.Handler):
    """Writes to whatever stderr is at the time, so that a live line is not torn."""

    def emit(self, record: logging.LogRecord) -> None:
        # Under a live line, rich takes what is printed and shows it past our stream.
        print(f"{record.levelname.lower()}: {_indented(escape_text(record.getMessage()))}", file=sys.stderr)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    word = "note" if issubclass(category, DeprecatedNameWarning) else "warning"
    print(f"{word}: {_indented(escape_text(str(message)))}", file=sys.stderr)


def _reported(error: BaseException) -> int:
    """Print an error as one message and return the exit code."""
    from evoseg.core.errors import EvosegError, SettingsError

    if isinstance(error, _Interrupted | KeyboardInterrupt | typer.Abort):
        cause = error.__cause__ or error
        _print("interrupted", getattr(cause, "__notes__", []))
        return INTERRUPTED
    if isinstance(error, typer.Exit):
        return int(error.exit_code)
    if isinstance(error, BrokenPipeError):
        # Whoever read has enough. Without this, Python would complain when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    if isinstance(error, EvosegError):
        _print(f"error: {error}", getattr(error, "__notes__", []))
        return MISUSE if isinstance(error, SettingsError) else ERROR
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()
        return int(error.exit_code)
    if isinstance(error, OSError):
        _print(f"error: {error}", getattr(error, "__notes__", []))
        return ERROR
    notes = getattr(error, "__notes__", [])
    what = f"{type(error).__name__}: {error}"
    _print(f"error: {what}. This should not happen: please report it with what --debug prints.", notes)
    return ERROR


def _print(message: str, notes: list[str]) -> None:
    print("\n".join(map(_indented, [message, *notes])), file=sys.stderr)


def _indented(message: str) -> str:
    """Set further lines of a message in, so that none of them looks like another message."""
    return message.replace("\n", "\n  ")


if __name__ == "__main__":
    main()
