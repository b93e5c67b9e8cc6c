"""Lines out of chunks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.platform.kube.lines import LineSplitter, LineTooLong


@given(
    lines=st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=8),
    cuts=st.lists(st.integers(0, 100), max_size=12),
)
def test_however_it_is_cut_the_lines_are_the_same(lines: list[bytes], cuts: list[int]) -> None:
    """Blank ones are none; what has no end yet is said to be there."""
    text = b"".join(line + b"\n" for line in lines) + b"rest"
    splitter = LineSplitter(100)
    at, found = 0, []
    for cut in sorted({min(cut, len(text)) for cut in cuts} | {len(text)}):
        found += splitter.feed(text[at:cut])
        at = cut
    assert found == [line for line in lines if line.strip()]
    assert splitter.rest
    assert splitter.feed(b"\n") == [b"rest"]
    assert not splitter.rest


def test_a_line_is_bounded_and_a_watch_is_not() -> None:
    """However many lines there are, and however small the pieces of the one that is too long."""
    splitter = LineSplitter(10)
    for _ in range(100):
        assert splitter.feed(b"0123456789\n") == [b"0123456789"]
    for _ in range(10):
        splitter.feed(b"x")
    with pytest.raises(LineTooLong, match="more than 10 bytes"):
        splitter.feed(b"x")
    with pytest.raises(LineTooLong):
        LineSplitter(10).feed(b"x" * 11 + b"\n")
