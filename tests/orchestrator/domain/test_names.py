"""What an object may be called."""

from __future__ import annotations

import pytest

from orchestrator.domain.names import is_label, is_subdomain


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a--b", "a" * 63])
def test_a_label_is_a_subdomain(name: str) -> None:
    """Of one part."""
    assert is_label(name)
    assert is_subdomain(name)


@pytest.mark.parametrize("name", ["a.b", "a" * 64, "a.b-c.0", ".".join(["a" * 63] * 3) + "." + "a" * 61])
def test_a_subdomain_has_parts_and_is_longer(name: str) -> None:
    """Its parts are not counted one by one, as the API server does not."""
    assert is_subdomain(name)
    assert not is_label(name)


@pytest.mark.parametrize("name", ["", "A", "a_b", "-a", "a-", ".a", "a.", "a..b", "a.-b", "a\n", "ä", "a/b", "a" * 254])
def test_neither(name: str) -> None:
    """Also where it only ends wrongly."""
    assert not is_label(name)
    assert not is_subdomain(name)
