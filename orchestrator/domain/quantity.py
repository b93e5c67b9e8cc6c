"""
Kubernetes resource quantities, to bytes.

The grammar is apimachinery's `resource.Quantity`: a decimal number with an
optional binary (Ki, Mi, …) or decimal (k, M, …) suffix, or an exponent.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from typing import Final

from orchestrator.domain.errors import InvalidManifest

_QUANTITY: Final = re.compile(r"([+-]?[0-9]+(?:\.[0-9]*)?|[+-]?\.[0-9]+)(?:([eE][+-]?[0-9]{1,3})|([a-zA-Z]{0,2}))")
#: No real quantity is longer, and Decimal takes minutes for a number as long as an object may be.
MAX_LENGTH: Final = 64
_SUFFIX: Final = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{s: Decimal(1000) ** (i + 1) for i, s in enumerate(["k", "M", "G", "T", "P", "E"])},
    **{s: Decimal(1024) ** (i + 1) for i, s in enumerate(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])},
}


def parse_bytes(value: object, field: str) -> int:
    """Bytes, rounded up as apimachinery does. Raises InvalidManifest naming `field`."""
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < 10**MAX_LENGTH:
            return value
        # Not shown: Python has no text for a number with thousands of digits.
        raise InvalidManifest(field, "negative, or larger than any size")
    if isinstance(value, str) and len(value) > MAX_LENGTH:
        raise InvalidManifest(field, f"a quantity of {len(value)} characters, at most {MAX_LENGTH} are read")
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    suffix = (match[3] or "") if match else ""
    if match is None or suffix not in _SUFFIX:
        raise InvalidManifest(field, f"{value!r} is not a quantity such as 512Mi")
    number = Decimal(match[1] + (match[2] or "")) * _SUFFIX[suffix]
    if number < 0:
        raise InvalidManifest(field, f"{value!r} is negative")
    return int(number.to_integral_value(rounding=ROUND_CEILING))
