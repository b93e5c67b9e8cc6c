"""
What the controller and the supervisor say to each other: one JSON object a line, on a Unix socket.

    controller → supervisor   {"scale": {"runtime": …, "server_type": …, …}, "replicas": 2}
    supervisor → controller   {"pods": [{"uid": …, …}, …]}      all of them, each time
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Final

from orchestrator.domain.fleet import Pod
from orchestrator.platform.local.launch import PodTemplate

#: Of one line: a runtime's environment, or the list of pods.
MAX_LINE_BYTES: Final = 4 << 20
MAX_REPLICAS: Final = 64


class WireError(Exception):
    """A line that the other side should not have written."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The controller's wish."""

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
        except (ValueError, KeyError, TypeError):
            raise WireError("not a scale request") from None
        if not 0 <= replicas <= MAX_REPLICAS:
            raise WireError(f"{replicas} replicas: expected 0 to {MAX_REPLICAS}")
        return cls(template, replicas)


def pods_line(pods: tuple[Pod, ...]) -> bytes:
    """The supervisor's list."""
    return _line({"pods": [dataclasses.asdict(pod) for pod in pods]})


def parse_pods(line: bytes) -> tuple[Pod, ...]:
    """Inverse of `pods_line`. Raises WireError."""
    try:
        return tuple(Pod(**raw) for raw in json.loads(line)["pods"])
    except (ValueError, KeyError, TypeError):
        raise WireError("not a list of pods") from None


def _line(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"
