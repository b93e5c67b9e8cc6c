"""
`wml-serving standalone` as a user runs it: a subprocess over a directory of YAML.

What is read comes from where users read: the admin API, the verbs' output,
port 8033.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import psutil

from tests.leash import leashed
from tests.ports import free_port
from tests.small_disk import on_small_disk
from tests.standalone.client import CallError, Client
from tests.standalone.desired import DesiredState
from tests.standalone.manifests import Document
from tests.standalone.processes import Process, descendants, mentioning
from tests.standalone.waiting import wait_until

COMMAND: Final = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "wml-serving"
_START_S: Final = 30.0
_STOP_S: Final = 10.0
_TAIL_LINES: Final = 30
#: What lets root read what nobody may.
_OVERRIDES: Final = "-dac_override,-dac_read_search"


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of status.conditions."""

    status: str
    reason: str
    message: str


class Stack(DesiredState):
    """One stack; whatever happens in its context, none of its processes outlives it."""

    def __init__(
        self,
        root: Path,
        *,
        state: Path | None = None,
        cwd: Path | None = None,
        recheck: float = 1.0,
        pool_grace: float = 60.0,
        grpc_port: int = 0,
        admin_port: int = 0,
        disk_bytes: int = 0,
        minds_modes: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` is added to this process's. `minds_modes`: files' modes count for it though it is root."""
        super().__init__(root / "models")
        self.state = state or root / "state"
        #: What it prints; and where its processes are told to put temporary files.
        self.output = root / "output.log"
        self.temporary = root / "tmp"
        self.grpc_port = grpc_port or free_port()
        self.admin_port = admin_port or free_port()
        self._cwd = cwd or root
        self._environment = environment or {}
        self._options = ["--recheck", f"{recheck:g}", "--pool-grace", f"{pool_grace:g}"]
        #: The size of a disk of its own for STATE.
        self._disk_bytes = disk_bytes
        self._minds_modes = minds_modes
        self._process: subprocess.Popen[bytes] | None = None
        self.temporary.mkdir(exist_ok=True)

    # The process.

    @property
    def target(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def admin(self) -> str:
        """The admin API."""
        return f"http://127.0.0.1:{self.admin_port}"

    def arguments(self) -> list[str]:
        """The command line that starts it."""
        ports = ["--grpc-port", str(self.grpc_port), "--admin-port", str(self.admin_port)]
        return [
            str(COMMAND),
            "standalone",
            str(self.directory),
            "--state-dir",
            str(self.state),
            *ports,
            *self._options,
        ]

    def launch(self) -> None:
        """Start it and return at once."""
        command = leashed(self.arguments())
        if self._minds_modes and os.geteuid() == 0:
            command = ["setpriv", "--inh-caps", _OVERRIDES, "--bounding-set", _OVERRIDES, *command]
        if self._disk_bytes:
            self.state.mkdir(parents=True, exist_ok=True)
            command = on_small_disk(self.state, self._disk_bytes, command)
        environment = {**os.environ, **self._environment, "TMPDIR": str(self.temporary)}
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=self._cwd, env=environment
            )

    def start(self) -> Self:
        """Start it and return when it takes requests."""
        self.launch()
        self.wait_up()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def supervisor(self) -> int:
        """The pid of the command itself."""
        assert self._process is not None, "the stack was not started"
        return self._process.pid

    def stop(self) -> int | None:
        """SIGTERM, and SIGKILL for what is left; the exit code, None if it had to be killed. Idempotent."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            # A frozen process cannot end.
            self.signal_all(signal.SIGCONT)
            self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.signal_all(signal.SIGKILL)
            self._process.kill()
            self._process.wait()
            self._process = None

    def kill(self) -> None:
        """SIGKILL the supervisor, and only it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal_all(self, number: int) -> None:
        """Send a signal to every process of the stack."""
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):
                each.send(number)

    def processes(self, *roles: str) -> tuple[Process, ...]:
        """Its processes with one of these roles; without roles, all of them."""
        found = {p.pid: p for p in mentioning(self.state)}
        if self._process is not None and self._process.poll() is None:
            found |= {p.pid: p for p in descendants(self._process.pid)}
        return tuple(p for p in found.values() if not roles or p.role in roles)

    def process(self, role: str) -> Process:
        """The only process with this role."""
        found = self.processes(role)
        assert len(found) == 1, f"{len(found)} processes are {role}: {[p.command for p in self.processes()]}"
        return found[0]

    def text(self) -> str:
        """All that it printed so far."""
        return self.output.read_text(encoding="utf-8", errors="replace") if self.output.exists() else ""

    def tail(self) -> str:
        """The end of that, for an assertion."""
        return "\n".join(self.text().splitlines()[-_TAIL_LINES:])

    # The admin API and the verbs.

    def get(self, name: str) -> Document | None:
        """The TrainedModel as the admin API shows it, with live state and events; None if there is none."""
        try:
            document: Document = self._fetch(f"/v1/trainedmodels/{name}")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 404:
                return None
            raise
        return document

    def listed(self) -> dict[str, Document]:
        """All TrainedModels by name."""
        return {item["metadata"]["name"]: item for item in self._fetch("/v1/trainedmodels")["items"]}

    def status(self, name: str) -> Document:
        """The status of the model, which has to be there."""
        document = self.get(name)
        assert document is not None, f"{name} is gone"
        status: Document = document["status"]
        return status

    def condition(self, name: str, kind: str = "Ready") -> Condition:
        """A condition of the model; empty if there is no such model or condition."""
        return _condition(self.get(name), kind)

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A verb of the user's, against this stack."""
        command = [str(COMMAND), *arguments, "--admin", self.admin]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=30)

    def client(self) -> Client:
        """A client of it."""
        return Client(self.target)

    # Waiting.

    def wait_up(self) -> None:
        """Wait until it takes requests, and the admin API answers."""
        wait_until(self._up, lambda: f"the stack did not start\n{self.tail()}", within=_START_S)

    def wait_condition(self, name: str, reason: str, *, status: str = "False", within: float = 30.0) -> Condition:
        """Wait until Ready has this reason and status."""

        def reached() -> Condition | None:
            found = self.condition(name)
            return found if (found.reason, found.status) == (reason, status) else None

        found = wait_until(
            reached,
            lambda: f"{name} is not {status} {reason} but {self.condition(name)}\n{self.tail()}",
            within=within,
        )
        assert found is not None
        return found

    def not_ready(self, *names: str) -> list[str]:
        """Those of them that are not READY now."""
        models = self.listed()
        return [n for n in names if _condition(models.get(n), "Ready").status != "True"]

    def wait_ready(self, *names: str, within: float = 60.0) -> None:
        """Wait until all of them are READY."""
        wait_until(
            lambda: not self.not_ready(*names),
            lambda: f"not READY: {[(n, self.condition(n)) for n in self.not_ready(*names)]}\n{self.tail()}",
            within=within,
        )

    def wait_gone(self, name: str, *, within: float = 30.0) -> None:
        """Wait until there is no such model."""
        wait_until(lambda: self.get(name) is None, f"{name} is still there", within=within)

    def _up(self) -> bool:
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"the stack ended with code {code}\n{self.tail()}"
        try:
            with urllib.request.urlopen(f"{self.admin}/readyz", timeout=2):
                pass
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False
        with self.client() as client:
            try:
                return client.call("ServerLive", b"", timeout=2) != b""
            except CallError:
                return False

    def _fetch(self, path: str) -> Any:
        with urllib.request.urlopen(self.admin + path, timeout=10) as response:
            return json.load(response)


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _condition(document: Document | None, kind: str) -> Condition:
    conditions = ((document or {}).get("status") or {}).get("conditions") or []
    found: dict[str, str] = next((c for c in conditions if c["type"] == kind), {})
    return Condition(found.get("status", ""), found.get("reason", ""), found.get("message", ""))
