"""
From a raw Pod to a runtime pod of the fleet, with what a person has to know of it.

Messages are the same as long as the trouble is: they end up in the statuses of
all models that wait. So no counts, no times, and one text for a container that
has crashed, whether it waits for its next start or has just had it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from orchestrator.domain.addresses import host_port
from orchestrator.domain.fleet import Pod
from orchestrator.platform.kube.names import ADAPTER_PORT
from orchestrator.platform.kube.pod_template import ANNOTATION_PORT
from orchestrator.platform.kube.pool_names import annotations_of, runtime_of
from orchestrator.platform.kube.server_container import DEFAULT_PORT

_MESSAGE_LIMIT: Final = 512
_OVER: Final = frozenset({"Failed", "Succeeded"})
_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
_STUCK: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
#: How newer kubelets say why they back off.
_PULL_CAUSE: Final = "ErrImagePull: "
#: The scheduler's words: `0/5 nodes are available: 2 Insufficient cpu, 3 node(s) had ….`, and what preemption would do.
_COUNTED: Final = re.compile(r"0/\d+ nodes are available: (?P<reasons>.+?)\.?( [^.]*preemption: 0/\d+ .*)?", re.DOTALL)
_NEXT_COUNT: Final = re.compile(r", (?=\d+ )")
_COUNT: Final = re.compile(r"^\d+ ")


def runtime_pods(raws: Iterable[Mapping[str, Any]]) -> tuple[Pod, ...]:
    """All that are there, by name. One that has ended (evicted, its node shut down) is replaced, and holds nothing."""
    pods = [pod_of(raw) for raw in raws if _phase(raw) not in _OVER and runtime_of(raw)]
    return tuple(sorted(pods, key=lambda pod: (pod.name, pod.uid)))


def pod_of(raw: Mapping[str, Any]) -> Pod:
    """One pod. Its addresses are empty until it has one."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    address = str(status.get("podIP") or "")
    return Pod(
        uid=metadata["uid"],
        name=metadata["name"],
        runtime=runtime_of(raw),
        adapter=host_port(address, ADAPTER_PORT) if address else "",
        endpoint=host_port(address, _port(raw)) if address else "",
        terminating=bool(metadata.get("deletionTimestamp")),
        message=_message(status)[:_MESSAGE_LIMIT],
    )


def _port(raw: Mapping[str, Any]) -> str:
    """What cannot be a port, by whoever wrote it there, must not stop the models of this pod: they would not be routed."""
    said = annotations_of(raw).get(ANNOTATION_PORT, "")
    good = said.isascii() and said.isdecimal() and len(said) <= 5 and 0 < int(said) < 65536
    return said if good else str(DEFAULT_PORT)


def _phase(raw: Mapping[str, Any]) -> str:
    return str((raw.get("status") or {}).get("phase") or "")


def _message(status: Mapping[str, Any]) -> str:
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    if conditions.get("Ready", {}).get("status") == "True":
        return ""
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return f"it cannot be scheduled: {_unscheduled(str(scheduled.get('message') or ''))}"
    first = [_container(s, recovers=True) for s in status.get("initContainerStatuses") or ()]
    servers = [_container(s, recovers=False) for s in status.get("containerStatuses") or ()]
    return "; ".join(filter(None, [*first, *servers]))


def _unscheduled(said: str) -> str:
    """What is short, without on how many nodes: that changes with each pod that comes or goes anywhere in the cluster."""
    counted = _COUNTED.fullmatch(said)
    if counted is None:
        return said or "no node takes it"
    # Sorted by the scheduler with their counts.
    reasons = sorted({_COUNT.sub("", reason) for reason in _NEXT_COUNT.split(counted["reasons"])})
    return f"no node takes it: {', '.join(reasons)}"


def _container(status: Mapping[str, Any], *, recovers: bool) -> str:
    """
    What is wrong with one container, of a pod that is not ready; "" if nothing is.

    `recovers`: its status says when it has, since it is probed, or done. That of a server says "ready" as soon as it
    runs: it is its pod that tells.
    """
    name, state = f"container {status.get('name')}", status.get("state") or {}
    waiting = state.get("waiting") or {}
    reason, said = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    if reason in _PULL:
        return f"{name}: image {status.get('image')} cannot be pulled{_because(_pull_cause(reason, said))}"
    if reason in _STUCK:
        return f"{name} cannot be started: {reason}{_because(said)}"
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    if not ended or (recovers and status.get("ready")):
        return ""
    why = ended.get("reason")
    return f"{name} ended with exit code {ended.get('exitCode')}{f' ({why})' if why and why != 'Error' else ''}"


def _pull_cause(reason: str, said: str) -> str:
    if reason == "ImagePullBackOff":
        # Without a cause it says no more than its name.
        return said.partition(_PULL_CAUSE)[2]
    return said


def _because(said: str) -> str:
    return f": {said}" if said else ""
