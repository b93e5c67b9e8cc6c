"""From a raw Pod to a runtime pod, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.fleet import NODE_SILENT, Pod
from orchestrator.platform.kube.answers import unreadable
from orchestrator.platform.kube.pod_template import ANNOTATION_PORT
from orchestrator.platform.kube.pods import failure_of, pod_of, runtime_pods, unmade
from tests.orchestrator.platform.kube.making import make_raw_pod

KILLED = {"exitCode": 137, "reason": "OOMKilled"}
NOT_READY = [{"type": "Ready", "status": "False"}]
IMAGE = "registry/triton:1"


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    return {"name": "triton", "image": IMAGE, "state": {"waiting": {"reason": reason, "message": message}}, **more}


def message(*servers: dict[str, Any], first: tuple[dict[str, Any], ...] = (), **status: Any) -> str:
    values = {"containerStatuses": list(servers), "initContainerStatuses": list(first), "conditions": NOT_READY}
    return pod_of(make_raw_pod(**values | status)).message


def test_a_pod_is_its_uid_and_where_it_is_reached() -> None:
    """The adapter at its port, the server at the one that the pod names."""
    raw = make_raw_pod("p1", podIP="10.0.0.7", annotations={ANNOTATION_PORT: "9000"})
    assert pod_of(raw) == Pod(
        uid="uid-p1", name="p1", runtime="triton-2.x", adapter="10.0.0.7:8085", endpoint="10.0.0.7:9000"
    )
    assert pod_of(make_raw_pod("p1", podIP="fd00::7")).adapter == "[fd00::7]:8085"


@pytest.mark.parametrize("said", ["", "grpc", "0", "65536", "-1", "8001:9", "\u0661", "9" * 5000])
def test_what_cannot_be_a_port_is_the_usual_one(said: str) -> None:
    """Anybody who may annotate a pod may write it; no route could be made of it, for any model that is there."""
    pod = pod_of(make_raw_pod("p1", podIP="10.0.0.7", annotations={ANNOTATION_PORT: said}))
    assert pod.endpoint == "10.0.0.7:8001"


def test_a_pod_without_an_address_is_listed_without_one() -> None:
    """What is wrong with it is to be told."""
    pod = pod_of(make_raw_pod("p1"))
    assert (pod.adapter, pod.endpoint) == ("", "")


def test_a_pod_on_its_way_out_says_so() -> None:
    """From when it was deleted."""
    assert pod_of(make_raw_pod(deletionTimestamp="2026-01-01T00:00:00Z")).terminating
    assert not pod_of(make_raw_pod()).terminating


def test_what_has_ended_is_not_listed() -> None:
    """An evicted pod stays as an object, and holds nothing; nor is one that does not say whose it is."""
    nobodys = make_raw_pod("p0")
    del nobodys["metadata"]["labels"], nobodys["metadata"]["annotations"]
    raws = [make_raw_pod(phase, phase=phase) for phase in ("Succeeded", "Running", "Failed", "Pending")]
    assert [pod.name for pod in runtime_pods([nobodys, *raws])] == ["Pending", "Running"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (waiting("ContainerCreating"), ""),
        (waiting("PodInitializing"), ""),
        (
            waiting("ErrImagePull", "not found"),
            f"container triton: image {IMAGE} cannot be pulled: not found",
        ),
        (
            waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: not found'),
            f"container triton: image {IMAGE} cannot be pulled: not found",
        ),
        (
            waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"'),
            f"container triton: image {IMAGE} cannot be pulled",
        ),
        (
            waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"),
            "container triton cannot be started: CreateContainerConfigError: "
            "container has runAsNonRoot and image will run as root",
        ),
        (
            waiting("ImageInspectError", "no such layer"),
            "container triton cannot be started: ImageInspectError: no such layer",
        ),
        (
            waiting("PostStartHookError", "hook failed"),
            "container triton cannot be started: PostStartHookError: hook failed",
        ),
        (waiting("CrashLoopBackOff", "back-off 40s"), "container triton cannot be started: CrashLoopBackOff"),
    ],
)
def test_a_container_that_does_not_start_says_why(status: dict[str, Any], said: str) -> None:
    """With the same words whether it is pulled just now or waits; a start that takes its time is no trouble."""
    assert message(status) == said


def test_a_crash_loop_is_one_message_from_its_first_crash_to_its_recovery() -> None:
    """While it waits, while it runs again, and when it has just ended: it is in the statuses of all who wait."""
    states = (
        {"state": {"terminated": KILLED}, "restartCount": 0},
        {"state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}, "restartCount": 3},
        {"state": {"running": {}}, "ready": True, "restartCount": 4},
    )
    told = {message({"name": "triton", "lastState": {"terminated": KILLED}, **state}) for state in states}
    assert told == {"container triton ended with exit code 137 (OOMKilled)"}
    server = {"name": "triton", "lastState": {"terminated": KILLED}, **states[-1]}
    assert message(server, conditions=[{"type": "Ready", "status": "True"}]) == ""


def test_a_command_that_is_not_there_is_one_message_too() -> None:
    """With the words of who could not start it, which are of the attempt, and later of its end."""
    said = 'exec: "serve": not found'
    ended = {"terminated": {"exitCode": 128, "reason": "StartError", "message": said}}
    told = {
        message(waiting("RunContainerError", said)),
        message({"name": "triton", "state": ended}),
        message(waiting("CrashLoopBackOff", "back-off 10s", lastState=ended)),
    }
    assert told == {f"container triton cannot be started: {said}"}


def test_what_a_container_says_itself_at_its_end_is_its_own() -> None:
    """Its last lines are others each time; a kubelet's word about it is not."""
    own = {"exitCode": 1, "reason": "Error", "message": "line of a log"}
    assert message({"name": "triton", "state": {"terminated": own}}) == "container triton ended with exit code 1"
    lost = {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "it could not be located"}
    assert message({"name": "triton", "state": {"terminated": lost}}) == (
        "container triton ended with exit code 137 (ContainerStatusUnknown): it could not be located"
    )


