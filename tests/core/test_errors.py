"""Messages say what is wrong and name the nearest word."""

import pytest

from evoseg.core.errors import (
    DatasetError,
    EvosegError,
    MissingPackageError,
    PipelineError,
    SettingsError,
    legible,
    unknown,
)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (DatasetError, ValueError),
        (PipelineError, ValueError),
        (SettingsError, ValueError),
        (MissingPackageError, ImportError),
    ],
)
def test_errors_are_both_ours_and_the_builtin_they_resemble(error, builtin):
    assert issubclass(error, EvosegError)
    assert issubclass(error, builtin)


def test_an_unknown_word_names_the_nearest_first():
    message = unknown("operator", "gausian", ["gaussian", "gamma", "median"])
    assert "'gausian'" in message
    assert "did you mean gaussian" in message


def test_an_unknown_word_with_nothing_near_lists_a_short_vocabulary():
    assert unknown("metric", "zzz", ["iou", "dice"]).endswith("known are dice, iou.")


def test_an_unknown_word_with_nothing_near_counts_a_long_vocabulary():
    assert unknown("operator", "zzz", [f"word_{i}" for i in range(40)]).endswith("40 are known.")


def test_a_strangers_word_is_shortened_and_harmless_in_a_message():
    message = unknown("operator", "\x1b[31m\ud800\n" + "a" * 50_000, ["gaussian"])
    assert message.isprintable()
    assert len(message) < 200


def test_an_ordinary_word_is_shown_as_it_is():
    assert legible("Größe_1") == "Größe_1"
