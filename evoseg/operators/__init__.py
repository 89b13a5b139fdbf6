"""The filters that pipelines are made of, by family.

Importing this package registers every operator; `evoseg.operators.registry` answers questions about them.
"""

from evoseg.operators import (  # noqa: F401  (imported for their registrations)
    additive,
    arithmetic,
    components,
    contrast,
    edges,
    frequency,
    intake,
    labels,
    masks,
    measures,
    morphology,
    points,
    ridges,
    rings,
    smoothing,
    texture,
    thresholds,
    watershed,
)
