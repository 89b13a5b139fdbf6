"""Files for other programs: written from drawn images, and read back by other readers."""

import json

import numpy as np
import pytest
import roifile
import tifffile
from skimage.draw import polygon2mask
from skimage.measure import label, regionprops, regionprops_table

import evoseg
from evoseg.core.errors import PipelineError, SettingsError
from evoseg.datasets.io.files import write_image
from evoseg.inference.multiclass import ClassPart, ClassPipeline
from evoseg.inference.objects import LENGTHS, REGION_COLUMNS
from evoseg.pipeline import read_text

pytestmark = pytest.mark.filterwarnings("ignore::evoseg.ImageWarning")

BRIGHT = "def pipeline(image):\n    return threshold(channel(image), level=100)\n"


def scene(seed=0) -> np.ndarray:
    """Draw discs, one with holes, pixels that touch at a corner, and one object that encloses another."""
    row, col = np.indices((90, 120))
    plane = np.full((90, 120), 20, np.uint8)
    for r, c, radius in np.random.default_rng(seed).integers([8, 8, 2], [50, 110, 7], (6, 3)):
        plane[(row - r) ** 2 + (col - c) ** 2 <= radius**2] = 200
    plane[60:85, 20:60] = 200
    plane[64:80, 25:50] = 20
    plane[70:74, 30:40] = 200
    plane[62, 55] = 20
    plane[80, 100] = plane[81, 101] = plane[82, 100] = 200
    plane[89, 0:119] = 200
    return plane


