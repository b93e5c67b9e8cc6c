"""Helpers on relative paths."""

from __future__ import annotations

from adapters.layouts.plan import Layout, below, directories, top

PATHS = ("a", "b/c", "b/d/e", "bb/f")


def test_paths_are_taken_apart_by_directory() -> None:
    """`b` never matches `bb`."""
    assert top(PATHS) == ("a",)
    assert directories(PATHS) == ("b", "bb")
    assert below(PATHS, "b") == ("c", "d/e")
    assert below(PATHS, "x") == ()


def test_a_layout_lists_all_that_its_directory_will_hold() -> None:
    """Moved and written files alike, sorted."""
    assert Layout(moves=(("x", "2"), ("y", "1")), writes=(("0", b""),)).paths == ("0", "1", "2")
