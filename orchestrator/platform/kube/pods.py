"""
From a raw Pod to a runtime pod of the fleet, with what a person has to know of it.

Messages are the same as long as the trouble is: they end up in the statuses of
all models that wait. So no counts, no times, and one text for a container that
has crashed, whether it waits for its next start or has just had it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from orchestrator.domain.addresses import host_port
from orchestrator.domain.fleet import NODE_SILENT, Pod
from orchestrator.platform.kube.answers import UNREADABLE
from orchestrator.platform.kube.mesh_pods import Standing, standing
from orchestrator.platform.kube.names import ADAPTER_PORT
from orchestrator.platform.kube.pod_template import ANNOTATION_PORT
from orchestrator.platform.kube.pool_names import annotations_of, runtime_of
from orchestrator.platform.kube.server_container import DEFAULT_PORT

_MESSAGE_LIMIT: Final = 512
_OVER: Final = frozenset({"Failed", "Succeeded"})
_PULL: Final = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"})
#: A container that waits for one of these is on its way.
_ORDINARY: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
_CRASHES: Final = "CrashLoopBackOff"
#: One trouble, said of the attempt and of what came of it.
_NOT_STARTED: Final = frozenset({"RunContainerError", "StartError", "ContainerCannotRun"})
#: Of an end that is the container's own: what is said beside it is the container's, too, and another each time.
_OWN_END: Final = frozenset({"", "Error", "Completed", "OOMKilled"})
#: The reason of "not ready" where that is nobody's of ours to say.
_GATED: Final = "ReadinessGatesNotReady"
_UNMADE: Final = "its containers cannot be made yet: a volume, a Secret or its network is missing; its Events say which"
#: How newer kubelets say why they back off.
_PULL_CAUSE: Final = "ErrImagePull: "
#: The scheduler's words: `0/5 nodes are available: 2 Insufficient cpu, 3 node(s) had ….`, and what preemption would do.
_COUNTED: Final = re.compile(r"0/\d+ nodes are available: (?P<reasons>.+?)\.?( [^.]*preemption: 0/\d+ .*)?", re.DOTALL)
_NEXT_COUNT: Final = re.compile(r", (?=\d+ )")
_COUNT: Final = re.compile(r"^\d+ ")
#: The kubelet's, of a pod that it does not take or puts out: how much there is differs each time.
_AMOUNTS: Final = re.compile(r", requested: .*|\. Threshold quantity: .*|\. Container .* was using .*", re.DOTALL)


def runtime_pods(raws: Iterable[Mapping[str, Any]], stuck: Collection[str] = ()) -> tuple[Pod, ...]:
    """
    All that are there, by name. One that has ended (evicted, its node shut down) is replaced, and holds nothing.

    `stuck`: the uids of those that have been `unmade` for long.
    """
    pods = [pod_of(raw, stuck=raw["metadata"]["uid"] in stuck) for raw in raws if not _over(raw) and runtime_of(raw)]
    return tuple(sorted(pods, key=lambda pod: (pod.name, pod.uid)))


def unmade(raw: Mapping[str, Any]) -> bool:
    """Whether its node has it, and cannot begin with its containers yet. It does not say why, nor is that a trouble soon."""
    conditions = _conditions(raw)
    return (
        not _over(raw)
        and conditions.get("PodScheduled", {}).get("status") == "True"
        and conditions.get("PodReadyToStartContainers", {}).get("status") == "False"
    )


def ready(raw: Mapping[str, Any]) -> bool:
    """Whether its server takes requests, as far as the cluster knows."""
    return not _over(raw) and _conditions(raw).get("Ready", {}).get("status") == "True"


def failed(raw: Mapping[str, Any]) -> bool:
    """Whether it was put out, or never taken: it is there to be looked at, and another is made in its place."""
    return _phase(raw) == "Failed"


def failure_of(raws: Iterable[Mapping[str, Any]]) -> str:
    """Of some that failed: why the last did, without what is another thing each time."""
    made = sorted(raws, key=lambda raw: (str(raw["metadata"].get("creationTimestamp") or ""), raw["metadata"]["name"]))
    status = made[-1].get("status") or {}
    reason, said = str(status.get("reason") or ""), _AMOUNTS.sub("", str(status.get("message") or "")).rstrip(". ")
    return f"its last pod failed{_because(reason)}{_because(said)}"[:_MESSAGE_LIMIT]


def pod_of(raw: Mapping[str, Any], *, stuck: bool = False) -> Pod:
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
        message=_message(raw, stuck=stuck)[:_MESSAGE_LIMIT],
    )


def _port(raw: Mapping[str, Any]) -> str:
    """What cannot be a port, by whoever wrote it there, must not stop the models of this pod: they would not be routed."""
    said = annotations_of(raw).get(ANNOTATION_PORT, "")
    good = said.isascii() and said.isdecimal() and len(said) <= 5 and 0 < int(said) < 65536
    return said if good else str(DEFAULT_PORT)


def _phase(raw: Mapping[str, Any]) -> str:
    return str((raw.get("status") or {}).get("phase") or "")


def _over(raw: Mapping[str, Any]) -> bool:
    return _phase(raw) in _OVER


def _conditions(raw: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return {c.get("type"): c for c in (raw.get("status") or {}).get("conditions") or ()}


def _message(raw: Mapping[str, Any], *, stuck: bool) -> str:
    if UNREADABLE in raw:
        return str(raw[UNREADABLE])
    status, conditions = raw.get("status") or {}, _conditions(raw)
    condition, scheduled = conditions.get("Ready", {}), conditions.get("PodScheduled", {})
    if condition.get("status") == "True":
        return ""
    if scheduled.get("status") == "False" and (reason := str(scheduled.get("reason") or "")):
        said = str(scheduled.get("message") or "")
        return f"it cannot be scheduled: {_unscheduled(said) if reason == 'Unschedulable' else reason + _because(said)}"
    if standing(raw) is Standing.UNHEARD:
        # Its containers are ready: what they were before is no trouble.
        gated = condition.get("reason") == _GATED
        return f"a readiness gate keeps it{_because(str(condition.get('message') or ''))}" if gated else NODE_SILENT
    first = [_container(s, recovers=True) for s in status.get("initContainerStatuses") or ()]
    servers = [_container(s, recovers=False) for s in status.get("containerStatuses") or ()]
    said = "; ".join(filter(None, [*first, *servers]))
    return said or (_UNMADE if stuck else "")


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
    if reason in _NOT_STARTED:
        return f"{name} cannot be started{_because(said)}"
    if reason not in _ORDINARY and reason != _CRASHES:
        return f"{name} cannot be started: {reason}{_because(said)}"
    ended = state.get("terminated") or (status.get("lastState") or {}).get("terminated")
    if not ended:
        return f"{name} cannot be started: {reason}" if reason == _CRASHES else ""
    if recovers and status.get("ready"):
        return ""
    why, said = str(ended.get("reason") or ""), str(ended.get("message") or "")
    if why in _NOT_STARTED:
        return f"{name} cannot be started{_because(said)}"
    told = f"{name} ended with exit code {ended.get('exitCode')}{f' ({why})' if why and why != 'Error' else ''}"
    return told if why in _OWN_END else told + _because(said)


def _pull_cause(reason: str, said: str) -> str:
    if reason == "ImagePullBackOff":
        # Without a cause it says no more than its name.
        return said.partition(_PULL_CAUSE)[2]
    return said


def _because(said: str) -> str:
    return f": {said}" if said else ""
