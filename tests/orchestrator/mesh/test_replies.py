"""Envoy's own refusals; that the real one says them so is tested in tests/standalone."""

from __future__ import annotations

from orchestrator.mesh.replies import local_replies


def test_bounds_are_exhaustion_and_an_outage_is_unavailability() -> None:
    """Each says the numbers that it is about."""
    mappers = local_replies(max_message_bytes=77, per_model=88, per_activator=99)["mappers"]
    said = [
        (m["headers_to_add"][0]["header"]["value"], m["body_format_override"]["text_format_source"]["inline_string"])
        for m in mappers
    ]
    assert [status for status, _ in said] == ["8", "8", "8", "14", "14"]
    assert "mm-vmodel-id" in said[0][1]
    assert "77 bytes" in said[1][1]
    assert "at most 88 requests" in said[2][1]
    assert "and 99 for" in said[2][1]
    assert all("try again" in text for _, text in said[2:])
    assert all(m["headers_to_add"][0]["append_action"].startswith("OVERWRITE") for m in mappers)
