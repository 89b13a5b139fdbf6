"""All candidates of a run as a table, for spreadsheets and other programs."""

import csv
import io
from typing import Any

from evoseg.report.results import SearchResult
from evoseg.runs.lineage import StoredCandidate, read_candidates
from evoseg.runs.run_folder import find_run_folder
from evoseg.runs.stored import read_result


def list_candidates(run: str) -> list[dict[str, Any]]:
    """Return all candidates of a run as values that JSON knows, in their order; docs/runs.md explains the keys.

    Raises
    ------
    EvosegError
        If there is no such run, or its lineage was not recorded.
    """
    folder = find_run_folder(run)
    candidates, document = read_candidates(folder.path), read_result(folder.path)
    result = None if document is None else SearchResult.from_json(document, folder)
    held_out = {} if result is None else {leader.digest: leader.held_out for leader in result.leaders}
    return [_entry(one, held_out.get(one.digest)) for one in candidates]


def _entry(one: StoredCandidate, held_out: float | None) -> dict[str, Any]:
    return {
        "number": one.number,
        "evaluations": one.evaluations,
        "generation": one.generation,
        "seconds": round(one.seconds, 2),
        "stage": one.stage,
        "proposer": one.proposer,
        "parents": list(one.parents),
        "call": one.request,
        "outcome": one.outcome,
        "score": one.score,
        "left_out": one.left_out,
        "jittered": one.jittered,
        "held_out": held_out,
        "reason": one.reason,
        "steps": one.steps,
        "cost_ms_per_mpx": one.cost,
        "digest": one.digest,
        "program": one.program,
    }


def candidates_csv(entries: list[dict[str, Any]]) -> str:
    """Return a table of candidates as CSV; parents are separated by spaces, and programs left out."""
    columns = [key for key in (entries[0] if entries else {}) if key != "program"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(entry | {"parents": " ".join(map(str, entry["parents"]))} for entry in entries)
    return text.getvalue()
