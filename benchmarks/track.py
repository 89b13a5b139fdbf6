"""Follow speed over commits: measure some of them, append a row each to a file, and print the file as a table.

    python benchmarks/track.py [COMMIT ...] [--file benchmarks/history.csv] [--show]

Without commits, the present one (HEAD) is measured. Every figure is CPU time divided by that of one fixed piece of
OpenCV work in the same process, so rows of one machine compare well, and rows of different machines roughly. The least
of several runs counts. A commit whose interface is too old for a figure gets none.

- `import`: `import evoseg` with the name `evoseg.search`, in a fresh interpreter;
- `operators`: all operators that need no further packages, with their defaults, on an image of 512 x 512;
- `programs`: the programs of `programs.txt` (of this checkout, for all commits) that a commit can read, per 100;
- `search`: 60 evaluations on 12 drawn images of 60 x 84, in one process, without the library.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
MEASURES = ("import", "operators", "programs", "search")
COLUMNS = ("commit", "date", *MEASURES)
N_RUNS = 3


def cpu_s(work: Callable[[], object], n_runs: int = N_RUNS) -> float:
    """Return the least CPU time of several runs, in seconds, finished child processes included."""

    def now() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    found = []
    for _ in range(n_runs):
        began = now()
        work()
        found.append(now() - began)
    return min(found)


def scene(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw discs on a ramp with noise, as RGB, and the mask of the discs."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for _ in range(max(6, mask.size // 1500)):
        centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
        cv2.circle(mask, centre, int(rng.integers(4, 9)), 255, -1)
    ramp = np.linspace(60, 120, shape[1])[None, :] + rng.normal(0, 8, shape)
    plane = np.clip(ramp + 50 * (mask > 0), 0, 255).astype(np.uint8)
    return np.dstack([plane, plane // 2, 255 - plane]), mask


def reference() -> None:
    """Do the work that all figures are divided by: filters of OpenCV on one image."""
    plane = scene((512, 512), 0)[0][..., 0].copy()
    for _ in range(20):
        cv2.medianBlur(cv2.GaussianBlur(plane, (0, 0), 4.0), 9)
        cv2.morphologyEx(plane, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))


def importing() -> float:
    """Measure the import of the Python interface."""
    command = [sys.executable, "-c", "import evoseg; evoseg.search"]
    return cpu_s(lambda: subprocess.run(command, check=True))


def filtering() -> float:
    """Measure all operators with their defaults."""
    import evoseg.operators  # noqa: F401  (registers them)
    from evoseg.core.kinds import Kind
    from evoseg.operators.registry import operators

    image, mask = scene((512, 512), 1)
    labels = cv2.connectedComponents(mask)[1].astype(np.int32)
    values = {Kind.RAW: image, Kind.GRAY: image[..., 0].copy(), Kind.MASK: mask > 0, Kind.LABELS: labels}

    def run() -> None:
        for op in operators():
            if all(kind in values for kind in op.inputs):
                op.run(tuple(values[kind] for kind in op.inputs), tuple(p.default for p in op.parameters))

    return cpu_s(run)


def replaying() -> float:
    """Measure the programs of a real search, per 100 that can be read."""
    from evoseg.pipeline import read_text

    image, programs = scene((512, 512), 2)[0], []
    for text in (HERE / "programs.txt").read_text("utf-8").split("\n\n"):
        try:
            programs.append(read_text(text))
        except ValueError:
            continue  # an operator that the commit does not have
    return cpu_s(lambda: [program(image) for program in programs], 1) / len(programs) * 100


def searching() -> float:
    """Measure a small search."""
    import evoseg

    with tempfile.TemporaryDirectory() as folder:
        os.environ["EVOSEG_HOME"] = folder
        data = Path(folder, "data")
        for part in ("images", "masks"):
            (data / part).mkdir(parents=True)
        for i in range(12):
            image, mask = scene((60, 84), 100 + i)
            cv2.imwrite(str(data / "images" / f"{i:02}.png"), image)
            cv2.imwrite(str(data / "masks" / f"{i:02}.png"), mask)
        runs: Iterator[Path] = (Path(folder, f"run-{n}") for n in range(N_RUNS))
        return cpu_s(lambda: evoseg.search(data, evaluations=60, workers=0, library="none", out=next(runs)))


def measure() -> dict[str, float | None]:
    """Return the figures of the evoseg that this interpreter imports."""
    cv2.setNumThreads(1)
    unit = cpu_s(reference)
    figures: dict[str, float | None] = {}
    for name, work in zip(MEASURES, (importing, filtering, replaying, searching), strict=True):
        try:
            figures[name] = round(work() / unit, 3)
        except (ImportError, AttributeError, TypeError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            figures[name] = None
    return figures


def git(*words: str) -> str:
    """Return what git says in this checkout."""
    return subprocess.run(["git", *words], cwd=HERE, check=True, capture_output=True, text=True).stdout.strip()


def measured_at(commit: str) -> dict[str, object]:
    """Check a commit out beside this checkout, and measure it in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="evoseg-track-") as folder:
        place = Path(folder, "checkout")
        git("worktree", "add", "--detach", "--quiet", str(place), commit)
        try:
            env = os.environ | {"PYTHONPATH": str(place)}
            command = [sys.executable, __file__, "--measure"]
            done = subprocess.run(command, cwd=place, env=env, stdout=subprocess.PIPE, text=True, check=True)
        finally:
            git("worktree", "remove", "--force", str(place))
    name, date = git("log", "-1", "--format=%h %cs", commit).split()
    return {"commit": name, "date": date} | json.loads(done.stdout.splitlines()[-1])


def show(file: Path) -> None:
    """Print the rows, oldest first."""
    rows = list(csv.DictReader(file.open(encoding="utf-8"))) if file.exists() else []
    print("".join(f"{column:>12}" for column in COLUMNS))
    for row in sorted(rows, key=lambda row: row["date"]):
        print("".join(f"{row[column] or '-':>12}" for column in COLUMNS))


def main() -> None:
    """Run as a script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="*", help="what git calls them (default: HEAD)")
    parser.add_argument("--file", type=Path, default=HERE / "history.csv", help="where rows are kept")
    parser.add_argument("--show", action="store_true", help="print the table and measure nothing")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure()))
        return
    for commit in [] if options.show else options.commits or ["HEAD"]:
        row, is_new = measured_at(commit), not options.file.exists()
        with options.file.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            if is_new:
                writer.writeheader()
            writer.writerow(row)
        print(f"measured {row['commit']}", file=sys.stderr)
    show(options.file)


if __name__ == "__main__":
    main()
