"""The page and the heat map of a study: what they say, and that nothing in them can run."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.random import default_rng
from PIL import Image

from evoseg.cli.main import run
from evoseg.library.study_tables import StudyTables
from evoseg.report.figures import scatter_chart, tree_chart
from evoseg.report.study_page import HEAT_MAP, MOST_NAMES, PAGE, draw_heat_map, summarise_study, write_study
from evoseg.synthetic import draw_dataset
from tests.library.test_study_tables import SCORES, study_of

NASTY = '<script>alert(1)</script>"&'


def tables_of(scores, likeness) -> StudyTables:
    study = study_of(scores, likeness)
    return StudyTables(replace(study, likeness={"likeness": np.array(likeness), "masks": np.array(likeness) ** 2}))


@pytest.fixture
def tables() -> StudyTables:
    return tables_of([*SCORES, [0.5, 0.5, 0.5, None]], [*SCORES, [0.0, 0.1, 0.2, 0.3]])


class Texts(HTMLParser):
    """Collects the cells of tables, row by row, and the names of all tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self._in_cell = tag in ("td", "th") or (self._in_cell and tag == "span")
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._in_cell:
            self.rows[-1][-1] += data


def test_the_page_shows_each_dataset_and_what_would_have_been_chosen(tables, tmp_path):
    files = write_study(tables, tmp_path)
    assert set(files) == {"page", "heat map", "matrix", "pairs"} and all(path.is_file() for path in files.values())
    page = Texts((tmp_path / PAGE).read_text("utf-8"))
    assert not page.tags & {"script", "link rel=stylesheet", "iframe", "object"}
    rows = {row[0]: row[1:] for row in page.rows if len(row) == 7}
    # By what was measured; by likeness, which is the same here; and by what the other datasets show.
    assert rows["d0"] == ["1 + 1", "0.80", "0.60 d1", "0.60 d1", "0.10", "0.50 t4"]
    assert rows["d3"][:5] == ["1 + 1", "0.80", "0.60 d2", "0.60 d2", "0.10"]
    measured = [row for row in page.rows if row[0] == "masks"]
    assert len(measured) == 3 + 1  # a table for each score, and the table of choices
    assert all(re.fullmatch(r"-?[\d.e-]+", cell) for cell in measured[0][1:6])


def test_a_page_of_two_datasets_says_what_is_missing(tmp_path):
    tables = tables_of([[0.8, 0.1], [0.2, 0.7]], [[1, 0.5], [0.5, 1]])
    write_study(tables, tmp_path)
    assert "at least four datasets" in (tmp_path / PAGE).read_text("utf-8")
    assert "at least four datasets" in summarise_study(tables)[-1]


def test_likeness_is_called_a_predictor_only_if_it_reliably_is_one():
    scores = default_rng(6).random((8, 8)).tolist()
    sure = summarise_study(tables_of(scores, scores))
    assert sure[2].startswith("Likeness predicts how well") and "1.00 to 1.00 with any one dataset left out" in sure[2]
    # All unchanged pipelines score alike here, so nothing can predict their scores.
    assert sure[3].startswith("It does not reliably predict how well unchanged pipelines work")
    assert sure[4].startswith("Of 1 other measure, masks") and sure[5].startswith("With only 8 datasets")
    other = default_rng(7).random((8, 8)).tolist()
    assert summarise_study(tables_of(scores, other))[2].startswith("Likeness does not reliably predict")


def test_the_summary_names_small_clusters_and_counts_large_ones():
    n = MOST_NAMES + 1
    scores = np.full((n + 3, n + 3), 0.01)
    scores[:n, :n] = 0.7
    scores[n : n + 2, n : n + 2] = 0.6
    scores[n + 2, n + 2] = 0.9
    *_, clusters, alone = summarise_study(tables_of(scores.tolist(), scores.tolist()))
    assert clusters.endswith(f"work on each other: {n} datasets; d{n}, d{n + 1}.")
    assert alone == f"In no cluster: d{n + 2}."


def test_names_cannot_become_tags(tables, tmp_path):
    study = tables.study
    datasets = (replace(study.datasets[0], name=NASTY), *study.datasets[1:])
    rows = tuple(replace(row, target=NASTY) if row.target == "d0" else row for row in study.rows)
    write_study(StudyTables(replace(study, datasets=datasets, rows=rows)), tmp_path)
    page = (tmp_path / PAGE).read_text("utf-8")
    assert "script" not in Texts(page).tags and "&lt;script&gt;" in page


def test_the_heat_map_is_brightest_where_pipelines_work(tables):
    bright, dark, unknown = (253, 231, 36), (68, 1, 84), (214, 217, 222)
    picture = draw_heat_map(tables_of(np.eye(4).tolist(), SCORES))
    colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
    assert any(np.abs(np.subtract(bright, colour)).max() < 4 for colour in colours) and dark in colours
    assert unknown not in colours and (draw_heat_map(tables) == unknown).all(axis=2).any()


def test_charts_are_drawn_within_their_frames():
    dots = scatter_chart([(0.2, 0.4, NASTY), (0.3, 0.9, "b")], "likeness", "IoU")
    assert dots.count("<circle") == 2 and "<script" not in dots
    joins = np.array([[0, 1, 0.1, 2], [2, 3, 0.4, 3]], float)
    tree = tree_chart(joins, ["a", "b", NASTY], "distance")
    assert tree.count('class="line"') == 6 and "<script" not in tree
    assert all(0 <= float(x) <= 640 for x in re.findall(r'x[12]="([\d.]+)"', dots + tree))


def test_the_command_writes_a_study_and_prints_what_it_shows(tmp_path, capsys):
    folder = draw_dataset("nuclei", tmp_path / "nuclei", n=6, shape=(40, 44), seed=1)
    command = ["library", "study", str(folder), "--out", str(tmp_path / "study"), "--library", "none"]
    assert run([*command, "--stored-only", "--images", "1", "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert " 1 datasets" not in out and out.startswith("All pipelines of ") and "heatmap.png" in out
    with Image.open(tmp_path / "study" / HEAT_MAP) as picture:
        assert picture.format == "PNG"
    assert run([*command, "--stored-only", "--seconds", "3"]) == 2
    assert "--stored-only searches nothing" in capsys.readouterr().err
