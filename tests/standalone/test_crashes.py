"""
SIGKILL of each process in turn, under traffic: what clients get in those seconds, and what comes back.

Lost is what the contract names: what a killed process had in its hands, and what
meets a port that nobody listens on while the only Envoy is started again.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Collection
from contextlib import suppress
from functools import partial

import grpc
import psutil
import pytest

from tests.standalone.faults import BACK_S, TURNS, WARM, kill, moves, standby, wait_started_again, wait_warm
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.processes import Process, frozen
from tests.standalone.servers import envoy_says
from tests.standalone.stack import Stack
from tests.standalone.waiting import holds_for, wait_until
from tests.standalone.watch import watching
from tests.standalone.witness import Witness


@pytest.mark.parametrize("role", ["controller", "adapter", "activator"])
def test_what_is_beside_the_way_is_not_missed(battered: Stack, models: Models, turns: Witness, role: str) -> None:
    """
    No request to a warm model fails, none is unloaded or loaded again, and READY stays True.

    A cold request that is sent while it is away is answered in the end.
    """
    cold, before = standby(battered), battered.processes(role)
    moved = moves(battered)
    with watching(battered, models, *WARM) as watch:
        wait_warm(watch)
        killed = kill(*before)
        answer = turns.ask(cold)
        wait_started_again(battered, before)
        assert answer().code is grpc.StatusCode.OK, answer()
        battered.wait_ready(*WARM, *TURNS)
        wait_warm(watch)
    assert moves(battered) == moved
    watch.readiness.check(*WARM, *TURNS, since=killed.start)
    assert {name: watch.witness.phases(name) for name in WARM} == {name: [n] for name, n in WARM.items()}


@pytest.mark.parametrize(("role", "name"), [("mlserver", "warm-sklearn"), ("triton", "warm-onnx")])
def test_models_of_a_server_come_back_with_it(
    battered: Stack, models: Models, turns: Witness, role: str, name: str
) -> None:
    """
    What comes after the kill waits and is answered; READY is False until then, and the other server's models go on.

    So is one request to a model that stands by: MLServer is what would have loaded it.
    """
    cold, before = standby(battered), battered.processes(role)
    with watching(battered, models, *WARM) as watch:
        wait_warm(watch)
        killed = kill(*before)
        watch.excuse(killed, name)
        # Triton is back in two seconds: what was said meanwhile is on record.
        wait_until(
            lambda: watch.readiness.denied(name, "RuntimeUnavailable", since=killed.start),
            "READY is True without a server",
        )
        answer = turns.ask(cold)
        wait_started_again(battered, before)
        assert answer().code is grpc.StatusCode.OK, answer()
        battered.wait_ready(*WARM, *TURNS)
        wait_warm(watch)
    watch.readiness.check(*(WARM.keys() - {name}), since=killed.start)


@pytest.mark.parametrize("role", ["controller", "adapter"])
def test_change_is_made_whoever_dies_over_it(battered: Stack, models: Models, role: str) -> None:
    """
    Killed while both warm models are being changed: no request is lost, and the answer changes once.

    An adapter that dies does not know how far its server came; the server goes on.
    """
    before, downloaded = battered.processes(role), moves(battered)["copy_downloaded"]
    with watching(battered, models, *WARM) as watch:
        wait_warm(watch)
        change(battered, models, by=10)
        wait_until(lambda: moves(battered)["copy_downloaded"] > downloaded, "no change is begun", poll=0.01)
        killed = kill(*before)
        wait_started_again(battered, before)
        wait_until(lambda: up_to_date(battered, models, by=10), "the change is not made", within=BACK_S)
        for name, number in WARM.items():
            watch.witness.heard(name, number + 10)
        change(battered, models, by=0)
        wait_warm(watch)
        wait_until(lambda: up_to_date(battered, models, by=0), "it is not changed back", within=BACK_S)
    watch.readiness.check(*WARM, since=killed.start)
    for name, number in WARM.items():
        assert watch.witness.phases(name) == [number, number + 10, number], name


def test_load_outlives_its_adapter(battered: Stack, models: Models) -> None:
    """
    Triton goes on with the load of an adapter that died, and begins the next one's only then.

    So there are two in a row, of which the first one's process ends as the second one's takes its place: READY stays
    True, and the model is not loaded a third time.
    """
    before, told = battered.processes("adapter"), battered.text()
    with watching(battered, models, *WARM) as watch:
        wait_warm(watch)
        serving = wait_until(lambda: only_stub(battered), "a process that was replaced does not end")
        change(battered, models, by=10)
        begun = wait_until(lambda: stopped(stubs(battered) - serving), "Triton does not begin to load", poll=0.005)
        with frozen(*begun):
            killed = kill(*before)
            wait_until(
                lambda: battered.text().count('"adapter_started"') == told.count('"adapter_started"') + len(before),
                "the adapters are not started again",
                within=BACK_S,
            )
            # It meets its server meanwhile, and asks it for a load of its own.
            holds_for(lambda: battered.condition("warm-onnx").status == "True", "READY is not True", seconds=1.5)
        wait_until(lambda: up_to_date(battered, models, by=10), "the change is not made", within=BACK_S)
        wait_until(lambda: only_stub(battered), "the process that was replaced does not end")
        change(battered, models, by=0)
        wait_until(lambda: up_to_date(battered, models, by=0), "it is not changed back", within=BACK_S)
        wait_warm(watch)
    watch.readiness.check(*WARM, since=killed.start)
    assert '"copy_broken"' not in battered.text()[len(told) :]
    for name, number in WARM.items():
        assert watch.witness.phases(name) == [number, number + 10, number], name


def stubs(stack: Stack) -> frozenset[Process]:
    """The processes of Triton's that run the warm model, or prepare to."""
    return frozenset(p for p in stack.processes("stub") if "/warm-onnx/" in p.command)


