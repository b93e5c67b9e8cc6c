"""What was measured survives being written down."""

from __future__ import annotations

import json

from tests.bench.examples import NOTHING, everything
from tests.bench.results import Machine, Results


def test_results_survive_the_file() -> None:
    """All parts, and a run without any."""
    assert Results.load(everything().dump()) == everything()
    assert Results.load(NOTHING.dump()) == NOTHING


def test_the_file_is_json_with_a_line_a_series() -> None:
    """Hundreds of numbers are one line, so that a new run is a readable change."""
    text = everything().dump()
    assert json.loads(text)["first"]["cold"][0]["download"] == [4.0] * 60
    assert len(text.splitlines()) < 300


def test_this_machine_is_described() -> None:
    """Nothing of it is missing, and nothing names it."""
    machine = Machine.this()
    assert machine.processor
    assert machine.cores >= 1
    assert machine.memory_gib > 0
