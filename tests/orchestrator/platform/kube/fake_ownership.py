"""
Who set which field of an object, as server-side apply keeps account of it.

A list is one field, as in a custom resource's definition that does not say
otherwise. Whoever writes otherwise than by an apply is somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Raw = dict[str, Any]
Path = tuple[str, ...]

_OTHERS: Final = "kubectl-edit"
#: Of whom and what an object is.
_IDENTITY: Final = frozenset({"name", "namespace", "uid", "resourceVersion", "generation", "managedFields"})


@dataclass
class Owners:
    """Of one object."""

    _fields: dict[str, set[Path]] = field(default_factory=dict)

    def conflicts(self, manager: str, old: Raw, applied: Raw) -> list[str]:
        """What the manager would change of others', as the API server words it."""
        live = dict(_leaves(old))
        others = self._of_others(manager)
        return ["." + ".".join(path) for path, value in _leaves(applied) if path in others and live.get(path) != value]

    def left_out(self, manager: str, applied: Raw) -> set[Path]:
        """What it applied before, and does not now, and is nobody else's: it goes."""
        return self._fields.get(manager, set()) - {path for path, _ in _leaves(applied)} - self._of_others(manager)

    def apply(self, manager: str, old: Raw, applied: Raw) -> None:
        """It is done: these fields are the manager's; what it has changed of others' is not theirs any more."""
        self._lose(old, applied)
        self._fields[manager] = {path for path, _ in _leaves(applied)}

    def update(self, old: Raw, new: Raw) -> None:
        """Somebody has written the whole object: what is changed in it is theirs."""
        self._lose(old, new)
        live = dict(_leaves(old))
        changed = {path for path, value in _leaves(new) if live.get(path) != value}
        there = {path for path, _ in _leaves(new)}
        self._fields = {manager: fields & there for manager, fields in self._fields.items()}
        self._fields.setdefault(_OTHERS, set()).update(changed)

    def _lose(self, old: Raw, new: Raw) -> None:
        live = dict(_leaves(old))
        changed = {path for path, value in _leaves(new) if live.get(path) != value}
        self._fields = {manager: fields - changed for manager, fields in self._fields.items()}

    def _of_others(self, manager: str) -> set[Path]:
        return {path for other, fields in self._fields.items() if other != manager for path in fields}


def without(raw: Raw, paths: set[Path]) -> Raw:
    """The object without these fields."""
    return {name: _without(value, (name,), paths) for name, value in raw.items() if (name,) not in paths}


def _without(value: Any, at: Path, paths: set[Path]) -> Any:
    if not isinstance(value, dict):
        return value
    return {name: _without(each, (*at, name), paths) for name, each in value.items() if (*at, name) not in paths}


def _leaves(raw: Raw) -> Iterator[tuple[Path, Any]]:
    for name, value in raw.items():
        if name == "metadata":
            value = {key: each for key, each in value.items() if key not in _IDENTITY}
        if name not in {"apiVersion", "kind", "status"}:
            yield from _under((name,), value)


def _under(at: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _under((*at, name), each)
    else:
        yield at, value
