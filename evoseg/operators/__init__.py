"""The filters that pipelines are made of, by family.

Importing this package registers every operator; `evoseg.operators.registry` answers questions about them.
"""

from evoseg.operators import (  # noqa: F401  (imported for their registrations)
    arithmetic,
    channels,
    components,
    contrast,
    detection,
    edges,
    label_filters,
    mask_filters,
    measures,
    morphology,
    network,
    polar,
    ridges,
    smoothing,
    texture,
    thresholds,
    watershed,
)
