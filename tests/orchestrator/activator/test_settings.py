"""The activator's settings."""

from __future__ import annotations

from pathlib import Path

from orchestrator.activator.budget import Budget
from orchestrator.activator.settings import ActivatorSettings

SETTINGS = ActivatorSettings(listen="unix:/a.sock", leader=("unix:/l.sock", "10.0.0.7:9000"), default_wait_s=1.5)


def test_settings_survive_the_file(tmp_path: Path) -> None:
    """All that may lead included."""
    file = tmp_path / "settings.json"
    file.write_text(SETTINGS.dump())
    assert ActivatorSettings.load(file) == SETTINGS


def test_the_bounds_fit_each_other() -> None:
    """The largest message has room in each part of the budget; one model cannot take every place."""
    budget = Budget.divide(SETTINGS.max_bytes, largest=SETTINGS.max_message_bytes, max_line=SETTINGS.max_waiting)
    assert budget.responses.total >= SETTINGS.max_message_bytes
    assert SETTINGS.max_waiting_per_model < SETTINGS.max_waiting
