"""
What the API server finds wrong with an object under a structural schema, or would drop from it in silence.

As much of it as our definitions use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "number": (int, float),
}


def problems(schema: Mapping[str, Any], value: Any, path: str = "") -> list[str]:
    """A line each; none: it is stored as it is."""
    return list(_problems(schema, value, path))


def _problems(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[str]:
    kind = schema.get("type")
    if isinstance(value, Mapping):
        if kind != "object":
            yield f"{path}: {kind} expected"
            return
        yield from (f"{path}.{name}: required" for name in schema.get("required", ()) if name not in value)
        known = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for key, item in value.items():
            if key in known:
                # The API server knows what metadata has, whatever is said of it.
                yield from () if (path, key) == ("", "metadata") else _problems(known[key], item, f"{path}.{key}")
            elif isinstance(others, Mapping):
                yield from _problems(others, item, f"{path}.{key}")
            elif not schema.get("x-kubernetes-preserve-unknown-fields"):
                yield f"{path}.{key}: dropped"
    elif isinstance(value, list):
        if kind != "array":
            yield f"{path}: {kind} expected"
            return
        for index, item in enumerate(value):
            yield from _problems(schema["items"], item, f"{path}[{index}]")
    elif schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str):
            yield f"{path}: a number or text expected"
    elif not isinstance(value, _TYPES.get(str(kind), ())) or (isinstance(value, bool) and kind != "boolean"):
        yield f"{path}: {kind} expected"
    elif value not in schema.get("enum", (value,)):
        yield f"{path}: {value!r} is none of {schema['enum']}"
