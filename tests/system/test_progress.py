"""What commands print about their progress where stderr is no terminal."""

from evoseg.cli.progress import BatchProgress, format_duration


def test_a_batch_tells_how_long_the_others_will_take(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("evoseg.cli.progress.monotonic", lambda: now[0])
    lines: list[str] = []
    progress = BatchProgress(lambda words, at_once=False: lines.append(words))
    progress.set_total(8)
    for skipped, seconds in ((True, 50.0), (False, 30.0), (False, 30.0)):
        now[0] += seconds
        progress.add(skipped=skipped)
    now[0] += 15.0
    progress.show_share("large", 0.5)
    assert lines == [
        "1 of 8 images",  # it was skipped: nothing is known of the others
        "2 of 8 images, about 3 min left",
        "3 of 8 images, about 2 min left",
        "3 of 8 images, large 50 %, about 2 min left",
    ]


def test_durations_have_a_unit_that_suits_them():
    assert [format_duration(s) for s in (45.4, 720.0, 12_600.0)] == ["45 s", "12 min", "3.5 h"]
