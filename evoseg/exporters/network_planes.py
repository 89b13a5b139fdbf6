"""What exported files need to know of the networks that a pipeline asks: their facts, and planes to test them by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evoseg.exporters import standalone
from evoseg.operators import network, registry
from evoseg.operators.network import describe_network, network_reach
from evoseg.operators.network_file import NetworkFacts
from evoseg.pipeline.value import Pipeline


@dataclass(frozen=True, eq=False)
class NetworkPlane:
    """A plane that a pipeline asks a network for, and what it is on the drawn images.

    Attributes
    ----------
    weights, output : str
        As of the operator `network`.
    drawn : dict of str to uint8 array of shape (M, N)
        By the depth of the drawn image.
    """

    weights: str
    output: str
    drawn: dict[str, NDArray[np.uint8]]


def network_planes_of(pipeline: Pipeline) -> list[NetworkPlane]:
    """Return the planes that a pipeline asks networks for, each once."""
    asked = dict.fromkeys(s.params for s in pipeline.steps if registry.get(s.operator).ready_made)
    images = {depth: standalone.drawn_image(depth) for depth in standalone.DEPTHS}
    return [
        NetworkPlane(
            str(weights),
            str(output),
            {
                depth: network.network(image, weights=str(weights), output=str(output))
                for depth, image in images.items()
            },
        )
        for weights, output in asked
    ]


def facts_of(pipeline: Pipeline) -> dict[str, tuple[NetworkFacts, int]]:
    """Return what is known of each network of a pipeline, and how far it looks in the image, by its digest."""
    return {weights: (describe_network(weights), network_reach(weights)) for weights in pipeline.networks}
