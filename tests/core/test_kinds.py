"""Kinds are read off annotations."""

import numpy as np

from evoseg.core.kinds import Gray, Kind, Labels, Mask, Points, Raw, kind_of


def test_every_kind_is_found_on_its_annotation():
    found = [kind_of(annotation) for annotation in (Raw, Gray, Mask, Labels, Points)]
    assert found == list(Kind)


def test_a_plain_array_has_no_kind():
    assert kind_of(np.ndarray) is None
    assert kind_of(int) is None
