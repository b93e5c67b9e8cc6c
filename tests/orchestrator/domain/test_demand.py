"""Wants of several activators."""

from __future__ import annotations

from orchestrator.domain.demand import Want


def test_merged_wants_ask_for_all_that_any_asks_for() -> None:
    """A readiness question beside a request is a request."""
    assert Want() | Want() == Want()
    assert Want(load=True) | Want(stale=True) == Want(load=True, stale=True)
