"""
All that one run measured, and where and when: as JSON and back.

The tables and plots are made from this alone, so that they can be made again
without measuring again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psutil

from tests.bench.cold import Cold, Crowd, FirstRequests
from tests.bench.on_cluster import OnCluster
from tests.bench.ready import Ready
from tests.bench.scale import Connections, Registration, Scale, Weight
from tests.bench.warm import Warm

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

_NUMBERS: Final = re.compile(r"\[\s+(-?[\d.e+-]+(?:,\s+-?[\d.e+-]+)*)\s+\]")
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What it ran on, and how busy that was before."""

    processor: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    load_average: float

    @classmethod
    def this(cls) -> Machine:
        """The one that this runs on, now."""
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
        return cls(
            processor=names[0] if names else platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            memory_gib=psutil.virtual_memory().total / 2**30,
            kernel=platform.release(),
            python=platform.python_version(),
            load_average=os.getloadavg()[0],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One run. What it did not measure is empty."""

    machine: Machine
    #: RFC 3339, to the minute.
    begun: str
    minutes: float
    command: str
    warm: tuple[Warm, ...] = ()
    first: FirstRequests | None = None
    ready: tuple[Ready, ...] = ()
    scale: Scale | None = None
    cluster: OnCluster | None = None

    def dump(self) -> str:
        """As JSON, with as many digits as mean something; a line a series."""
        text = json.dumps(_rounded(dataclasses.asdict(self)), indent=1)
        return _NUMBERS.sub(lambda found: "[" + re.sub(r"\s+", " ", found[1]) + "]", text) + "\n"

    @classmethod
    def load(cls, text: str) -> Results:
        """Inverse of `dump`, but for digits. Raises KeyError or TypeError for what is no such document."""
        raw: dict[str, Any] = json.loads(text)
        first, scale, cluster = raw["first"], raw["scale"], raw.get("cluster")
        return cls(
            machine=Machine(**raw["machine"]),
            begun=raw["begun"],
            minutes=raw["minutes"],
            command=raw["command"],
            warm=_rows(Warm, raw["warm"]),
            first=first and FirstRequests(cold=_rows(Cold, first["cold"]), crowd=_rows(Crowd, first["crowd"])),
            ready=_rows(Ready, raw["ready"]),
            scale=scale
            and Scale(
                registrations=_rows(Registration, scale["registrations"]),
                weights=_rows(Weight, scale["weights"]),
                connections=Connections(**scale["connections"]),
            ),
            cluster=cluster and _row(OnCluster, cluster),
        )


def _rows(kind: type[T], raw: Iterable[Mapping[str, Any]]) -> tuple[T, ...]:
    return tuple(_row(kind, each) for each in raw)


def _row(kind: type[T], raw: Mapping[str, Any]) -> T:
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()})


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return float(f"{value:.{_DIGITS}g}")
        case dict():
            return {name: _rounded(each) for name, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
        case _:
            return value
