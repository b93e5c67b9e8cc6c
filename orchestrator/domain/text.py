"""
Text that can be sent and hashed: what UTF-8 has bytes for.

JSON can spell half of a surrogate pair, and Python reads it. An API server makes
U+FFFD of it in what it decodes itself; a Secret's value and a file come as they are.
"""

from __future__ import annotations


def is_text(value: str) -> bool:
    """Whether every character of it is one."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
