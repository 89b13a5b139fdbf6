"""MVTec AD: train/good, test/DEFECT, and masks in ground_truth/DEFECT; images under good/ hold nothing.

As published, every defect lies in test/, which a search never sees: `splits: draw` in dataset.yaml has other images
drawn for the test.
"""

from pathlib import Path

from evoseg.base.notes import Note
from evoseg.data.layouts.layout import Entry, Files, Layout, Look, entries_of, folders, gathered, sides, some
from evoseg.data.listing import Notes, is_image, listing
from evoseg.data.truths import EmptyMask, MaskFile, MaskSource, ObjectFiles

_GOOD = "good"
_TRUTHS = "ground_truth"


def look(root: Path) -> Look:
    """Take folders with ground_truth/ beside test/, or with good/ in a folder of a split."""
    kinds = [kind for side, split in sides(root) if split for kind in folders(side)]
    defects = [kind.name for kind in kinds if kind.name != _GOOD]
    truths = (root / _TRUTHS).is_dir()
    if not kinds or not (truths or len(defects) < len(kinds)):
        return Look("needs train/good/, test/DEFECT/ and ground_truth/DEFECT/")
    # Folders of samples with images/ in them are another layout.
    if not any(map(is_image, (entry for kind in kinds for entry in entries_of(kind)))):
        return Look("needs images in train/good/ and test/DEFECT/")
    return Look(f"ground_truth/ has masks for test/{some(defects)}" if truths else "there is a folder good/", read)


def read(notes: Notes) -> Files:
    """List images by side and defect; their names are made of all three, since numbers begin anew in each folder."""
    entries: list[Entry] = []
    truths = {kind.name: _truths(kind, notes) for kind in folders(notes.root / _TRUTHS)}
    owner: dict[tuple[str, str], Path] = {}
    for side, split in sides(notes.root):
        for kind in folders(side):
            masks = truths.get(kind.name, {})
            for stem, path in listing(kind, notes).items():
                mask = EmptyMask(path) if kind.name == _GOOD else masks.get(stem)
                if stem in masks and (other := owner.setdefault((kind.name, stem), path)) != path:
                    notes.faults.append(
                        Note(masks[stem].path, f"may belong to {other} or to {path}. Rename one of them.")
                    )
                entries.append(Entry(f"{side.name}-{kind.name}-{stem}", path, mask, split=split))
    for name, masks in truths.items():
        for stem in masks.keys() - {stem for kind, stem in owner if kind == name}:
            notes.faults.append(
                Note(masks[stem].path, f"a mask without an image in test/{name}/. Rename or remove it.")
            )
    return gathered(entries, notes)


LAYOUT = Layout("MVTec", look)


def _truths(kind: Path, notes: Notes) -> dict[str, MaskSource]:
    """List the masks of a defect: NAME_mask.*, or, as in MVTec LOCO, a folder NAME/ with several parts."""
    masks: dict[str, MaskSource] = {}
    parts = folders(kind)
    for stem, path in listing(kind, notes, lambda name: name in {part.name for part in parts}).items():
        masks[stem.removesuffix("_mask")] = MaskFile(path)
    for part in parts:
        if files := tuple(listing(part, notes).values()):
            masks[part.name] = ObjectFiles(part, files, numbered=False)
    return masks
