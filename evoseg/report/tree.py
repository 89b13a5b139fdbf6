"""How a pipeline came about: its ancestry as text, and as a page with a chart and pictures."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from evoseg.core.errors import EvosegError
from evoseg.core.kinds import Kind
from evoseg.evolve.solve import ACCURATE, READABLE
from evoseg.inference.score import judge_images
from evoseg.metrics import METRIC_LABELS
from evoseg.pipeline import print_text
from evoseg.pipeline.differences import describe_change, describe_steps
from evoseg.report import figures
from evoseg.report.figures import Mark, Picture
from evoseg.report.page import as_row, render
from evoseg.report.results import SearchResult
from evoseg.runs.lineage import (
    SCORED,
    Node,
    StoredCandidate,
    find_candidate,
    main_line,
    read_candidates,
    trace_ancestry,
)
from evoseg.runs.network_folders import load_networks
from evoseg.runs.opening import Data, open_data
from evoseg.runs.record import find_data
from evoseg.runs.run_file import read_run
from evoseg.runs.run_folder import FilesError, find_run_folder, write_whole
from evoseg.runs.stored import read_options_of, read_result
from evoseg.runs.trained import out_of_bag_planes

logger = logging.getLogger(__name__)

PROPOSERS = {
    "classic": "classic recipe",
    "start": "given at the start",
    "warm": "solved task",
    "random": "random program",
    "vary": "mutation or crossover",
    "tune": "tuning",
    "fuse": "sum of curves",
    "network": "network",
    "agent": "language model",
}
"""What proposers are called; in the page, each has a colour of its own."""
MOST_DOTS = 4000
"""Candidates that are drawn, at most; of more, an even choice and all ancestors."""


@dataclass(frozen=True)
class Ancestry:
    """A pipeline's ancestry in a run.

    Attributes
    ----------
    name, dataset, metric : str
        Of the run; of its dataset; how the metric is called.
    candidates : sequence of StoredCandidate
        All of the run.
    champion : StoredCandidate
        The one whose ancestry this is.
    nodes : mapping of int to Node
        Those of its ancestors that are shown, by number, and itself.
    n_ancestors : int
        How many there are, shown or not.
    """

    name: str
    dataset: str
    metric: str
    candidates: Sequence[StoredCandidate]
    champion: StoredCandidate
    nodes: Mapping[int, Node]
    n_ancestors: int

    @property
    def line(self) -> list[Node]:
        """The line of the best parents, the oldest first."""
        return main_line(self.nodes, self.champion)


def read_ancestry(run: str, *, everything: bool = False) -> Ancestry:
    """Return the ancestry of a run's recommended pipeline, or of the one that RUN#readable or RUN#accurate names.

    As long as a run has no result, it is that of the candidate with the highest score so far.

    Parameters
    ----------
    everything : bool
        Whether to show all ancestors, and not just turning points.

    Raises
    ------
    EvosegError
        If there is no such run, its lineage was not recorded, or the pipeline is none of its candidates.
    """
    name, _, answer = run.partition("#")
    folder = find_run_folder(name)
    record, candidates = read_run(folder.path), read_candidates(folder.path)
    document = read_result(folder.path)
    if document is not None:
        result = SearchResult.from_json(document, folder)
        champion = _champion(candidates, result, answer, run)
        metric = result.metric
    elif answer:
        raise FilesError(f"{name}: has no result yet, so no #{answer}. `evoseg runs resume {name}` completes it.")
    else:
        scored = [one for one in candidates if one.outcome == SCORED]
        if not scored:
            raise FilesError(f"{name}: nothing has been scored yet.")
        champion = max(scored, key=lambda one: (one.stage == scored[-1].stage, one.score or 0.0))
        metric = str(record.settings.get("metric"))
    nodes = trace_ancestry(candidates, champion, everything=everything)
    n_ancestors = len(trace_ancestry(candidates, champion, everything=True)) - 1
    metric = METRIC_LABELS.get(metric, "score")
    return Ancestry(folder.name, record.dataset, metric, candidates, champion, nodes, n_ancestors)


def _champion(candidates: Sequence[StoredCandidate], result: SearchResult, answer: str, run: str) -> StoredCandidate:
    """Return the candidate that one of a result's pipelines was."""
    named = {"": result.pipeline, READABLE: result.readable, ACCURATE: result.accurate}
    pipeline = named.get(answer)
    if pipeline is None:
        there = [f"#{name}" for name in result.ranked_answers] or ["no other"]
        raise FilesError(f"{run}: there is no such pipeline in this run; it has {' and '.join(there)}.")
    found = find_candidate(candidates, pipeline.for_images(None).digest)
    if found is None:
        raise FilesError(
            f"{run}: its pipeline ({describe_steps(pipeline)}) does not descend from any candidate of the search, so "
            "it has no ancestry. `evoseg runs export` lists all candidates."
        )
    return found


