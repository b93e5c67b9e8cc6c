"""
A layout says which file goes where in a server's repository. It is decided before any file moves.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from adapters.domain.copies import Reason
from adapters.domain.errors import LoadFailure
from adapters.domain.texts import some

#: Largest configuration file: no real one is larger.
MAX_CONFIG_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """
    One model's directory in the repository.

    Paths are relative. Files of the source that no move names are left out.
    """

    #: (path in the source, path in the directory); no path comes twice.
    moves: tuple[tuple[str, str], ...]
    #: (path in the directory, content) of files that the adapter writes itself.
    writes: tuple[tuple[str, bytes], ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """All paths that the directory will hold, sorted."""
        return tuple(sorted([to for _, to in self.moves] + [path for path, _ in self.writes]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """The files that came from the store."""

    #: Relative paths, sorted.
    paths: tuple[str, ...]
    #: Contents of the files that may configure a server, by path.
    configs: Mapping[str, bytes]
    #: Paths of empty files.
    empty: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The model that the directory is for."""

    #: The model's name in the server.
    name: str
    framework: str
    #: Absolute path that the directory will have.
    directory: PurePosixPath
    #: The storageUri as the user wrote it, for messages.
    uri: str


Planner = Callable[[ModelFiles, Target], Layout]


def invalid(target: Target, problem: str, expected: str) -> LoadFailure:
    """A failure whose message says what is wrong and what was expected."""
    return LoadFailure.because(Reason.INVALID_MODEL_LAYOUT, f"{target.uri}: {problem}; expected {expected}")


def refuse_empty(moves: Iterable[tuple[str, str]], main: Container[str], files: ModelFiles, target: Target) -> None:
    """Raises LoadFailure when a file that moves to one of the `main` places (the model itself) is empty."""
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
