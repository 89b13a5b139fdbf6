"""What masks mean: drawn discs, written in every way in which people write them, and what is asked of unclear ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from evoseg.core.errors import DatasetError
from evoseg.datasets.checking import check, open_dataset
from evoseg.datasets.dataset import Dataset
from evoseg.datasets.meaning import Meaning
from evoseg.datasets.reading import FIRST_RULES, ReadOptions

SHAPE = (96, 128)  # Non-square on purpose: swapped axes must fail.
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def discs(seed: int = 0, n: int = 7, touching: bool = False) -> np.ndarray:
    """Return numbered discs, away from the border and, unless asked for, from one another."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.int32)
    for i in range(n):
        row, col = 16 + 32 * (i // 4), 16 + 32 * (i % 4)
        radius = int(rng.integers(7, 11))
        cv2.circle(labels, (col, row), 17 if touching else radius, i + 1, -1)
    return labels


TRUTHS = [discs(seed, 5 + seed % 3) for seed in range(6)]


def saved(root: Path, masks: list, card: str = "", images: list | None = None) -> Path:
    """Write masks (arrays, Pillow images, or functions that write to a path without ending) beside images."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for i, mask in enumerate(masks):
        noise = np.random.default_rng(100 + i).integers(0, 255, SHAPE).astype(np.uint8)
        Image.fromarray(noise if images is None else images[i]).save(root / "images" / f"s{i}.png")
        if callable(mask):
            mask(root / "masks" / f"s{i}")
        elif isinstance(mask, Image.Image):
            mask.save(root / "masks" / f"s{i}.png")
        elif mask.dtype.kind == "u" and mask.dtype.itemsize == 1:
            Image.fromarray(mask).save(root / "masks" / f"s{i}.png")
        else:
            tifffile.imwrite(root / "masks" / f"s{i}.tif", mask)
    if card:
        (root / "dataset.yaml").write_text(card)
    return root


def indexed(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([part for colour in colours for part in colour])
    return image


def painted(labels: np.ndarray, ground: tuple[int, ...], *colours: tuple[int, ...]) -> np.ndarray:
    """Return labels as colours, which come again after the last."""
    table = np.array([ground, *colours], np.uint8)
    return table[np.where(labels > 0, (labels - 1) % len(colours) + 1, 0)]


def soft(mask: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Return a mask, bool (M, N), with soft edges that cross one half at its own."""
    fine = cv2.GaussianBlur(np.kron(mask, np.ones((4, 4))).astype(np.float32), (0, 0), 4 * sigma)
    return cv2.resize(fine, SHAPE[::-1], interpolation=cv2.INTER_AREA)


def jpeg(path: Path, array: np.ndarray, quality: int = 75) -> np.ndarray:
    Image.fromarray(array).save(path.with_suffix(".jpg"), quality=quality)
    return np.asarray(Image.open(path.with_suffix(".jpg")))


def bilevel(mask: np.ndarray, photometric: str):
    return lambda path: tifffile.imwrite(path.with_suffix(".tif"), mask, photometric=photometric)


ENCODINGS = {
    "0 and 255": lambda m: m * np.uint8(255),
    "0 and 1": lambda m: m.astype(np.uint8),
    "0 and 65535": lambda m: m * np.uint16(65535),
    "floats 0 and 1": lambda m: m.astype(np.float32),
    "floats 0 and 0.5": lambda m: m.astype(np.float64) / 2,
    "1-bit PNG": lambda m: Image.fromarray(m),
    "1-bit TIFF, black is 0": lambda m: bilevel(m, "minisblack"),
    "1-bit TIFF, white is 0": lambda m: bilevel(~m, "miniswhite"),
    "palette, black first": lambda m: indexed(m, BLACK, WHITE),
    "palette, white first": lambda m: indexed(~m, WHITE, BLACK),
    "palette, red first": lambda m: indexed(~m, RED, BLACK),
    "palette, red on white": lambda m: indexed(m, WHITE, RED),
    "palette, red before white": lambda m: indexed(~m, RED, WHITE),
    "palette by quantising": lambda m: Image.fromarray(m * np.uint8(255)).convert("RGB").quantize(2),
    "BMP with a palette": lambda m: lambda path: indexed(~m, WHITE, BLACK).save(path.with_suffix(".bmp")),
    "VOC palette": lambda m: indexed(m * 15, BLACK, *[(i * 17 % 256, i * 5, 128) for i in range(1, 21)]),
    "grey RGB": lambda m: np.dstack([m * np.uint8(255)] * 3),
    "red on black": lambda m: painted(m, BLACK, RED),
    "red on white": lambda m: painted(m, WHITE, RED),
    "black on green": lambda m: painted(m, GREEN, BLUE),
    "shape in alpha": lambda m: painted(m, (*RED, 0), (*RED, 255)),
    "white in alpha": lambda m: painted(m, (0, 0, 0, 0), (*WHITE, 255)),
    "red, half transparent": lambda m: painted(m, (0, 0, 0, 0), (*RED, 100)),
    "red in alpha, soft edges": lambda m: np.round(soft(m)[..., None] * (*RED, 255)).astype(np.uint8),
    "black in alpha": lambda m: painted(m, (*WHITE, 0), (*BLACK, 255)),
    "opaque alpha": lambda m: painted(m, (*BLACK, 255), (*WHITE, 255)),
    "grey with alpha": lambda m: painted(m, (255, 0), (255, 255)),
    "soft edges": lambda m: np.round(255 * soft(m)).astype(np.uint8),
    "soft edges in 16 bits": lambda m: np.round(65535 * soft(m)).astype(np.uint16),
    "soft edges in few steps": lambda m: (np.round(5 * soft(m)) * 51).astype(np.uint8),
    "soft edges in grey RGB": lambda m: np.dstack([np.round(255 * soft(m)).astype(np.uint8)] * 3),
    "probabilities": lambda m: np.clip(soft(m), 1e-6, 1 - 1e-6).astype(np.float32),
    "JPEG": lambda m: lambda path: jpeg(path, m * np.uint8(255)),
    "JPEG saved as PNG": lambda m: (
        lambda path: (
            Image.open((jpeg(path, m * np.uint8(255)) is not None) and path.with_suffix(".jpg")).save(
                path.with_suffix(".png")
            )
            or path.with_suffix(".jpg").unlink()
        )
    ),
    "red in JPEG": lambda m: lambda path: jpeg(path, painted(m, BLACK, RED), 90),
    "red on white in JPEG": lambda m: lambda path: jpeg(path, painted(m, WHITE, RED), 60),
    "blue on white in JPEG": lambda m: lambda path: jpeg(path, painted(m, WHITE, BLUE), 75),
    "green in JPEG": lambda m: lambda path: jpeg(path, painted(m, BLACK, GREEN), 75),
    "probabilities, noisy": lambda m: np.clip(
        soft(m) + np.random.default_rng(1).normal(0, 0.05, SHAPE), 1e-6, 1
    ).astype(np.float32),
    "soft red on white": lambda m: np.round(
        np.array(WHITE) + soft(m)[..., None] * (np.array(RED) - np.array(WHITE))
    ).astype(np.uint8),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_foreground_is_the_same_however_it_is_written(tmp_path, encoding):
    truths = [labels > 0 for labels in TRUTHS]
    root = saved(tmp_path, [ENCODINGS[encoding](truth) for truth in truths])
    report = check(root)
    assert report.ok, report
    assert report.card["task"] == "binary"
    dataset = open_dataset(root)
    for i, truth in enumerate(truths):
        mask = dataset.load(f"s{i}").mask
        assert mask is not None
        # Compression and smoothing move the edge by less than a pixel.
        rim = cv2.morphologyEx(truth.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        exact = not any(word in encoding for word in ("soft", "JPEG", "prob"))
        assert not (mask != truth)[~(rim & (not exact))].any()
        assert (mask != truth).sum() <= 0.03 * truth.sum()


@settings(max_examples=25, deadline=None)
@given(
    encoding=st.sampled_from([name for name in ENCODINGS if not any(w in name for w in ("soft", "JPEG", "prob"))]),
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=4, unique=True),
    n=st.integers(1, 11),
)
def test_any_discs_come_back_from_any_exact_encoding(tmp_path_factory, encoding, seeds, n):
    truths = [discs(seed, n) > 0 for seed in seeds]
    root = saved(tmp_path_factory.mktemp("masks"), [ENCODINGS[encoding](truth) for truth in truths])
    dataset = Dataset(root)
    for i, truth in enumerate(truths):
        assert np.array_equal(dataset.load(f"s{i}").mask, truth)


def two(labels: np.ndarray) -> np.ndarray:
    """Return discs of two classes, several of each."""
    return np.where(labels > 0, 1 + labels % 2, 0)


def with_rims(labels: np.ndarray, rim: int) -> np.ndarray:
    wide = cv2.dilate((labels > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
    return np.where(labels > 0, 1, np.where(wide > 0, rim, 0)).astype(np.uint8)


def trimap(labels: np.ndarray) -> np.ndarray:
    core = cv2.erode((labels > 0).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.where(core > 0, 255, np.where(labels > 0, 128, 0)).astype(np.uint8)


def inverting(mask: np.ndarray) -> Image.Image:
    return indexed(mask * 255, *[(255 - i,) * 3 for i in range(256)])


UNCLEAR = {
    "ilastik": (
        lambda i: np.where(i > 0, 2, 1).astype(np.uint8),
        "no mask holds 0; they hold 1 and 2",
        "background: 1",
    ),
    "headless ilastik": (lambda i: np.where(i > 0, 254, 255).astype(np.uint8), "254 and 255", "background: 255"),
    "ilastik, three labels": (lambda i: np.where(i > 0, 1 + two(i), 1).astype(np.uint8), "1, 2 and 3", "background: 1"),
    "numbers above 1": (lambda i: (i + 1).astype(np.uint8), "no mask holds 0", "background: 1"),
    "-1 and 1": (lambda i: np.where(i > 0, 1, -1).astype(np.int16), "they hold -1 and 1", "background: -1"),
    "void": (lambda i: with_rims(i, 255), "beside 0 and 1 they hold 255, which often marks pixels", "ignore: 255"),
    "void in 16 bits": (lambda i: with_rims(i, 255).astype(np.uint16) * 257 // 257, "they hold 255", "ignore: 255"),
    "void in the colour of VOC": (
        lambda i: painted(np.minimum(with_rims(i, 2), 2), BLACK, (128, 0, 0), (224, 224, 192)),
        "the colour that PASCAL VOC gives to pixels to leave out",
        "ignore: '#e0e0c0'",
    ),
    "trimap": (trimap, "128 lies almost only between 0 and 255, as a rim", "ignore: 128"),
    "a class per image": (lambda i: (i > 0) * np.uint8(i.max()), "each mask holds one value", "task: binary"),
    "inverting LUT": (lambda i: inverting(i > 0), "store white as 0", "foreground: 0"),
    "logits": (lambda i: 12 * soft(i > 0).astype(np.float32) - 6, "values from -6 to 6", "threshold: 0"),
    "low probabilities": (
        lambda i: 0.6 * soft(i > 0).astype(np.float32),
        "probabilities that are all low",
        "threshold",
    ),
    "a distance map": (
        lambda i: (cv2.distanceTransform((i > 0).astype(np.uint8), cv2.DIST_L2, 5) * 12).astype(np.uint8),
        "do not pile up at both ends",
        "threshold",
    ),
    "smeared objects": (
        lambda i: lambda path: jpeg(path, np.random.default_rng(5).integers(40, 255, (40, 3)).astype(np.uint8)[i], 90),
        "a mixture of two of the main ones may be a third",
        "task: binary",
    ),
    "smeared classes": (
        lambda i: lambda path: jpeg(path, (two(i) * 127).astype(np.uint8)),
        "0, 127 and 254 fill regions",
        "threshold: 127",
    ),
    "black class on white": (
        lambda i: painted(two(i), WHITE, RED, BLACK),
        "the colours black, red and white",
        "background: white",
    ),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_unclear_masks_are_one_error_and_each_line_that_it_offers_settles_it(tmp_path, kind):
    draw, said, line = UNCLEAR[kind]
    root = saved(tmp_path, [draw(labels) for labels in TRUTHS])
    (message,) = check(root).problems
    assert "it is not clear what the masks mean" in message and said in message and line in message
    assert f"\nerror: {message}\n" in str(check(root))  # line by line, as it is to be read
    with pytest.raises(DatasetError, match="not clear"):
        open_dataset(root)
    offers = [offer.split(":\n", 1)[1] for offer in message.split("\n  - ")[1:]]
    assert offers
    for offer in offers:
        (root / "dataset.yaml").write_text("".join(f"{one[6:]}\n" for one in offer.splitlines() if one[:6] == " " * 6))
        assert check(root).ok, offer


@pytest.mark.parametrize(
    ("draw", "card"),
    [
        (lambda i: np.where(i > 0, 2, 1).astype(np.uint8), "background: 1"),
        (lambda i: (i == 0).astype(np.uint8), "foreground: 0"),
        (lambda i: np.round(255 * (1 - soft(i > 0))).astype(np.uint8), "foreground: 0"),
        (lambda i: with_rims(i, 255), "ignore: 255"),
        (lambda i: with_rims(i, 255), "foreground: 1"),
        (lambda i: trimap(i), "foreground: [128, 255]"),
        (lambda i: painted(two(i), WHITE, RED, BLACK), "background: white\ntask: binary"),
        (lambda i: painted(two(i), WHITE, RED, BLACK), "foreground: [red, '#000000']"),
        (lambda i: inverting(i > 0), "foreground: 0"),
        (lambda i: np.round(200 * soft(i > 0)).astype(np.uint8), "threshold: 100"),
    ],
)
def test_keys_of_the_card_say_what_is_foreground(tmp_path, draw, card):
    root = saved(tmp_path, [draw(labels) for labels in TRUTHS], card)
    assert check(root).ok, check(root)
    for i, labels in enumerate(TRUTHS):
        sample = Dataset(root).load(f"s{i}")
        known = np.ones(SHAPE, bool) if sample.known is None else sample.known
        assert (sample.mask != (labels > 0))[known].sum() <= 0.03 * (labels > 0).sum()
        assert not known.all() if "ignore" in card else known.all()


@pytest.mark.parametrize(
    ("draw", "card"),
    [
        (lambda i: (i > 0) * np.uint8(255), "ignore: [0, 255]"),
        (lambda i: (i > 0) * np.uint8(255), "threshold: 100\nignore: [0, 255]"),
        (lambda i: painted(two(i), WHITE, RED, BLACK), "ignore: [white, red, black]"),
    ],
)
def test_a_card_that_ignores_all_is_refused(tmp_path, draw, card):
    (problem,) = check(saved(tmp_path, [draw(labels) for labels in TRUTHS], card)).problems
    assert "dataset.yaml: line " in problem and "so no pixel is left to score" in problem


def test_colours_are_classes_or_objects(tmp_path):
    classes = check(saved(tmp_path / "a", [painted(two(labels), WHITE, RED, GREEN) for labels in TRUTHS]))
    assert classes.card["task"] == "classes"
    assert [(row["value"], row["taken_for"]) for row in classes.card["mask_values"]] == [
        ("white", "background"),
        ("green", "class 1"),
        ("red", "class 2"),
    ]
    named = saved(
        tmp_path / "b", [painted(two(labels), WHITE, RED, GREEN) for labels in TRUTHS], "classes: {red: cell}"
    )
    assert np.array_equal(Dataset(named).load("s0").values == 1, two(TRUTHS[0]) == 1)
    touching = [discs(seed, 7, touching=True) for seed in range(6)]
    colours = [[tuple(np.random.default_rng(7 * s + i).integers(40, 255, 3)) for i in range(7)] for s in range(6)]
    objects = saved(tmp_path / "c", [painted(m, BLACK, *c) for m, c in zip(touching, colours, strict=True)])
    assert check(objects).card["task"] == "instances"
    assert [Dataset(objects).load(f"s{i}").labels.max() for i in range(6)] == [7] * 6


@pytest.mark.parametrize("levels", [(128, 255), (85, 255), (127, 254)])
def test_wide_steps_are_classes_even_with_one_piece_of_each(tmp_path, levels):
    table = np.array([0, *levels, 0, 0, 0, 0, 0], np.uint8)
    assert check(saved(tmp_path, [table[labels] for labels in TRUTHS])).card["task"] == "classes"


def test_numbers_that_wrapped_at_8_bits_are_parted_where_they_lie_far_apart(tmp_path):
    labels = np.zeros((320, 320), np.int32)
    for i, place in enumerate(np.random.default_rng(1).permutation(400)[:330]):
        cv2.circle(labels, (16 * int(place % 20) + 8, 16 * int(place // 20) + 8), 5, i + 1, -1)
    image = [np.zeros(labels.shape, np.uint8)]
    root = saved(tmp_path / "a", [labels.astype(np.uint8)], images=image)
    report = check(root)
    assert report.card["task"] == "instances" and any(
        "started again after 255" in warning for warning in report.warnings
    )
    # The one numbered 256 is lost as 0; two neighbours with one number stay one object.
    assert 327 <= Dataset(root).load("s0").labels.max() <= 329
    whole = check(saved(tmp_path / "b", [(labels * (labels < 256)).astype(np.uint8)], images=image))
    assert whole.card["task"] == "instances" and not any("wrapped" in warning for warning in whole.warnings)


def test_inverted_masks_are_warned_of_unless_the_card_confirms_them(tmp_path):
    masks = [(labels == 0) * np.uint8(255) for labels in TRUTHS]
    (warning,) = (w for w in check(saved(tmp_path, masks)).warnings if "inverted" in w)
    assert "`foreground: 0`" in warning
    (tmp_path / "dataset.yaml").write_text("background: 0\nforeground: holes between discs\n")
    assert not any("inverted" in warning for warning in check(tmp_path).warnings)


def test_a_few_inverted_masks_are_named(tmp_path):
    masks = [(labels > 0) * np.uint8(255) for labels in TRUTHS]
    for mask in masks:
        mask[20:60, :5] = 255  # objects may touch the border
    assert not check(saved(tmp_path / "clean", masks)).warnings
    report = check(saved(tmp_path / "some", [*masks[:2], 255 - masks[2], *masks[3:]]))
    (warning,) = [one for one in report.warnings if "inverted" in one]
    assert warning.startswith("masks/s2.png: foreground covers most of the mask and of its border")


def test_inverted_probabilities_are_warned_of_with_a_line_that_turns_them(tmp_path):
    root = saved(tmp_path, [np.clip(1 - soft(i > 0), 1e-6, 1).astype(np.float32) for i in TRUTHS])
    assert any("write `foreground: 0` into" in warning for warning in check(root).warnings)
    (root / "dataset.yaml").write_text("foreground: 0\n")
    mask = open_dataset(root).load("s1").mask
    assert mask is not None
    assert (mask != (TRUTHS[1] > 0)).sum() <= 0.03 * (TRUTHS[1] > 0).sum()


def test_a_value_of_a_few_pixels_in_one_mask_is_left_out_and_named(tmp_path):
    masks = [(labels > 0) * np.uint8(255) for labels in TRUTHS]
    masks[2][3, 3] = 7
    report = check(saved(tmp_path, masks))
    assert report.card["task"] == "binary"
    assert any(warning.startswith("masks/s2.png: 1 pixel of value 7") for warning in report.warnings)
    known = Dataset(tmp_path).load("s2").known
    assert known is not None and np.argwhere(~known).tolist() == [[3, 3]]


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("background: 7", "line 1: no mask holds the value 7 that background names; they hold 0 and 255"),
        ("title: x\nforeground: 3", "line 2: no mask holds the value 3"),
        ("threshold: 300", "line 1: threshold is 300, but the values of the masks are 0 to 255"),
        ("threshold: high", "line 1: threshold must be a number"),
        ("ignore: [1, none]", "line 1: ignore holds none; it must be a value of the masks"),
        ("background: 0\nforeground: 0", "0 is named by"),
        ("title: x\nbackground: #ff0000", "line 2: # begins a comment. Write a colour in quotes: '#ff0000'"),
        ("classes:\n  #ff0000: cell", "line 2: # begins a comment"),
        ("classes: {1: a, red: b}", "classes names both values and colours"),
        ("threshold: 9\nbackground: 0", "threshold and background both say what is foreground"),
        ("exif: maybe", "exif is 'maybe'; it must be ignore (as stored) or turn (upright)"),
    ],
)
def test_wrong_keys_are_named_with_their_line(tmp_path, card, said):
    root = saved(tmp_path, [(labels > 0) * np.uint8(255) for labels in TRUTHS[:2]], card)
    assert any(said in fault for fault in check(root).problems), check(root).problems


def test_foreground_may_still_be_words(tmp_path):
    root = saved(tmp_path, [(TRUTHS[0] > 0) * np.uint8(255)], "foreground: red blood cells")
    assert check(root).ok and Dataset(root).card.foreground == "red blood cells"


def test_a_recorded_meaning_is_read_again_and_old_runs_keep_the_first_rules(tmp_path):
    root = saved(tmp_path, [np.round(255 * soft(labels > 0)).astype(np.uint8) for labels in TRUTHS])
    text = Dataset(root).source.decision.meaning.text
    assert Meaning.recorded(text).text == text
    stored = np.asarray(Image.open(root / "masks/s0.png"))
    now, then = Dataset(root, ReadOptions(masks=text)), Dataset(root, ReadOptions(masks=FIRST_RULES))
    assert np.array_equal(now.load("s0").mask, stored >= 128)
    assert np.array_equal(then.load("s0").mask, stored > 0)
    assert ReadOptions.recorded({}).masks == FIRST_RULES and ReadOptions.recorded({"masks": text}).masks == text
    assert now.survey.digest == Dataset(root).survey.digest != then.survey.digest


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_masks_of_pictures_that_were_not_turned_are_named_with_the_cause(tmp_path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for i, labels in enumerate(TRUTHS[:3]):
        noise = np.random.default_rng(i).normal(0, 8, SHAPE)
        picture = np.clip(60 + 120 * (labels > 0) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"images/s{i}.jpg", exif=exif)
        Image.fromarray((labels > 0) * np.uint8(255)).save(tmp_path / f"masks/s{i}.png")
    (fault,) = check(tmp_path).problems
    assert f"(EXIF orientation {orientation})" in fault and "`exif: ignore`" in fault and "images/s0.jpg" in fault
    (tmp_path / "dataset.yaml").write_text("exif: ignore")
    sample = open_dataset(tmp_path).load("s0")
    assert sample.image[sample.mask].mean() > 2 * sample.image[~sample.mask].mean()
    (tmp_path / "dataset.yaml").unlink()
    for i, labels in enumerate(TRUTHS[:3]):  # masks of the turned pictures
        with Image.open(tmp_path / f"images/s{i}.jpg") as stored:
            turned = Image.fromarray((labels > 0) * np.uint8(255))
            turned.getexif()[274] = stored.getexif()[274]
            ImageOps.exif_transpose(turned).save(tmp_path / f"masks/s{i}.png")
    assert check(tmp_path).ok and not any("exif: ignore" in warning for warning in check(tmp_path).warnings)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
def test_arrays_follow_the_same_rules(dtype):
    images = [np.zeros(SHAPE, np.uint8)] * 3
    masks = [(labels > 0).astype(dtype) for labels in TRUTHS[:3]]
    assert np.array_equal(Dataset.from_arrays(images, masks).load("000").mask, TRUTHS[0] > 0)
    smooth = [soft(labels > 0) for labels in TRUTHS[:3]]
    assert np.array_equal(Dataset.from_arrays(images, smooth).load("000").mask, smooth[0] >= 0.5)
    with pytest.raises(DatasetError, match="no mask holds 0; they hold 1 and 2.*\n.*\n.*\n.*Give arrays of bool"):
        Dataset.from_arrays(images, [1 + (labels > 0) for labels in TRUTHS[:3]])


def test_one_photograph_among_soft_masks_is_refused_by_name(tmp_path):
    masks = [np.round(255 * soft(truth > 0)).astype(np.uint8) for truth in TRUTHS]
    masks[2] = np.random.default_rng(3).integers(0, 256, SHAPE).astype(np.uint8)
    (error,) = check(saved(tmp_path, masks)).problems
    assert "masks/s2.png: the values are spread like those of an image" in error
    (tmp_path / "dataset.yaml").write_text("threshold: 128\n")
    assert check(tmp_path).ok


@pytest.mark.parametrize("other", ["JPEG", "soft edges"])
@pytest.mark.parametrize("value", [1, 12])
def test_masks_of_low_values_among_masks_of_0_to_255_are_refused_by_name(tmp_path, other, value):
    masks = [np.uint8(value) * (truth > 0) for truth in TRUTHS]
    masks[2] = ENCODINGS[other](TRUTHS[2] > 0)
    (error,) = check(saved(tmp_path, masks)).problems
    assert error.startswith("masks/s0.png, masks/s1.png, masks/s3.png and 2 more: all values are far below")
    (tmp_path / "dataset.yaml").write_text("threshold: 1\n")
    assert check(tmp_path).ok


def test_empty_tiles_of_soft_masks_may_hold_low_values(tmp_path):
    edges = np.round(255 * soft(TRUTHS[0] > 0)).astype(np.uint8)
    tail, specks, nothing = (np.zeros(SHAPE, np.uint8) for _ in range(3))
    tail[:3] = np.array([[60], [25], [6]])  # of an object beyond the border
    specks[5::20, 7::30] = 1
    masks = [edges, tail, specks, nothing]
    report = check(saved(tmp_path, masks))
    assert report.ok and not Dataset(tmp_path).load("s1").mask.any()


def test_one_mask_that_shows_its_border_white_is_asked_about_among_ordinary_ones(tmp_path):
    masks = [np.uint8(255) * (truth > 0) for truth in TRUTHS]
    masks[1] = bilevel(TRUTHS[1] > 0, "miniswhite")
    (error,) = check(saved(tmp_path, masks)).problems
    assert "masks/s1.tif store white as 0" in error


def test_numbers_of_objects_that_were_resized_smoothly_are_no_classes(tmp_path):
    def enlarged(labels: np.ndarray) -> np.ndarray:
        return cv2.resize(labels[::2, ::2].astype(np.uint8), SHAPE[::-1], interpolation=cv2.INTER_LINEAR)

    (error,) = check(saved(tmp_path / "smooth", [enlarged(truth) for truth in TRUTHS])).problems
    assert "smooth resizing" in error
    layers = [np.minimum(cv2.distanceTransform((t > 0).view(np.uint8), cv2.DIST_L2, 5), 4) for t in TRUTHS]
    report = check(saved(tmp_path / "layers", [np.uint8(layer) for layer in layers], "task: classes\n"))
    assert report.ok
