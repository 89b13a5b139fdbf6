"""An ancestry as text and as a page."""

from dataclasses import replace

from evoseg.pipeline import print_text
from evoseg.report.page import render
from evoseg.report.tree import Ancestry, tree_page, tree_text
from evoseg.runs.lineage import StoredCandidate, trace_ancestry
from tests.pipeline.test_differences import pipeline

NASTY = 'a"><script>alert(1)</script>&'


def stored(number: int, score: float, program, proposer: str, *parents: int, **changes) -> StoredCandidate:
    made = StoredCandidate(
        number, 1, number, 0.0, "", proposer, parents, None, "scored", score, score, None, "", program.digest,
        len(program), 1.0, print_text(program),
    )  # fmt: skip
    return replace(made, **changes)


FIRST = pipeline("gaussian(@, sigma=1.0)", "threshold(@, level=31)")
SECOND = pipeline("median(@, radius=2)", "threshold(@, level=31)")
THIRD = pipeline("gaussian(@, sigma=1.0)", "threshold(@, level=31)", "fill_holes(@)")
CANDIDATES = [
    stored(1, 0.4, FIRST, "classic"),
    stored(2, 0.3, SECOND, "agent", request=5),
    stored(3, 0.5, THIRD, "vary", 1, 2),
]


def ancestry() -> Ancestry:
    nodes = trace_ancestry(CANDIDATES, CANDIDATES[2])
    return Ancestry(NASTY, NASTY, "IoU", CANDIDATES, CANDIDATES[2], nodes, 2)


def test_the_text_lists_parents_before_children_with_gains_and_changes():
    assert tree_text(ancestry()).splitlines()[3:] == [
        "        1   0.400           classic recipe            3 steps: plane, gaussian, threshold",
        "        2   0.300           language model (call 5)     3 steps: plane, median, threshold",
        "        3   0.500   +0.100  mutation or crossover     joined with 2: added fill_holes",
    ]


def test_the_page_draws_every_candidate_and_escapes_what_it_is_told():
    html = render("tree.html.jinja", page=tree_page(ancestry(), "", {}, links=True))
    assert html.count('class="by-') == 3 + 3 + 3 + 2, "all dots, ancestors, the legend, the turning points"
    assert "<script" not in html and "&lt;script&gt;" in html
    assert "fill_holes" in html and "(+0.100)" in html


def test_a_run_whose_best_has_no_ancestor_is_a_single_line():
    alone = replace(ancestry(), champion=CANDIDATES[0], nodes=trace_ancestry(CANDIDATES, CANDIDATES[0]), n_ancestors=0)
    assert len(tree_text(alone).splitlines()) == 4 and "with 0 ancestors" in tree_text(alone)
    assert len(tree_page(alone, "", {}, links=False).points) == 1
