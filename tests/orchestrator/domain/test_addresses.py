"""Hosts and ports, together and apart."""

from __future__ import annotations

import pytest

from orchestrator.domain.addresses import host_port, http_host, split


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("10.0.0.7", "10.0.0.7:8085"),
        ("fd00::7", "[fd00::7]:8085"),
        ("::", "[::]:8085"),
        ("orchestrator", "orchestrator:8085"),
    ],
)
def test_what_is_put_together_comes_apart_again(host: str, text: str) -> None:
    """Of either family, or a name."""
    assert host_port(host, 8085) == text
    assert split(text) == (host, "8085")


def test_what_has_no_port_has_none() -> None:
    """And is not taken for one."""
    assert split("orchestrator") == ("", "orchestrator")
    assert split("") == ("", "")


def test_anywhere_is_of_both_families() -> None:
    """What is said of one stays of one."""
    assert http_host("::") is None
    assert (http_host("0.0.0.0"), http_host("::1")) == ("0.0.0.0", "::1")
