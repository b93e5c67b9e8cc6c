"""
The cluster as a user of kubectl has it, and what only a test may do to it.

Against the node of this checkout, commands run inside its namespaces; with
KUBECONFIG set, they run here, against whatever that names. Every call waits
for its end, with a timeout; objects are plain JSON.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final

import yaml

from tests.cluster.node import inside
from tests.cluster.node.place import PODS
from tests.cluster.relay import relayed
from tests.standalone.waiting import wait_until

_FORWARDING: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")
_NAMED: Final = """
import socket, sys
try:
    print(*{address[0] for *_, address in socket.getaddrinfo(sys.argv[1], None, socket.AF_INET)})
except socket.gaierror:
    pass
"""
Object = dict[str, Any]


class KubectlError(Exception):
    """What kubectl said."""


class Cluster:
    """A namespace of a cluster."""

    def __init__(self, namespace: str, *, external: bool = False) -> None:
        self.namespace = namespace
        #: Somebody's cluster: components cannot be stopped, and addresses inside are reached through its API server.
        self.external = external

    def within(self, namespace: str) -> Cluster:
        """The same cluster, another namespace."""
        return Cluster(namespace, external=self.external)

    # Commands.

    def command(self, *argv: str) -> tuple[str, ...]:
        """What runs `argv` where the cluster's network and KUBECONFIG are."""
        return argv if self.external else inside.command(argv)

    def run(self, *argv: str, stdin: str | None = None, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command there, to its end."""
        return subprocess.run(
            self.command(*argv), input=stdin, capture_output=True, text=True, check=False, timeout=timeout
        )

    def start(self, *argv: str, output: int | IO[Any] | None = None) -> subprocess.Popen[str]:
        """Start a command there; it ends with this process. Whoever starts it waits for it."""
        return subprocess.Popen(self.command(*argv), stdout=output, stderr=output, text=True)

    def python(self, *argv: str, timeout: float = 60.0) -> str:
        """Run the project's Python there (a script and its arguments, or -c and code); what it printed."""
        done = self.run(sys.executable, *argv, timeout=timeout)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def kubectl(self, *argv: str, stdin: str | None = None, timeout: float = 60.0) -> str:
        """What kubectl printed. Raises KubectlError."""
        done = self.run("kubectl", "--namespace", self.namespace, *argv, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    # Objects.

    def apply(self, *what: Object | Path) -> str:
        """Apply objects, files, or directories of files, as `kubectl apply -f` does."""
        said = ""
        files = [argument for each in what if isinstance(each, Path) for argument in ("-f", str(each))]
        objects = [each for each in what if isinstance(each, dict)]
        if files:
            said += self.kubectl("apply", *files)
        if objects:
            said += self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
        return said

    def get(self, kind: str, name: str) -> Object:
        """One object. Raises KubectlError."""
        found: Object = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def find(self, kind: str, name: str) -> Object | None:
        """One object, None if there is none."""
        found = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found else None

    def all(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a kind, or those that a label selector takes."""
        listed = json.loads(self.kubectl("get", kind, "-o", "json", *(("-l", selector) if selector else ())))
        items: list[Object] = listed["items"]
        return items

    def delete(self, kind: str, *names: str, now: bool = False, wait: bool = True) -> None:
        """Delete objects, if they are there; `now` without grace."""
        options = ("--grace-period=0", "--force") if now else ()
        self.kubectl("delete", kind, *names, "--ignore-not-found", f"--wait={str(wait).lower()}", *options, timeout=120)

    def patch(self, kind: str, name: str, changes: Object) -> None:
        """A merge patch."""
        self.kubectl("patch", kind, name, "--type", "merge", "--patch", json.dumps(changes))

    # Waiting.

    def until_it_answers(self, *, within: float = 60.0) -> None:
        """Wait until the API server does."""
        wait_until(
            lambda: self.run("kubectl", "get", "--raw", "/readyz").returncode == 0,
            "the API server does not answer",
            within=within,
        )

    def until(
        self, kind: str, name: str, condition: Callable[[Object], object], what: str, *, within: float = 60.0
    ) -> Object:
        """The object once `condition` is true of it; the failure shows the object."""

        def holds() -> Object | None:
            found = self.find(kind, name)
            return found if found is not None and condition(found) else None

        def words() -> str:
            found = self.find(kind, name) or {}
            return f"{kind} {name} {what}; it is {json.dumps(found.get('status'))}"

        found = wait_until(holds, words, within=within, poll=0.25)
        assert found is not None
        return found

    def until_condition(
        self, kind: str, name: str, condition: str = "Ready", status: str = "True", *, within: float = 60.0
    ) -> Object:
        """The object once it has a condition."""
        return self.until(
            kind,
            name,
            lambda found: condition_of(found, condition).get("status") == status,
            f"has no {condition}={status}",
            within=within,
        )

    def rolled_out(self, kind: str, name: str, *, within: float = 120.0) -> None:
        """Wait until a Deployment is what its latest template says."""
        self.kubectl("rollout", "status", f"{kind}/{name}", f"--timeout={within:g}s", timeout=within + 10)

    # Pods.

    def pods(self, selector: str = "") -> list[Object]:
        """Those that are not on their way out."""
        return [pod for pod in self.all("pods", selector) if "deletionTimestamp" not in pod["metadata"]]

    def logs(self, pod: str, *argv: str) -> str:
        """Of a pod, or of `deploy/name`."""
        return self.kubectl("logs", pod, *argv)

    def logs_of(self, selector: str) -> str:
        """Of all pods that a label selector takes, whole."""
        return self.kubectl("logs", "-l", selector, "--tail=-1", "--max-log-requests=20")

    def execute(self, pod: str, *argv: str, container: str = "", timeout: float = 60.0) -> str:
        """Run a command in a container; what it printed."""
        options = ("-c", container) if container else ()
        return self.kubectl("exec", pod, *options, "--", *argv, timeout=timeout)

    def kill_process(self, word: str) -> None:
        """End the one process on the node that has that word among its arguments, without a chance to say good-bye."""
        (pid,) = self.run("pgrep", "--full", "--", rf"(^| ){re.escape(word)}( |$)").stdout.split()
        done = self.run("kill", "-KILL", pid)
        assert done.returncode == 0, done.stderr

    # Network.

    def addresses(self, host: str) -> set[str]:
        """What DNS says of a name on the node; none, while it has not heard of it."""
        return set(self.python("-c", _NAMED, host).split())

    @contextmanager
    def reach(self, host: str, port: int) -> Iterator[str]:
        """An address on this machine's loopback for a pod's own; on the node without the API server or a kubelet between."""
        if self.external:
            listed = json.loads(self.kubectl("get", "pods", "--all-namespaces", "-o", "json"))["items"]
            pod = next(each["metadata"] for each in listed if each["status"].get("podIP") == host)
            with self.within(pod["namespace"]).port_forward(f"pod/{pod['name']}", port) as address:
                yield address
            return
        with relayed(inside.first_process(), host, port) as address:
            yield address

    @contextmanager
    def port_forward(self, what: str, port: int) -> Iterator[str]:
        """`kubectl port-forward`: an address on this machine's loopback for a pod, or a pod behind a Service."""
        with ExitStack() as stack:
            process = self.start(
                "kubectl", "--namespace", self.namespace, "port-forward", what, f":{port}", output=subprocess.PIPE
            )
            stack.callback(_end, process)
            assert process.stdout is not None
            line = process.stdout.readline()
            found = _FORWARDING.search(line)
            if found is None:
                rest = process.communicate(timeout=10)
                raise KubectlError(f"port-forward {what}: {line}{rest[0]}{rest[1]}")
            if self.external:
                yield f"127.0.0.1:{found[1]}"
            else:
                yield stack.enter_context(relayed(inside.first_process(), "127.0.0.1", int(found[1])))

    # The machinery.

    def stop(self, unit: str) -> None:
        """End a component of the node: see tests/cluster/node/units.py."""
        inside.stop_unit(unit)

    def kill(self, unit: str) -> None:
        """End it without a chance to say good-bye."""
        inside.stop_unit(unit, signal.SIGKILL)

    def resume(self, unit: str) -> None:
        """Start a component again."""
        inside.start_unit(unit)

    @contextmanager
    def without(self, unit: str, *, now: bool = False) -> Iterator[None]:
        """For as long as a component is absent; `now`: it gets no chance to say good-bye."""
        (self.kill if now else self.stop)(unit)
        try:
            yield
        finally:
            self.resume(unit)

    @contextmanager
    def out_of_reach(self) -> Iterator[None]:
        """For as long as no pod reaches the API server."""
        rule = (*("--source", PODS, "--protocol", "tcp", "--dport", "6443"), "--jump", "REJECT")
        self._iptables("--insert", *rule)
        try:
            yield
        finally:
            self._iptables("--delete", *rule)

    def _iptables(self, what: str, *rule: str) -> None:
        done = inside.run(("iptables", "--wait", what, "INPUT", *rule, "--reject-with", "tcp-reset"))
        assert done.returncode == 0, done.stderr


def condition_of(found: Object, kind: str) -> Object:
    """A condition of an object's status; empty if it has none of the kind."""
    conditions = found.get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] == kind), {})


def is_external() -> bool:
    """Somebody gave us a cluster."""
    return bool(os.environ.get("KUBECONFIG"))


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()
