"""
How each process is started: command lines and environments, from frozen values.

Servers get an environment of their own making, so that nothing of the user's
shell, credentials least of all, reaches them; our own processes get the
user's, since proxies and certificate authorities are set there. No command
line holds a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from orchestrator.domain.serving_runtime import SERVER_TYPES, ServingRuntime
from orchestrator.platform.local.installation import Installation
from orchestrator.platform.server_environment import IN_MLSERVER, MLSERVER, TRITON, placed_mlserver

#: What a server may know of the user's shell.
_INHERITED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process to keep running."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    #: Where its output goes; None: where ours goes.
    log: Path | None = None
    #: Between SIGTERM and SIGKILL.
    grace_s: float = 2.0
    #: An Envoy's admin socket: it is asked whether it has its listener.
    admin: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTemplate:
    """What the pods of a runtime are made from: the part of a ServingRuntime that a laptop uses."""

    runtime: str
    server_type: str
    capacity_bytes: int
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, runtime: ServingRuntime) -> Self:
        """The template of a runtime's pods."""
        return cls(
            runtime=runtime.name,
            server_type=runtime.server_type,
            capacity_bytes=runtime.capacity_bytes,
            env=runtime.env,
        )

    def render(self) -> dict[str, Any]:
        """For the wire; inverse of `parse`."""
        return {
            "runtime": self.runtime,
            "server_type": self.server_type,
            "capacity_bytes": self.capacity_bytes,
            "env": [list(pair) for pair in self.env],
        }

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Self:
        """Raises ValueError or KeyError."""
        if raw["server_type"] not in SERVER_TYPES:
            raise ValueError(f"server type {raw['server_type']!r}")
        return cls(
            runtime=str(raw["runtime"]),
            server_type=str(raw["server_type"]),
            capacity_bytes=int(raw["capacity_bytes"]),
            env=tuple((str(name), str(value)) for name, value in raw["env"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlace:
    """Where one pod lives."""

    name: str
    directory: Path
    adapter_socket: Path
    #: Links to the repository and the backends. Triton hands paths to its Python stub through a command line, which a
    #: space would split; STATE and the checkout may be anywhere, the stack's private directory is short and plain.
    repository: Path
    backends: Path
    log: Path
    grpc_port: int
    http_port: int
    shm_prefix: str

    @property
    def models(self) -> Path:
        """The server's repository."""
        return self.directory / "models"

    @property
    def scratch(self) -> Path:
        """The adapter's, on the same file system."""
        return self.directory / "scratch"

    @property
    def health_socket(self) -> Path:
        """Where the adapter answers what a kubelet would ask."""
        return self.adapter_socket.with_suffix(".http")

    @property
    def work(self) -> Path:
        """MLServer reads settings from its working directory: an empty one has none."""
        return self.directory / "work"

    @property
    def endpoint(self) -> str:
        """Where the server takes requests."""
        return f"{_LOOPBACK}:{self.grpc_port}"


def product_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """For our own processes: the user's, and the code that this process runs, installed or not, from any directory."""
    others = environment.get("PYTHONPATH")
    root = str(Path(__file__).resolve().parents[3])
    return {**environment, "PYTHONPATH": f"{root}:{others}" if others else root}


def server_spec(
    template: PodTemplate, place: PodPlace, found: Installation, environment: Mapping[str, str]
) -> ProcessSpec:
    """The model server of a pod. Raises LaunchProblem."""
    own = {name: environment[name] for name in _INHERITED if name in environment}
    # What is about this machine is ours to say; the rest is the user's.
    if template.server_type == "triton":
        argv, cwd = _triton(place, found), found.triton
        env = {"LD_LIBRARY_PATH": ":".join(str(path) for path in found.triton_libraries())}
        env = own | TRITON | dict(template.env) | env
    else:
        argv, cwd = (str(found.mlserver), "start", str(place.models)), place.work
        env = own | MLSERVER | dict(template.env)
        others = env.get("PYTHONPATH")
        env |= {"PYTHONPATH": f"{IN_MLSERVER}:{others}" if others else str(IN_MLSERVER)} | _mlserver(place)
    # Triton takes a little more than two seconds to end by itself, and leaves a directory in /tmp if it is killed.
    return ProcessSpec(name="server", argv=argv, env=env, cwd=cwd, log=place.log, grace_s=4.0)


def _triton(place: PodPlace, found: Installation) -> tuple[str, ...]:
    return (
        str(found.tritonserver),
        "--model-control-mode=explicit",
        f"--model-repository={place.repository}",
        f"--backend-directory={place.backends}",
        f"--grpc-address={_LOOPBACK}",
        f"--grpc-port={place.grpc_port}",
        "--allow-http=false",
        "--allow-metrics=false",
        # So that what a killed server leaves in /dev/shm can be told from another's.
        f"--backend-config=python,shm-region-prefix-name={place.shm_prefix}",
    )


def _mlserver(place: PodPlace) -> dict[str, str]:
    listens = {"MLSERVER_HOST": _LOOPBACK, "MLSERVER_HTTP_PORT": str(place.http_port)}
    return listens | placed_mlserver(place.grpc_port, str(place.work))


def adapter_spec(
    template: PodTemplate, place: PodPlace, *, python: str, recheck_s: float, environment: Mapping[str, str]
) -> ProcessSpec:
    """The adapter of a pod."""
    argv = (
        *(python, "-P", "-m", "adapters"),
        *("--listen", f"unix:{place.adapter_socket}"),
        *("--health-socket", str(place.health_socket)),
        *("--server-type", template.server_type),
        *("--server", place.endpoint),
        *("--model-dir", str(place.models)),
        *("--scratch", str(place.scratch)),
        *("--capacity-bytes", str(max(1, template.capacity_bytes))),
        *("--recheck-seconds", str(recheck_s)),
        *("--runtime", template.runtime),
        *("--pod", place.name),
        *("--server-log", str(place.log)),
    )
    return ProcessSpec(name="adapter", argv=argv, env=environment, cwd=place.work)


def envoy_spec(
    found: Installation, *, bootstrap: Path, admin: Path, log: Path, environment: Mapping[str, str]
) -> ProcessSpec:
    """The mesh, as one Envoy; `bootstrap` is a file that holds its whole configuration, `admin` the socket it names."""
    argv = (
        str(found.envoy),
        *("--config-path", str(bootstrap)),
        *("--concurrency", "2"),
        *("--log-level", "warning"),
        # Two stacks on one machine must not share memory; and a killed Envoy leaves its shared memory behind.
        *("--use-dynamic-base-id", "--disable-hot-restart"),
    )
    own = {name: environment[name] for name in _INHERITED if name in environment}
    return ProcessSpec(name="envoy", argv=argv, env=own, cwd=bootstrap.parent, log=log, grace_s=1.0, admin=admin)


def product_spec(
    command: str, settings: Path, *, python: str, environment: Mapping[str, str], grace_s: float = 2.0
) -> ProcessSpec:
    """A process of our own: `controller` or `activator`, told by a file."""
    argv = (python, "-P", "-m", "orchestrator", command, "--settings", str(settings))
    return ProcessSpec(name=command, argv=argv, env=environment, cwd=settings.parent, grace_s=grace_s)