def test_a_pod_whose_node_is_silent_says_so() -> None:
    """The cluster calls the pod not ready, and its containers what they were; what they did before is no trouble."""
    server = {"name": "triton", "ready": True, "state": {"running": {}}, "lastState": {"terminated": KILLED}}
    ready = [{"type": "ContainersReady", "status": "True"}]
    assert message(server, conditions=[*NOT_READY, *ready]) == NODE_SILENT
    gated = {**NOT_READY[0], "reason": "ReadinessGatesNotReady", "message": 'gate "x" does not exist'}
    assert message(server, conditions=[gated, *ready]) == 'a readiness gate keeps it: gate "x" does not exist'


def test_what_its_node_cannot_begin_with_is_told_when_it_has_been_so_for_long() -> None:
    """A missing volume, or no network: the status has nothing but that. Who pulls an image has begun."""
    conditions = [{"type": "PodScheduled", "status": "True"}, {"type": "PodReadyToStartContainers", "status": "False"}]
    raw = make_raw_pod(conditions=conditions, containerStatuses=[waiting("ContainerCreating")])
    assert unmade(raw)
    said = [runtime_pods([raw], stuck)[0].message for stuck in ((), ("uid-p1",))]
    assert said[0] == ""
    assert said[1].startswith("its containers cannot be made yet")
    assert not unmade(make_raw_pod(conditions=[conditions[0], {**conditions[1], "status": "True"}]))
    assert not unmade(make_raw_pod(conditions=conditions, phase="Failed"))


