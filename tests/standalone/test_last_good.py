"""
After a change that failed: whatever dies or leaves memory, what comes back is the version before, and not the one that failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

import grpc
import pytest

from tests.log_lines import events
from tests.standalone.faults import BACK_S, SMALL, TURNS, WARM, kill, standby, wait_started_again
from tests.standalone.liar import Liar
from tests.standalone.manifests import Document, trained_model
from tests.standalone.models import Models
from tests.standalone.stack import Condition, Stack
from tests.standalone.store import Store
from tests.standalone.waiting import wait_until
from tests.standalone.watch import Watch, watching
from tests.standalone.witness import Witness

ALL: Final = ("controller", "activator", "envoy", "adapter", "triton", "mlserver")
#: Model → the prober that it was before its change, for those that stay in memory; and of all, the file.
GOOD: Final = {**WARM, "denied": 3, "misplaced": 4, "moved": 5}
FILES: Final = {
    "warm-sklearn": "probe-1.joblib",
    "warm-onnx": "probe-2.onnx",
    "denied": "probe-3.joblib",
    "misplaced": "probe-4.onnx",
    "moved": "probe-5.joblib",
    "turn-0": "padded-0.joblib",
    "turn-1": "padded-1.joblib",
}
#: Model → why its change fails.
REASONS: Final = {
    "warm-sklearn": "ModelNotFound",
    "warm-onnx": "ModelLoadFailed",
    "denied": "StorageAccessDenied",
    "misplaced": "InvalidModelLayout",
    "moved": "ModelLoadFailed",
    "turn-0": "ModelNotFound",
    "turn-1": "ModelLoadFailed",
}


@pytest.fixture(scope="module")
def outdated(battered: Stack, store: Store, models: Models) -> Iterator[Stack]:
    """Each model has been changed, and no change works: no object, garbage, a key that is refused, a wrong layout, another framework."""
    good = before(models)
    battered.apply(*good.values())
    battered.wait_ready(*good)
    battered.secret(locked=store.entry(secret_access_key="a-wrong-secret-0123456789"))
    nothing, folder = models.uri("outdated/nothing"), models.uri("outdated/layout")
    garbage = {
        suffix: store.put(models.uri(f"outdated/model.{suffix}"), b"this is no model\n" * 10)
        for suffix in ("joblib", "onnx")
    }
    store.put(f"{folder}/config.pbtxt", b"{ [ \n")
    battered.apply(
        trained_model("warm-sklearn", nothing, "sklearn"),
        trained_model("warm-onnx", garbage["onnx"], "onnx"),
        trained_model("denied", models.uri("probe-6.joblib"), "sklearn", key="locked"),
        trained_model("misplaced", folder, "onnx"),
        trained_model("moved", garbage["onnx"], "onnx"),
        trained_model("turn-0", nothing, "sklearn", runtime=SMALL),
        trained_model("turn-1", garbage["joblib"], "sklearn", runtime=SMALL),
    )
    wait_outdated(battered)
    yield battered
    battered.apply(*good.values())
    battered.delete(*(GOOD.keys() - WARM.keys()))
    battered.secret(locked=None)
    battered.wait_ready(*WARM, *TURNS)


def before(models: Models) -> dict[str, Document]:
    """The models as they were before the change."""
    return {
        name: trained_model(
            name,
            models.uri(file),
            "onnx" if file.endswith(".onnx") else "sklearn",
            runtime=SMALL if name in TURNS else "",
        )
        for name, file in FILES.items()
    }


def wait_outdated(stack: Stack) -> None:
    """The version before serves, the changed one has failed, and the status says both."""

    def otherwise() -> dict[str, tuple[Condition, Condition]]:
        said = {name: (stack.condition(name), stack.condition(name, "UpToDate")) for name in REASONS}
        return {
            name: (ready, current)
            for name, (ready, current) in said.items()
            if (ready.status, current.status, current.reason) != ("True", "False", REASONS[name])
        }

    wait_until(lambda: not otherwise(), lambda: f"{otherwise()}", within=BACK_S)


def wait_good(watch: Watch) -> None:
    """Each answers now, as it was before."""
    for name, number in GOOD.items():
        watch.witness.heard(name, number, times=4, within=BACK_S)


def patiently_watching(stack: Stack, models: Models, *names: str) -> AbstractContextManager[Watch]:
    """Asks so seldom, and waits so long, that all is held while servers start: 800 for one model, 1,000 in all at most."""
    return watching(stack, models, *names, rate=5.0 * len(names), deadline=BACK_S)


def nothing_else(watch: Watch) -> bool:
    """Whether no other version has ever answered."""
    return {name: watch.witness.phases(name) for name in GOOD} == {name: [n] for name, n in GOOD.items()}


@pytest.mark.parametrize("roles", [("controller",), ("adapter",), ("triton", "mlserver"), ALL], ids="-".join)
def test_version_before_comes_back_after_a_crash(outdated: Stack, models: Models, roles: tuple[str, ...]) -> None:
    """Of each process, and of all: the first answer afterwards is the version before's, and so is every other."""
    processes = [outdated.processes(role) for role in roles]
    with watching(outdated, models, *GOOD, deadline=90.0) as watch:
        wait_good(watch)
        killed = kill(*(process for each in processes for process in each))
        if "envoy" in roles:
            # Its routes come from a controller that has to start as well.
            watch.excuse_away(killed, within=BACK_S)
        elif "triton" in roles:
            watch.excuse(killed, *GOOD)
        for each in processes:
            wait_started_again(outdated, each)
        wait_good(watch)
        wait_outdated(outdated)
    assert nothing_else(watch)


