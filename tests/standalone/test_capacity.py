"""
More models than memory: all are READY, what is asked for comes back, the least recently used goes.
"""

from __future__ import annotations

from tests.standalone.client import Client
from tests.standalone.manifests import serving_runtime, trained_model
from tests.standalone.models import Models
from tests.standalone.stack import Stack
from tests.standalone.waiting import wait_until

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

    # Only who is not loaded is asked: of requests to a warm model the controller does not know.
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


def ready_since(stack: Stack, name: str) -> str:
    """When Ready last changed."""
    document = stack.get(name)
    assert document is not None
    since: str = next(c["lastTransitionTime"] for c in document["status"]["conditions"] if c["type"] == "Ready")
    return since
