"""Statuses: one write a change, of the object that was decided about, and again when it did not arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from orchestrator.domain.errors import PlatformUnavailable
from orchestrator.domain.trained_model import ModelStatus, TrainedModel
from orchestrator.machinery.term import Term
from orchestrator.platform.kube.answers import ApiError
from orchestrator.platform.kube.api import KubeApi
from orchestrator.platform.kube.objects import read_model
from orchestrator.platform.kube.statuses import ATTEMPTS, StatusWriter
from tests.orchestrator.builders import make_condition, make_raw_model, make_status
from tests.orchestrator.platform.kube.fake_api import Answer, Call, FakeApi, Lost, fake_api
from tests.orchestrator.platform.kube.support import MODELS, NAMESPACE

FIRST = make_status(make_condition("Ready", "False", "Loading"), url="grpc://x", observed_generation=1)
SECOND = make_status(make_condition(), active="r", url="grpc://x", observed_generation=1)


def path(name: str) -> str:
    return f"{MODELS}/{name}"


@dataclass
class Bench:
    """A server with one model, and what the reflector has shown of it."""

    fake: FakeApi
    writer: StatusWriter = field(init=False)
    term: Term = field(default_factory=lambda: Term(1))
    shown: dict[str, TrainedModel] = field(default_factory=dict)

    def put(self, *, uid: str = "u") -> None:
        raw = make_raw_model("a")
        raw["metadata"]["uid"] = uid
        self.fake.store.put(path("a"), raw)

    def show(self) -> None:
        """The echo arrives."""
        self.shown = {"a": read_model(self.fake.store.get(path("a")))}

    async def write(self, status: ModelStatus, uid: str = "u") -> None:
        await self.writer.write_status("a", uid, status)

    @property
    def stored(self) -> ModelStatus:
        return read_model(self.fake.store.get(path("a"))).status

    @property
    def writes(self) -> int:
        return self.fake.verbs().count("merge")


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with fake_api() as fake, KubeApi(fake.url, timeout_s=5.0) as api:
        bench = Bench(fake)
        bench.writer = StatusWriter(api, namespace=NAMESPACE, shown=lambda name: bench.shown.get(name), term=bench.term)
        bench.put()
        bench.show()
        yield bench


async def test_one_write_a_change(bench: Bench) -> None:
    """Not for what is stored, whether the echo of it has come or not; not for what somebody else has stored."""
    await bench.write(FIRST)
    await bench.write(FIRST)
    assert (bench.stored, bench.writes) == (FIRST, 1)
    bench.show()
    await bench.write(FIRST)
    await bench.write(SECOND)
    # Before its echo: no conflict with ourselves.
    await bench.write(FIRST)
    assert (bench.stored, bench.writes) == (FIRST, 3)
    assert bench.fake.verbs() == ["merge"] * 3
    assert {call.path for call in bench.fake.calls} == {path("a") + "/status"}
    assert bench.fake.store.get(path("a"))["metadata"]["generation"] == 1


async def test_what_is_not_set_any_more_goes(bench: Bench) -> None:
    """A status is what was written last, not the sum of all."""
    await bench.write(SECOND)
    await bench.write(FIRST)
    assert bench.stored == FIRST
    assert "activeRevision" not in bench.fake.store.get(path("a"))["status"]


async def test_a_change_meanwhile_is_no_obstacle(bench: Bench) -> None:
    """Somebody has set a label: the same object, of a newer version. The label stays."""
    bench.fake.store.merge(path("a"), {"metadata": {"labels": {"x": "y"}}})
    await bench.write(FIRST)
    assert bench.stored == FIRST
    assert bench.fake.store.get(path("a"))["metadata"]["labels"] == {"x": "y"}


async def test_another_object_of_the_name_is_not_written_to(bench: Bench) -> None:
    """Whether that is known here or not; one that is gone is no error."""
    bench.fake.store.delete(path("a"))
    await bench.write(FIRST)
    bench.put(uid="second")
    await bench.write(FIRST)
    assert (bench.stored, bench.writes) == (ModelStatus(), 2)
    bench.show()
    await bench.write(FIRST)
    bench.shown.clear()
    await bench.write(FIRST)
    assert (bench.stored, bench.writes) == (ModelStatus(), 2)


@pytest.mark.parametrize("fault", [Answer(503, "away"), Answer(429, "slowly"), Lost(done=False), Lost(done=True)])
async def test_what_did_not_arrive_is_written_later(bench: Bench, fault: Answer | Lost) -> None:
    """Who asked is told so and comes again; whatever was done of it."""
    bench.fake.once(fault, "merge")
    with pytest.raises(PlatformUnavailable, match="status of a"):
        await bench.write(FIRST)
    await bench.write(FIRST)
    assert bench.stored == FIRST


@pytest.mark.parametrize(("headers", "seconds"), [({"Retry-After": "7"}, 7.0), ({}, 0.0)])
async def test_a_server_that_asks_to_be_left_alone_is(bench: Bench, headers: dict[str, str], seconds: float) -> None:
    """Who asked is told for how long."""
    bench.fake.once(Answer(429, "slowly", headers=headers), "merge")
    with pytest.raises(PlatformUnavailable) as caught:
        await bench.write(FIRST)
    assert caught.value.retry_after_s == seconds


async def test_what_may_have_arrived_is_not_taken_for_what_was_there(bench: Bench) -> None:
    """The answer was lost, and what was stored before is wanted again."""
    await bench.write(FIRST)
    bench.show()
    bench.fake.once(Lost(done=True), "merge")
    with pytest.raises(PlatformUnavailable):
        await bench.write(SECOND)
    await bench.write(FIRST)
    assert bench.stored == FIRST


async def test_a_status_that_is_refused_is_an_error(bench: Bench) -> None:
    """Nothing comes of trying again, and somebody should see it."""
    bench.fake.once(Answer(422, "no"), "merge")
    with pytest.raises(ApiError):
        await bench.write(FIRST)


async def test_a_status_that_cannot_be_stored_at_all_is_not_taken_for_stored(bench: Bench) -> None:
    """Its definition has no status subresource: the same answer as for an object that is gone, but this one is there."""
    bench.fake.meet = lambda call: Answer(404, "not found") if call.path.endswith("/status") else None
    for _ in range(2):
        with pytest.raises(PlatformUnavailable, match=r"status of a: .* no status subresource: apply manifests/"):
            await bench.write(FIRST)
    bench.fake.meet = lambda _: None
    await bench.write(FIRST)
    assert bench.stored == FIRST


async def test_who_is_always_faster_is_waited_for(bench: Bench) -> None:
    """A few attempts, then the queue's turn."""
    number = 0

    def label(call: Call) -> None:
        nonlocal number
        if call.verb == "merge":
            number += 1
            bench.fake.store.merge(path("a"), {"metadata": {"labels": {"n": str(number)}}})

    bench.fake.meet = label
    with pytest.raises(PlatformUnavailable, match="409"):
        await bench.write(FIRST)
    assert bench.writes == ATTEMPTS


async def test_memory_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest write is forgotten: it is the echo's then to tell."""
    monkeypatch.setattr("orchestrator.platform.kube.statuses.MEMORY", 1)
    for name in ("b", "c"):
        bench.fake.store.put(path(name), make_raw_model(name))
        bench.shown[name] = read_model(bench.fake.store.get(path(name)))
        await bench.writer.write_status(name, f"uid-{name}", replace(FIRST, runtime=name))
    assert len(bench.writer._written) == 1


async def test_whoever_leads_no_more_writes_nothing(bench: Bench) -> None:
    """Neither at first, nor over what a later leader wrote while the answer was on its way."""

    def overtaken(call: Call) -> None:
        if call.verb == "merge":
            bench.fake.meet = lambda _: None
            raw = bench.fake.store.get(path("a"))
            bench.fake.store.put(path("a"), {**raw, "status": {"url": "grpc://later"}})
            bench.term.hear(2, "a pod")

    bench.fake.meet = overtaken
    for _ in range(2):
        with pytest.raises(PlatformUnavailable, match="does not lead any more"):
            await bench.write(FIRST)
    assert bench.fake.verbs() == ["merge"]
    assert bench.stored.url == "grpc://later"
