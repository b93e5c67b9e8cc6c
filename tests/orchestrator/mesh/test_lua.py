"""The scripts as text; what they do is tested in a real Envoy (tests/standalone/test_mesh.py)."""

from __future__ import annotations

from orchestrator.mesh import lua
from orchestrator.mesh.room import rooms


def test_scripts_are_whole() -> None:
    """Every placeholder is filled, and each script has the entry point that Envoy calls."""
    for script in (lua.from_headers(rooms(max_heap_bytes=1 << 30, max_message_bytes=1 << 20)), lua.FROM_MESSAGE):
        assert "@" not in script
        assert script.count("function envoy_on_request(") == 1
    assert lua.ROUTE.count("function envoy_on_route(") == 1


def test_refusals_fit_into_a_lua_string_and_a_header() -> None:
    """Printable ASCII that needs no escape in either."""
    for text in (lua.NO_MODEL_IN_STREAM, lua.COMPRESSED):
        assert text.isascii()
        assert text.isprintable()
        assert not set(text) & set('"\\%')
        assert "mm-vmodel-id" in text
