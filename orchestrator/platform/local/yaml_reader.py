"""
YAML text to plain values, with the line of each field, and with bounds.

Built on the parser's events instead of its loader, because the loader has no
bounds: libyaml takes seconds for a line of brackets, and aliases unfold a
kilobyte into a gigabyte. Here depth is refused as it grows, and an alias costs
what it stands for.

Scalars are read as the API server's clients read them: YAML 1.1, but a
timestamp stays text. A key that comes twice is an error, and so is a tag.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

#: Values in one file, aliases counted as often as they are used.
MAX_VALUES: Final = 1_000_000
MAX_DEPTH: Final = 64
#: Characters of a number. `1:1:1:…` is one, in base 60, that takes as long as the square of its length.
MAX_NUMBER: Final = 1000
#: Lines are kept this deep: `spec.containers[0].resources.limits` is the deepest that a message names.
_LINES_DEPTH: Final = 5

_TAG: Final = "tag:yaml.org,2002:"
_TEXT_TAGS: Final = frozenset({f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value"})
_NUMBER_TAGS: Final = frozenset({f"{_TAG}int", f"{_TAG}float"})
_MERGE: Final = object()

Path = tuple[str | int, ...]
_Loader = yaml.CSafeLoader | yaml.SafeLoader


class Unreadable(Exception):
    """The text is not YAML or JSON of the kind that is read here. Never quotes the text: it may hold a secret."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(line, reason)
        self.line = line
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RawDocument:
    """One document as plain values."""

    value: Any = field(repr=False)
    line: int
    lines: Mapping[Path, int] = field(default_factory=dict, repr=False)

    def line_of(self, path: Path) -> int:
        """The line of the deepest part of `path` that exists."""
        for length in range(len(path), 0, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return self.line


def read_yaml(text: str) -> tuple[RawDocument, ...]:
    """All documents of a text, empty ones included. Raises Unreadable."""
    loader = yaml.CSafeLoader(text) if yaml.__with_libyaml__ else yaml.SafeLoader(text)
    try:
        return _Reader(loader).documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        # An end that comes too early is marked beyond the last line.
        line = min(mark.line + 1, max(1, len(text.splitlines()))) if mark is not None else 0
        raise Unreadable(line, f"not valid YAML: {error.problem or error.context or 'syntax error'}") from None
    except yaml.reader.ReaderError as error:
        raise Unreadable(
            text.count("\n", 0, error.position) + 1, "not valid YAML: a character that is not text"
        ) from None
    finally:
        loader.dispose()


class _Reader:
    """Builds values from events. Recursive, since MAX_DEPTH bounds it."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._spent = 0
        #: Anchor → value and what it costs; None while the value is still being read.
        self._anchors: dict[str, tuple[Any, int] | None] = {}
        self._lines: dict[Path, int] = {}

    def documents(self) -> tuple[RawDocument, ...]:
        found = []
        self._next(yaml.StreamStartEvent)
        while not self._loader.check_event(yaml.StreamEndEvent):
            self._next(yaml.DocumentStartEvent)
            self._anchors, self._lines = {}, {}
            line = self._line(self._loader.peek_event())
            value = self._value((), 0)
            found.append(RawDocument(value, line, self._lines))
            self._next(yaml.DocumentEndEvent)
        return tuple(found)

    def _next(self, kind: type[yaml.Event]) -> yaml.Event:
        event = self._loader.get_event()
        if not isinstance(event, kind):
            raise Unreadable(self._line(event), "not valid YAML: unexpected content")
        return event

    def _value(self, path: Path, depth: int) -> Any:
        event = self._loader.get_event()
        line = self._line(event)
        if depth > MAX_DEPTH:
            raise Unreadable(line, f"nested deeper than {MAX_DEPTH} levels")
        if len(path) <= _LINES_DEPTH:
            self._lines.setdefault(path, line)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, line)
        before = self._spent
        self._spend(1, line)
        anchor = getattr(event, "anchor", None)
        if anchor is not None:
            self._anchors[anchor] = None
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._plain(event, "seq", line)
            value = []
            while not self._loader.check_event(yaml.SequenceEndEvent):
                value.append(_text_if_merge(self._value((*path, len(value)), depth + 1)))
            self._loader.get_event()
        elif isinstance(event, yaml.MappingStartEvent):
            self._plain(event, "map", line)
            value = self._mapping(path, depth)
        else:
            raise Unreadable(line, "not valid YAML: a value is missing")
        if anchor is not None:
            self._anchors[anchor] = (value, self._spent - before)
        return value

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not self._loader.check_event(yaml.MappingEndEvent):
            line = self._line(self._loader.peek_event())
            # A key's own line goes under the path of its value, and comes first.
            key = self._value((*path, "\0key"), depth + 1)
            self._lines.pop((*path, "\0key"), None)
            if key is _MERGE:
                for other in self._merge_sources(self._value((*path, "<<"), depth + 1), line):
                    self._spend(len(other), line)
                    merged = {**other, **merged}
                continue
            if not isinstance(key, str):
                raise Unreadable(line, "a key is not text; put it in quotes")
            if key in own:
                raise Unreadable(line, f"key {key[:80]!r} comes twice")
            if len(path) < _LINES_DEPTH:
                self._lines[(*path, key)] = line
            own[key] = _text_if_merge(self._value((*path, key), depth + 1))
        self._loader.get_event()
        return {**merged, **own} if merged else own

    @staticmethod
    def _merge_sources(value: Any, line: int) -> list[dict[str, Any]]:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise Unreadable(line, "'<<' merges mappings only")
        return sources

    def _alias(self, event: yaml.AliasEvent, line: int) -> Any:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            raise Unreadable(line, "an alias that stands for nothing that is complete")
        value, cost = known
        self._spend(cost, line)
        return value

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            resolve: Callable[..., str] = self._loader.resolve
            tag = resolve(yaml.ScalarNode, event.value, event.implicit)
        if tag in _TEXT_TAGS:
            return event.value
        if tag == f"{_TAG}merge":
            return _MERGE
        if tag in _NUMBER_TAGS and len(event.value) > MAX_NUMBER:
            raise Unreadable(line, f"not a number of at most {MAX_NUMBER} characters; put it in quotes")
        node = yaml.ScalarNode(tag, event.value)
        try:
            if tag == f"{_TAG}null":
                return None
            if tag == f"{_TAG}bool":
                return self._loader.construct_yaml_bool(node)
            if tag == f"{_TAG}int":
                return self._loader.construct_yaml_int(node)
            if tag == f"{_TAG}float":
                return self._loader.construct_yaml_float(node)
        except (ValueError, LookupError, OverflowError):
            raise Unreadable(line, "not a number or truth value that can be read; put it in quotes") from None
        raise Unreadable(line, "a tag that is not read here")

    @staticmethod
    def _plain(event: yaml.SequenceStartEvent | yaml.MappingStartEvent, kind: str, line: int) -> None:
        if event.tag not in {None, "!", f"{_TAG}{kind}"}:
            raise Unreadable(line, "a tag that is not read here")

    def _spend(self, cost: int, line: int) -> None:
        self._spent += cost
        if self._spent > MAX_VALUES:
            raise Unreadable(line, f"more than {MAX_VALUES} values, aliases unfolded")

    @staticmethod
    def _line(event: yaml.Event | None) -> int:
        mark = event.start_mark if event is not None else None
        return mark.line + 1 if mark is not None else 0


def _text_if_merge(value: Any) -> Any:
    """`<<` is special as a key only."""
    return "<<" if value is _MERGE else value
