"""
The adapter's record of its promises: the epoch it obeys, the copies, the bytes reserved.

Pure: commands and progress go in, decisions and changes come out; the shells
do the work. Every mutation is one step, so that no interleaving of commands,
attempts and reboots can break these laws (property-tested under two leaders):

- the sum of reservations never exceeds the capacity;
- a command of an epoch lower than one seen, or for another boot, changes nothing;
- one attempt a key, whatever the number of Load commands;
- an attempt that was revoked, or belongs to a boot that is over, changes nothing.

For Watch each change gets a version. A reader says up to which version it has
read, and gets the latest state of the copies that changed since: a slow reader
never builds a backlog, it only skips states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from adapters.domain.copies import Copy, CopyKey, CopyState, Failure, Reason, ServerState
from adapters.domain.errors import Draining, ServerNotReady, StaleBoot, StaleEpoch
from adapters.domain.progress import Admission, Changes, Departure, Ticket
from adapters.domain.table import Entry, Table

_MAX_GONE: Final = 4096
_MAX_FAILED: Final = 1000
_MAX_SUSPECTS: Final = 1000


class Ledger:
    """The promises of one adapter. Not thread-safe."""

    def __init__(
        self,
        total: int,
        *,
        epoch: int = 0,
        on_change: Callable[[], None] = lambda: None,
        max_gone: int = _MAX_GONE,
        max_failed: int = _MAX_FAILED,
    ) -> None:
        self.total: Final = total
        #: The highest epoch seen. Never falls.
        self.epoch = epoch
        self.boot = ""
        self.server = ServerState.STARTING
        self.draining = False
        self.closing = False
        self._on_change = on_change
        self._max_failed = max_failed
        self._copies = Table(max_gone)
        #: Copies during whose load the server died, and that have not loaded since; the oldest first.
        self._suspects: dict[CopyKey, None] = {}
        self._numbers = 0

    # The fence.

    def hello(self, epoch: int) -> None:
        """A leader of that epoch watches or commands."""
        if epoch > self.epoch:
            self.epoch = epoch
            self._bump()

    def check(self, epoch: int, boot: str) -> None:
        """Raise Refused unless a command with this fence may act now."""
        if epoch < self.epoch:
            raise StaleEpoch(epoch, self.epoch)
        self.hello(epoch)
        if boot != self.boot:
            raise StaleBoot(boot, self.boot)
        if self.server is not ServerState.READY:
            raise ServerNotReady

    def admit(self) -> None:
        """Raise Refused if the pod takes no loads any more."""
        if self.draining:
            raise Draining

    # The server.

    def server_ready(self, boot: str, adopted: Iterable[Copy] = ()) -> None:
        """
        A server with this boot id answers; it serves `adopted` from before this adapter's own restart.

        A drain is over then: no server is started in a pod that ends. The one before had hung and was replaced.
        """
        for entry in self._copies:
            if _crashed(entry.copy):
                # A crash in an earlier boot is reported again, to leaders that know of this boot only.
                self._copies.touch(entry.copy.key)
            else:
                self._drop(entry.copy.key)
        self.boot = boot
        self.server = ServerState.READY
        self.draining = self.closing = False
        for copy in adopted:
            number = self._next_number()
            self._put(Entry(copy, number, number))
            self._copies.hold(copy.key)
        self._bump()

    def server_lost(self) -> None:
        """
        The server's connection dropped: every copy is gone; those that it was loading are reported as crashed.

        Reports of an earlier loss stand, unless the copy is tried again. A copy that is tried again and had not
        reached the server is not reported as crashed this time; but it stays a suspect.
        """
        self.server = ServerState.LOST
        for entry in self._copies:
            key = entry.copy.key
            if entry.blame is not None and entry.copy.state is CopyState.LOADING:
                failed = Copy(key=key, state=CopyState.FAILED, failure=entry.blame)
                self._put(Entry(failed, self._next_number(), entry.order))
                self._suspects[key] = None
            elif not _crashed(entry.copy):
                self._drop(key)
        while len(self._suspects) > _MAX_SUSPECTS:
            del self._suspects[next(iter(self._suspects))]
        self._bump()

    def drain(self) -> None:
        """The pod is about to end: its copies are to leave, and no load is taken any more."""
        if not self.draining:
            self.draining = True
            self._bump()

    def close(self) -> None:
        """The pod ends within seconds, whatever copies are left."""
        if not self.closing:
            self.draining = self.closing = True
            self._bump()

    # Commands.

    def load(self, key: CopyKey) -> tuple[Admission, Ticket]:
        """A Load command that passed the fence; the ticket belongs to the attempt, new or under way."""
        order = self._next_number()
        entry = self._copies.get(key)
        if entry is None:
            self._put(Entry(Copy(key=key, state=CopyState.DOWNLOADING), order, order))
            return Admission.START, Ticket(key, order)
        entry.order = order
        ticket = Ticket(key, entry.number)
        match entry.copy.state:
            case CopyState.DOWNLOADING | CopyState.LOADING:
                return Admission.JOINED, ticket
            case CopyState.UNLOADING:
                return Admission.QUEUED, ticket
            case CopyState.LOADED:
                return Admission.VERIFY, ticket
            case CopyState.FAILED if entry.copy.reserved:
                # The rest of the failed attempt is being unloaded.
                return Admission.QUEUED, ticket
            case CopyState.FAILED:
                return Admission.START, self._restart(key)

    def missing(self, ticket: Ticket) -> Ticket | None:
        """The server lacks a copy that the ledger has as loaded: a new attempt, if the ledger still has it so."""
        entry = self._current(ticket)
        if entry is None or entry.copy.state is not CopyState.LOADED:
            return None
        return self._restart(ticket.key)

    def renew(self, key: CopyKey) -> Ticket | None:
        """The server holds a copy that is broken: an attempt to have it load the same files again."""
        entry = self._copies.get(key)
        if entry is None or entry.copy.state is not CopyState.LOADED:
            return None
        entry.number = self._next_number()
        self._set(replace(entry.copy, state=CopyState.LOADING))
        return Ticket(key, entry.number)

    def unload(self, key: CopyKey) -> Departure:
        """An Unload command that passed the fence. Revokes the attempt that is under way."""
        self._suspects.pop(key, None)
        entry = self._copies.get(key)
        if entry is None or (entry.copy.state is CopyState.FAILED and not entry.copy.reserved):
            self._drop(key)
            return Departure.ABSENT
        if entry.copy.state is CopyState.UNLOADING:
            return Departure.JOINED
        entry.number = self._next_number()
        self._set(replace(entry.copy, state=CopyState.UNLOADING, failure=None))
        return Departure.BEGIN

    # Progress of an attempt. Each returns whether the ticket was still valid.

    def reserve(self, ticket: Ticket, needed: int) -> Failure | None:
        """Hold `needed` bytes, in place of those that the attempt holds; a Failure when they are not there."""
        entry = self._current(ticket)
        if entry is None:
            return None
        if needed > self.total:
            return Failure(
                reason=Reason.MODEL_TOO_LARGE,
                message=f"needs {needed} bytes; the server's whole capacity is {self.total}",
                needed=needed,
                available=self.total,
            )
        free = self.total - self.reserved + entry.copy.reserved
        if needed > free:
            return Failure(
                reason=Reason.NO_ROOM,
                message=f"needs {needed} bytes; {free} of {self.total} are free",
                needed=needed,
                available=free,
            )
        self._set(replace(entry.copy, reserved=needed))
        return None

    def downloaded(self, ticket: Ticket, measured: int, seconds: float) -> bool:
        """The files are on the disk and laid out; the server is next."""
        entry = self._current(ticket)
        if entry is None:
            return False
        copy = replace(entry.copy, state=CopyState.LOADING, measured=measured, download_s=seconds)
        self._set(copy)
        return True

    def exposed(self, ticket: Ticket, blame: Failure) -> None:
        """The server is about to load the copy. If the server dies before that ends, `blame` is the copy's failure."""
        entry = self._current(ticket)
        if entry is not None:
            entry.blame = blame

    def loaded(self, ticket: Ticket, seconds: float, replaced: CopyKey | None = None) -> bool:
        """The server serves the copy, in the place of `replaced`."""
        entry = self._current(ticket)
        if entry is None:
            return False
        if replaced is not None:
            self._drop(replaced)
        self._copies.hold(ticket.key)
        entry.blame = None
        self._suspects.pop(ticket.key, None)
        self._set(replace(entry.copy, state=CopyState.LOADED, load_s=seconds))
        return True

    def fail(self, ticket: Ticket, failure: Failure, *, keep_reservation: bool = False) -> bool:
        """The attempt failed. `keep_reservation`: the server may still hold some of the copy's memory."""
        entry = self._current(ticket)
        if entry is None:
            return False
        self._copies.let_go(ticket.key)
        entry.blame = None
        reserved = entry.copy.reserved if keep_reservation else 0
        self._set(replace(entry.copy, state=CopyState.FAILED, failure=failure, reserved=reserved))
        self._forget_failures()
        return True

    def release(self, ticket: Ticket) -> bool:
        """The server has nothing left of a failed attempt."""
        entry = self._current(ticket)
        if entry is None or entry.copy.state is not CopyState.FAILED:
            return False
        self._set(replace(entry.copy, reserved=0))
        return True

    def overtaken(self, ticket: Ticket) -> bool:
        """A later command for the same model took this copy's place; the attempt's copy is gone."""
        if self._current(ticket) is None:
            return False
        self._drop(ticket.key)
        return True

    # Facts.

    def gone(self, key: CopyKey) -> None:
        """The key is proven absent: unloaded, its files removed."""
        self._drop(key)

    def broken(self, key: CopyKey, failure: Failure) -> Ticket | None:
        """A copy that served cannot be loaded again; its bytes stay reserved until they are released."""
        entry = self._copies.get(key)
        if entry is None or not self.serves(key):
            return None
        ticket = Ticket(key, entry.number)
        self.fail(ticket, failure, keep_reservation=True)
        return ticket

    def source_changed(self, key: CopyKey) -> None:
        """The objects of a failed copy have changed."""
        entry = self._copies.get(key)
        if entry is not None and entry.copy.failure is not None:
            self._set(replace(entry.copy, failure=replace(entry.copy.failure, source_changed=True)))

    # Questions.

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._copies.version

    @property
    def reserved(self) -> int:
        """The sum of all reservations, in bytes."""
        return self._copies.reserved

    def valid(self, ticket: Ticket) -> bool:
        """Whether the attempt may go on."""
        return self._current(ticket) is not None

    def copies(self) -> tuple[Copy, ...]:
        """All copies."""
        return tuple(entry.copy for entry in self._copies)

    def copy(self, key: CopyKey) -> Copy | None:
        """The copy, if there is one."""
        entry = self._copies.get(key)
        return entry.copy if entry else None

    def serves(self, key: CopyKey) -> bool:
        """Whether the server holds this copy."""
        return self._copies.holder(key.model) == key

    def suspect(self, key: CopyKey) -> bool:
        """Whether the server died while it loaded this copy, and the copy has not loaded since."""
        return key in self._suspects

    def holder(self, model: str) -> CopyKey | None:
        """The copy that the server has under this name."""
        return self._copies.holder(model)

    def later(self, ticket: Ticket, other: CopyKey) -> bool:
        """Whether the last Load for the ticket's key came after the last one for `other`, or `other` is not wanted."""
        mine, theirs = self._copies.get(ticket.key), self._copies.get(other)
        if theirs is None or theirs.copy.state is CopyState.UNLOADING:
            return True
        return mine is not None and mine.order > theirs.order

    def changes(self, since: int) -> Changes:
        """The copies that changed after version `since`; all for 0."""
        fresh = self._copies.fresh(since)
        return Changes(
            version=self.version,
            full=fresh.full,
            boot=self.boot,
            epoch=self.epoch,
            server=self.server,
            draining=self.draining,
            closing=self.closing,
            total=self.total,
            reserved=self.reserved,
            copies=fresh.copies,
            gone=fresh.gone,
        )

    # Bookkeeping.

    def _current(self, ticket: Ticket) -> Entry | None:
        entry = self._copies.get(ticket.key)
        return entry if entry is not None and entry.number == ticket.number else None

    def _restart(self, key: CopyKey) -> Ticket:
        entry = self._copies.get(key)
        assert entry is not None
        entry.number = self._next_number()
        self._copies.let_go(key)
        # The reservation is kept: the attempt reserves anew before it needs the bytes.
        self._set(Copy(key=key, state=CopyState.DOWNLOADING, reserved=entry.copy.reserved))
        return Ticket(key, entry.number)

    def _put(self, entry: Entry) -> None:
        self._copies.put(entry)
        self._on_change()

    def _set(self, copy: Copy) -> None:
        self._copies.set(copy)
        self._on_change()

    def _drop(self, key: CopyKey) -> None:
        self._copies.drop(key)
        self._on_change()

    def _bump(self) -> None:
        self._copies.version += 1
        self._on_change()

    def _forget_failures(self) -> None:
        # A walk over all copies is cheap beside the listing that each failed attempt has cost.
        failed = [e.copy.key for e in self._copies if e.copy.state is CopyState.FAILED and not e.copy.reserved]
        if len(failed) > self._max_failed:
            self._drop(failed[0])

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers


def _crashed(copy: Copy) -> bool:
    return copy.failure is not None and copy.failure.crashed
