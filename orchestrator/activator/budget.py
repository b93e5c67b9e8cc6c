"""
Bytes of messages that this process may hold.

How large a message is, gRPC tells only once it has been read. So who wants to
read takes a permit for the largest message there may be, and gives back the
rest when the size is known; until then the message stays with the peer, under
flow control.

There are three pools, because a permit may be held while another kind is waited
for: `early` (read to learn the model's name, and held while the model loads),
`requests` (read when the model is there) and `responses`. A request's holder
needs an answer and a response's permit; a response's needs its client to take
it, and is cut off if that takes too long (delivery.py). No circle, so no
deadlock: `responses` drains by itself, whatever clients do, and the others as
servers answer.

What is counted is messages as Python holds them. gRPC has a copy of its own
while a message comes and while it goes out, so a pool counts half of what it may
cost: the budget is what the process may grow by.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

#: Of each message: Python's, and gRPC's.
COPIES: Final = 2


@dataclass(slots=True, eq=False)
class Permit:
    """Leave to hold up to `size` bytes, once `granted`. Changed by its pool only."""

    size: int
    granted: bool = False
    #: Whether `size` is that of a message that was read, not a guess.
    settled: bool = False


class Pool:
    """
    A share of the budget; first come, first served.

    Laws: the sizes of granted permits never exceed `total`; a permit that fits
    and is first in the line is granted.
    """

    __slots__ = ("_granted", "_line", "max_line", "settled", "total", "used")

    def __init__(self, total: int, max_line: int) -> None:
        self.total = total
        self.max_line = max_line
        #: Sum of the granted permits.
        self.used = 0
        #: The part of `used` that is messages already read: it comes back only as their calls end.
        self.settled = 0
        self._line: OrderedDict[Permit, None] = OrderedDict()
        self._granted: list[Permit] = []

    @property
    def line(self) -> int:
        """How many wait for a permit."""
        return len(self._line)

    def ask(self, size: int) -> Permit | None:
        """A permit, granted now or later (see `granted`); None if the line is full."""
        if size > self.total:
            raise ValueError(f"a permit of {size} bytes from a pool of {self.total}")
        permit = Permit(size)
        if not self._line and self.used + size <= self.total:
            permit.granted = True
            self.used += size
        elif len(self._line) < self.max_line:
            self._line[permit] = None
        else:
            return None
        return permit

    def charge(self, size: int) -> Permit | None:
        """
        A permit for a message that is already here, before all that wait; None if it does not fit.

        For streams: who reads them cannot hold a permit for as long as no message comes.
        """
        if self.used + size > self.total:
            return None
        self.used += size
        self.settled += size
        return Permit(size, granted=True, settled=True)

    def settle(self, permit: Permit, size: int) -> None:
        """The message was read and has `size` bytes: give back the rest."""
        if not permit.granted or permit.settled or size > permit.size:
            raise ValueError(f"cannot settle {permit} with {size} bytes")
        self.used -= permit.size - size
        self.settled += size
        permit.size = size
        permit.settled = True
        self._serve()

    def release(self, permit: Permit) -> None:
        """The message is gone, or who waited for the permit is. Once a permit."""
        if permit.granted:
            self.used -= permit.size
            if permit.settled:
                self.settled -= permit.size
            permit.granted = False
        else:
            self._line.pop(permit, None)
        self._serve()

    def granted(self) -> list[Permit]:
        """The permits granted since the last call to those that waited. To be drained after settle and release."""
        drained, self._granted = self._granted, []
        return drained

    def _serve(self) -> None:
        while self._line:
            first = next(iter(self._line))
            if self.used + first.size > self.total:
                return
            del self._line[first]
            first.granted = True
            self.used += first.size
            self._granted.append(first)


@dataclass(frozen=True, slots=True)
class Budget:
    """The three pools. Their totals add up to what the budget has for one copy of each message."""

    early: Pool
    requests: Pool
    responses: Pool

    @classmethod
    def divide(cls, total: int, *, largest: int, max_line: int) -> Budget:
        """
        Half of `total` for requests, a quarter each for the others; each must take the largest message.

        Raises ValueError if it cannot.
        """
        counted = total // COPIES
        quarter = counted // 4
        if quarter < largest:
            raise ValueError(f"a budget of {total} bytes is under {4 * COPIES} messages of {largest} bytes")
        return cls(
            early=Pool(quarter, max_line),
            requests=Pool(counted - 2 * quarter, max_line),
            responses=Pool(quarter, max_line),
        )
