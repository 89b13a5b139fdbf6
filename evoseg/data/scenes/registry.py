"""The list of scenes, by name, and drawing a dataset of one."""

from pathlib import Path

import yaml

from evoseg.base.errors import DatasetError, SettingsError, unknown
from evoseg.base.streams import stream
from evoseg.data.files import write_image, write_mask
from evoseg.data.scenes.microscopy import nuclei, spots, tissue
from evoseg.data.scenes.networks import fibres, vessels
from evoseg.data.scenes.scene import Draw, Shape
from evoseg.data.scenes.surfaces import cracks, grains, pores, scratches

SCENES: dict[str, Draw] = {
    draw.__name__: draw for draw in (nuclei, tissue, cracks, scratches, vessels, pores, grains, fibres, spots)
}
"""Functions that draw a scene, by name."""

_WORDS = {
    "nuclei": ("Drawn nuclei in fluorescence", "fluorescence microscopy", "scientific", "cell nuclei"),
    "tissue": ("Drawn stained tissue", "brightfield histology (H&E)", "medical", "cell nuclei"),
    "cracks": ("Drawn cracks in stone", "photo", "industrial", "cracks"),
    "scratches": ("Drawn scratches on brushed metal", "machine-vision photo", "industrial", "scratches"),
    "vessels": ("Drawn retinal vessels", "colour fundus photo", "medical", "blood vessels"),
    "pores": ("Drawn pores in a polished section", "SEM", "scientific", "pores"),
    "grains": (
        "Drawn grain boundaries of etched metal",
        "reflected-light microscopy",
        "scientific",
        "grain boundaries",
    ),
    "fibres": ("Drawn fibres", "fluorescence microscopy", "scientific", "fibres"),
    "spots": ("Drawn faint spots on a ramp", "fluorescence microscopy, 16 bits", "scientific", "spots"),
}


def draw_dataset(name: str, folder: str | Path, n: int, shape: Shape, seed: int, n_labelled: int | None = None) -> Path:
    """Draw a dataset: images/, masks/ and dataset.yaml.

    Parameters
    ----------
    name : str
        One of `SCENES`.
    folder : path
        Made if missing; must be empty.
    n : int
        Number of images.
    shape : (M, N), px
    seed : int
        Image i depends on name, seed and i alone.
    n_labelled : int, optional
        How many get a mask, from the first on; all if left out. The first image always holds objects.

    Returns
    -------
    Path of the folder

    Raises
    ------
    SettingsError
        For an unknown scene, or numbers that cannot be.
    DatasetError
        If the folder holds files already.
    """
    if name not in SCENES:
        raise SettingsError(unknown("scene", name, SCENES))
    labelled = n if n_labelled is None else n_labelled
    if n < 1 or not 0 < labelled <= n:
        raise SettingsError(f"{n} images with {labelled} masks cannot be; take n >= 1 and 1 to n masks.")
    root = Path(folder)
    if root.is_dir() and any(root.iterdir()):
        raise DatasetError(f"{root}: holds files already, which are left as they are. Choose another folder.")
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for i in range(n):
        rng = stream(seed, "scene", name, i)
        scene = SCENES[name](rng, shape, empty=0.0) if i == 0 else SCENES[name](rng, shape)
        stem = f"{name}_{i:03d}"
        ending = "png" if scene.image.dtype.name == "uint8" else "tif"
        write_image(root / "images" / f"{stem}.{ending}", scene.image)
        if i < labelled:
            write_mask(root / "masks" / f"{stem}.png", scene.mask)
    _write_card(root / "dataset.yaml", name, seed)
    return root


def _write_card(path: Path, name: str, seed: int) -> None:
    title, modality, domain, foreground = _WORDS[name]
    card = {
        "title": title,
        "modality": modality,
        "domain": domain,
        "task": "binary",
        "foreground": foreground,
        "family": f"drawn-{name}",
        "source": f"drawn by evoseg, seed {seed}",
        "license": "CC0 1.0",
    }
    path.write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True), encoding="utf-8")
