"""What studies share: their datasets and options, and going on with a file of rows, one JSON document per line."""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]

DATASETS = (
    "crackforest",
    "drive_vessels",
    "dsb2018_fluo",
    "glas_glands",
    "isbi2012_em",
    "magnetic_tile_blowhole",
    "neu_patches",
    "ni_superalloy",
)


def options(doc: str | None, evaluations: int, datasets: Iterable[str] = DATASETS) -> argparse.ArgumentParser:
    """Return a parser with the options that all have; a study adds its own."""
    ask = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("root", type=Path, nargs="?", help="the folder that holds the datasets")
    ask.add_argument("--out", type=Path)
    ask.add_argument("--table", type=Path)
    ask.add_argument("--continue", dest="go_on", action="store_true")
    ask.add_argument("--only", default=",".join(datasets))
    ask.add_argument("--seeds", type=int, default=5)
    ask.add_argument("--evaluations", type=int, default=evaluations)
    return ask


def asked_for(ask: argparse.ArgumentParser, table: Callable[[Iterable[Row]], str]) -> argparse.Namespace:
    """Return the options of a study that is to be run; if only its table is asked for, print that and exit."""
    asked = ask.parse_args()
    if asked.table:
        if not asked.table.exists():
            ask.error(f"{asked.table}: no such file")
        print(table(rows_in(asked.table)))
        ask.exit()
    if asked.root is None or asked.out is None:
        ask.error("give the folder of the datasets and --out FILE, or --table FILE")
    if asked.out.exists() and not asked.go_on:
        ask.error(f"{asked.out} exists; add --continue to go on with it, or name another file")
    return asked


def rows_in(path: Path) -> list[Row]:
    """Return the rows of a file; none if there is no such file yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_row(path: Path, row: Row) -> None:
    """Write a row as soon as it is known."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def trials_in(path: Path) -> set[tuple[str, str, int, int]]:
    """Return dataset, arm, seed and evaluations of the rows that are there."""
    return {(r["dataset"], r["arm"], r["seed"], r["evaluations"]) for r in rows_in(path)}


def arms_of(ask: argparse.ArgumentParser, arms: str, known: Iterable[str]) -> list[str]:
    """Return the arms that an option lists, which must be known."""
    listed, known = arms.split(","), list(known)
    if unknown := [arm for arm in listed if arm not in known]:
        ask.error(f"no such arm: {', '.join(unknown)}; there are {', '.join(known)}")
    return listed
