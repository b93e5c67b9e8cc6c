"""
JSON whose nesting is bounded, whatever an API server says. Pure.

What may be in an object beside its schema may be nested as deep as the API
server reads, which is ten thousand; Python's parser ends at a thousand, and
what copies or compares objects long before. One such object must not cost
more than itself: what is too deep in it is read as null, and `too_deep` says
of which object that is true, so that nobody acts on what is left of it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

#: Levels of an object that are read. A pod, the deepest that anybody here writes, has a dozen.
MAX_DEPTH: Final = 100
#: A list of objects, or a watch event, and a level that shows that there are more.
_AROUND: Final = 3
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def parsed(text: bytes) -> Any:
    """The JSON value. Raises ValueError."""
    try:
        return json.loads(text)
    except RecursionError:
        return json.loads(_shallow(text))


def too_deep(value: Any) -> bool:
    """Whether it is nested deeper than MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each) if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value


def _shallow(text: bytes) -> bytes:
    """The same with null for what is deeper than an object in a list may be. What is no JSON stays none."""
    kept, depth, start, end = [], 0, 0, MAX_DEPTH + _AROUND
    for token in _TOKEN.finditer(text):
        match token[0]:
            case b"{" | b"[":
                depth += 1
                if depth == end + 1:
                    kept.append(text[start : token.start()])
            case b"}" | b"]":
                if depth == end + 1:
                    kept.append(b"null")
                    start = token.end()
                depth -= 1
            case _:
                pass  # text
    if depth <= end:
        kept.append(text[start:])
    return b"".join(kept)
