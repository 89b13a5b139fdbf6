"""Copied functions keep their meaning under other names and beside operators that hide builtins."""

from evoseg.exporters.excerpts import Excerpts

STRUCTURING = "evoseg.operators.structuring"


def copied(excerpts: Excerpts, name: str) -> dict:
    excerpts.add(STRUCTURING, name)
    namespace: dict = {}
    exec(excerpts.text(), namespace)
    return namespace


def test_a_function_comes_with_all_it_leans_on():
    names = copied(Excerpts({}), "open_disk")
    assert {"open_disk", "erode_disk", "disk_parts", "disk", "lru_cache", "math", "np", "cv2"} <= set(names)
    assert "Element" not in names  # a type only


def test_a_name_that_is_taken_gets_the_modules_name_in_front():
    names = copied(Excerpts({"disk": ("evoseg.operators.other", "disk")}), "disk_parts")
    assert "disk" not in names
    assert names["disk_parts"](2)[0] is names["structuring_disk"](2)


def test_a_helper_keeps_the_builtin_that_an_operator_hides():
    taken = {name: ("evoseg.operators.arithmetic", name) for name in ("max", "min", "range")}
    names = copied(Excerpts(taken), "disk_parts")
    names["max"] = names["min"] = None
    assert len(names["disk_parts"](12)) > 2


def test_types_and_long_docstrings_are_left_out_and_comments_stay():
    excerpts = Excerpts({})
    excerpts.add(STRUCTURING, "open_line_padded")
    text = excerpts.text()
    assert "NDArray" not in text
    assert "->" not in text
    assert "# Both passes" in text
    assert "log2(length)" not in text
