"""The built-in runtimes, as a leader has them there before it delivers anything."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from orchestrator.platform.builtin import builtin_manifests
from orchestrator.platform.kube import source as source_module
from tests.orchestrator.platform.kube.fake_api import Answer, Call
from tests.orchestrator.platform.kube.sourcing import MLSERVER, RUNTIMES, TRITON, Bench
from tests.orchestrator.waiting import eventually


async def test_a_builtin_runtime_that_is_deleted_comes_back(bench: Bench) -> None:
    """As a new object, and nobody is told meanwhile that there is none; a disabled one stays disabled."""
    async with bench.leading() as sink:
        uid = sink.runtimes[TRITON].uid
        seen: set[bool] = set()
        bench.fake.store.delete(f"{RUNTIMES}/{TRITON}")

        def back() -> bool:
            seen.add(TRITON in sink.runtimes)
            return sink.runtimes[TRITON].uid != uid

        await eventually(back)
        assert seen == {True}
        bench.fake.store.merge(f"{RUNTIMES}/{TRITON}", {"spec": {"disabled": True}})
        await eventually(lambda: bool(sink.runtimes[TRITON].unused))
    async with bench.leading() as sink:
        assert sink.runtimes[TRITON].unused == "spec.disabled is true"


async def test_an_api_server_that_is_away_is_waited_for_before_the_first_delivery(bench: Bench) -> None:
    """Without the built-in runtimes models would be told that there are none."""
    bench.fake.once(Answer(503, "away"), "apply")
    async with bench.leading() as sink:
        assert sink.runtimes.keys() == {TRITON, MLSERVER}


async def test_a_webhook_that_is_down_stops_no_leader(bench: Bench) -> None:
    """An API server answers 500 for as long as it is; what is there already serves as it is."""
    async with bench.leading():
        pass
    bench.fake.meet = lambda call: Answer(500, "failed calling webhook") if call.verb == "apply" else None
    async with bench.leading() as sink:
        assert sink.runtimes.keys() == {TRITON, MLSERVER}


async def test_a_webhook_that_is_down_keeps_no_leader_from_the_other_runtimes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is missing is absent after a moment; it is made when that is possible, without a new leader."""
    monkeypatch.setattr(source_module, "PATIENCE_S", 0.1)
    monkeypatch.setattr(source_module, "REFUSED_S", 0.05)
    bench.fake.store.put(f"{RUNTIMES}/{MLSERVER}", {**builtin_manifests()[MLSERVER], "metadata": {"name": MLSERVER}})
    down = True

    def fail(call: Call) -> Answer | None:
        return Answer(500, "failed calling webhook") if down and call.verb == "apply" else None

    bench.fake.meet = fail
    async with bench.leading() as sink:
        assert sink.runtimes.keys() == {MLSERVER}
        down = False
        await eventually(lambda: sink.runtimes.keys() == {TRITON, MLSERVER})


async def test_a_builtin_runtime_that_is_refused_stops_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said once, and tried again after a while."""
    monkeypatch.setattr(source_module, "REFUSED_S", 0.05)
    refusing = True

    def refuse(call: Call) -> Answer | None:
        return Answer(403, "no") if refusing and call.verb == "apply" else None

    bench.fake.meet = refuse
    with capture_logs() as lines:
        async with bench.leading() as sink:
            assert sink.runtimes == {}
            await eventually(lambda: bench.fake.verbs().count("apply") > 4)
            refusing = False
            await eventually(lambda: sink.runtimes.keys() == {TRITON, MLSERVER})
    assert [line["event"] for line in lines].count("builtin_runtime_refused") == 2
