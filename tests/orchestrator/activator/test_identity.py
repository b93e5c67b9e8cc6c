"""Which model a request names, and what of its metadata travels on."""

from __future__ import annotations

import pytest

from orchestrator.activator.identity import (
    BadIdentity,
    agreed,
    forwarded,
    is_retry,
    named_in_message,
    named_in_metadata,
    shown,
)
from tests.orchestrator.activator.fakes import message


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ((), ""),
        ((("other", "x"),), ""),
        ((("mm-vmodel-id", "m"),), "m"),
        ((("mm-vmodel-id", ""),), ""),
        ((("mm-vmodel-id", ""), ("mm-vmodel-id", "m")), "m"),
        ((("mm-vmodel-id", "m"), ("mm-vmodel-id", "m")), "m"),
        ((("mm-vmodel-id-bin", "é".encode()),), "é"),
        ((("mm-vmodel-id", "m"), ("mm-vmodel-id-bin", b"m")), "m"),
    ],
)
def test_a_name_in_metadata(metadata: tuple[tuple[str, str | bytes], ...], name: str) -> None:
    """Either key, repeated if equal; an empty value counts as none."""
    assert named_in_metadata(metadata) == name


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ((("mm-vmodel-id", "a"), ("mm-vmodel-id", "b")), "'a' and 'b'"),
        ((("mm-vmodel-id", "a"), ("mm-vmodel-id-bin", b"b")), "'a' and 'b'"),
        ((("mm-vmodel-id-bin", b"\xff"),), "mm-vmodel-id-bin is not UTF-8"),
    ],
)
def test_metadata_that_name_no_single_model(metadata: tuple[tuple[str, str | bytes], ...], text: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(BadIdentity, match=text):
        named_in_metadata(metadata)


def test_a_name_in_a_message() -> None:
    """Field 1 wherever it stands; the last one counts, as protobuf has it."""
    assert named_in_message(message("m", b"x")) == "m"
    assert named_in_message(message("", b"x") + message("m")) == "m"
    assert named_in_message(message("a") + message("b")) == "b"
    assert named_in_message(b"") == ""
    for broken in (b"\xff\xff", b"\x0a\x05ab", b"\x0a\x01\xff"):
        with pytest.raises(BadIdentity, match="not one of"):
            named_in_message(broken)


def test_message_and_metadata_agree_or_are_made_to() -> None:
    """Equal passes as it is, none is completed, another is refused."""
    sent = message("m", b"x")
    assert agreed(sent, "m") is sent
    assert agreed(message("", b"x"), "m") == sent
    with pytest.raises(BadIdentity, match="'m', the message 'n'"):
        agreed(message("n"), "m")


def test_a_long_name_is_not_repeated_whole() -> None:
    """An error's text is bounded."""
    assert shown("m") == "m"
    assert len(shown("x" * 1_000_000)) < 100


def test_what_is_forwarded() -> None:
    """Everything but the connection's own, gRPC's own, Envoy's, and what gRPC would refuse to send."""
    passing = (
        ("authorization", "Bearer t"),
        ("mm-vmodel-id", "m"),
        ("x-request-id", "1"),
        ("x-raw-bin", b"\x00"),
        ("grpc-status-details-bin", b"\x01"),
    )
    stopped = (
        (":authority", "a"),
        ("host", "a"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("user-agent", "u"),
        ("grpc-timeout", "1S"),
        ("grpc-accept-encoding", "gzip"),
        ("x-envoy-attempt-count", "2"),
        ("bad!key", "v"),
        ("x-bad", "é"),
        ("x-bytes", b"v"),
    )
    assert forwarded(passing + stopped) == passing


def test_what_is_a_retry() -> None:
    """The mesh counts attempts from 1."""
    assert not is_retry(())
    assert not is_retry((("x-envoy-attempt-count", "1"),))
    assert is_retry((("x-envoy-attempt-count", "2"),))
