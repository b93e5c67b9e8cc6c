"""
The first process of the node's namespaces: lays out what it needs, starts the units, and then buries the dead.

It runs as pid 1 of its own mount, network and pid namespace. What a component
insists on having in a place of the host's (`/run`, `/var/lib`, `/var/log`, the
kernel settings that a kubelet turns) is covered by something of the node's
own first, so that nothing of it is seen outside or left behind. When this
process ends, the kernel ends everything else in here.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.cluster.node import pki, units
from tests.cluster.node.place import (
    BINARIES,
    KUBECONFIG,
    LOGS,
    NODE,
    NODE_IP,
    PKI,
    READY,
    ROOT,
    STATE,
    UNITS,
)

#: What a kubelet sets to its liking, for the whole machine.
_KERNEL: Final = (
    *("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"),
    *("kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"),
)
#: So many times the kubelet counts the machine's processors. What is asked for is never used up, and a rolling update of
#: several pools is to fit even where there are two.
_COUNTED: Final = 8
_KUBECTL: Final = (str(BINARIES / "kubectl"), "--kubeconfig", str(KUBECONFIG))


def main() -> None:
    """Bring the node up, say so in a file, and stay."""
    _network()
    _mounts()
    pki.make(PKI)
    for path, text in units.files().items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text, encoding="utf-8")
    names = _write_units()
    for name in names[: names.index("apiserver") + 1]:
        _start(name)
    _until("the API server", lambda: _kubectl("get", "--raw", "/readyz"))
    _until("the bootstrap objects", lambda: _kubectl("apply", "-f", "-", stdin=json.dumps(units.bootstrap())))
    _account()
    for name in names[names.index("apiserver") + 1 :]:
        _start(name)
    _until("the node", lambda: "True" in _kubectl("get", "node", NODE, "-o", f"jsonpath={_READY}"))
    _until("the default service account", lambda: _kubectl("get", "serviceaccount", "default"))
    READY.touch()
    while True:
        _bury()


_READY: Final = '{.status.conditions[?(@.type=="Ready")].status}'


def _network() -> None:
    """An address of its own and a default route, which the API server and kube-proxy look for; it leads nowhere."""
    for command in (
        "ip link set lo up",
        # Every kernel has bridges; this one may have no `dummy`.
        "ip link add uplink type bridge",
        f"ip address add {NODE_IP}/32 dev uplink",
        "ip link set uplink up",
        "ip route add default dev uplink",
        # Who may connect to whom is asked of the agent of NetworkPolicies. It makes a rule for that itself, by nftables'
        # `queue`, which not every kernel has; iptables has had one for longer. With both it is asked twice.
        f"iptables --insert FORWARD --match conntrack --ctstate NEW --jump NFQUEUE --queue-num {units.QUEUE}",
    ):
        _run(*command.split())
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="utf-8")


def _account() -> None:
    """A token for the agent of NetworkPolicies, where it would have one in a pod."""
    units.ACCOUNT.mkdir(parents=True)
    (units.ACCOUNT / "ca.crt").symlink_to(PKI / "ca.crt")
    asked = ("create", "token", units.AGENT, "--namespace", "kube-system", "--duration", "720h")
    _until("the agent's token", lambda: (units.ACCOUNT / "token").write_text(_kubectl(*asked), encoding="utf-8"))


def _mounts() -> None:
    resolver = Path(os.path.realpath("/etc/resolv.conf"))
    _run("mount", "-t", "tmpfs", "none", "/run")
    for directory in ("/run/containerd", "/run/lock"):
        Path(directory).mkdir()
    for covered in ("/var/lib", "/var/log"):
        own = STATE / covered.strip("/").replace("/", "-")
        own.mkdir()
        _run("mount", "--bind", str(own), covered)
    settings = STATE / "kernel"
    for name in _KERNEL:
        own, real = settings / name, Path("/proc/sys", name)
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text(real.read_text(encoding="utf-8"), encoding="utf-8")
        _run("mount", "--bind", str(own), str(real))
    if not resolver.exists():
        resolver.parent.mkdir(parents=True, exist_ok=True)
        resolver.touch()
    names = STATE / "resolv.conf"
    names.touch()
    _run("mount", "--bind", str(names), str(resolver))
    _processors()
    _run("mount", "--make-rshared", "/")


def _processors() -> None:
    """It counts those of each NUMA node: hence the same node several times, whose numbers a cgroup does take."""
    real, shown = Path("/sys/devices/system/node"), STATE / "numa"
    if not (real / "node0").is_dir():
        return
    for number in range(_COUNTED):
        (shown / f"node{number}").mkdir(parents=True)
        _run("mount", "--bind", str(real / "node0"), str(shown / f"node{number}"))
    _run("mount", "--rbind", str(shown), str(real))


def _write_units() -> list[str]:
    """A script for each: it writes its pid and becomes the component, so that anyone in here can start it again."""
    for directory in (UNITS, LOGS):
        directory.mkdir()
    commands = units.commands()
    for name, command in commands.items():
        script = UNITS / name
        script.write_text(
            f"#!/bin/sh\ncd {shlex.quote(str(STATE))}\necho $$ >{shlex.quote(f'{script}.pid')}\n"
            f"exec {shlex.join(command)} >>{shlex.quote(f'{LOGS / name}.log')} 2>&1 </dev/null\n",
            encoding="utf-8",
        )
        script.chmod(0o755)
    return list(commands)


def _start(name: str) -> None:
    _run("setsid", "--fork", str(UNITS / name))


def _until(what: str, condition: Callable[[], object], within: float = 120.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {within:g} s")
        time.sleep(0.2)


def _kubectl(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run((*_KUBECTL, *arguments), input=stdin, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout.strip() or "ok"


def _run(*command: str) -> None:
    subprocess.run(command, check=True, cwd=ROOT)


def _bury() -> None:
    """Wait for one child to end; those whose parents ended are children of this process."""
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.2)
