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

A server need not answer, and a call without a deadline waits for it all the
same. So in `requests` and `responses` a model gets more only while as much as it
has stays free, and never so much that nothing but its bytes keeps a largest
message out: one alone gets two thirds at the most, and leaves the rest to
others, to whom the same applies. Not in `early`: what is read there is read to
learn its model, and it has room for two of the largest messages: a model with a
few bytes there would keep its own next one out.

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
    #: '' if it is not known yet, or does not count.
    model: str
    granted: bool = False
    #: Whether `size` is that of a message that was read, not a guess.
    settled: bool = False


class Pool:
    """
    A share of the budget; first come, first served, but for models that are over their share.

    Laws: the sizes of granted permits never exceed `total`; of the models that
    are not over their share, the permit that is first in the line is granted if
    it fits; no model alone keeps another from the room for one of the largest
    messages, if there is room for two.
    """

    __slots__ = ("_granted", "_line", "_used_by", "largest", "max_line", "settled", "total", "used")

    def __init__(self, total: int, max_line: int, *, largest: int) -> None:
        """`largest`: bytes of the largest message there may be."""
        self.total = total
        self.max_line = max_line
        self.largest = largest
        #: Sum of the granted permits.
        self.used = 0
        #: The part of `used` that is messages already read: it comes back only as their calls end.
        self.settled = 0
        #: The part of `used` of each model that has any.
        self._used_by: dict[str, int] = {}
        self._line: OrderedDict[Permit, None] = OrderedDict()
        self._granted: list[Permit] = []

    @property
    def line(self) -> int:
        """How many wait for a permit."""
        return len(self._line)

    def used_by(self, model: str) -> int:
        """The part of `used` that is one model's."""
        return self._used_by.get(model, 0)

    def ask(self, size: int, model: str) -> Permit | None:
        """A permit, granted now or later (see `granted`); None if the line is full."""
        if size > self.total:
            raise ValueError(f"a permit of {size} bytes from a pool of {self.total}")
        permit = Permit(size, model)
        self._line[permit] = None
        # Nothing has changed for those who wait already: what is served now is this one.
        if not self._serve() and len(self._line) > self.max_line:
            del self._line[permit]
            return None
        return permit

    def charge(self, size: int, model: str) -> Permit | None:
        """
        A permit for a message that is already here, before all that wait; None if there is no room, or none for its model.

        For streams: who reads them cannot hold a permit for as long as no message comes.
        """
        permit = Permit(size, model, settled=True)
        if self._over_share(permit) or self.used + size > self.total:
            return None
        self._grant(permit)
        self.settled += size
        # Its model may be over its share now, and not in the way of others any more.
        self._granted += self._serve()
        return permit

    def settle(self, permit: Permit, size: int) -> None:
        """The message was read and has `size` bytes: give back the rest."""
        if not permit.granted or permit.settled or size > permit.size:
            raise ValueError(f"cannot settle {permit} with {size} bytes")
        self._count(permit.model, size - permit.size)
        self.settled += size
        permit.size = size
        permit.settled = True
        self._granted += self._serve()

    def release(self, permit: Permit) -> None:
        """The message is gone, or who waited for the permit is. Once a permit."""
        if permit.granted:
            self._count(permit.model, -permit.size)
            if permit.settled:
                self.settled -= permit.size
            permit.granted = False
        else:
            self._line.pop(permit, None)
        self._granted += self._serve()

    def granted(self) -> list[Permit]:
        """The permits granted since the last call to those that waited. To be drained after all but ask."""
        drained, self._granted = self._granted, []
        return drained

    def _over_share(self, permit: Permit) -> bool:
        """
        Whether its model has more bytes than would stay free beside this permit, or would keep a largest message out.

        Who has none is never over. What others have does not count for the second: where a model hangs that has all it
        can get, another may have several small messages still.
        """
        has = self.used_by(permit.model)
        free = self.total - self.used - permit.size
        return has > 0 and (has > free or has + permit.size > self.total - self.largest)

    def _serve(self) -> list[Permit]:
        """Grant what can be, from the front of the line; returns it."""
        served: list[Permit] = []
        over: set[str] = set()
        for permit in [*self._line]:
            # The others of a model wait behind its first.
            if permit.model in over:
                continue
            if self._over_share(permit):
                over.add(permit.model)
            elif self.used + permit.size > self.total:
                break
            else:
                del self._line[permit]
                self._grant(permit)
                served.append(permit)
        return served

    def _grant(self, permit: Permit) -> None:
        permit.granted = True
        self._count(permit.model, permit.size)

    def _count(self, model: str, change: int) -> None:
        self.used += change
        if model:
            of_it = self._used_by.pop(model, 0) + change
            if of_it:
                self._used_by[model] = of_it


@dataclass(frozen=True, slots=True)
class Budget:
    """The three pools. Their totals add up to what the budget has for one copy of each message."""

    early: Pool
    requests: Pool
    responses: Pool

    @classmethod
    def divide(cls, total: int, *, largest: int, max_line: int) -> Budget:
        """
        Of sixteen parts seven for requests, five for responses, four for what comes early.

        In a pool of just two of the largest messages a model that has a byte gets no other permit for one. By default
        there are two and a half for responses, so that answers of a few MiB that clients are slow to take stop no
        other of their model; and more for requests, which stay as long as their servers take.

        Raises ValueError if responses cannot have two of the largest messages.
        """
        counted = total // COPIES
        part = counted // 16
        early, responses = 4 * part, 5 * part
        if responses < 2 * largest:
            raise ValueError(f"a budget of {total} bytes has no room for two responses of {largest} bytes")
        return cls(
            early=Pool(early, max_line, largest=largest),
            requests=Pool(counted - early - responses, max_line, largest=largest),
            responses=Pool(responses, max_line, largest=largest),
        )
