"""What is said of the readable and the accurate pipeline."""

from dataclasses import replace

import pytest

import evoseg
from evoseg.operators.network import EXAMPLE_NETWORK
from evoseg.pipeline import read_text
from evoseg.report.answers import describe_network, explain_recommendation, tabulate_answers
from evoseg.report.results import NamedPipeline, SearchResult
from evoseg.report.text import SPLIT_WORDS, summarise, summarise_in_short
from tests.report.test_results import DOCUMENTS, document_of

PLAIN = next(path for path in DOCUMENTS if path.parent.name == "plain")
ACCURATE = read_text(
    "def pipeline(image):\n"
    f'    network_1 = network(image, weights="{EXAMPLE_NETWORK}", output="foreground")\n'
    "    return level(network_1, level=127)\n"
)
STEMS = ("a", "b", "c", "d")
NOTES = {"encoder": "EfficientNet-Lite0", "reduction": 2, "networks": 3, "out_of_bag": [0.2, 0.4, 0.6, 0.8]}


def answer(pipeline: evoseg.Pipeline, role: str, judged: list[float], test: float = 0.5, **other: object):
    scores = {"search": 0.7, "selection": 0.6, "test": test}
    named = NamedPipeline(pipeline, role, scores, (0.4, 0.8), (0.45, 0.55), 12.0, 1234)
    return replace(named, judged_per_image=dict(zip(STEMS, judged, strict=False)), **other)


def result(judged: list[float], recommended: str, n: int = 4) -> SearchResult:
    """Return a result whose readable pipeline scores 0.5 on each of n images by which the two are compared."""
    plain = SearchResult.from_json(document_of(PLAIN))
    readable = answer(plain.pipeline, "evolved", [0.5] * n)
    accurate = answer(ACCURATE, "network", judged, 0.625, cost_ms_per_mpx=714.2, size_bytes=3_400_000)
    answers = {"readable": readable, "accurate": accurate}
    best = answers[recommended]
    return replace(
        plain, pipeline=best.pipeline, role=best.role, recommended=recommended, answers=answers, networks=NOTES
    )


def test_both_pipelines_have_a_name_of_their_own():
    found = result([0.6] * 4, "accurate")
    assert found.accurate == found.pipeline == ACCURATE
    assert found.readable == SearchResult.from_json(document_of(PLAIN)).pipeline
    assert SearchResult.from_json(found.to_json()) == found
    assert found.cost_ms_per_mpx == 714.2, "as recorded, also where the network is gone"


def test_a_result_of_an_early_version_has_a_readable_pipeline_only():
    plain = SearchResult.from_json(document_of(PLAIN))
    assert plain.readable is plain.pipeline and plain.accurate is None
    assert explain_recommendation(plain) == [] == describe_network(plain) == tabulate_answers(plain, SPLIT_WORDS)


def test_the_recommended_one_comes_first_in_the_table():
    rows = dict(tabulate_answers(result([0.6] * 4, "accurate"), SPLIT_WORDS))
    assert rows["test images (held out)"] == ["0.625 (0.450 to 0.550)", "0.500 (0.450 to 0.550)"]
    assert rows["ms per megapixel on one core, about"] == ["714", "12.0"]
    assert rows["size of the files"] == ["3.4 MB", "1.2 kB"]
    turned = dict(tabulate_answers(result([0.4] * 4, "readable"), SPLIT_WORDS))
    assert turned["size of the files"] == ["1.2 kB", "3.4 MB"]


@pytest.mark.parametrize(
    ("n", "why"), [(1, "only one candidate was scored"), (7, "none of 7 candidates had a higher expected score")]
)
def test_a_readable_pipeline_that_ignores_the_image_is_said_to(n, why):
    found = result([0.6] * 4, "accurate")
    constant = replace(found.answers["readable"], role="constant")
    found = replace(found, answers=found.answers | {"readable": constant}, evaluations=n)
    (said,) = explain_recommendation(found)
    assert said.endswith(f"The readable one ignores the image, as {why}. A longer search tries more of them.")
    assert f"\n\n{n} candidate{'s' if n > 1 else ''} (" in summarise(found)


# Differences of +-0.05 about the mean, and the least deviation of 0.05, by Student's t with 3 degrees of freedom:
# 3.18 * sqrt(0.05**2 * 4 / 3 + 0.05**2) / 2 = 0.121.
@pytest.mark.parametrize(
    ("judged", "recommended", "said"),
    [
        (
            [0.55, 0.65] * 2,
            "accurate",
            "is 0.100 higher than that of the readable one",
        ),
        ([0.55, 0.65] * 2, "accurate", "-0.021 to +0.221"),
        (
            [0.35, 0.45] * 2,
            "accurate",
            "0.100 lower than that of the readable one, a difference that is not significant (95 %",
        ),
        ([0.35, 0.45] * 2, "accurate", "(95 % interval of the difference -0.221 to +0.021)"),
        (
            [0.25, 0.35] * 2,
            "readable",
            "significantly lower, by 0.200 (95 % interval of the difference -0.321 to -0.079)",
        ),
    ],
)
def test_the_recommendation_rests_on_scores_that_neither_was_fitted_to(judged, recommended, said):
    (sentence,) = explain_recommendation(result(judged, recommended))
    assert sentence.startswith(f"The {recommended} pipeline") and said in sentence
    assert "search images, each judged by curves, thresholds and networks that were fitted without it" in sentence


def test_two_images_are_too_few_for_an_interval():
    (sentence,) = explain_recommendation(result([0.6, 0.6], "accurate", n=2))
    assert sentence.endswith("0.100 higher than that of the readable one.")


@pytest.mark.parametrize(("why", "told"), [("there is one image", True), ("networks were not asked for", False)])
def test_why_there_is_no_network_is_said_where_it_is_news(why, told):
    plain = replace(SearchResult.from_json(document_of(PLAIN)), networks={"none": why})
    sentence = f"No network was trained: {why}."
    assert explain_recommendation(plain) == ([sentence] if told else [])
    assert (sentence in summarise(plain)) is told


def test_a_network_is_described_in_plain_words():
    text = " ".join(describe_network(result([0.6] * 4, "accurate")))
    for said in (
        "the probability that it is foreground",
        "mean of 3 networks",
        "a mean IoU of 0.50 (0.20 to 0.80)",
        "EfficientNet-Lite0",
        "half the resolution",
        "Apache License 2.0",
        "--encoder none",
    ):
        assert said in text
    tuned = replace(result([0.6] * 4, "accurate"), networks=NOTES | {"tuning_steps": 9})
    text = " ".join(describe_network(tuned))
    assert "It has seen all of them; 3 others were each trained without a part of the images" in text
    assert "mean of 3 networks" not in text
    scratch = replace(result([0.6] * 4, "accurate"), networks=NOTES | {"encoder": "small"})
    text = " ".join(describe_network(scratch))
    assert "from scratch" in text and "Licence" not in text


def test_the_summary_shows_the_readable_program_whichever_is_recommended():
    accurate, readable = result([0.6] * 4, "accurate"), result([0.4] * 4, "readable")
    text = summarise(accurate)
    assert text.index("accurate (recommended)\n") < text.index("network(image") < text.index("\nreadable\n")
    assert str(accurate.readable.for_images(None)).splitlines()[-1] in text
    text = summarise(readable)
    assert "readable (recommended)\n" in text and "network(image" not in text
    assert "#accurate are its two pipelines" in text
    assert any("is recommended" in sentence for sentence in summarise_in_short(accurate, []))
