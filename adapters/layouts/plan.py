"""
A layout: which file goes where in a server's repository, decided before any file moves.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from adapters.domain.copies import Reason
from adapters.domain.errors import LoadFailure
from adapters.domain.texts import some

#: A configuration file that is larger is not one.
MAX_CONFIG_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """
    One model's directory in the repository.

    Paths are relative. Files of the source that no move names are not needed.
    """

    #: (path in the source, path in the directory); no path comes twice.
    moves: tuple[tuple[str, str], ...]
    #: (path in the directory, content): what the adapter writes itself.
    writes: tuple[tuple[str, bytes], ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """All that the directory will hold, sorted."""
        return tuple(sorted([to for _, to in self.moves] + [path for path, _ in self.writes]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What came from the store."""

    #: Relative paths, sorted.
    paths: tuple[str, ...]
    #: Contents of the files that may configure a server, by path.
    configs: Mapping[str, bytes]
    #: Those without a byte.
    empty: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the directory is for."""

    #: The model's name in the server.
    name: str
    framework: str
    #: Absolute path that the directory will have.
    directory: PurePosixPath
    #: As the user wrote it, for messages.
    uri: str


Planner = Callable[[ModelFiles, Target], Layout]


def invalid(target: Target, problem: str, expected: str) -> LoadFailure:
    """The failure that says what is wrong and what was expected."""
    return LoadFailure.because(Reason.INVALID_MODEL_LAYOUT, f"{target.uri}: {problem}; expected {expected}")


def refuse_empty(moves: Iterable[tuple[str, str]], main: Container[str], files: ModelFiles, target: Target) -> None:
    """Raises LoadFailure when what moves to one of the `main` places, which is the model itself, has no byte in it."""
    for origin, place in moves:
        if place in main and origin in files.empty:
            raise invalid(target, f"{some([origin])} is empty", "a file with the model in it")


def top(paths: Sequence[str]) -> tuple[str, ...]:
    """The files that are in no directory."""
    return tuple(path for path in paths if "/" not in path)


def directories(paths: Sequence[str]) -> tuple[str, ...]:
    """The names of the directories at the top, sorted."""
    return tuple(sorted({path.split("/", 1)[0] for path in paths if "/" in path}))


def below(paths: Sequence[str], directory: str) -> tuple[str, ...]:
    """The paths below `directory`, relative to it."""
    return tuple(path[len(directory) + 1 :] for path in paths if path.startswith(directory + "/"))
