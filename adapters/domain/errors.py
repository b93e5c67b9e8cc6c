"""
What can go wrong in an adapter, as values.

The tree:

- `AdapterError`
    - `Refused`: a command was not accepted, and changed nothing
        - `StaleEpoch`, `StaleBoot`: a command of a former leader, or for a server that is gone
        - `ServerNotReady`
        - `Draining`: a load for a pod that drains
    - `LoadFailure`: a copy could not be made; carries the failure to report
    - `SourceChanged`: the objects changed while they were read; worth another try
    - `ServerError`: the model server did not do what it was asked
        - `ServerRefused`: it answered with an error text
        - `ServerSilent`: no answer in time; whether it acted is unknown
        - `ServerGone`: the connection failed; the server may be dead

An error holds data; text is derived from it.
"""

from __future__ import annotations

from typing import Final

from adapters.domain.copies import Failure, Reason


class AdapterError(Exception):
    """Base of all errors that the adapter raises on purpose."""


class Refused(AdapterError):
    """The command was not accepted."""


class StaleEpoch(Refused):
    """The command is a former leader's: a newer leader has sent one or watches."""

    def __init__(self, epoch: int, seen: int) -> None:
        super().__init__(epoch, seen)
        self.epoch = epoch
        self.seen = seen

    def __str__(self) -> str:
        return f"epoch {self.epoch} is stale: {self.seen} was seen"


class StaleBoot(Refused):
    """The command was meant for another boot of the server."""

    def __init__(self, boot: str, current: str) -> None:
        super().__init__(boot, current)
        self.boot = boot
        self.current = current

    def __str__(self) -> str:
        return f"boot {self.boot!r} is not the server's: it is {self.current!r}"


class ServerNotReady(Refused):
    """There is no server to load into or unload from."""

    def __str__(self) -> str:
        return "the model server is not ready"


class Draining(Refused):
    """The pod is about to end."""

    def __str__(self) -> str:
        return "the pod drains: nothing is loaded here any more"


class LoadFailure(AdapterError):
    """The copy could not be made."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    @classmethod
    def because(cls, reason: Reason, message: str) -> LoadFailure:
        """A failure that has no numbers."""
        return cls(Failure(reason=reason, message=message))

    def __str__(self) -> str:
        return f"{self.failure.reason}: {self.failure.message}"


class SourceChanged(AdapterError):
    """An object is not what its listing said."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"object {self.key!r} changed while it was read"


class ServerError(AdapterError):
    """The model server did not do what it was asked."""


#: Text for a server that refused without one.
NO_REASON: Final = "no reason given"


class ServerRefused(ServerError):
    """The server answered with an error."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words

    def __str__(self) -> str:
        return self.words


class ServerSilent(ServerError):
    """The server did not answer in time."""

    def __init__(self, after_s: float) -> None:
        super().__init__(after_s)
        self.after_s = after_s

    def __str__(self) -> str:
        return f"no answer within {self.after_s:g} s"


class ServerGone(ServerError):
    """The connection to the server failed."""

    def __str__(self) -> str:
        return "the connection to the server failed"
