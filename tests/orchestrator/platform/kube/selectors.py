"""Label and field selectors, for the API server of the tests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TERMS = re.compile(r",(?![^(]*\))")
_SET = re.compile(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)")


def selects(query: Mapping[str, str], raw: dict[str, Any]) -> bool:
    """Whether the object is what `labelSelector` and `fieldSelector` ask for."""
    labels = raw["metadata"].get("labels") or {}
    if not all(_label(term.strip(), labels) for term in _terms(query.get("labelSelector", ""))):
        return False
    return all(_compare(term, lambda path: _field(raw, path)) for term in _terms(query.get("fieldSelector", "")))


def _terms(selector: str) -> list[str]:
    return [term for term in _TERMS.split(selector) if term.strip()]


def _label(term: str, labels: Mapping[str, str]) -> bool:
    if found := _SET.fullmatch(term):
        key, operator, values = found.groups()
        return (labels.get(key) in {value.strip() for value in values.split(",")}) == (operator == "in")
    if "=" in term:
        return _compare(term, labels.get)
    return term[1:].strip() not in labels if term.startswith("!") else term in labels


def _compare(term: str, value: Any) -> bool:
    key, operator, wanted = re.split(r"(!=|==|=)", term, maxsplit=1)
    return bool((value(key.strip()) == wanted.strip()) == (operator != "!="))


def _field(raw: dict[str, Any], path: str) -> str:
    found: Any = raw
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return "" if found is None else str(found)