def test_version_before_comes_back_after_a_restart_of_everything(outdated: Stack, models: Models) -> None:
    """The stack is ended, and started again on the same STATE."""
    assert outdated.stop() == 0
    outdated.start()
    with patiently_watching(outdated, models, *GOOD) as watch:
        wait_good(watch)
        wait_outdated(outdated)
        wait_good(watch)
    assert nothing_else(watch)


def test_version_before_comes_back_from_standby(outdated: Stack, turns: Witness) -> None:
    """There is room for one of the two: each comes back cold, twice, and says so of itself that it is not up to date."""
    first = standby(outdated)
    other = next(name for name in TURNS if name != first)
    for cold in (first, other, first, other):
        wait_until(partial(stands_by, outdated, cold), f"{cold} does not leave")
        answer = turns.ask(cold)()
        assert (answer.code, answer.number) == (grpc.StatusCode.OK, TURNS.index(cold)), answer
        wait_outdated(outdated)


def test_version_before_is_not_kept_waiting_by_another_try_of_the_changed_one(
    battered: Stack, liar: Liar, models: Models, turns: Witness
) -> None:
    """It stands by, and the store takes for ever over the change, which has failed before: a request is answered."""
    liar.buckets["stalls"] = {"model.joblib": b"this is no model\n" * 10}
    battered.secret(liar=liar.entry)
    first, second = TURNS
    battered.apply(trained_model(first, "s3://stalls/model.joblib", "sklearn", key="liar", runtime=SMALL))
    wait_until(
        lambda: battered.condition(first, "UpToDate").reason == "ModelLoadFailed",
        lambda: f"{battered.condition(first, 'UpToDate')}",
    )
    liar.stalled.add("stalls")
    # From here on any try is one that does not end, also one that begins before it stands by.
    tried = liar.fetched["stalls"]
    assert turns.ask(second)().number == 1
    wait_until(partial(stands_by, battered, first), f"{first} does not leave")
    wait_until(lambda: liar.fetched["stalls"] > tried, "it is not tried again", within=60)
    answer = turns.ask(first)()
    assert (answer.code, answer.number) == (grpc.StatusCode.OK, 0), answer
    liar.release()
    battered.apply(before(models)[first])
    battered.secret(liar=None)
    battered.wait_ready(*TURNS)


def stands_by(stack: Stack, name: str) -> bool:
    """Whether it is this one of the two that is not in memory."""
    return standby(stack) == name


