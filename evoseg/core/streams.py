"""Random streams, keyed by what they are used for.

Every draw comes from a stream named by a seed and a path such as ("generation", 12, "slot", 3). Nothing depends on
who finishes first, and a resumed run needs no stored generator state.
"""

from hashlib import blake2b

from numpy.random import Generator, Philox


def stream(seed: int, *path: str | int) -> Generator:
    """Return the generator that belongs to `seed` and `path`; equal arguments give equal streams.

    Philox is a counter-based generator (Salmon et al., SC 2011), so a hash of the path is a sound key.
    """
    # repr tells 1 from "1" and quotes strings, so no two paths are written alike.
    key = blake2b(repr((seed, *path)).encode(), digest_size=16).digest()
    return Generator(Philox(key=int.from_bytes(key, "little")))
