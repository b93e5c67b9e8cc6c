"""
What each process is told when it starts: frozen values, passed as one JSON file.

A file and not flags, so that a process list shows no more than a path, and so
that a cluster can mount the same thing from a ConfigMap. Holds no secrets.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

VERSION = "0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Base: to and from JSON."""

    def dump(self) -> str:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> Self:
        """Inverse of `dump`. Raises OSError, or ValueError for a file that is not such settings."""
        parsed: Any = json.loads(path.read_text())
        raw = parsed if isinstance(parsed, dict) else {}
        fields = dataclasses.fields(cls)
        if unknown := raw.keys() - {f.name for f in fields}:
            raise ValueError(f"{path}: unknown settings {', '.join(sorted(unknown))}")
        if missing := {f.name for f in fields if f.default is dataclasses.MISSING} - raw.keys():
            raise ValueError(f"{path}: missing settings {', '.join(sorted(missing))}")
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in raw.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneSettings(Settings):
    """The control plane, on whatever platform."""

    namespace: str
    #: gRPC address to serve delta CDS and Demand on.
    control: str
    #: How an Envoy reaches the activator beside it.
    activator: str
    admin_host: str = "127.0.0.1"
    admin_port: int = 8080
    grpc_port: int = 8033
    #: What ConfigMap `wml-serving-config` does not say.
    pods_per_runtime: int = 1
    pool_grace_s: float = 60.0
    max_message_bytes: int = 16 << 20
    log_level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings(ControlPlaneSettings):
    """The controller on the local platform."""

    #: The directory of YAML that is the desired state.
    directory: str
    state_dir: str
    #: Unix socket of the supervisor, which runs pools.
    supervisor: str
    #: Ids of the Envoys that exist: READY waits for every one of them.
    mesh_nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StandaloneSettings(Settings):
    """`wml-serving standalone`."""

    directory: str
    state_dir: str
    namespace: str = "wml-serving"
    grpc_port: int = 8033
    admin_port: int = 8080
    pods_per_runtime: int = 1
    pool_grace_s: float = 60.0
    max_message_bytes: int = 16 << 20
    recheck_s: float = 60.0
    log_level: str = "info"
