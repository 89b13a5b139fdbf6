"""The worked examples of CONTRIBUTING.md: each block fits the present files, and all together pass their tests."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Block:
    """A block of code with the file that it belongs to: a new file, lines for its end, or a change of some lines."""

    language: str
    path: str
    code: str

    def applied(self, text: str) -> str:
        """Return the text of the file with the block in it."""
        if self.language != "diff":
            return f"{text.rstrip()}\n\n\n{self.code}".lstrip() if self.language != "cpp" else f"{text}\n{self.code}"
        lines = self.code.splitlines()
        before = "".join(line[1:] + "\n" for line in lines if line[:1] != "+")
        after = "".join(line[1:] + "\n" for line in lines if line[:1] != "-")
        assert text.count(before) == 1, f"{self.path} holds these lines {text.count(before)} times:\n{before}"
        return text.replace(before, after)


def examples() -> list[Block]:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    return [Block(*found) for found in re.findall(r"^```(\w+) (\S+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("block", examples(), ids=lambda block: f"{block.language} {block.path}")
def test_a_block_fits_the_file_that_it_names(block):
    path = ROOT / block.path
    assert path.parent.is_dir()
    assert block.applied(path.read_text("utf-8") if path.exists() else "").endswith("\n")


def test_every_command_names_files_that_exist():
    created = {block.path for block in examples()}
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for path in re.findall(r"(?<![\w/.-])(?:tests|evoseg|docs|experiments|benchmarks)/[\w/.-]*\w", text):
        assert path in created or (ROOT / path).exists(), path


def test_what_the_examples_import_exists():
    created = {block.path for block in examples()}
    for block in examples():
        for node in ast.walk(ast.parse(block.code)) if block.language == "python" else ():
            if isinstance(node, ast.ImportFrom) and node.module.replace(".", "/") + ".py" not in created:
                module = importlib.import_module(node.module)
                for alias in node.names:
                    made_here = any(f"def {alias.name}(" in other.code for other in examples())
                    assert hasattr(module, alias.name) or made_here, f"{block.path}: {node.module}.{alias.name}"


@pytest.mark.e2e
def test_with_all_blocks_in_place_the_tests_that_the_page_names_pass(tmp_path):
    for part in ("evoseg", "tests", "agents", "pipelines_db", "docs", "experiments", "examples", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    for block in examples():
        path = tmp_path / block.path
        path.write_text(block.applied(path.read_text("utf-8") if path.exists() else ""), "utf-8")

    def run(*arguments: str) -> None:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        env = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr

    run("tests/operators", "-k", "midrange", "--update-golden")
    run(
        "tests/operators/test_midrange.py",
        "tests/operators/test_conformance.py",
        "-k",
        "midrange or every or names or golden",
    )
    run("tests/exporters", "tests/metrics", "tests/datasets/test_layouts.py", "tests/evolve/test_shortening.py")
    run("tests/system/test_commands.py", "-k", "help")
    command = [sys.executable, "-m", "ruff", "check", "evoseg", "tests"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
