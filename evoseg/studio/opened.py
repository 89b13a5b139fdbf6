"""A folder that is open in the studio, with all that can be done to it."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from evoseg.core.errors import DatasetError, EvosegError
from evoseg.runs.run_folder import FilesError
from evoseg.studio.away import Away
from evoseg.studio.correcting import Correcting
from evoseg.studio.display import Display
from evoseg.studio.events import Events
from evoseg.studio.live import Live, Model
from evoseg.studio.live_loop import LiveLoop
from evoseg.studio.project import LIVE_FILTERS, Project
from evoseg.studio.searching import Searches
from evoseg.studio.shelf import Shelf
from evoseg.studio.sources import LIVE_SOURCE, Sources
from evoseg.studio.values import Values
from evoseg.studio.workbench import Workbench

logger = logging.getLogger(__name__)

_WATCH_S = 1.0
"""How often runs are looked at while one is running."""


@final
class Studio:
    """An opened folder with all that is done to it."""

    def __init__(self, root: Path) -> None:
        """Open a folder.

        Raises
        ------
        EvosegError
            If there is no such folder, or no image in it.
        """
        self.project = Project(root)
        self.display = Display(self.project)
        self.live = Live(self.project)
        self.events = Events()
        self.loop = LiveLoop(self.live, self.events)
        self.searches = Searches(self.project)
        self.sources = Sources(self.project, self.searches)
        self.values = Values(self.project)
        self.workbench = Workbench(self.project, self.sources, self.values)
        self.correcting = Correcting(self.project, self.live, self.loop, self.sources, self.values)
        self.shelf = Shelf(self.project, self.sources, self.values)
        self.away = Away(self.project, self.sources, self.live)

    def close(self) -> None:
        """Write what is not on disk yet."""
        self.loop.stop()
        try:
            self.project.save()
        except DatasetError as error:
            logger.warning("%s", error)  # no page is left to show it

    def save_live(self) -> Path:
        """Write the live answer as a pipeline into the folder.

        Raises
        ------
        FilesError
            If there is none yet, or it cannot be written.
        """
        return self.away.save_live(self._model())

    def _model(self) -> Model:
        if self.loop.model is None:
            raise FilesError(self.loop.reason or "There is no answer yet.")
        return self.loop.model

    def path_of(self, source: str) -> str:
        """Return what commands call the source of a pipeline; the live answer is written first.

        Raises
        ------
        FilesError
            If there is no such source.
        """
        return str(self.save_live()) if source == LIVE_SOURCE else self.sources.path_of(source)

    def start_of(self, source: str) -> str:
        """Return the path or the run by which a search names the source of a pipeline to start from.

        For the live answer, it is the file of a fit of filters only, which `write_start` writes: no search starts from
        a network, which may have been trained on images that the search keeps for testing.

        Raises
        ------
        FilesError
            If there is no such source.
        """
        return str(self.project.root / LIVE_FILTERS) if source == LIVE_SOURCE else self.sources.path_of(source)

    def write_start(self, source: str) -> str:
        """Return what `start_of` returns; for the live answer, fit filters and write the file first.

        Raises
        ------
        FilesError
            If there is no such source, or it cannot be written.
        """
        if source == LIVE_SOURCE:
            self._model()
            self.away.save_live(self.live.fit(filters_only=True), LIVE_FILTERS)
        return self.start_of(source)

    async def watch(self) -> None:
        """Publish how far runs are while one is running."""
        shown: list[dict[str, Any]] = []
        while True:
            await asyncio.sleep(_WATCH_S)
            with suppress(EvosegError, OSError):
                summaries = await asyncio.to_thread(self.searches.summaries)
                if summaries != shown:
                    self.events.publish("runs", runs=summaries)
                shown = summaries
