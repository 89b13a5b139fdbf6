"""The shape of the project itself: imports point down, the core stays light, data folders hold data."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import evoseg
from evoseg import datasets
from evoseg.core.disk import data_folder
from evoseg.core.errors import EvosegError

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "evoseg"

# From the top down. Packages and modules in one row do not import each other.
ROWS = (
    {"napari"},
    {"cli"},
    {"studio"},
    {"sklearn"},
    {"class_search"},
    {"api"},
    {"session"},
    {"report"},
    {"llm"},
    {"library"},
    {"inference"},
    {"runs"},
    {"exporters", "cluster"},
    {"networks"},
    {"evolve"},
    {"pipeline"},
    {"sandbox"},
    {"synthetic"},
    {"operators", "metrics", "datasets"},
    {"drawing"},
    {"core"},
)
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
CORE = ("evolve", "pipeline", "sandbox", "synthetic", "operators", "metrics", "datasets", "drawing", "core")
HEAVY = {"distributed", "langchain", "langchain_core", "openai", "sqlalchemy", "typer", "faiss", "torch"}
READERS = {"h5py", "nd2", "nibabel", "pydicom", "pylibCZIrw", "readlif", "tifffile", "zarr"}


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "_data" not in p.parts)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def dotted(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imported(tree: ast.Module, importer: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything imported, inside functions and type-checking blocks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = importer.split(".") if is_package else importer.split(".")[:-1]
                kept = parents[: len(parents) - (node.level - 1)]
                base = ".".join([*kept, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def faults(source: str, importer: str, is_package: bool = False) -> list[str]:
    """Return the imports of `source` that do not point down."""
    own = importer.split(".")[1] if importer.count(".") else ""
    if own not in ROW_OF:
        return []  # `evoseg` itself stands above everything
    found = []
    for line, name in imported(ast.parse(source), importer, is_package):
        parts = name.split(".")
        if parts[0] != "evoseg" or name == "evoseg.__version__":
            continue
        target = parts[1] if len(parts) > 1 else ""
        if target != own and ROW_OF.get(target, -1) <= ROW_OF[own]:
            found.append(f"{importer}:{line} imports {name}")
    return found


def test_imports_point_down():
    found = [
        fault for path in modules() for fault in faults(path.read_text("utf-8"), dotted(path), path.stem == "__init__")
    ]
    assert not found, "\n".join(found)


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other round and round, none if there are none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_imports_run_in_a_circle():
    names = {dotted(path) for path in modules()}
    imports: dict[str, set[str]] = {}
    for path in modules():
        own, tree = dotted(path), WithoutPictures().visit(ast.parse(path.read_text("utf-8")))
        found = {name if name in names else name.rpartition(".")[0] for _, name in imported(tree, own, False)}
        imports[own] = found & names - {"evoseg", own}
    assert not circle(imports)
    a, b = "evoseg.api", "evoseg.session"
    assert b in imports[a] and set(circle(imports | {b: imports[b] | {a}})) == {a, b}


class WithoutPictures(ast.NodeTransformer):
    """Drops how a value shows itself, as text or in a notebook, which asks whoever can write or draw it."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef | None:
        return None if node.name.startswith("_repr_") or node.name == "__str__" else node

    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node


def users_of(package: str) -> set[str]:
    return {
        dotted(path)
        for path in modules()
        for _, name in imported(parsed(path), dotted(path), path.stem == "__init__")
        if name.split(".")[0] == package
    }


def test_only_what_owns_tables_knows_sqlalchemy():
    assert users_of("sqlalchemy") == {
        "evoseg.runs.database",
        "evoseg.runs.lineage",
        "evoseg.runs.run_file",
        "evoseg.library.store",
        "evoseg.llm.calls",
    }


def test_only_networks_know_torch():
    assert all(name.startswith("evoseg.networks.") for name in users_of("torch"))


def test_only_one_module_knows_dask():
    assert users_of("distributed") == {"evoseg.cluster.dask"}
    assert not users_of("dask")


def test_every_package_has_its_row():
    packages = {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert packages | {p.stem for p in PACKAGE.glob("[!_]*.py")} == set(ROW_OF)


@pytest.mark.parametrize(
    "source",
    [
        "from evoseg.runs import run_file",
        "import evoseg.evolve.ports",
        "from evoseg import pipeline",
        "from evoseg import search",
        "from ..evolve import ports",
        "import evoseg",
        "def f():\n    from evoseg.metrics import overlap",
    ],
)
def test_an_import_that_points_up_or_sideways_is_noticed(source):
    assert faults(source, "evoseg.operators.edges")


@pytest.mark.parametrize(
    "source", ["from evoseg import __version__", "from evoseg.core import kinds", "from . import registry"]
)
def test_an_import_that_points_down_is_accepted(source):
    assert not faults(source, "evoseg.operators.edges")


def test_the_core_loads_no_heavy_package():
    # A fresh interpreter: this one has long loaded whatever other tests need.
    core = [name for name in map(dotted, modules()) if f"{name}.".split(".")[1] in CORE]
    program = (
        "import importlib, sys\n"
        f"for name in {core!r}: importlib.import_module(name)\n"
        f"print(*sorted({HEAVY | READERS!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", [evoseg, datasets], ids=lambda package: package.__name__)
def test_every_name_that_is_imported_when_asked_for_is_found(package):
    assert all(hasattr(package, name) for name in package.__all__)


def test_no_public_name_equals_a_package():
    # Importing evoseg.NAME would overwrite the function (docs/decisions/0001).
    public = getattr(evoseg, "__all__", [n for n in vars(evoseg) if not n.startswith("_")])
    functions = {n for n in public if callable(getattr(evoseg, n))}
    assert not functions & {p.parent.name for p in PACKAGE.glob("*/__init__.py")}


@pytest.mark.parametrize("name", ["agents", "pipelines_db"])
def test_a_data_folder_holds_no_code_and_is_found(name):
    assert list((ROOT / name).rglob("*.py")) == []
    assert data_folder(name) == ROOT / name


def test_the_wheels_copy_of_a_data_folder_comes_first(tmp_path):
    inside = tmp_path / "evoseg" / "_data" / "agents"
    inside.mkdir(parents=True)
    (tmp_path / "agents").mkdir()
    (tmp_path / "pyproject.toml").touch()
    assert data_folder("agents", tmp_path / "evoseg") == inside


def test_a_foreign_package_called_agents_is_not_taken_for_ours(tmp_path):
    (tmp_path / "evoseg").mkdir()
    (tmp_path / "agents").mkdir()
    with pytest.raises(EvosegError, match="'agents' is missing"):
        data_folder("agents", tmp_path / "evoseg")
