"""
What processes of the product say of themselves: a JSON object a line, and between these whatever their libraries say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def events(text: str) -> Iterator[Mapping[str, Any]]:
    """The product's own lines; each has `event` and `timestamp`."""
    for line in text.splitlines():
        try:
            found: Any = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict) and "event" in found:
            yield found
