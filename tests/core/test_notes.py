"""Messages about many files are told once, and text from outside cannot act on a terminal."""

import pickle
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoseg.core.errors import DatasetError
from evoseg.core.notes import Note, NotePrinter, escape_text, first_few, group_notes, name_some, one_line


def refused(name, number):
    try:
        raise DatasetError(f"{name}: {number} is too many.")
    except DatasetError as error:
        return Note.of(error, name)


def test_a_note_reads_as_its_file_and_its_text():
    note = Note(Path("d/a.png"), "is empty.")
    assert note == "d/a.png: is empty." and (note.where, note.text) == ("d/a.png", "is empty.")
    assert Note("", "nothing is here.") == "nothing is here."
    for copy in (pickle.loads(pickle.dumps(note)), deepcopy(note)):
        assert (copy, copy.where, copy.text, copy.kind) == (note, note.where, note.text, note.kind)


def test_equal_notes_become_one_line_with_a_count_and_three_names():
    notes = [Note(f"d/{i}.png", "is empty.") for i in range(1500)]
    assert group_notes(notes, Path("d")) == ("0.png, 1.png, 2.png and 1497 more (1500 in all): is empty.",)
    assert group_notes(notes[:3], Path("d")) == ("0.png, 1.png and 2.png: is empty.",)
    assert group_notes(notes[:1], Path("d")) == ("0.png: is empty.",)
    assert group_notes([notes[0], notes[0]]) == ("d/0.png: is empty.",)
    assert group_notes([]) == ()


def test_of_many_names_the_first_are_listed():
    assert (name_some("abc"), name_some("abcde"), name_some("abcde", 4)) == (
        "a, b, c",
        "a, b, c and 2 more",
        "a, b, c, d and 1 more",
    )
    assert (first_few("abc"), first_few("abcd")) == ("a, b, c", "a, b, c ...")


def test_texts_of_one_kind_that_differ_in_numbers_are_one_line_beyond_three_texts():
    apart = [refused(f"{i}.png", i) for i in range(3)]
    assert group_notes(apart) == ("0.png: 0 is too many.", "1.png: 1 is too many.", "2.png: 2 is too many.")
    many = [refused(f"{i}.png", i) for i in range(40)]
    assert group_notes(many) == ("0.png, 1.png, 2.png and 37 more (40 in all); the first: 0 is too many.",)


def test_kinds_and_plain_text_stay_apart_in_the_order_in_which_they_came():
    notes = [
        Note("a", "one.", 1),
        "said as it is",
        Note("b", "two.", 2),
        *(Note(name, "one.", kind=3) for name in "cd"),
    ]
    assert group_notes(notes) == ("a: one.", "said as it is", "b: two.", "c and d: one.")


def test_several_notes_about_one_file_name_it_once():
    assert group_notes([Note("t.csv", f"line {i}") for i in range(9)]) == ("t.csv (9 in all); the first: line 0",)


def test_an_error_about_another_file_than_the_one_looked_at_keeps_its_name():
    for message, where, text in (("x/y.png: no.", "x/y.png", "no."), ("no image", "", "no image")):
        note = Note.of(DatasetError(message), "x")
        assert (note.where, note.text) == (where, text)


def test_errors_know_where_they_were_worded_even_after_a_journey_between_processes():
    a, b = (refused("a", n).kind for n in (1, 2))
    assert a == b and a[0].endswith("test_notes.py")
    error = DatasetError("x")
    assert pickle.loads(pickle.dumps(error)).worded_at == error.worded_at != a


def test_notes_are_told_as_they_come_but_not_more_than_three_of_a_kind():
    telling = NotePrinter()
    told = [line for i in range(9) for line in telling.lines(refused(f"{i}.png", i))]
    assert told == ["0.png: 0 is too many.", "1.png: 1 is too many.", "2.png: 2 is too many."]
    assert telling.lines("another") == ["another"]
    assert telling.rest() == ["6 more like this one (9 in all): 0.png: 0 is too many."]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b31m \x7f", "\\u009b31m \\u007f"),
        ("gnp.\u202ea", "gnp.\\u202ea"),
        ("\u2028\u2066", "\\u2028\\u2066"),
        ("\udcff\udce9.png \ud800", "\\xff\\xe9.png \\ud800"),
        *((text, text) for text in ("Größe 図\n\tend", "\U0001f469\u200d\U0001f52c", "می\u200cخواهم")),
    ],
)
def test_what_acts_on_a_terminal_is_escaped_and_all_writing_is_kept(text, safe):
    assert escape_text(text) == safe


@given(st.text(st.characters(codec=None)))
def test_one_line_is_one_line_that_any_terminal_and_file_takes(text):
    line = one_line(text)
    assert line == one_line(line) == escape_text(line) and len(line.splitlines()) <= 1
    line.encode("utf-8")
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
