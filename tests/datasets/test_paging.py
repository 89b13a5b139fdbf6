"""Stacks of which every page is an image."""

import json

import numpy as np
import pytest
import tifffile
from numpy.random import default_rng

from evoseg.core.errors import DatasetError
from evoseg.datasets.checking import check
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.splits import split

RNG = default_rng(20261130)
N, SHAPE = 12, (31, 43)


def volume(i=0):
    images = RNG.normal(90, 9, (N, *SHAPE)).clip(0, 255).astype(np.uint8)
    masks = np.zeros((N, *SHAPE), np.uint8)
    for z in range(N):
        masks[z, 3 + z : 9 + z, 5 + i : 15 + i] = 1
    return images + 100 * masks, masks


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, array, **options)


def put(root, n=1):
    """Write stacks whose axes have other names in masks than in images."""
    stacks = [volume(i) for i in range(n)]
    for i, (images, masks) in enumerate(stacks):
        write(root / "images" / f"v{i}.ome.tif", images, ome=True, metadata={"axes": "ZYX"})
        write(root / "masks" / f"v{i}.tif", masks)
    return stacks


def test_each_page_is_an_image_with_its_mask(tmp_path):
    ((images, masks),) = put(tmp_path)
    data = Dataset(tmp_path, page="all")
    assert data.stems == tuple(f"v0_z{z:02d}" for z in range(N))
    for z, stem in enumerate(data.stems):
        sample = data.load(stem)
        np.testing.assert_array_equal(sample.image[..., 0], images[z])
        np.testing.assert_array_equal(sample.mask, masks[z] > 0)
    assert len({facts.digests["image"] for facts in data.survey.facts.values()}) == N
    assert not check(data).problems and not check(tmp_path, data.source.reading).problems


def test_dataset_yaml_says_so_too_and_a_file_of_one_page_keeps_its_name(tmp_path):
    put(tmp_path)
    write(tmp_path / "images" / "flat.tif", volume()[0][0])
    write(tmp_path / "masks" / "flat.tif", volume()[1][0])
    (tmp_path / "dataset.yaml").write_text("page: all\n")
    stems = Dataset(tmp_path).stems
    assert len(stems) == N + 1 and "flat" in stems


def test_no_split_parts_a_volume_of_several(tmp_path):
    put(tmp_path, 4)
    data = Dataset(tmp_path, page="all")
    found = split(data)
    sides = [{stem.partition("_")[0] for stem in stems} for stems in (found.search, found.selection, found.test)]
    assert found.test and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_a_single_volume_is_parted_into_neighbours(tmp_path):
    put(tmp_path)
    groups = Dataset(tmp_path, page="all").card.groups
    assert groups["v0_z00"] == groups["v0_z01"] != groups["v0_z11"] and len({*groups.values()}) == 10


def test_splits_and_groups_that_name_a_file_mean_its_pages(tmp_path):
    put(tmp_path, 3)
    (tmp_path / "dataset.yaml").write_text(
        "page: all\nsplits: {train: [v0, v1], test: [v2]}\ngroups: {a: [v0, v1], b: [v2]}\n"
    )
    found = split(Dataset(tmp_path))
    assert found.test == tuple(f"v2_z{z:02d}" for z in range(N))


@pytest.mark.parametrize("n_pages", [1, 5])
def test_masks_of_another_number_of_pages_are_a_problem(tmp_path, n_pages):
    ((_, masks),) = put(tmp_path)
    write(tmp_path / "masks" / "v0.tif", np.squeeze(masks[:n_pages]))
    with pytest.raises(DatasetError, match=rf"holds {n_pages} pages?, but its image v0.ome.tif holds 12"):
        Dataset(tmp_path, page="all")


def test_outlines_of_a_stack_are_a_problem(tmp_path):
    write(tmp_path / "images" / "v0.tif", volume()[0])
    square = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[2, 2, 9, 2, 9, 9, 2, 9]], "iscrowd": 0}
    document = {
        "images": [{"id": 1, "file_name": "v0.tif", "height": SHAPE[0], "width": SHAPE[1]}],
        "annotations": [square],
        "categories": [{"id": 1, "name": "cell"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="outlines, points and shifts belong to images of one"):
        Dataset(tmp_path, page="all")


def test_planes_and_known_areas_are_paged_as_their_image(tmp_path):
    ((images, masks),) = put(tmp_path)
    write(tmp_path / "planes" / "edges" / "v0.tif", images // 2)
    write(tmp_path / "known" / "v0.tif", 1 - np.roll(masks, 1, axis=0))
    sample = Dataset(tmp_path, page="all").load("v0_z03")
    np.testing.assert_array_equal(sample.image[..., 1], images[3] // 2)
    np.testing.assert_array_equal(sample.known, masks[2] == 0)