@pytest.fixture
def folder(tmp_path):
    """Return a folder of two images whose pixels are 0.5 um wide."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "dataset.yaml").write_text("pixel_size: 0.5 um\n")
    for name, seed in (("a", 0), ("b", 1)):
        write_image(folder / f"{name}.png", scene(seed))
    return folder


def truth(seed) -> np.ndarray:
    return label(scene(seed) > 100, connectivity=2)


def same_objects(found, expected) -> bool:
    """Return whether two label images hold the same objects, whatever their numbers."""
    pairs = {*zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True)}
    return len(pairs) == len(np.unique(found)) == len(np.unique(expected)) and (0, 0) in pairs


def test_geojson_follows_the_standard_and_gives_the_same_pixels(folder, tmp_path):
    evoseg.apply(read_text(BRIGHT), folder, tmp_path / "out", formats="geojson")
    for stem, seed in (("a", 0), ("b", 1)):
        document = json.loads((tmp_path / "out/geojson" / f"{stem}.geojson").read_text())
        assert document["type"] == "FeatureCollection"
        painted = np.zeros((90, 120), np.int32)
        for feature in document["features"]:
            assert feature["type"] == "Feature" and feature["properties"]["objectType"] == "detection"
            geometry = feature["geometry"]
            several = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
            inside = np.zeros(painted.shape, bool)
            for rings in several:
                for number, ring in enumerate(rings):
                    # RFC 7946: closed, four positions at least, the outer ring against the clock, holes with it.
                    corners = np.array(ring)
                    assert ring[0] == ring[-1] and len(ring) >= 4
                    x, y = corners.T
                    assert ((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0) == (number == 0)
                    inside ^= polygon2mask(painted.shape, corners[:, ::-1] - 0.5)
            painted[inside] = int(feature["properties"]["name"])
        assert same_objects(painted, truth(seed))  # an IoU of 1 for each of them


def test_regions_of_imagej_are_read_back_by_roifile(folder, tmp_path):
    evoseg.apply(read_text(BRIGHT), folder, tmp_path / "out", formats=["rois"])
    rois = roifile.roiread(tmp_path / "out/rois/a.zip")
    painted = np.zeros((90, 120), np.int32)
    for roi in rois:
        rings = roi.coordinates(multi=True) if roi.composite else [roi.coordinates()]
        inside = np.zeros(painted.shape, bool)
        for ring in rings:
            inside ^= polygon2mask(painted.shape, np.asarray(ring)[:, ::-1] - 0.5)
        painted[inside] = int(roi.name)
        rows, cols = np.nonzero(inside)
        box = (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
        assert (roi.top, roi.left, roi.bottom, roi.right) == box
    assert same_objects(painted, truth(0))


@pytest.mark.parametrize("form", ["rois", "geojson"])
def test_objects_for_imagej_and_qupath_are_read_as_annotations(form, folder, tmp_path):
    evoseg.apply(read_text(BRIGHT), folder, tmp_path / "out", formats=[form])
    for path in (tmp_path / "out" / form).iterdir():
        path.rename(folder / path.name)
    data = evoseg.Dataset(folder)
    assert data.labelled == ("a", "b")
    for stem, seed in (("a", 0), ("b", 1)):
        assert same_objects(data.load(stem).labels, truth(seed))


def test_coco_is_read_back_to_the_same_objects(folder, tmp_path):
    evoseg.apply(read_text(BRIGHT), folder, tmp_path / "out", formats="coco,labels", workers=2)
    (tmp_path / "out/coco.json").rename(folder / "coco.json")
    data = evoseg.Dataset(folder)
    assert data.stems == ("a", "b")
    for stem, seed in (("a", 0), ("b", 1)):
        assert same_objects(data.load(stem).labels, truth(seed))
        # The numbers are those of the label image, too.
        np.testing.assert_array_equal(data.load(stem).labels, tifffile.imread(tmp_path / f"out/labels/{stem}.ome.tif"))
    document = json.loads((folder / "coco.json").read_text())
    assert [one["id"] for one in document["annotations"]] == list(range(1, len(document["annotations"]) + 1))
    areas = [one["area"] for one in document["annotations"] if one["image_id"] == 1]
    assert sorted(areas) == sorted(np.bincount(truth(0).ravel())[1:].tolist())


def test_each_page_of_a_stack_is_an_image_of_its_own_in_coco(tmp_path):
    tifffile.imwrite(tmp_path / "film.ome.tif", np.stack([scene(0), scene(1)]), ome=True, metadata={"axes": "TYX"})
    evoseg.apply(read_text(BRIGHT), tmp_path / "film.ome.tif", tmp_path / "out", page="all", formats="coco")
    document = json.loads((tmp_path / "out/coco.json").read_text())
    names = {image["id"]: image["file_name"] for image in document["images"]}
    assert names == {1: "film_t0.ome.tif", 2: "film_t1.ome.tif"}
    counts = [sum(one["image_id"] == i for one in document["annotations"]) for i in names]
    assert counts == [truth(0).max(), truth(1).max()]


def test_label_images_carry_the_size_of_pixels(folder, tmp_path):
    evoseg.apply(read_text(BRIGHT), folder, tmp_path / "out", formats="labels")
    with tifffile.TiffFile(tmp_path / "out/labels/a.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeX"], pixels["PhysicalSizeXUnit"]) == (0.5, "µm")
        assert (file.pages[0].resolution, file.pages[0].resolutionunit.name) == ((20_000.0, 20_000.0), "CENTIMETER")
        assert file.asarray().dtype == np.uint16 and same_objects(file.asarray(), truth(0))


def test_the_table_has_the_properties_of_scikit_image_and_um(folder, tmp_path):
    import csv

    evoseg.apply(read_text(BRIGHT), folder, tmp_path / "out", table=tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["image"] == "b"]
    table = regionprops_table(truth(1), properties=[name.partition("-")[0] for name in REGION_COLUMNS])
    for name in REGION_COLUMNS[1:]:
        assert sorted(float(row[name]) for row in rows) == pytest.approx(sorted(table[name]), rel=1e-6, abs=1e-6), name
    for row in rows:
        assert float(row["area_um2"]) == pytest.approx(float(row["area"]) / 4)
        assert float(row["perimeter_um"]) == pytest.approx(float(row["perimeter"]) / 2)
        assert row["area"] == row["area_px"] and row["bbox-0"] == row["first_row"]


def test_what_is_measured_on_oblong_pixels_is_right_or_left_out(folder, tmp_path):
    import csv

    (folder / "dataset.yaml").write_text("pixel_size: 0.5 x 0.25 um\n")
    with pytest.warns(evoseg.ImageWarning, match=r"a.png and 1 more: pixels are not square.*no perimeters and axes"):
        evoseg.apply(read_text(BRIGHT), folder, tmp_path / "out", table=tmp_path / "t.csv", formats="labels")
    with (tmp_path / "t.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["image"] == "a"]
    for row, region in zip(rows, regionprops(truth(0), spacing=(0.5, 0.25)), strict=True):
        assert float(row["area_um2"]) == pytest.approx(region.area)
        assert float(row["equivalent_diameter_area_um"]) == pytest.approx(region.equivalent_diameter_area, rel=1e-6)
        assert {row[f"{name}_um"] for name in LENGTHS[:3]} == {row["pixel_size_um"]} == {""}
    with tifffile.TiffFile(tmp_path / "out/labels/a.ome.tif") as file:
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert (pixels["PhysicalSizeY"], pixels["PhysicalSizeX"]) == (0.5, 0.25)
        assert file.pages[0].resolution == (40_000.0, 20_000.0)


def test_objects_of_several_classes_carry_their_names(folder, tmp_path):
    dim = read_text("def pipeline(image):\n    return invert_mask(threshold(channel(image), level=100))\n")
    parts = (ClassPart(3, "cell", read_text(BRIGHT), 0.9), ClassPart(9, "ground", dim, 0.5))
    program = ClassPipeline(parts, evoseg.ReadOptions())
    evoseg.apply(
        program, folder / "a.png", tmp_path / "out", formats="geojson,coco,rois,labels", table=tmp_path / "t.csv"
    )
    features = json.loads((tmp_path / "out/geojson/a.geojson").read_text())["features"]
    names = [feature["properties"]["classification"]["name"] for feature in features]
    n_cells = truth(0).max()
    assert names == ["cell"] * n_cells + ["ground"] * (len(names) - n_cells) and len(names) > n_cells
    document = json.loads((tmp_path / "out/coco.json").read_text())
    assert document["categories"] == [{"id": 3, "name": "cell"}, {"id": 9, "name": "ground"}]
    assert [one["category_id"] for one in document["annotations"]].count(3) == n_cells
    assert (tmp_path / "t.csv").read_text().splitlines()[0].startswith("image,object,class,area_px,")
    assert tifffile.imread(tmp_path / "out/labels/a.ome.tif").max() == len(names)
    assert roifile.roiread(tmp_path / "out/rois/a.zip")[0].name == "00001-cell"


def test_points_are_at_the_middle_of_their_pixels(folder, tmp_path):
    program = read_text("def pipeline(image):\n    return centroids(threshold(channel(image), level=100))\n")
    evoseg.apply(program, folder / "a.png", tmp_path / "out", formats="geojson,rois")
    table = np.genfromtxt(tmp_path / "out/points/a.csv", delimiter=",", skip_header=1)
    (feature,) = json.loads((tmp_path / "out/geojson/a.geojson").read_text())["features"]
    assert feature["geometry"]["type"] == "MultiPoint"
    np.testing.assert_allclose(np.array(feature["geometry"]["coordinates"])[:, ::-1], table + 0.5, atol=2e-3)
    roi = roifile.roiread(tmp_path / "out/rois/a.zip")
    roi = roi[0] if isinstance(roi, list) else roi
    np.testing.assert_allclose(roi.coordinates()[:, ::-1], table + 0.5, atol=2e-3)
    with pytest.raises(PipelineError, match="points, which cannot be written as coco; geojson and rois hold points"):
        evoseg.apply(program, folder / "a.png", tmp_path / "o", formats="coco")
    with pytest.raises(SettingsError, match="geojson"):
        evoseg.apply(program, folder / "a.png", tmp_path / "o", formats="geojsn")


def test_an_image_without_objects_gives_files_without_objects(folder, tmp_path):
    write_image(folder / "a.png", np.zeros((30, 40), np.uint8), overwrite=True)
    evoseg.apply(read_text(BRIGHT), folder / "a.png", tmp_path / "out", formats="geojson,rois,coco,labels")
    assert json.loads((tmp_path / "out/geojson/a.geojson").read_text())["features"] == []
    document = json.loads((tmp_path / "out/coco.json").read_text())
    assert (len(document["images"]), document["annotations"]) == (1, [])
    assert not tifffile.imread(tmp_path / "out/labels/a.ome.tif").any()
