"""The learned descriptor, where there is one: it needs torch and weights, and all else works without it."""

import logging
from functools import lru_cache
from importlib import import_module

from evoseg.base.errors import EvosegError
from evoseg.library.describing import Embeds

logger = logging.getLogger(__name__)

WITHOUT = "solved tasks are compared by statistics of images and masks only"


@lru_cache(maxsize=1)
def embedder() -> Embeds | None:
    """Return the embedder whose weights come with evoseg; None if torch or the weights are missing, which is said."""
    try:
        # By name, so that torch is imported when it is needed, and its absence costs this descriptor only.
        found: Embeds = import_module("evoseg.library.embedder").Embedder()
    except (ImportError, EvosegError) as error:
        logger.info("no learned descriptor (%s): %s", error, WITHOUT)
        return None
    return found
