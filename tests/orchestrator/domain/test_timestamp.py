"""Moments as they are written."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.domain.timestamp import timestamp


def test_it_is_in_whole_seconds_of_utc() -> None:
    """What Kubernetes takes for a time of an object, and what reads back as the same second."""
    written = timestamp(datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC))
    assert written == "2026-01-02T03:04:05Z"
    assert datetime.fromisoformat(written) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