def tree_text(ancestry: Ancestry) -> str:
    """Return an ancestry as indented lines, the oldest first; what joined a line stands before it, further in."""
    champion, shown = ancestry.champion, len(ancestry.nodes)
    total = ancestry.candidates[-1].evaluations
    head = (
        f"{ancestry.name}: {ancestry.metric} {champion.score:.3f} on the search images, candidate "
        f"{champion.evaluations} of {total}, with {_counted(ancestry.n_ancestors, 'ancestor')}"
    )
    if (hidden := ancestry.n_ancestors + 1 - shown) > 0:
        head += f" ({_counted(hidden, 'small step')} left out; --all shows every one)"
    lines = [head, "", f"{'candidate':>9s}   score     gain  proposed by               what changed"]
    for depth, node in _in_order(ancestry):
        one = node.candidate
        gain = "        " if node.gain is None else f"{node.gain:+8.3f}"
        by = PROPOSERS.get(one.proposer, one.proposer) + (f" (call {one.request})" if one.request else "")
        words = explain_node(ancestry, node)
        lines.append(f"{one.evaluations:9d}   {one.score:.3f} {gain}  {by:24s}  {'  ' * depth}{words}")
    return "\n".join(lines)


def _counted(n: int, word: str) -> str:
    return f"1 {word}" if n == 1 else f"{n} {word}s"


def _in_order(ancestry: Ancestry) -> list[tuple[int, Node]]:
    """Return the ancestors with how far in they stand: parents before children, the best parent as far in as these."""
    found: dict[int, int] = {}

    def visit(number: int, depth: int) -> None:
        best, *others = ancestry.nodes[number].parents or (None,)
        for parent, below in [(best, depth), *((other, depth + 1) for other in others)]:
            if parent is not None and parent not in found:
                visit(parent, below)
        found[number] = depth

    visit(ancestry.champion.number, 0)
    return [(depth, ancestry.nodes[number]) for number, depth in found.items()]


def explain_node(ancestry: Ancestry, node: Node) -> str:
    """Say what changed against the best of a candidate's parents."""
    pipeline = node.candidate.pipeline
    if not node.parents:
        return describe_steps(pipeline)
    best, *others = (ancestry.nodes[number].candidate for number in node.parents)
    words = describe_change(best.pipeline, pipeline)
    if others:
        words = f"joined with {', '.join(f'{other.evaluations}' for other in others)}: {words}"
    if best.stage != node.candidate.stage:
        words = f"from masks to {'objects' if pipeline.output is Kind.LABELS else 'points'}: {words}"
    return words if not node.n_between else f"{words} (in {node.n_between + 1} steps)"


@dataclass(frozen=True)
class TurningPoint:
    """A candidate on the line to the best one, for the page.

    Attributes
    ----------
    number : int
        In the chart.
    proposer, style, words : str
    program : str
    picture : Picture or None
    """

    number: int
    candidate: StoredCandidate
    gain: float | None
    proposer: str
    style: str
    words: str
    program: str
    picture: Picture | None


@dataclass(frozen=True)
class TreePage:
    """All that the page of an ancestry shows."""

    title: str
    run: str
    metric: str
    in_short: str
    chart: Markup
    legend: Sequence[tuple[str, str, int]]
    points: Sequence[TurningPoint]
    stem: str
    n_drawn: int
    n_scored: int


def write_tree(
    ancestry: Ancestry, run: str, path: Path, data: Data | None = None, *, links: bool = False, overwrite: bool = False
) -> Path:
    """Write an ancestry as a page that opens offline, with a chart and pictures of the turning points.

    Without the run's dataset, the page has no pictures.

    Parameters
    ----------
    data : path, Dataset, or (images, masks), optional
        The run's dataset, if that has moved or was given as arrays.
    links : bool
        Whether the chart shows what every candidate was made from.

    Raises
    ------
    FilesError
        If the file exists and `overwrite` is False, or cannot be written.
    """
    page = tree_page(ancestry, *_pictures(ancestry, run, data), links=links)
    write_whole(path, render("tree.html.jinja", page=page), overwrite=overwrite)
    return path


