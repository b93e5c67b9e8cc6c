"""Which of a server's answers mean that it did nothing."""

from __future__ import annotations

import grpc
import pytest

from orchestrator.activator.exchange import Status, is_not_there


@pytest.mark.parametrize(
    ("code", "details", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Request for unknown model: 'm' is not found", True),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'm' has no available versions", True),
        (grpc.StatusCode.UNAVAILABLE, "Request for unknown model: 'm' version 1 is not at ready state", True),
        (grpc.StatusCode.INVALID_ARGUMENT, "Model m not found", True),
        (grpc.StatusCode.INVALID_ARGUMENT, "Model m is not ready yet.", True),
        (grpc.StatusCode.UNAVAILABLE, "RST_STREAM closed stream. HTTP/2 error code: REFUSED_STREAM", True),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'm' version 7 is not found", False),
        (grpc.StatusCode.INTERNAL, "Model m not found", False),
        (grpc.StatusCode.INVALID_ARGUMENT, "input 'x': Model m not found", False),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", False),
        (grpc.StatusCode.UNAVAILABLE, "recvmsg:Connection reset by peer", False),
        (grpc.StatusCode.OK, "", False),
    ],
)
def test_is_not_there(code: grpc.StatusCode, details: str, expected: bool) -> None:
    """The servers' whole words for an unknown model, and a refused stream; a lost connection may have begun."""
    assert is_not_there(Status(code, details, ())) is expected
