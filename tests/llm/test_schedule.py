"""Parents: by rank, and seldom two of one lineage."""

from collections import Counter

from numpy.random import default_rng

from evoseg.llm.roles import Schedule, are_related, draw_parents
from tests.llm.helpers import pipeline, scored

LINES = 'a = plane(image, channel="{}")', "b = gaussian(a, sigma={})", "return threshold(b)"


def smoothed(channel: str, sigma: float):
    return pipeline(LINES[0].format(channel), LINES[1].format(sigma), LINES[2])


RIDGE = pipeline("a = channel(image)", "b = hessian_ridge(a)", "c = threshold(b)", "return remove_small(c)")
KIN = [smoothed(channel, 2.0) for channel in ("R", "G", "B")]
RANKED = [scored(p, 0.9 - 0.1 * i) for i, p in enumerate([*KIN, RIDGE])]


def test_programs_of_mostly_the_same_operators_are_akin():
    assert are_related(KIN[0], KIN[1]) and are_related(KIN[0], smoothed("R", 5.0))
    assert not are_related(KIN[0], RIDGE)


def firsts(schedule: Schedule) -> Counter[str]:
    drawn = [draw_parents(RANKED, 1, schedule, default_rng(i))[0] for i in range(300)]
    return Counter(s.pipeline.digest for s in drawn)


def test_the_better_the_rank_the_more_often_a_program_is_drawn():
    counts = firsts(Schedule(temperature=1.0))
    assert counts[KIN[0].digest] > counts[KIN[1].digest] > counts[KIN[2].digest] > counts[RIDGE.digest] > 0
    assert firsts(Schedule(temperature=0.0)) == {KIN[0].digest: 300}


def test_a_second_parent_of_the_same_lineage_is_drawn_less_often():
    def with_ridge(schedule: Schedule) -> int:
        pairs = [draw_parents(RANKED, 2, schedule, default_rng(i)) for i in range(200)]
        assert all(len({s.pipeline.digest for s in pair}) == 2 for pair in pairs)
        return sum(any(s.pipeline == RIDGE for s in pair) for pair in pairs)

    assert with_ridge(Schedule(same_lineage=0.01)) > 190 > 150 > with_ridge(Schedule(same_lineage=1.0))


def test_fewer_programs_than_parents_are_all_drawn():
    assert len(draw_parents(RANKED[:2], 5, Schedule(), default_rng(0))) == 2
    assert draw_parents([], 3, Schedule(), default_rng(0)) == []
