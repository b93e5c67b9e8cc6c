"""Names of objects, by the rules that the API server has for them. On one machine the same ones hold."""

from __future__ import annotations

import re
from typing import Final

#: In characters, of a subdomain.
MAX_NAME: Final = 253

_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_IS_LABEL: Final = re.compile(rf"(?=.{{1,63}}\Z){_LABEL}")
_IS_SUBDOMAIN: Final = re.compile(rf"(?=.{{1,{MAX_NAME}}}\Z){_LABEL}(\.{_LABEL})*")


def is_label(name: str) -> bool:
    """A lower case label of RFC 1123: what a namespace may be called."""
    return _IS_LABEL.fullmatch(name) is not None


def is_subdomain(name: str) -> bool:
    """Lower case labels with dots between them: what most objects may be called, TrainedModels among them."""
    return _IS_SUBDOMAIN.fullmatch(name) is not None
