"""Text that can be sent."""

from __future__ import annotations

import json

import pytest

from orchestrator.domain.text import is_text


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [('"s3"', True), ('""', True), (r'"\ud83d\ude00"', True), (r'"a\ud800b"', False), (r'"\udc00"', False)],
)
def test_half_a_character_is_no_text(spelled: str, expected: bool) -> None:
    """A whole pair is one character."""
    assert is_text(json.loads(spelled)) is expected
