"""Options that several commands share: how files are read that hold more than one image."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from evoseg.data.reading import Reading

AXES = typer.Option(
    metavar="AXES", help="Axes of TIFF stacks, where the files are silent or wrong: CYX.", show_default=False
)
PAGE = typer.Option(metavar="N", help="Page of TIFF stacks, from 0; T=0,Z=3 if it takes two.", show_default=False)
CHANNEL = typer.Option(
    metavar="NAME|N", help="Channel of the images, by name or from 0; several with commas.", show_default=False
)


def chosen(axes: str, page: str, channel: str) -> "Reading":
    """Return what the options say.

    Raises
    ------
    SettingsError
        If they cannot mean anything.
    """
    from evoseg.data.reading import Reading

    return Reading(axes, page, channel)
