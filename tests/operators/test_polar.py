"""Rings vanish about whatever centre they have, and spots on them stay."""

import numpy as np
import pytest
from numpy.random import default_rng

from evoseg.core.kinds import Kind
from evoseg.evolve.proposers.random_programs import select_usable
from evoseg.operators.polar import centre_of, flatten_rings
from evoseg.operators.registry import operators

SHAPE, CENTRE = (151, 203), (64.3, 118.6)  # non-square on purpose: swapped axes must fail


@pytest.fixture
def frame():
    """Rings of 4,000 counts on 50, a spot of 400 beside them and one of 900 on a ring."""
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(row - CENTRE[0], col - CENTRE[1])
    light = 50 + sum(4000 * np.exp(-0.5 * ((radius - at) / 3) ** 2) for at in (25, 48))
    for place, height in (((120, 30), 400), ((64, 167), 1500)):
        light += height * np.exp(-0.5 * ((row - place[0]) ** 2 + (col - place[1]) ** 2) / 1.5**2)
    return default_rng(3).poisson(light).astype(np.uint16)[:, :, None]


def test_the_centre_of_rings_is_found(frame):
    assert np.hypot(*(np.array(centre_of(frame[:, :, 0].astype(np.float32))) - CENTRE)) < 1


def test_rings_vanish_and_spots_stay(frame):
    flat = flatten_rings(frame, high=20.0, scale="linear")
    assert flat[120, 30] > 200
    assert flat[64, 167] > 60
    away = np.ones(SHAPE, bool)
    away[110:131, 20:41] = away[54:75, 157:178] = False
    assert np.percentile(flat[away], 99) < 40


def test_a_given_centre_is_taken(frame):
    share = [at / (n - 1) for at, n in zip(CENTRE, SHAPE, strict=True)]
    given = flatten_rings(frame, centre="given", row=round(share[0], 3), col=round(share[1], 3), high=20.0)
    middle = flatten_rings(frame, centre="middle", high=20.0)
    row, col = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ring = np.abs(np.hypot(row - CENTRE[0], col - CENTRE[1]) - 48) < 3
    assert np.mean(given[ring]) < np.mean(middle[ring])


def test_only_searches_for_points_draw_it():
    outputs = (Kind.MASK, Kind.LABELS, Kind.POINTS, Kind.GRAY)
    drawn = {output: {op.name for op in select_usable(operators(), output)} for output in outputs}
    assert [output for output, names in drawn.items() if "flatten_rings" in names] == [Kind.POINTS]
