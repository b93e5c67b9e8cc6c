"""Addresses and limits that all clusters share."""

from __future__ import annotations

import pytest

from orchestrator.mesh.upstream import address, buffer_bytes, is_literal, windows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.1:80", {"socket_address": {"address": "10.0.0.1", "port_value": 80}}),
        ("[::1]:80", {"socket_address": {"address": "::1", "port_value": 80}}),
        # To listen at, for both families.
        ("[::]:80", {"socket_address": {"address": "::", "port_value": 80, "ipv4_compat": True}}),
        ("leader.wml:80", {"socket_address": {"address": "leader.wml", "port_value": 80}}),
        ("unix:/run/a.sock", {"pipe": {"path": "/run/a.sock"}}),
    ],
)
def test_addresses(text: str, expected: object) -> None:
    """TCP and Unix sockets."""
    assert address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "host", ":80", "host:", "host:0", "host:65536", "host:x", "host:²", "unix:a.sock"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """With the text in the error."""
    with pytest.raises(ValueError, match="address"):
        address(text)


def test_names_are_told_from_literals() -> None:
    """Names need a cluster that resolves them."""
    assert [is_literal(text) for text in ("10.0.0.1:1", "[::1]:1", "unix:/a", "name:1")] == [True, True, True, False]


def test_buffers_follow_the_message_limit() -> None:
    """A whole message always fits, with room to spare."""
    assert buffer_bytes(16 << 20) == 64 << 20
    assert buffer_bytes(100 << 20) > 200 << 20
    assert windows(16 << 20)["initial_connection_window_size"] == 128 << 20


@pytest.mark.parametrize("limit", [0, -1, 1 << 30])
def test_a_limit_that_cannot_work_is_refused(limit: int) -> None:
    """HTTP/2 counts its windows with 31 bits."""
    with pytest.raises(ValueError, match="max_message_bytes"):
        buffer_bytes(limit)
