"""Which pictures of benchmark datasets are distributed: by the words of the licence, of training images alone."""

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

from evoseg.library.collection import bundled_folder, bundled_tasks
from evoseg.library.pictures import FOLDER, SHOWN, SIDE, dataset_of, read_pictures
from evoseg.synthetic import draw_dataset

LICENCES = {
    "CC0 1.0": True,
    "CC0 (as stated by the repository)": True,
    "CC BY 4.0": True,
    "CC BY 4.0 (as the repository states for the data)": True,
    "CC-BY-4.0": True,
    "MIT": True,
    "MIT (repository)": True,
    "Apache-2.0 (repository)": True,
    "Apache License 2.0": False,  # not one of the wordings that are known: better no picture than one too many
    "CC BY-NC-SA 4.0 (MVTec AD)": False,
    "CC BY-NC-SA 3.0": False,
    "CC BY-SA 4.0": False,
    "CC BY-ND 4.0": False,
    "CC BY 4.0 (research only)": False,
    "MIT (code); data on request": False,
    "GPL-3.0 (HRSID repository)": False,
    "repository GPL-3.0 (see LICENSE)": False,
    "repository MIT; data: free for research, challenge terms": False,
    "non-commercial research only (README)": False,
    "not stated": False,
    "not stated (CVC-ClinicDB: research use)": False,
    "not stated (GlaS: research use)": False,
    "not stated (NEU database: free for research)": False,
    "not stated (README: welcome to use, cite paper)": False,
    "not stated in repo (DRIVE: free for research)": False,
    "": False,
}
"""All licences of the benchmark's datasets, and some more."""


@pytest.fixture(scope="module")
def seeds(script):
    return script("seeds")


def test_the_words_of_a_licence_decide_whether_pictures_are_distributed(seeds):
    assert {words: seeds.may_distribute(words) for words in LICENCES} == LICENCES
    assert {task.card.license for task in bundled_tasks()} <= LICENCES.keys()


def test_exactly_the_bundled_tasks_whose_licence_allows_it_have_pictures(seeds):
    folder = bundled_folder() / FOLDER
    wanted = {dataset_of(task) for task in bundled_tasks() if seeds.may_distribute(task.card.license)}
    assert {path.name for path in folder.iterdir() if path.is_dir()} == wanted
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 1.5e6
    for name in wanted:
        pictures = read_pictures(folder / name)
        assert len(pictures) == SHOWN
        for picture in pictures:
            assert max(picture.image.shape[:2]) <= SIDE
            assert picture.mask.shape == picture.image.shape[:2] and picture.mask.any() and not picture.mask.all()


def test_the_readme_of_the_pictures_names_source_and_licence_of_each(seeds):
    readme = (bundled_folder() / FOLDER / "README.md").read_text("utf-8")
    for task in bundled_tasks():
        if seeds.may_distribute(task.card.license):
            assert f"| {dataset_of(task)} | {task.card.title} | {task.card.source} | {task.card.license} |" in readme


def test_pictures_are_parts_of_training_images_at_their_own_scale(seeds, tmp_path):
    folder = draw_dataset("nuclei", tmp_path / "drawn", 10, (300, 330), seed=3)
    card = yaml.safe_load((folder / "dataset.yaml").read_text())
    stems = sorted(path.stem for path in (folder / "images").iterdir())
    card["splits"] = {"train": stems[1::2], "test": stems[::2]}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(card))
    seeds.store_pictures(folder, tmp_path)
    pictures = read_pictures(tmp_path / FOLDER / "drawn")
    assert len(pictures) == SHOWN
    for picture in pictures:
        assert picture.image.shape == (SIDE, SIDE, 3)
        near = {}
        for stem in stems:
            image = np.asarray(Image.open(folder / "images" / f"{stem}.png"))
            near[stem] = cv2.matchTemplate(image, picture.image[:, :, 0], cv2.TM_SQDIFF_NORMED).min()
        best = min(near, key=near.get)
        assert best in stems[1::2] and near[best] < 0.01


def test_a_dataset_whose_licence_forbids_it_gets_no_pictures(seeds, tmp_path):
    folder = draw_dataset("nuclei", tmp_path / "drawn", 10, (64, 80), seed=3)
    card = yaml.safe_load((folder / "dataset.yaml").read_text())
    (folder / "dataset.yaml").write_text(yaml.safe_dump(card | {"license": "CC BY-NC 4.0"}))
    seeds.store_pictures(folder, tmp_path)
    assert not (tmp_path / FOLDER).exists()
