"""
A model that is changed while it is asked: no request fails, the answer changes once, and never back.

Version n of a model is prober n: each answer says which version gave it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from tests.log_lines import events
from tests.standalone.manifests import Document, trained_model
from tests.standalone.models import Models
from tests.standalone.servers import indexed, runtime_of
from tests.standalone.stack import Condition, Stack
from tests.standalone.store import Store
from tests.standalone.waiting import wait_until
from tests.standalone.watch import watching

SUFFIX = {"sklearn": "joblib", "onnx": "onnx"}
#: What the logs have once for each load that nothing was wrong with.
TRY: Final = ("load_commanded", "copy_downloaded", "copy_loaded")


@pytest.fixture(params=sorted(SUFFIX))
def framework(request: pytest.FixtureRequest) -> str:
    """One for each server."""
    given: str = request.param
    return given


@pytest.fixture
def version(models: Models, name: str, framework: str) -> Callable[[int], Document]:
    """The model in its version of that number."""
    return lambda number: trained_model(name, models.uri(f"probe-{number}.{SUFFIX[framework]}"), framework)


def wait_up_to_date(stack: Stack, name: str, uri: str) -> None:
    """What serves is what the file asks for."""
    wait_until(
        lambda: active(stack, name) == uri and stack.condition(name, "UpToDate").status == "True",
        lambda: f"{stack.condition(name, 'UpToDate')}, serving {active(stack, name)}",
    )


def active(stack: Stack, name: str) -> str:
    """What the status says that serves."""
    uri: str = stack.status(name)["activeStorageUri"]
    return uri


def wait_outdated(stack: Stack, name: str, reason: str) -> Condition:
    """The change failed, and why."""

    def failed() -> Condition | None:
        found = stack.condition(name, "UpToDate")
        return found if (found.status, found.reason) == ("False", reason) else None

    found = wait_until(failed, lambda: f"not {reason} but {stack.condition(name, 'UpToDate')}")
    assert found is not None
    return found


def test_change_and_change_back(
    shared: Stack, models: Models, name: str, framework: str, version: Callable[[int], Document]
) -> None:
    """
    Another storageUri, and the first one again, under constant traffic: each by the first try, so that no back-off has begun.

    Going back is where a server that looks at files' times alone would keep what it has.
    """
    shared.apply(version(1))
    shared.wait_ready(name)
    with watching(shared, models, name) as watch:
        watch.witness.heard(name, 1)
        for number in (2, 1):
            shared.apply(version(number))
            watch.witness.heard(name, number)
            wait_up_to_date(shared, name, models.uri(f"probe-{number}.{SUFFIX[framework]}"))
    assert watch.witness.phases(name) == [1, 2, 1]
    watch.readiness.check(name)

    def of_it() -> list[Mapping[str, Any]]:
        return [line for line in events(shared.text()) if line.get("trained_model") == name]

    def tries() -> dict[str, int]:
        counted = Counter(line["event"] for line in of_it())
        return {event: counted[event] for event in TRY}

    # An adapter reports what is loaded, and then writes it down and says so.
    wait_until(lambda: tries() == dict.fromkeys(TRY, 3), lambda: f"not three tries: {tries()}")
    assert not [line for line in of_it() if line["level"] == "warning"]


def test_changes_that_come_faster_than_they_can_be_made(
    shared: Stack, models: Models, name: str, version: Callable[[int], Document]
) -> None:
    """The last one counts; none that was passed over comes back after it."""
    shared.apply(version(1))
    shared.wait_ready(name)
    with watching(shared, models, name) as watch:
        watch.witness.heard(name, 1)
        for number in (2, 3, 2, 3, 4):
            shared.apply(version(number))
            wait_seen(shared, version(number))
        watch.witness.heard(name, 4)
    seen = watch.witness.phases(name)
    assert (seen[0], seen[-1]) == (1, 4)
    watch.readiness.check(name)


def wait_seen(stack: Stack, wanted: Document) -> None:
    """The product knows that this is what is wanted."""

    def seen() -> bool:
        known = stack.get(wanted["metadata"]["name"])
        return known is not None and uri_of(known) == uri_of(wanted)

    wait_until(seen, "the change is not seen")


def uri_of(document: Document) -> str:
    """Its storageUri."""
    uri: str = document["spec"]["model"]["storageUri"]
    return uri


def test_reload(shared: Stack, store: Store, models: Models, name: str, framework: str) -> None:
    """Another object at the same URI is fetched when the annotation `reload` changes, and not before."""
    suffix = SUFFIX[framework]
    uri = store.put(models.uri(f"reloaded/{name}.{suffix}"), models.file(f"probe-1.{suffix}"))
    shared.apply(trained_model(name, uri, framework))
    shared.wait_ready(name)
    with watching(shared, models, name) as watch:
        watch.witness.heard(name, 1)
        store.put(uri, models.file(f"probe-2.{suffix}"))
        watch.witness.heard(name, 1, times=50)
        shared.apply(trained_model(name, uri, framework, annotations={"wmlserving.ai.ibm.com/reload": "2"}))
        watch.witness.heard(name, 2)
    assert watch.witness.phases(name) == [1, 2]
    watch.readiness.check(name)


def test_reload_that_fails_leaves_what_serves(
    shared: Stack, store: Store, models: Models, name: str, framework: str
) -> None:
    """The object is gone, or is none: the one that was fetched serves on, READY, and UpToDate says why; until there is one."""
    suffix = SUFFIX[framework]
    uri = store.put(models.uri(f"reloaded/{name}.{suffix}"), models.file(f"probe-1.{suffix}"))
    shared.apply(trained_model(name, uri, framework))
    shared.wait_ready(name)
    good = shared.condition(name)
    with watching(shared, models, name) as watch:
        watch.witness.heard(name, 1)
        store.delete(uri)
        shared.apply(trained_model(name, uri, framework, annotations={"wmlserving.ai.ibm.com/reload": "2"}))
        wait_outdated(shared, name, "ModelNotFound")
        store.put(uri, b"this is no model\n" * 10)
        said = wait_outdated(shared, name, "ModelLoadFailed")
        assert uri in said.message
        watch.witness.heard(name, 1)
        assert shared.condition(name) == good
        store.put(uri, models.file(f"probe-2.{suffix}"))
        watch.witness.heard(name, 2)
        wait_up_to_date(shared, name, uri)
    assert watch.witness.phases(name) == [1, 2]
    watch.readiness.check(name)


def test_change_of_framework_moves_it_to_the_other_runtime(shared: Stack, models: Models, name: str) -> None:
    """There and back: a change like any other, with another server at each end, of which the one before lets it go."""
    versions = {
        n: trained_model(name, models.uri(f"probe-{n}.{SUFFIX[f]}"), f) for n, f in ((1, "sklearn"), (2, "onnx"))
    }
    shared.apply(versions[1])
    shared.wait_ready(name)
    with watching(shared, models, name) as watch:
        watch.witness.heard(name, 1)
        for number, runtime in ((2, "triton-2.x"), (1, "mlserver-0.x")):
            shared.apply(versions[number])
            watch.witness.heard(name, number)
            wait_runtime(shared, name, runtime)
            assert {f for f in SUFFIX if name in indexed(shared, f)} == {f for f in SUFFIX if runtime_of(f) == runtime}
    assert watch.witness.phases(name) == [1, 2, 1]
    watch.readiness.check(name)


def wait_runtime(stack: Stack, name: str, runtime: str) -> None:
    """The status says that this runtime serves it, and the live state that no other has a copy of it, in whatever state."""

    def said() -> tuple[str, list[tuple[str, str]]]:
        done = stack.run("get", "trainedmodels", name, "-o", "json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        copies = [(c["pod"].rpartition("-")[0], c["state"]) for c in document["live"]["copies"]]
        return document["status"]["runtime"], copies

    wait_until(lambda: said() == (runtime, [(runtime, "Loaded")]), lambda: f"not of {runtime} alone: {said()}")


@pytest.mark.parametrize("fault", ["missing", "denied", "corrupt", "wrong layout"])
def test_change_that_fails_leaves_what_serves(
    shared: Stack,
    store: Store,
    models: Models,
    name: str,
    framework: str,
    version: Callable[[int], Document],
    fault: str,
) -> None:
    """
    The version before answers on, READY stays True, UpToDate says why; a change that works works as ever.

    Undone, the version before is up to date at once: it never went.
    """
    reason, bad = broken(shared, store, models, name, framework, fault)
    shared.apply(version(1))
    shared.wait_ready(name)
    good = shared.condition(name)
    with watching(shared, models, name) as watch:
        watch.witness.heard(name, 1)
        shared.apply(bad)
        said = wait_outdated(shared, name, reason)
        assert uri_of(bad) in said.message
        watch.witness.heard(name, 1)
        assert shared.condition(name) == good
        assert active(shared, name) == uri_of(version(1))
        shared.apply(version(1))
        wait_up_to_date(shared, name, uri_of(version(1)))
        shared.apply(bad)
        wait_outdated(shared, name, reason)
        shared.apply(version(2))
        watch.witness.heard(name, 2)
        wait_up_to_date(shared, name, uri_of(version(2)))
    assert watch.witness.phases(name) == [1, 2]
    watch.readiness.check(name)
    shared.secret(locked=None)


def broken(stack: Stack, store: Store, models: Models, name: str, framework: str, fault: str) -> tuple[str, Document]:
    """The reason that is to be given, and a version that fails for it."""
    folder = f"broken/{name}"
    match fault:
        case "missing":
            return "ModelNotFound", trained_model(name, models.uri(f"{folder}/nothing"), framework)
        case "denied":
            stack.secret(locked=store.entry(secret_access_key="a-wrong-secret-0123456789"))
            uri = models.uri(f"probe-3.{SUFFIX[framework]}")
            return "StorageAccessDenied", trained_model(name, uri, framework, key="locked")
        case "corrupt":
            uri = store.put(models.uri(f"{folder}/model.{SUFFIX[framework]}"), b"this is no model\n" * 10)
            return "ModelLoadFailed", trained_model(name, uri, framework)
        case _:
            settings, content = {"sklearn": ("model-settings.json", b'{"name": '), "onnx": ("config.pbtxt", b"{ [ \n")}[
                framework
            ]
            store.put(models.uri(f"{folder}/{settings}"), content)
            return "InvalidModelLayout", trained_model(name, models.uri(folder), framework)