def only_stub(stack: Stack) -> frozenset[Process]:
    """The one that runs it, while there is no other."""
    found = stubs(stack)
    return found if len(found) == 1 else frozenset()


def stopped(found: Collection[Process]) -> list[Process]:
    """Those that go no further from now on: the first process of a load only completes a configuration, and soon ends."""
    for each in found:
        with suppress(psutil.NoSuchProcess):
            each.send(signal.SIGSTOP)
    return [each for each in found if each.alive]


def change(stack: Stack, models: Models, *, by: int) -> None:
    """Make each warm model the prober that is so many further."""
    stack.apply(
        *(trained_model(name, warm_uri(models, name, by), name.removeprefix("warm-")) for name in WARM),
    )


def up_to_date(stack: Stack, models: Models, *, by: int) -> bool:
    """Whether the status says that the change is made."""
    listed = stack.listed()
    return all(
        listed[name]["status"]["activeStorageUri"] == warm_uri(models, name, by)
        and stack.condition(name, "UpToDate").status == "True"
        for name in WARM
    )


def warm_uri(models: Models, name: str, by: int) -> str:
    """Where the prober is that the warm model is then."""
    suffix = {"warm-sklearn": "joblib", "warm-onnx": "onnx"}[name]
    return models.uri(f"probe-{WARM[name] + by}.{suffix}")


def test_envoy_comes_back_with_its_routes(battered: Stack, models: Models, turns: Witness) -> None:
    """New requests fail as UNAVAILABLE until it is back, no later ones do, and nothing is loaded anew."""
    before, cold = battered.processes("envoy"), standby(battered)
    moved = moves(battered)
    with watching(battered, models, *WARM) as watch:
        wait_warm(watch)
        killed = kill(*before)
        wait_started_again(battered, before)
        wait_warm(watch)
        watch.excuse_away(killed)
        answer = turns.ask(cold)
        assert answer().code is grpc.StatusCode.OK, answer()
    assert moves(battered) == moved
    watch.readiness.check(*WARM, *TURNS, since=killed.start)


def test_everything_at_once(battered: Stack, models: Models) -> None:
    """All but the supervisor are killed: all come back, and from Envoy's return on no request is lost."""
    before = [
        battered.processes(role) for role in ("controller", "activator", "envoy", "adapter", "triton", "mlserver")
    ]
    # What is sent when Envoy has just come back waits for the servers, too.
    with watching(battered, models, *WARM, deadline=90.0) as watch:
        wait_warm(watch)
        killed = kill(*(process for processes in before for process in processes))
        for processes in before:
            wait_started_again(battered, processes)
        wait_warm(watch)
        watch.excuse_away(killed, within=BACK_S)
    battered.wait_ready(*WARM, *TURNS)


def test_envoy_that_lost_its_port_meanwhile_comes_back(battered: Stack, models: Models) -> None:
    """
    Somebody listens on its port after it was started again and before it has its routes: it is not left as it is.

    It cannot have the port as long as that lasts, and has it soon afterwards.
    """
    before = battered.processes("envoy")
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with frozen(battered.process("controller")):
            kill(*before)
            wait_started_again(battered, before)
            # It answers when its port is bound; what is bound only can be bound again.
            wait_until(lambda: b"INITIALIZING" in envoy_says(battered, "/ready"), "Envoy does not come up")
            rival.bind(("127.0.0.1", battered.grpc_port))
            rival.listen(1)
        wait_until(lambda: '"envoy_without_listener"' in battered.text(), "it is not noticed")
    with Witness(battered.target, tuple(WARM), models.probes, models.probe_labels, rate=0) as witness:
        for name, number in WARM.items():
            wait_until(partial(answers, witness, name, number), f"no way in to {name}", within=BACK_S)


def answers(witness: Witness, name: str, number: int) -> bool:
    """Whether the model answers now, as this prober."""
    return witness.ask(name)().number == number
