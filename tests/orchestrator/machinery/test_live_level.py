"""The level of logs by ConfigMap."""

from __future__ import annotations

import pytest

from orchestrator.machinery import live_level
from orchestrator.machinery.live_level import LiveLevel


def test_the_level_is_the_last_that_could_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that is none changes nothing; without one it is as the process was started."""
    levels: list[str] = []
    monkeypatch.setattr(live_level, "set_level", levels.append)
    told = LiveLevel()
    for data in ({"logLevel": "debug"}, {"logLevel": "loud"}, {"podsPerRuntime": "2"}):
        told(data)
    assert levels == ["debug", "debug", ""]