@pytest.mark.parametrize(
    ("reason", "said", "told"),
    [
        (
            "Evicted",
            "The node was low on resource: ephemeral-storage. Threshold quantity: 1, available: 2Ki. ",
            ": Evicted: The node was low on resource: ephemeral-storage",
        ),
        (
            "OutOfcpu",
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 100, used: 1900, capacity: 2000",
            ": OutOfcpu: Pod was rejected: Node didn't have enough resource: cpu",
        ),
        ("UnexpectedAdmissionError", "no healthy devices", ": UnexpectedAdmissionError: no healthy devices"),
        ("Evicted", 'exceeds the limit "64Mi". ', ': Evicted: exceeds the limit "64Mi"'),
        (None, None, ""),
    ],
)
def test_why_a_pod_failed_is_the_same_for_the_next(reason: str | None, said: str | None, told: str) -> None:
    """Without amounts: it is in the statuses of all who wait, for each pod of a loop."""
    older = make_raw_pod("p2", phase="Failed", reason="Shutdown")
    older["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    newer = make_raw_pod("p1", phase="Failed", reason=reason, message=said)
    newer["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    assert failure_of([newer, older]) == f"its last pod failed{told}"


def test_a_first_start_is_no_crash() -> None:
    """Nor is a container that is to run to its end, nor an adapter that has recovered while its server starts."""
    files = {"name": "wml-mlserver", "state": {"terminated": {"exitCode": 0}}, "ready": True}
    adapter = {"name": "adapter", "state": {"running": {}}, "lastState": {"terminated": KILLED}, "ready": True}
    assert message({"name": "triton", "state": {"running": {}}}, first=(files, adapter)) == ""
    adapter["ready"] = False
    assert message(first=(files, adapter)) == "container adapter ended with exit code 137 (OOMKilled)"
    failed = {"name": "wml-mlserver", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    assert message(first=(failed,)) == "container wml-mlserver ended with exit code 1"


def unscheduled(said: str | None) -> str:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    return message(conditions=[condition])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("0/1 nodes are available: 1 Insufficient memory.", "no node takes it: Insufficient memory"),
        (
            "0/9 nodes are available: 1 node(s) had untolerated taint {a.b/c: }, 8 Insufficient cpu, 8 Insufficient memory."
            " preemption: 0/9 nodes are available: 1 Preemption is not helpful for scheduling, 8 No preemption victims.",
            "no node takes it: Insufficient cpu, Insufficient memory, node(s) had untolerated taint {a.b/c: }",
        ),
        (
            "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
            " no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found.",
            "no node takes it: Insufficient nvidia.com/gpu",
        ),
        (
            '0/2 nodes are available: persistentvolumeclaim "files" not found.',
            'no node takes it: persistentvolumeclaim "files" not found',
        ),
        ("no nodes available to schedule pods", "no nodes available to schedule pods"),
        ("", "no node takes it"),
        (None, "no node takes it"),
    ],
)
def test_a_pod_that_finds_no_node_says_so_in_the_schedulers_words(said: str | None, told: str) -> None:
    """Whatever its containers do not do; what is short, and not how many nodes are."""
    assert unscheduled(said) == f"it cannot be scheduled: {told}"


def test_a_pod_that_nobody_schedules_says_so() -> None:
    """Somebody holds it back; while nobody has looked at it yet there is nothing to say."""
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "there are gates"}
    assert message(conditions=[gated]) == "it cannot be scheduled: SchedulingGated: there are gates"
    assert message(conditions=[{"type": "PodScheduled", "status": "False"}]) == ""


def test_what_is_short_is_the_same_however_many_nodes_are_short_of_it() -> None:
    """The scheduler sorts by its counts, as text; each change would be a write to all models that wait."""
    said = "0/{} nodes are available: {}."
    told = {
        unscheduled(said.format(5, "2 node(s) were unschedulable, 3 Insufficient cpu")),
        unscheduled(said.format(12, "10 Insufficient cpu, 2 node(s) were unschedulable")),
        unscheduled(
            said.format(5, "2 node(s) were unschedulable, 3 Insufficient cpu") + " preemption: 0/5 nodes: none"
        ),
    }
    assert len(told) == 1


def test_a_message_is_bounded() -> None:
    """A container runtime may say much."""
    assert len(message(waiting("ErrImagePull", "x" * 5000))) == 512


def test_a_pod_that_says_nothing_yet_is_no_trouble() -> None:
    """Just made: no status at all."""
    raw = make_raw_pod()
    del raw["status"]
    assert (pod_of(raw).message, len(runtime_pods([raw]))) == ("", 1)


def test_a_pod_that_cannot_be_read_is_there_and_says_why() -> None:
    """What is left of it says whose it is; it has no address."""
    (pod,) = runtime_pods([unreadable(make_raw_pod(podIP="10.0.0.7"), "odd")])
    assert (pod.uid, pod.runtime, pod.adapter, pod.message) == ("uid-p1", "triton-2.x", "", "odd")