def test_version_before_is_loaded_first_although_the_changed_one_would_load_by_now(
    battered: Stack, store: Store, models: Models
) -> None:
    """
    The servers die just after the change has failed, and while nobody serves what it asks for becomes a good model.

    The servers are given the version before first all the same, and the changed one takes over from it as after any change.
    """
    versions = {"mended-sklearn": ("joblib", 6, 8), "mended-onnx": ("onnx", 7, 9)}
    uris = {name: models.uri(f"outdated/{name}.{suffix}") for name, (suffix, _, _) in versions.items()}
    frameworks = {name: name.removeprefix("mended-") for name in versions}
    battered.apply(
        *(
            trained_model(name, models.uri(f"probe-{old}.{suffix}"), frameworks[name])
            for name, (suffix, old, _) in versions.items()
        )
    )
    battered.wait_ready(*versions)
    servers = battered.processes("triton", "mlserver")
    with patiently_watching(battered, models, *versions) as watch:
        for name, (_, old, _) in versions.items():
            watch.witness.heard(name, old)
            store.put(uris[name], b"this is no model\n" * 10)
        battered.apply(*(trained_model(name, uris[name], frameworks[name]) for name in versions))
        wait_until(
            lambda: all(battered.condition(name, "UpToDate").reason == "ModelLoadFailed" for name in versions),
            "the change does not fail",
        )
        before = {name: loads(battered, name) for name in versions}
        killed = kill(*servers)
        watch.excuse(killed, *versions)
        # A try of the changed one that is under way, if there is one, ends with its server. Nothing is tried until there is another.
        wait_until(
            lambda: all(watch.readiness.denied(name, since=killed.end) for name in versions),
            "nobody says that the servers are gone",
        )
        for name, (suffix, _, new) in versions.items():
            store.put(uris[name], models.file(f"probe-{new}.{suffix}"))
        for name, (_, _, new) in versions.items():
            watch.witness.heard(name, new, within=BACK_S)
    for name, (_, old, new) in versions.items():
        assert watch.witness.phases(name) == [old, new], name
        # What was held until there was a server may be answered by either: the one follows the other in milliseconds.
        wait_until(
            partial(loaded_since, battered, name, before[name]), f"{name} was not loaded so, after {before[name]}"
        )
    battered.delete(*versions)
    for name in versions:
        battered.wait_gone(name)


def test_version_before_comes_back_while_the_changed_one_is_fetched_for_the_other_server(
    battered: Stack, liar: Liar, models: Models
) -> None:
    """Its own server dies meanwhile: a download may take for ever, and the version before is loaded in a moment."""
    liar.buckets["stalls"] = {"model.onnx": models.file("probe-7.onnx").read_bytes()}
    liar.stalled.add("stalls")
    battered.secret(liar=liar.entry)
    battered.apply(trained_model("moves", models.uri("probe-6.joblib"), "sklearn"))
    battered.wait_ready("moves")
    servers = battered.processes("mlserver")
    with patiently_watching(battered, models, "moves") as watch:
        watch.witness.heard("moves", 6)
        battered.apply(trained_model("moves", "s3://stalls/model.onnx", "onnx", key="liar"))
        wait_until(lambda: liar.fetched["stalls"], "the changed one is not fetched")
        watch.excuse(kill(*servers), "moves")
        watch.witness.heard("moves", 6, within=BACK_S)
        wait_until(
            lambda: (said := battered.condition("moves", "UpToDate")).status == "Unknown" and said.reason == "Loading",
            lambda: f"{battered.condition('moves', 'UpToDate')}",
        )
        liar.release()
        watch.witness.heard("moves", 7, within=BACK_S)
    assert watch.witness.phases("moves") == [6, 7]
    battered.delete("moves")
    battered.wait_gone("moves")
    battered.secret(liar=None)


def loads(stack: Stack, name: str) -> list[str]:
    """The revisions of the model that any server has loaded, one after the other, as the adapters say it."""
    said = (line for line in events(stack.text()) if line["event"] == "copy_loaded")
    return [line["revision"] for line in said if line["trained_model"] == name]


def loaded_since(stack: Stack, name: str, before: Sequence[str]) -> bool:
    """Whether what was loaded after all that is the version before, once, and then what serves."""
    return loads(stack, name) == [*before, before[-1], stack.status(name)["activeRevision"]]
