"""
More models than memory: all are READY, what is asked for comes back, the least recently used goes.
"""

from __future__ import annotations

from typing import Any

from tests.standalone.client import Client
from tests.standalone.manifests import serving_runtime, trained_model
from tests.standalone.models import Models
from tests.standalone.stack import Stack
from tests.standalone.waiting import wait_until
from tests.standalone.witness import Witness

RUNTIME = "room-for-two"


def reserved(stack: Stack, name: str) -> int:
    """The bytes that its loaded copies take."""
    document = stack.get(name)
    assert document is not None
    return sum(c["reservedBytes"] for c in document["live"]["copies"] if c["state"] == "Loaded")


def test_three_models_share_room_for_two(
    line: dict[str, str], shared: Stack, client: Client, models: Models, name: str
) -> None:
    """
    All three are READY (Loaded or Standby), each answers rightly whenever it is asked, and READY never flaps.

    A request to the one on standby evicts the one that was asked for longest ago; a readiness question loads nothing.
    """
    names = [f"{name}-{number}" for number in range(3)]
    probe = trained_model(name, models.uri("padded-0.joblib"), "sklearn")
    shared.apply(probe)
    shared.wait_ready(name)
    size = reserved(shared, name)
    shared.apply(serving_runtime(RUNTIME, "mlserver", ["sklearn"], memory=str(size * 5 // 2)))
    for number, each in enumerate(names):
        shared.apply(trained_model(each, models.uri(f"padded-{number}.joblib"), "sklearn", runtime=RUNTIME))
    shared.wait_ready(*names)

    def loaded() -> set[str]:
        return {each for each in names if reserved(shared, each)}

    wait_until(lambda: len(loaded()) == 2, lambda: f"loaded: {loaded()}")
    transitions = {each: ready_since(shared, each) for each in names}
    for turn in range(2):
        for number, each in enumerate(names):
            answer = client.classes(each, models.probes[:5])
            assert list(answer) == list(models.probe_labels[:5] + 100 * number), (turn, each)
            assert {shared.condition(other).status for other in names} == {"True"}

    # Only who is not loaded is asked: of requests to a warm model the controller hears seconds later.
    asked: list[str] = []
    for _ in range(4):
        standby = wait_until(lambda: set(names) - loaded(), "all three are loaded").pop()
        assert client.triton.is_model_ready(standby) is True
        assert standby not in loaded(), "a readiness question loaded it"
        client.classes(standby, models.probes[:1])
        asked.append(standby)
        wait_until(lambda: asked[-1] in loaded() and len(loaded()) == 2, lambda: f"asked {asked}, loaded {loaded()}")
    assert loaded() == set(asked[-2:]), f"asked: {asked}"
    assert {each: ready_since(shared, each) for each in names} == transitions, "READY flapped"
    shared.delete(*names)
    for each in names:
        shared.wait_gone(each)
    shared.remove(f"servingruntime-{RUNTIME}.yaml")


def test_what_is_asked_for_all_the_time_is_not_what_leaves(
    line: dict[str, str], shared: Stack, models: Models, name: str
) -> None:
    """Though its requests come by no controller: of three in the room for two, the two that are asked now and then."""
    probe = trained_model(name, models.uri("padded-0.joblib"), "sklearn")
    shared.apply(probe)
    shared.wait_ready(name)
    runtime = f"{RUNTIME}-warm"
    shared.apply(serving_runtime(runtime, "mlserver", ["sklearn"], memory=str(reserved(shared, name) * 5 // 2)))
    hot, *others = (f"{name}-{number}" for number in range(3))
    for number, each in enumerate((hot, *others)):
        shared.apply(trained_model(each, models.uri(f"padded-{number}.joblib"), "sklearn", runtime=runtime))
    shared.wait_ready(hot, *others)
    probes, labels = models.probes, models.probe_labels
    with (
        Witness(shared.target, (hot,), probes, labels, rate=20) as witness,
        Witness(shared.target, others, probes, labels, rate=0) as now_and_then,
    ):
        witness.heard(hot, 0)
        # Envoys report every ten seconds, and nothing of a cluster's first interval.
        wait_until(lambda: live(shared, hot)["requestsPerSecond"] > 10, lambda: f"{live(shared, hot)}", within=40)
        loads = live(shared, hot)["copies"]
        for turn in range(3):
            for number, each in enumerate(others, start=1):
                assert now_and_then.ask(each)().number == number
                assert live(shared, hot)["copies"] == loads, turn
        assert live(shared, hot)["idleSeconds"] < 1
    witness.check()
    now_and_then.check()
    shared.delete(name, hot, *others)
    for each in (name, hot, *others):
        shared.wait_gone(each)
    shared.remove(f"servingruntime-{runtime}.yaml")


def test_a_change_that_does_not_fit_beside_the_version_before_is_no_dead_end(
    line: dict[str, str], shared: Stack, client: Client, models: Models, name: str
) -> None:
    """
    The version before serves, and UpToDate says why.

    It leaves for another model like any, and the change takes its place when it is asked for.
    """
    probe = trained_model(name, models.uri("padded-0.joblib"), "sklearn")
    shared.apply(probe)
    shared.wait_ready(name)
    runtime, changed, other = "room-for-one-and-a-half", f"{name}-changed", f"{name}-other"
    shared.apply(serving_runtime(runtime, "mlserver", ["sklearn"], memory=str(reserved(shared, name) * 3 // 2)))
    shared.apply(trained_model(changed, models.uri("padded-0.joblib"), "sklearn", runtime=runtime))
    shared.wait_ready(changed)
    shared.apply(trained_model(changed, models.uri("padded-1.joblib"), "sklearn", runtime=runtime))
    wait_until(
        lambda: (
            f"waits for room: {models.uri('padded-1.joblib')}: needs" in shared.condition(changed, "UpToDate").message
        ),
        lambda: f"{shared.condition(changed, 'UpToDate')}",
    )

    def answers(model: str) -> int:
        return int(client.classes(model, models.probes[:1])[0] - models.probe_labels[0])

    assert answers(changed) == 0
    shared.apply(trained_model(other, models.uri("padded-2.joblib"), "sklearn", runtime=runtime))
    shared.wait_ready(other)
    shared.wait_ready(changed)
    for _ in range(2):
        wait_until(lambda: answers(changed) == 100, lambda: f"{shared.condition(changed, 'UpToDate')}")
        assert answers(other) == 200
    assert shared.condition(changed, "UpToDate").status == "True"
    shared.delete(name, changed, other)
    for each in (name, changed, other):
        shared.wait_gone(each)
    shared.remove(f"servingruntime-{runtime}.yaml")


def live(stack: Stack, name: str) -> dict[str, Any]:
    """Its live state."""
    document = stack.get(name)
    assert document is not None
    state: dict[str, Any] = document["live"]
    return state


def ready_since(stack: Stack, name: str) -> str:
    """When Ready last changed."""
    conditions = stack.status(name)["conditions"]
    since: str = next(c["lastTransitionTime"] for c in conditions if c["type"] == "Ready")
    return since