def _pictures(ancestry: Ancestry, run: str, data: Data | None) -> tuple[str, dict[int, Picture]]:
    """Return the stem of an image with a middling score, and what the turning points make of it, by number."""
    folder = find_run_folder(run.partition("#")[0])
    record, document = read_run(folder.path), read_result(folder.path) or {}
    try:
        dataset = open_data(find_data(record, data), read_options_of(folder.path))
        scores = {stem: document.get("search_per_image", {}).get(stem, 0.0) for stem in record.splits["search"]}
        stem = sorted(scores, key=lambda name: (scores[name], name))[len(scores) // 2]
        pictures = {}
        for node in ancestry.line:
            pipeline = node.candidate.pipeline
            load_networks(pipeline, folder.path)
            planes = out_of_bag_planes(folder.path, pipeline, record.splits["search"])
            (judged,) = judge_images(pipeline, dataset, [stem], planes=planes)
            row = as_row(judged)
            draw = figures.answer_picture if row.truth is None else figures.both_picture
            pictures[node.candidate.number] = draw(row)
    except EvosegError as error:
        logger.warning("the page has no pictures: %s", error)
        return "", {}
    return stem, pictures


def tree_page(ancestry: Ancestry, stem: str, pictures: Mapping[int, Picture], *, links: bool) -> TreePage:
    """Return what the page of an ancestry shows."""
    metric, champion = ancestry.metric, ancestry.champion
    scored = [one for one in ancestry.candidates if one.outcome == SCORED and one.stage == champion.stage]
    step = -(-len(scored) // MOST_DOTS)
    marks = {one.number: _mark(one, metric) for one in scored}
    drawn = {one.number: marks[one.number] for one in scored[::step]}
    nodes = {n: node for n, node in ancestry.nodes.items() if n in marks}
    pairs = [(p, n) for n, node in nodes.items() for p in node.parents]
    if links:
        pairs += [(p, one.number) for one in scored for p in one.parents]
    line = [node for node in ancestry.line if node.candidate.number in marks]
    chart = figures.evolution_chart(
        list(drawn.values()),
        [(marks[p], marks[n]) for p, n in pairs if p in marks],
        [marks[node.candidate.number] for node in line],
        [marks[n] for n in nodes],
        metric,
    )
    counts = {name: sum(one.proposer == name for one in scored) for name in {one.proposer: 0 for one in scored}}
    first, last = line[0].candidate, line[-1].candidate
    return TreePage(
        title=ancestry.dataset,
        run=ancestry.name,
        metric=metric,
        in_short=(
            f"{metric} {last.score:.3f} on the search images, from {first.score:.3f}, in "
            f"{_counted(len(line) - 1, 'turning point')}; {len(scored)} candidates were scored."
        ),
        chart=chart,
        legend=[(PROPOSERS.get(name, name), _style(name), n) for name, n in sorted(counts.items(), key=_by_count)],
        points=[_turning_point(ancestry, number, node, pictures) for number, node in enumerate(line, 1)],
        stem=stem,
        n_drawn=len(drawn),
        n_scored=len(scored),
    )


def _by_count(entry: tuple[str, int]) -> tuple[int, str]:
    return -entry[1], entry[0]


def _style(proposer: str) -> str:
    return f"by-{proposer}" if proposer in PROPOSERS else "by-other"


def _mark(one: StoredCandidate, metric: str) -> Mark:
    by = PROPOSERS.get(one.proposer, one.proposer)
    assert one.score is not None
    return Mark(one.evaluations, one.score, _style(one.proposer), f"{one.evaluations}: {metric} {one.score:.3f}, {by}")


def _turning_point(ancestry: Ancestry, number: int, node: Node, pictures: Mapping[int, Picture]) -> TurningPoint:
    one = node.candidate
    by = PROPOSERS.get(one.proposer, one.proposer) + (f", call {one.request}" if one.request else "")
    words, text = explain_node(ancestry, node), print_text(one.pipeline)
    return TurningPoint(number, one, node.gain, by, _style(one.proposer), words, text, pictures.get(one.number))
