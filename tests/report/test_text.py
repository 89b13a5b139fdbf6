"""What a report says in short."""

import numpy as np
import pytest

from evoseg.datasets.dataset import Sample
from evoseg.inference.score import JudgedImage
from evoseg.report.results import SearchResult
from evoseg.report.text import summarise_in_short
from tests.report.test_results import DOCUMENTS, document_of

PLAIN = next(path for path in DOCUMENTS if path.parent.name == "plain")


@pytest.mark.parametrize(
    ("scores", "errors", "said"),
    [
        ([0.25], (9, 1), "It scores lowest on image i0 (IoU 0.25); most errors are missed foreground there."),
        ([0.25, 0.5], (9, 1), "It scores lowest on images i0, i1 (IoU 0.25 to 0.50); most errors are missed"),
        ([0.25], (3, 3), "as much is missed as falsely marked there."),
        ([0.25], (4, 3), "more is missed than falsely marked there."),
        ([0.25], None, "It scores lowest on image i0 (IoU 0.25)."),
        ([1.0], (0, 0), "It makes no error on the image shown below (i0)."),
    ],
)
def test_the_worst_images_are_named_with_the_range_of_their_scores(scores, errors, said):
    empty = np.zeros((2, 3), bool)
    worst = [
        JudgedImage(Sample(f"i{i}", empty[:, :, None], empty, None), empty, empty, {"iou": score}, errors)
        for i, score in enumerate(scores)
    ]
    assert said in " ".join(summarise_in_short(SearchResult.from_json(document_of(PLAIN)), worst))
