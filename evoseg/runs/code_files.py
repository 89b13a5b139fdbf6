"""Where the sources of Python operators lie, and whose this user lets run.

Beside a pipeline and in its run's folder they are code/DIGEST.py. What the user has allowed, or a search of theirs has
admitted, is kept in evoseg's own folder, as code/DIGEST.json with its cost, and needs no further leave.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from evoseg.core.disk import write_atomically
from evoseg.core.errors import EvosegError, PipelineError
from evoseg.core.notes import escape_text
from evoseg.core.untrusted import read_file
from evoseg.operators import registry
from evoseg.pipeline import Pipeline
from evoseg.pipeline.textform import find_codes
from evoseg.runs.run_folder import CODE, DATABASE, FilesError, home, make_folder
from evoseg.sandbox.code import MAX_BYTES, CodeError, digest_of_source
from evoseg.sandbox.operators import USUAL_SHAPE, AdmittedCode, add_code, admit_source, admitted_code


class ConsentError(EvosegError, RuntimeError):
    """Python code from elsewhere that the user has not allowed to run."""


def admit_file(path: Path) -> AdmittedCode:
    """Try out a Python operator from a file of the user's own, and remember it as allowed.

    Raises
    ------
    FilesError
        If it cannot be read.
    PipelineError
        If it may not be used; the message names the file.
    SandboxError
        If nothing can run on this system.
    """
    try:
        return admit_own(_read_source(path))
    except CodeError as error:
        raise PipelineError(f"{path}: {error}") from error


def admit_own(source: str, shape: tuple[int, int] = USUAL_SHAPE) -> AdmittedCode:
    """Try out a Python operator of the user's own, or of a model that they have asked, and remember it as allowed.

    Parameters
    ----------
    shape : tuple of int
        Height and width, px, of the images that it is for.

    Raises
    ------
    CodeError
        If it may not be used.
    FilesError
        If evoseg's own folder cannot be written.
    SandboxError
        If nothing can run on this system.
    """
    admitted = _allowed(digest_of_source(source)) or admit_source(source, shape)
    add_code(admitted)
    keep_allowed([admitted])
    return admitted


def load_codes(text: str, *folders: Path, allow_code: bool = False) -> None:
    """Make the Python operators known that a pipeline's text names.

    Parameters
    ----------
    text : str
    folders : paths
        Where to look for their sources, in this order, each with the folder `CODE` in it.
    allow_code : bool
        Whether code may run that has not been allowed before. Of a run, this allows whatever it has, since its other
        pipelines are asked as well.

    Raises
    ------
    FilesError
        If a source is missing, or cannot be read; the message names it and where it was looked for.
    ConsentError
        If it has not been allowed.
    PipelineError
        If it is damaged, or may not be used.
    SandboxError
        If nothing can run on this system.
    """
    runs = [folder for folder in folders if allow_code and (folder / DATABASE).exists()]
    others = (path.stem for folder in runs for path in sorted((folder / CODE).glob("*.py")))
    for digest in dict.fromkeys([*find_codes(text), *others]):
        if is_known_code(digest):
            continue
        places = [place / f"{digest}.py" for folder in folders for place in (folder / CODE, folder)]
        found = next((path for path in places if path.exists()), None)
        if found is None:
            where = ", ".join(str(path.parent) for path in places) or str(home() / CODE)
            raise FilesError(
                f"the pipeline needs the Python operator {digest}.py, which is in none of these folders: {where}. Copy "
                "it to the first one, from beside the pipeline's file where it was made."
            )
        source = _read_source(found)
        if digest_of_source(source) != digest:
            raise PipelineError(f"{found}: damaged, since its content is not what its name says. Copy it again.")
        ask_for_consent(str(found), allow_code=allow_code)
        admit_file(found)


def load_source(source: str, *, allow_code: bool = False) -> None:
    """Make a Python operator known that somebody has shared.

    Raises
    ------
    ConsentError
        If it has not been allowed; the message holds the source, which may lie in no file.
    EvosegError
        If it may not be used, or nothing can run on this system.
    """
    digest = digest_of_source(source)
    if is_known_code(digest):
        return
    ask_for_consent(f"the Python operator {digest}", source, allow_code=allow_code)
    keep_allowed([admit_source(source)])


def ask_for_consent(what: str, source: str = "", *, allow_code: bool) -> None:
    """Refuse code that is not the user's own, unless the user has just allowed it.

    This is the only question: all code that comes with pipelines, runs and solved tasks passes here before it first
    runs, and is then kept as allowed.

    Raises
    ------
    ConsentError
    """
    if not allow_code:
        shown = f" Its source:\n{escape_text(source.rstrip())}" if source else ""
        raise ConsentError(
            f"{what}: this Python code is not from a search of yours. It would run in a sandbox. Read it, and allow it "
            f"with --allow-code, in Python with allow_code=True.{shown}"
        )


def is_known_code(digest: str) -> bool:
    """Return whether an operator is known, or was allowed before."""
    try:
        registry.get(registry.code_name(digest))
    except PipelineError:
        return False
    return True


def keep_allowed(codes: Iterable[AdmittedCode]) -> None:
    """Remember operators as allowed.

    Raises
    ------
    FilesError
        If evoseg's own folder cannot be written.
    """
    for admitted in codes:
        path = _allowed_file(admitted.code.digest)
        if not path.exists():
            _write(path, json.dumps({"source": admitted.source, "cost": admitted.cost}))


def save_codes(pipeline: Pipeline, folder: Path) -> list[Path]:
    """Write the sources of a pipeline's Python operators into the folder `CODE` of a folder, and return their files.

    Raises
    ------
    FilesError
        If a file of that name holds something else, which is never overwritten, or one cannot be written.
    """
    return write_sources([admitted_code(digest) for digest in pipeline.codes], folder)


def write_sources(codes: Iterable[AdmittedCode], folder: Path) -> list[Path]:
    """Write sources into the folder `CODE` of a folder; as `save_codes`."""
    files = []
    for admitted in codes:
        path = folder / CODE / f"{admitted.code.digest}.py"
        if not path.exists():
            _write(path, admitted.source)
        elif digest_of_source(_read_source(path)) != admitted.code.digest:
            raise FilesError(f"{path}: holds something else, which is not overwritten. Move it away.")
        files.append(path)
    return files


def restore_codes(codes: Iterable[AdmittedCode], run: str, *, allow_code: bool = False) -> None:
    """Make the operators of a run known, with the costs that it has recorded.

    Raises
    ------
    ConsentError
        If one has not been allowed.
    EvosegError
        If one has been allowed only now, and may not be used.
    """
    for admitted in codes:
        digest = admitted.code.digest
        if _allowed(digest) is None:
            ask_for_consent(f"{run}: {CODE}/{digest}.py", allow_code=allow_code)
            keep_allowed([admit_source(admitted.source)])
        add_code(admitted)


def _allowed_file(digest: str) -> Path:
    return home() / CODE / f"{digest}.json"


def _allowed(digest: str) -> AdmittedCode | None:
    """Return an operator that was allowed before; None without, or if what was kept of it cannot be read."""
    path = _allowed_file(digest)
    if not path.exists():
        return None
    try:
        kept = json.loads(read_file(path, 4 * MAX_BYTES, error=FilesError))
        admitted = AdmittedCode(str(kept["source"]), float(kept["cost"]))
        return admitted if admitted.code.digest == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _find_allowed(digest: str) -> None:
    if (admitted := _allowed(digest)) is not None:
        add_code(admitted)


registry.find_codes_with(_find_allowed)


def _read_source(path: Path) -> str:
    try:
        return read_file(path, MAX_BYTES, error=FilesError, advice="Is it a Python operator?").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PipelineError(f"{path}: not a text in UTF-8, so no Python operator. Save it in UTF-8.") from None
    except FilesError:
        raise
    except OSError as error:
        raise FilesError(f"{path}: cannot be read ({error.strerror}).") from error


def _write(path: Path, text: str) -> None:
    try:
        make_folder(path.parent)
        with write_atomically(path) as file:
            file.write(text.encode())
    except FilesError:
        raise
    except OSError as error:
        raise FilesError(f"{path}: cannot be written ({error.strerror}).") from error
