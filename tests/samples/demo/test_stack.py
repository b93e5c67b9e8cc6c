"""What the demo makes of the product's status, and how it finds its ports."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from orchestrator.domain.errors import Reason
from samples.demo.stack import _ON_THE_WAY, Standing, free_port, standings


def model(name: str, *conditions: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"conditions": list(conditions)}}


def test_standings_are_those_of_condition_ready() -> None:
    """Only condition Ready counts, and a model without it has no standing yet."""
    ready = {"type": "Ready", "status": "True", "reason": "Loaded", "message": "served by triton-2.x"}
    current = {"type": "UpToDate", "status": "True", "reason": "Loaded", "message": ""}
    failed = {"type": "Ready", "status": "False", "reason": "ModelNotFound", "message": "no such object"}
    found = standings([model("a", current, ready), model("b", failed), model("c"), {"metadata": {"name": "d"}}])
    assert found == {
        "a": Standing(True, "Loaded", "served by triton-2.x"),
        "b": Standing(False, "ModelNotFound", "no such object"),
    }
    assert str(found["a"]) == "READY: served by triton-2.x"
    assert str(found["b"]) == "ModelNotFound: no such object"


@pytest.mark.parametrize("reason", Reason)
def test_waiting_ends_for_what_does_not_pass(reason: Reason) -> None:
    """A ready model is never a failure; one that is not is waited for as long as that is of use."""
    assert not Standing(True, reason, "").final
    assert Standing(False, reason, "").final == (reason not in _ON_THE_WAY)


def test_reasons_that_pass_are_reasons() -> None:
    """The demo's list has no word that the product does not use."""
    assert set(Reason) >= _ON_THE_WAY


def test_a_free_port_is_taken_as_wanted() -> None:
    """A port that nothing listens on is the one that is used."""
    port = free_port(0)
    assert free_port(port) == port


def test_a_port_in_use_is_replaced() -> None:
    """Whatever address it is listened on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert free_port(port) != port
