"""The wheel holds everything evoseg needs, and nothing else."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import evoseg

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind: str, folder: Path) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder, cwd=ROOT)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Return the folder of commands of an environment that holds the wheel and borrows all it depends on."""
    place = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    commands = place / "bin"
    run(
        *(sys.executable, "-m", "pip", "--python", commands / "python", "install"),
        *("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", wheel),
        cwd=place,
    )
    site = Path(
        run(commands / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip()
    )
    # A path file read from within a path file is ignored, so a checkout installed over there is not seen here.
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "lent.pth").write_text("\n".join(sorted(lent)) + "\n", "utf-8")
    return commands


def test_the_wheel_holds_the_code_and_both_data_folders_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"evoseg-{evoseg.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"evoseg", info}
    for folder in ("agents", "pipelines_db"):
        kept = [p for p in (ROOT / folder).rglob("*") if p.is_file()]
        assert kept
        assert {f"evoseg/_data/{p.relative_to(ROOT).as_posix()}" for p in kept} <= names
    assert {f"{info}/licenses/LICENSE", "evoseg/py.typed", "evoseg/networks/data/slim.safetensors"} <= names
    assert not any("__pycache__" in name for name in names)


def test_the_source_archive_is_complete(tmp_path):
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"LICENSE", "Makefile", "README.md", "cli.py", "constraints.txt", "pyproject.toml", "tests/test_wheel.py"}
    assert wanted | {"agents/README.md", "pipelines_db/README.md", "evoseg/__init__.py"} <= names


def test_the_installed_package_finds_its_data_from_an_empty_folder(installed, tmp_path):
    program = (
        "import evoseg; from evoseg.core.disk import data_folder as f; "
        "print(evoseg.__file__, f('agents') / 'README.md', f('pipelines_db') / 'README.md', sep='\\n')"
    )
    found = [Path(line) for line in run(installed / "python", "-c", program, cwd=tmp_path).splitlines()]
    assert len(found) == 3
    assert all(p.is_file() and p.is_relative_to(installed.parent) for p in found)


@pytest.mark.skipif(not (ROOT / "evoseg/cli/main.py").is_file(), reason="the command line is not written yet")
def test_the_installed_command_answers_from_an_empty_folder(installed, tmp_path):
    assert "search" in run(installed / "evoseg", "--help", cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
