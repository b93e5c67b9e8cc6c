"""The document keeps what people wrote, and has every number of the run in the place of the last one's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.bench.examples import NOTHING, everything
from tests.bench.results import Results
from tests.bench.tables import BEGIN, END, NoPlace, inserted, render, summary

ROOT: Final = Path(__file__).resolve().parents[2]


def test_the_documents_have_the_numbers_of_the_run() -> None:
    """All of them, and no other: both are of one run."""
    results = Results.load((ROOT / "docs/benchmarks.json").read_text(encoding="utf-8"))
    assert results.cluster is not None
    for name, text in (("docs/benchmarks.md", render(results)), ("README.md", summary(results.cluster))):
        document = (ROOT / name).read_text(encoding="utf-8")
        assert inserted(document, text) == document, name


def test_what_people_wrote_stays() -> None:
    """Only what is between the marks is replaced, by the same text each time."""
    once = inserted(f"# Title\n\n{BEGIN}\nold\n{END}\n\nWhy.\n", "new\n")
    assert once.startswith(f"# Title\n\n{BEGIN}\n")
    assert once.endswith(f"{END}\n\nWhy.\n")
    assert "old" not in once
    assert "\nnew\n" in once
    assert inserted(once, "new\n") == once


@pytest.mark.parametrize("document", ["", BEGIN, f"{END} {BEGIN}"])
def test_a_document_without_a_place_is_refused(document: str) -> None:
    """Rather than overwritten."""
    with pytest.raises(NoPlace):
        inserted(document, "new\n")


def test_tables_are_whole() -> None:
    """Every row of a table has as many cells as its head, and no cell of a number is empty by mistake."""
    tables = [block.splitlines() for block in render(everything()).split("\n\n") if block.startswith("|")]
    assert len(tables) == 8
    for table in tables:
        assert {line.count("|") for line in table} == {table[0].count("|")}, table


def test_numbers_are_there() -> None:
    """One of each part."""
    text = render(everything())
    assert "| instant | 16 on 16 | direct | 16,000 (15,950 – 16,050) | 0.100 | 1.50 |  |" in text
    assert "| instant | 16 on 16 | mesh, metadata | 11,200 (11,150 – 11,250) | 0.250 | 1.50 | 40.0 |" in text
    assert "| mlserver, 60 models | ours | 9.29 |" in text
    assert "| mlserver | 0.200, at most 0.300 (n = 3) | 2.75 (2.50 – 3.00) | 0.400 (0.300 – 0.500) |" in text
    assert "| controller | 80.0 (60.0) | 130 (60.0) |" in text
    assert ": 402." in text
    assert "| `kubectl apply` to READY, a pod is launched for it | 13.0, at most 14.0 (n = 3) |" in text
    assert "the leader 120, the standby 90.0." in text


def test_a_missed_target_is_seen() -> None:
    """It stands out; nothing is said of what was not measured."""
    assert "**no**" not in render(everything())
    assert "###" not in render(NOTHING)
