"""Which layout a folder has."""

from dataclasses import dataclass

from evoseg.data.layouts import beside, cellpose, coco, dsb, manifest, mvtec, nnunet, pairs, plain, stardist
from evoseg.data.layouts.layout import Files, Layout
from evoseg.data.layouts.unread import unread_outlines
from evoseg.data.listing import Notes

LAYOUTS: tuple[Layout, ...] = tuple(
    module.LAYOUT for module in (manifest, nnunet, mvtec, pairs, plain, coco, stardist, dsb, cellpose, beside)
)
"""In the order in which they are tried: those with names of their own come before those with common ones."""


@dataclass(frozen=True)
class Recognised:
    """What a folder was taken for.

    Attributes
    ----------
    layout : str
        Name of the layout; "" if none fits.
    why : str
        What says so.
    lacking : dict of str to str
        What each layout would have needed, by name, if none fits.
    files : Files
    """

    layout: str
    why: str
    lacking: dict[str, str]
    files: Files


def recognise(notes: Notes) -> Recognised:
    """Find the layout of a folder and list its files.

    Where none fits, the errors name what is there and is not read, or else are those of the plain layout.
    """
    lacking: dict[str, str] = {}
    for layout in LAYOUTS:
        found = layout.look(notes.root)
        if found.read is not None:
            return Recognised(layout.name, found.why, {}, found.read(notes))
        lacking[layout.name] = found.why
    if unread := unread_outlines(notes.root):
        notes.faults += unread
        return Recognised("", "no layout fits", lacking, plain.read(Notes(notes.root)))
    return Recognised("", "no layout fits", lacking, plain.read(notes))
