"""The learned descriptor, where there is one: it needs torch and weights, and all else works without it."""

import logging
from functools import lru_cache

from evoseg.library.describing import Embeds

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def embedder() -> Embeds | None:
    """Return the embedder whose weights come with evoseg; None if it cannot be had, which is said once."""
    logger.info("no embedder is installed: tasks are compared by statistics of images and masks only")
    return None
