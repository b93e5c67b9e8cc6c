"""
Texts that leave the adapter: bounded, printable, without secrets.

Texts of stores and servers are untrusted: they may be megabytes long, hold
control characters, or quote the access key. They pass here before they reach a
log, a report or a status.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

from adapters.domain.copies import Credentials

LIMIT: Final = 1024

_HIDDEN: Final = "***"
_SHORTEST: Final = 4


def clean(text: str, *, limit: int = LIMIT) -> str:
    """`text` on printable lines, at most `limit` characters."""
    kept = "".join(c if c.isprintable() or c == "\n" else " " for c in text[: 4 * limit]).strip()
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def scrub(text: str, credentials: Credentials) -> str:
    """`text` without the secrets in `credentials`, in the spellings that URLs and messages use."""
    for secret in (credentials.secret_access_key, credentials.access_key_id):
        # Shorter secrets guard nothing, and hiding them would garble every word that they are part of.
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _HIDDEN).replace(quote(secret, safe=""), _HIDDEN)
    return text


def some(names: Iterable[str], *, limit: int = 8) -> str:
    """The first of `names`, for a message."""
    listed = sorted(names)
    shown = ", ".join(repr(name) for name in listed[:limit])
    return clean(shown + (f" and {len(listed) - limit} more" if len(listed) > limit else "") or "nothing")
