"""Where the files of networks lie, DIGEST.onnx each: beside a pipeline, in its run's folder, or in evoseg's own."""

from pathlib import Path

from evoseg.core.disk import write_atomically
from evoseg.core.errors import PipelineError
from evoseg.core.untrusted import read_file
from evoseg.operators.network import EXAMPLE_NETWORK, add_network, digest_of, is_known_network, network_bytes
from evoseg.operators.network_file import MAX_BYTES
from evoseg.pipeline import Pipeline
from evoseg.runs.run_folder import NETWORKS, FilesError, home, make_folder


def networks_folder() -> Path:
    """Return the folder for networks that lie beside no pipeline, such as those of programs that are given as text."""
    return home() / NETWORKS


def network_file(folder: Path, digest: str) -> Path:
    """Return where a network lies in a folder."""
    return folder / f"{digest}.onnx"


def load_networks(pipeline: Pipeline, *folders: Path) -> None:
    """Make the networks known that a pipeline names.

    Parameters
    ----------
    pipeline : Pipeline
    folders : paths
        Where to look, in this order, each with the folder of networks in it; at last in evoseg's own.

    Raises
    ------
    FilesError
        If a file is missing, or cannot be read; the message names it and where it was looked for.
    PipelineError
        If a file is damaged, or no network that evoseg wrote.
    """
    for digest in pipeline.networks:
        if is_known_network(digest):
            continue
        both = [place for folder in folders for place in (folder, folder / NETWORKS)]
        places = [network_file(folder, digest) for folder in (*both, networks_folder())]
        found = next((path for path in places if path.exists()), None)
        if found is None:
            where = ", ".join(str(path.parent) for path in places)
            raise FilesError(
                f"the pipeline needs the network {digest}.onnx, which is in none of these folders: {where}. Copy it to "
                "the first one, from beside the pipeline's file where it was made."
            )
        load_network(found)


def load_networks_if_there(pipeline: Pipeline) -> None:
    """Make those of a pipeline's networks known that lie in evoseg's own folder."""
    for digest in pipeline.networks:
        if not is_known_network(digest) and (path := network_file(networks_folder(), digest)).exists():
            load_network(path)


def load_network(path: Path) -> str:
    """Make a network known and return its digest.

    Raises
    ------
    FilesError
        If the file cannot be read.
    PipelineError
        If its content is not what its name says, or no network that evoseg wrote.
    """
    try:
        data = read_file(path, MAX_BYTES, error=FilesError, advice="Is it a network?")
    except FilesError:
        raise
    except OSError as error:
        raise FilesError(f"{path}: cannot be read ({error.strerror}).") from error
    if digest_of(data) != path.stem:
        raise PipelineError(f"{path}: damaged, since its content is not what its name says. Copy it again.")
    try:
        return add_network(data)
    except PipelineError as error:
        raise PipelineError(f"{path}: {error}") from None


def save_networks(pipeline: Pipeline, folder: Path) -> list[Path]:
    """Write the networks that a pipeline names into a folder, if they are not there yet, and return their files.

    Raises
    ------
    FilesError
        If a file of that name holds something else, which is never overwritten, or one cannot be written.
    PipelineError
        If a network is not known.
    """
    digests = [digest for digest in pipeline.networks if digest != EXAMPLE_NETWORK]
    return [_save(network_bytes(digest), network_file(folder, digest)) for digest in digests]


def _save(data: bytes, path: Path) -> Path:
    try:
        if path.exists():
            if read_file(path, MAX_BYTES, error=FilesError) != data:
                raise FilesError(f"{path}: holds something else, which is not overwritten. Move it away.")
            return path
        make_folder(path.parent)
        with write_atomically(path) as file:
            file.write(data)
    except FilesError:
        raise
    except OSError as error:
        raise FilesError(f"{path}: cannot be written ({error.strerror}).") from error
    return path
