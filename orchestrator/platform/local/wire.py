"""
What the controller and the supervisor say to each other: one JSON object a line, on a Unix socket.

    controller → supervisor   {"epoch": 1700000000000}          the leader's, before anything else
                              {"scale": {"runtime": …, "server_type": …, …}, "replicas": 2}
                              {"end": "…"}                      the runtime of that name
    supervisor → controller   {"epoch": 1700000000000}          the highest seen, when it grows
                              {"pods": [{"uid": …, …}, …], "replicas": {"…": 2}}
                                                                all of them, and how many each runtime is to have
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.domain.fleet import Pod, Pool
from orchestrator.machinery.epoch import HIGHEST
from orchestrator.platform.local.launch import PodTemplate

#: Of one line: a runtime's environment, or the list of pods.
MAX_LINE_BYTES: Final = 4 << 20
MAX_REPLICAS: Final = 64
#: What reading a line may raise, whatever it says: too deep a nesting and the number 1e999 included.
_MALFORMED: Final = (ValueError, KeyError, TypeError, OverflowError, RecursionError)


class WireError(Exception):
    """A line that the other side should not have written."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The controller's wish: so many pods of this template."""

    template: PodTemplate
    replicas: int

    def line(self) -> bytes:
        """As it is sent."""
        return _line({"scale": self.template.render(), "replicas": self.replicas})

    @classmethod
    def parse(cls, line: bytes) -> Scale:
        """Raises WireError."""
        try:
            raw = json.loads(line)
            template, replicas = PodTemplate.parse(raw["scale"]), int(raw["replicas"])
        except _MALFORMED:
            raise WireError("not a scale request") from None
        if not 0 <= replicas <= MAX_REPLICAS:
            raise WireError(f"{replicas} replicas: expected 0 to {MAX_REPLICAS}")
        return cls(template, replicas)


@dataclass(frozen=True, slots=True)
class End:
    """The controller's wish: no pods of this runtime, whatever they were made from."""

    runtime: str

    def line(self) -> bytes:
        """As it is sent."""
        return _line({"end": self.runtime})


@dataclass(frozen=True, slots=True)
class Epoch:
    """A leader's word on itself, or the supervisor's on the latest leader."""

    number: int

    def line(self) -> bytes:
        """As it is sent."""
        return _line({"epoch": self.number})

    @classmethod
    def parse(cls, line: bytes) -> Epoch | None:
        """None: it is another kind of line."""
        try:
            number = json.loads(line)["epoch"]
        except _MALFORMED:
            return None
        return cls(number) if type(number) is int and 0 <= number <= HIGHEST else None


Wish = Scale | End


def parse_wish(line: bytes) -> Wish | Epoch:
    """Inverse of each one's `line`. Raises WireError."""
    if (epoch := Epoch.parse(line)) is not None:
        return epoch
    try:
        return End(str(json.loads(line)["end"]))
    except _MALFORMED:
        return Scale.parse(line)


def pods_line(pods: tuple[Pod, ...], replicas: Mapping[str, int]) -> bytes:
    """The supervisor's list, and by runtime how many there are to be."""
    return _line({"pods": [dataclasses.asdict(pod) for pod in pods], "replicas": dict(replicas)})


def parse_pods(line: bytes) -> tuple[tuple[Pod, ...], dict[str, Pool]]:
    """Inverse of `pods_line`. Raises WireError."""
    try:
        raw = json.loads(line)
        return tuple(_pod(each) for each in raw["pods"]), {
            runtime: _pool(count) for runtime, count in raw["replicas"].items()
        }
    except (*_MALFORMED, AttributeError):
        raise WireError("not a list of pods") from None


def _pod(raw: dict[str, Any]) -> Pod:
    pod = Pod(**raw)
    for name, value in dataclasses.asdict(pod).items():
        if not isinstance(value, bool if name == "terminating" else str):
            raise TypeError(name)
    return pod


def _pool(count: Any) -> Pool:
    if type(count) is not int or not 0 <= count <= MAX_REPLICAS:
        raise ValueError(count)
    return Pool(count)


def _line(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"
