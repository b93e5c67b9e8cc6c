"""
Text that can be sent and hashed: text that UTF-8 can encode.

JSON can spell half of a surrogate pair, and Python reads it. An API server puts
U+FFFD in its place where it decodes JSON itself, but not in a Secret's values;
nor is it replaced in files.
"""

from __future__ import annotations


def is_text(value: str) -> bool:
    """Whether UTF-8 can encode every character of `value`."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
