"""
Lines out of chunks of bytes, for watches: bounded, and without aiohttp's `readline`.

That one has a limit of twice its read buffer, which pauses the socket as well:
the two cannot be chosen apart. An object of Kubernetes may be some megabytes;
whoever sends a line without an end must not fill the memory.
"""

from __future__ import annotations


class LineTooLong(ValueError):
    """No end of a line within the limit."""


class LineSplitter:
    """Chunks in, whole lines out. Law: however the bytes are cut, the lines are the same; blank ones are none."""

    __slots__ = ("_held", "_limit", "_parts")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: The beginning of a line whose end has not come; joined once, so that a long line costs its length.
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Raises LineTooLong; the splitter is of no use then."""
        *ended, rest = chunk.split(b"\n")
        lines = []
        for piece in ended:
            self._hold(piece)
            line = b"".join(self._parts)
            self._parts.clear()
            self._held = 0
            if line.strip():
                lines.append(line)
        self._hold(rest)
        return lines

    @property
    def rest(self) -> bool:
        """Whether a line has begun and not ended."""
        return self._held > 0

    def _hold(self, piece: bytes) -> None:
        self._held += len(piece)
        if self._held > self._limit:
            raise LineTooLong(f"a line of more than {self._limit} bytes")
        if piece:
            self._parts.append(piece)
