"""
The copies of one adapter, in the order in which they changed.

A reader says up to which version it has read, and gets the latest state of the
copies that changed since. That costs as much as there are such copies: they are
at the end of the table. Keys that are gone are remembered for a while, so that a
reader hears of them; a reader that comes later than that gets everything.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from adapters.domain.copies import Copy, CopyKey, Failure


@dataclass(slots=True)
class Entry:
    """A copy and the attempt at it. The copy is changed through the table only."""

    copy: Copy
    #: The attempt that may change it; raised when an attempt is revoked.
    number: int
    #: Position of the last Load command for the copy: of two revisions of a model the later command wins.
    order: int
    version: int = 0
    #: Set while the server loads the copy: the failure to report if the server dies.
    blame: Failure | None = None


@dataclass(frozen=True, slots=True)
class Fresh:
    """The changes that a reader has not seen; `full`: these are all copies, seen or not."""

    full: bool
    copies: tuple[Copy, ...]
    gone: tuple[CopyKey, ...]


class Table:
    """The copies. Every change costs the same, however many there are."""

    def __init__(self, max_gone: int) -> None:
        #: Grows with every change.
        self.version = 1
        #: The sum of all reservations.
        self.reserved = 0
        self._max_gone: Final = max_gone
        #: The copy that changed last comes last.
        self._entries: OrderedDict[CopyKey, Entry] = OrderedDict()
        #: Model → the copy that the server has under that name.
        self._holders: dict[str, CopyKey] = {}
        #: Key proven absent → the version at which it was, the latest last. Disjoint from _entries.
        self._gone: OrderedDict[CopyKey, int] = OrderedDict()
        #: The highest version dropped from _gone: a reader that has not read up to it needs everything.
        self._forgotten = 0

    def __iter__(self) -> Iterator[Entry]:
        """All entries as they are now, the one that has not changed for longest first."""
        return iter(tuple(self._entries.values()))

    def get(self, key: CopyKey) -> Entry | None:
        """The entry, if there is one."""
        return self._entries.get(key)

    def holder(self, model: str) -> CopyKey | None:
        """The copy that the server has under this name."""
        return self._holders.get(model)

    def hold(self, key: CopyKey) -> None:
        """The server has this copy under its name, and no other."""
        self._holders[key.model] = key

    def let_go(self, key: CopyKey) -> None:
        """The server does not have this copy."""
        if self._holders.get(key.model) == key:
            del self._holders[key.model]

    def put(self, entry: Entry) -> None:
        """Add an entry; it replaces one with the same key."""
        key = entry.copy.key
        if key in self._entries:
            self.drop(key)
        self._gone.pop(key, None)
        self._entries[key] = entry
        self.reserved += entry.copy.reserved
        self.touch(key)

    def set(self, copy: Copy) -> None:
        """Replace the copy; an equal one changes nothing."""
        entry = self._entries[copy.key]
        if entry.copy != copy:
            self.reserved += copy.reserved - entry.copy.reserved
            entry.copy = copy
            self.touch(copy.key)

    def touch(self, key: CopyKey) -> None:
        """Mark the copy as changed, so that every reader gets it once more."""
        self.version += 1
        self._entries[key].version = self.version
        self._entries.move_to_end(key)

    def drop(self, key: CopyKey) -> None:
        """The key is proven absent, whether or not it was there."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.reserved -= entry.copy.reserved
            self.let_go(key)
        self._gone.pop(key, None)
        self.version += 1
        self._gone[key] = self.version
        while len(self._gone) > self._max_gone:
            _, self._forgotten = self._gone.popitem(last=False)

    def fresh(self, since: int) -> Fresh:
        """The copies that changed after version `since`, sorted by key; all copies for 0."""
        full = since <= self._forgotten
        entries = takewhile(lambda each: full or each.version > since, reversed(self._entries.values()))
        gone = takewhile(lambda item: not full and item[1] > since, reversed(self._gone.items()))
        return Fresh(
            full=full,
            copies=tuple(sorted((each.copy for each in entries), key=lambda copy: copy.key)),
            gone=tuple(sorted(key for key, _ in gone)),
        )
