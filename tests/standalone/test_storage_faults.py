"""
Stores and disks that fail, as users see it: the model's condition has the reason, and nobody else notices.

What a store can do wrong is told apart in the adapter's own tests; here is
what only the whole product shows.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.small_disk import filled, seen_by
from tests.standalone.liar import Liar
from tests.standalone.manifests import serving_runtime, trained_model
from tests.standalone.models import Models
from tests.standalone.stack import Stack
from tests.standalone.traffic import Traffic
from tests.standalone.waiting import wait_until

MIB = 1 << 20
#: How long the runtime's loads may take, and so how long a slow download has a place.
PATIENCE_S = 5.0


def test_a_full_disk_fails_a_model_and_nothing_else(make_stack: Callable[..., Stack], models: Models) -> None:
    """What serves goes on, to the last byte; with room again all come by themselves, and nothing was left behind."""
    with make_stack(disk_bytes=64 * MIB) as stack:
        stack.apply(trained_model("serves", models.uri("probe-0.joblib"), "sklearn"))
        stack.wait_ready("serves")
        state = seen_by(stack.supervisor, stack.state)

        def files() -> list[str]:
            staged = [path for path in state.glob("pods/*/scratch/staging/*/**/*") if path.is_file()]
            return [path.name for path in [*staged, *state.glob("pods/*/models/*/model/*")]]

        with Traffic(stack.target, "serves", models.probes, models.probe_labels) as traffic:
            with filled(state, leaving=8 * MIB):
                stack.apply(trained_model("waits", models.uri("probe-1.joblib"), "sklearn"))
                found = stack.wait_condition("waits", "StorageUnavailable")
                assert models.uri("probe-1.joblib") in found.message
                assert "the adapter's disk is full" in found.message
                assert str(stack.state) not in found.message
            stack.wait_ready("waits")
            with filled(state):
                stack.apply(trained_model("comes-late", models.uri("probe-2.joblib"), "sklearn"))
                stack.apply(trained_model("waits", models.uri("probe-3.joblib"), "sklearn"))
                answered = traffic.answered
                wait_until(lambda: traffic.answered > answered + 200, "no requests are answered", within=60)
                assert {stack.condition(name).status for name in ("serves", "waits")} == {"True"}
            stack.wait_ready("comes-late")
            wait_until(
                lambda: (
                    stack.condition("waits", "UpToDate").status == "True" and _uri(stack, "waits").endswith("-3.joblib")
                ),
                lambda: f"not updated: {stack.get('waits')}\n{stack.tail()}",
                within=60,
            )
        traffic.check()
        with stack.client() as client:
            for name, number in (("serves", 0), ("waits", 3), ("comes-late", 2)):
                answer = client.classes(name, models.probes[:1])
                assert answer[0] == 100 * number + models.probe_labels[0], name
        wait_until(lambda: len(files()) == 3, lambda: f"files: {files()}")


def test_a_store_that_drips_holds_up_nobody_for_long(shared: Stack, liar: Liar, models: Models, name: str) -> None:
    """More models of it than may be downloaded at once: each fails with a reason, a neighbour is served meanwhile."""
    slow = [f"{name}-{number}" for number in range(8)]
    liar.buckets["drips"] = {"digits.joblib": models.file("padded-0.joblib").read_bytes()}
    liar.dripping.add("drips")
    shared.secret(liar=liar.entry)
    shared.apply(serving_runtime("hasty", "mlserver", ["sklearn"], load_s=PATIENCE_S))
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn", runtime="hasty"))
    shared.wait_ready(name)
    shared.apply(
        *(trained_model(each, "s3://drips/digits.joblib", "sklearn", runtime="hasty", key="liar") for each in slow)
    )
    tried = {"Downloading", "StorageUnavailable"}
    wait_until(lambda: all(shared.condition(each).reason in tried for each in slow), "not all are tried")
    neighbour = f"{name}-neighbour"
    shared.apply(trained_model(neighbour, models.sample("sklearn"), "sklearn", runtime="hasty"))
    shared.wait_ready(neighbour, within=30)
    for each in slow:
        found = shared.wait_condition(each, "StorageUnavailable", within=60)
        assert "s3://drips/digits.joblib: the download is too slow" in found.message
        assert "modelLoadingTimeoutMillis" in found.message
    liar.release()
    shared.wait_ready(*slow, within=90)
    shared.delete(*slow, neighbour, name)
    for each in (*slow, neighbour, name):
        shared.wait_gone(each)
    shared.remove("servingruntime-hasty.yaml")
    shared.secret(liar=None)


def _uri(stack: Stack, name: str) -> str:
    document = stack.get(name)
    assert document is not None
    uri: str = document["status"].get("activeStorageUri", "")
    return uri
