"""No document, table or card breaks the check of a folder."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoseg.datasets import check
from tests.datasets.drawn_layouts import SHAPE, disc, gray, put

_WORDS = st.sampled_from(["id", "file_name", "width", "segmentation", "counts", "size", "case_00.png", "\0", "..", "é"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(0, 70) | st.floats(allow_nan=False) | _WORDS,
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return a folder with one image and room for documents."""
    root = tmp_path_factory.mktemp("small")
    put(root / "images" / "case_00.png", gray())
    return root


@given(value=_JSON, at=st.sampled_from(["images", "image", "annotations", "annotation", "segmentation", "polygon"]))
def test_no_coco_document_breaks_the_check(small, value, at):
    annotation = {
        "image_id": 0,
        "segmentation": {"segmentation": value, "polygon": [value]}.get(at, [[0, 0, 9, 0, 9, 9]]),
    }
    document = {
        "images": [{"id": 0, "file_name": "case_00.png", "width": SHAPE[1], "height": SHAPE[0]}],
        "annotations": [annotation],
    }
    document |= {"image": {"images": [value]}, "annotation": {"annotations": [value]}}.get(at, {})
    document |= {at: value} if at in ("images", "annotations") else {}
    (small / "annotations.json").write_text(json.dumps(document))
    report = check(small)
    assert report.layout in ("COCO", "") and str(report)


@given(text=st.text(st.sampled_from('image,mask;split\t\n\r"\0/.pngscase_00é'), max_size=80))
def test_no_table_breaks_the_check(small, text):
    table = small / "manifest.csv"
    table.write_text("image,mask,split\n" + text, newline="")
    try:
        assert str(check(small))
    finally:
        table.unlink()


@given(value=_JSON)
def test_no_card_of_nnunet_breaks_the_check(tmp_path_factory, value):
    root = tmp_path_factory.mktemp("cases")
    put(root / "imagesTr" / "a_0000.png", gray())
    put(root / "labelsTr" / "a.png", disc())
    (root / "dataset.json").write_text(json.dumps({"channel_names": value, "labels": {"ignore": value}}))
    assert str(check(root))
