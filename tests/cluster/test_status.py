"""
Every False row of the contract's Status table, as kubectl shows it: condition and Event; and that mending the cause mends it.

All mistakes are made at once, and mended at once: the models wait for each
other's servers and back-offs together, not one after the other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import grpc
import pytest

from tests.cluster.cluster import condition_of
from tests.cluster.product import Product, trained_model
from tests.cluster.runtimes import BROKEN, copied
from tests.standalone.client import CallError, Client
from tests.standalone.models import Models
from tests.standalone.waiting import wait_until

Object = dict[str, Any]

NOWHERE: Final = "http://127.0.0.1:1"
WRONG: Final = "a-wrong-secret-0123456789"
NO_IMAGE: Final = "localhost/wml-serving/no-such-image:1"
_GARBAGE: Final = b"this is no model\n" * 10
_LATE: Final = "s3://late-bucket/digits.joblib"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model with a mistake: what is said of it, and as what it is mended."""

    name: str
    reason: str
    #: What the message has to name, in this order.
    words: tuple[str, ...]
    uri: str
    framework: str = "sklearn"
    runtime: str = ""
    key: str = "example-models"
    #: Fields of the model that are mended.
    mended: Mapping[str, str] = field(default_factory=dict)

    def made(self, **changes: str) -> Object:
        """The TrainedModel."""
        said = {"uri": self.uri, "framework": self.framework, "runtime": self.runtime, "key": self.key} | changes
        return trained_model(self.name, said.pop("uri"), said.pop("framework"), **said)


def rows(models: Models) -> tuple[Row, ...]:
    """All of them."""
    good = models.sample("sklearn")
    at, large = models.uri, models.file("padded-0.joblib")
    return (
        Row(
            name="invalid-uri",
            reason="InvalidStorageUri",
            words=("https://example.com/model", "s3://bucket/path"),
            uri="https://example.com/model",
            mended={"uri": good},
        ),
        Row(
            name="unknown-framework",
            reason="NoSupportingRuntime",
            words=("mleap", "onnx", "sklearn"),
            uri=good,
            framework="mleap",
            mended={"framework": "sklearn"},
        ),
        Row(
            name="wrong-runtime",
            reason="NoSupportingRuntime",
            words=("triton-2.x", "sklearn", "onnx"),
            uri=good,
            runtime="triton-2.x",
            mended={"runtime": "mlserver-0.x"},
        ),
        Row(
            name="late-runtime",
            reason="RuntimeNotRecognized",
            words=("late-mlserver", "mlserver-0.x"),
            uri=good,
            runtime="late-mlserver",
        ),
        Row(name="no-key", reason="StorageKeyNotFound", words=("late-key", "secret-key"), uri=good, key="late-key"),
        Row(name="no-json", reason="StorageConfigInvalid", words=("no-json", "JSON"), uri=good, key="no-json"),
        Row(
            name="no-field",
            reason="StorageConfigInvalid",
            words=("no-field", "endpoint_url"),
            uri=good,
            key="no-field",
        ),
        Row(name="no-bucket", reason="ModelNotFound", words=(_LATE, "late-bucket"), uri=_LATE),
        Row(
            name="no-object",
            reason="ModelNotFound",
            words=(at("late/digits.joblib"),),
            uri=at("late/digits.joblib"),
        ),
        Row(name="denied", reason="StorageAccessDenied", words=(good,), uri=good, key="denied"),
        Row(name="nowhere", reason="StorageUnavailable", words=(NOWHERE,), uri=good, key="nowhere"),
        Row(
            name="bad-layout",
            reason="InvalidModelLayout",
            words=(at("layout"), "config.pbtxt"),
            uri=at("layout"),
            framework="onnx",
        ),
        *(
            Row(
                name=f"garbage-{framework}",
                reason="ModelLoadFailed",
                words=(runtime, framework, at(f"garbage/{framework}.{suffix}"), own),
                uri=at(f"garbage/{framework}.{suffix}"),
                framework=framework,
            )
            for framework, runtime, suffix, own in (
                ("sklearn", "mlserver-0.x", "joblib", "pop from empty list"),
                ("onnx", "triton-2.x", "onnx", "Protobuf parsing failed"),
            )
        ),
        Row(
            name="too-large",
            reason="ModelTooLarge",
            # A load reserves 1.25 bytes for each byte of files.
            words=(f"needs {int(large.stat().st_size * 1.25)} bytes", f"whole capacity is {1 << 20}"),
            uri=at("padded-0.joblib"),
            runtime="tiny",
            mended={"runtime": ""},
        ),
        Row(
            name="no-image",
            reason="RuntimeStarting",
            words=("container mlserver: image", NO_IMAGE, "cannot be pulled"),
            uri=good,
            runtime="unpullable",
        ),
        Row(
            name="adapter-crashes",
            reason="RuntimeStarting",
            words=("container adapter ended with exit code 1",),
            uri=good,
            runtime="no-adapter",
        ),
        Row(
            name="server-crashes",
            reason="RuntimeStarting",
            words=("container mlserver ended with exit code 1",),
            uri=good,
            runtime="no-server",
            mended={"runtime": ""},
        ),
        Row(
            name="no-node",
            reason="RuntimeStarting",
            words=("it cannot be scheduled",),
            uri=good,
            runtime="no-node",
            mended={"runtime": ""},
        ),
    )


#: For parametrization, which comes before there is a model: names and whether it is the server that is awaited.
NAMES: Final = (
    *("invalid-uri", "unknown-framework", "wrong-runtime", "late-runtime", "no-key", "no-json", "no-field"),
    *("no-bucket", "no-object", "denied", "nowhere", "bad-layout", "garbage-sklearn", "garbage-onnx", "too-large"),
    *("no-image", "adapter-crashes", "server-crashes", "no-node"),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was said of each model when it had said enough."""

    rows: Mapping[str, Row]
    conditions: Mapping[str, Object]
    events: Mapping[str, Sequence[Object]]
    refusals: Mapping[str, CallError]


@pytest.fixture(scope="module")
def secrets(product: Product) -> dict[str, dict[str, str]]:
    """Entries of the Secret: with their mistakes, and mended."""
    entry, right = product.store.entry, json.dumps(product.store.entry())
    broken = {
        "no-json": f"secret_access_key: {product.store.secret_key}",
        "no-field": json.dumps(entry(endpoint_url=None)),
        "denied": json.dumps(entry(secret_access_key=WRONG)),
        "nowhere": json.dumps(entry(endpoint_url=NOWHERE)),
    }
    return {"broken": broken, "mended": dict.fromkeys((*broken, "late-key"), right)}


@pytest.fixture(scope="module")
def failed(product: Product, models: Models, secrets: dict[str, dict[str, str]]) -> Iterator[Seen]:
    """All models with their mistakes; gone after this module."""
    cluster, store = product.cluster, product.store
    table = {row.name: row for row in rows(models)}
    builtin = cluster.get("servingruntime", "mlserver-0.x")
    runtimes = (
        copied(builtin, "tiny", for_models_mib=1),
        copied(builtin, "unpullable", image=NO_IMAGE),
        copied(builtin, "no-adapter", adapter_env=BROKEN),
        copied(builtin, "no-server", server_env=BROKEN),
        copied(builtin, "no-node", nodeSelector={"no-such": "label"}),
    )
    store.put(models.uri("layout/config.pbtxt"), b"instance_group [ { count: \n")
    store.put(models.uri("layout/1/model.onnx"), models.file("onnx/digits.onnx"))
    for name in ("garbage-sklearn", "garbage-onnx"):
        store.put(table[name].uri, _GARBAGE)
    product.store_credentials(**secrets["broken"])
    try:
        cluster.apply(*runtimes, *(row.made() for row in table.values()))
        conditions = wait_for(product, {name: partial(_says, row) for name, row in table.items()})
        with product.client() as client:
            told = [row for row in table.values() if row.reason != "RuntimeStarting"]
            refusals = {row.name: refusal(client, row.name, models) for row in told}
        yield Seen(table, conditions, events(product, {n: r.reason for n, r in table.items()}), refusals)
    finally:
        cluster.delete("trainedmodel", *table)
        cluster.delete("servingruntime", *(r["metadata"]["name"] for r in runtimes), "late-mlserver")
        product.store_credentials()


@pytest.fixture(scope="module")
def mended(product: Product, models: Models, failed: Seen, secrets: dict[str, dict[str, str]]) -> dict[str, Object]:
    """Condition Ready of each, once its cause is mended: in the Secret, the store, the model or its runtime."""
    cluster, store = product.cluster, product.store
    builtin = cluster.get("servingruntime", "mlserver-0.x")
    digits = models.file("sklearn/digits.joblib")
    for name in ("no-bucket", "no-object", "garbage-sklearn"):
        store.put(failed.rows[name].uri, digits)
    store.put(failed.rows["garbage-onnx"].uri, models.file("onnx/digits.onnx"))
    store.put(models.uri("layout/config.pbtxt"), b'backend: "onnxruntime"\n')
    product.store_credentials(**secrets["mended"])
    cluster.apply(
        *(copied(builtin, name) for name in ("late-mlserver", "unpullable", "no-adapter")),
        *(row.made(**row.mended) for row in failed.rows.values() if row.mended),
    )
    return wait_for(product, dict.fromkeys(failed.rows, lambda c: c.get("status") == "True"))


def _says(row: Row, condition: Object) -> bool:
    """Of a server that starts the first words are seldom the last."""
    said = condition.get("message", "")
    return condition.get("reason") == row.reason and (
        row.reason != "RuntimeStarting" or all(word in said for word in row.words)
    )


def wait_for(
    product: Product, wanted: Mapping[str, Callable[[Object], bool]], *, within: float = 180.0
) -> dict[str, Object]:
    """
    Ready of each model once all are as wanted, or after as long as that may take.

    One that is not is left to its own test, so that it fails alone, and with what is said of it.
    """
    seen: dict[str, Object] = {}

    def all_are() -> bool:
        listed = product.cluster.all("trainedmodels")
        seen.update({found["metadata"]["name"]: condition_of(found, "Ready") for found in listed})
        return all(check(seen.get(name, {})) for name, check in wanted.items())

    try:
        wait_until(all_are, "", within=within, poll=1.0)
    except AssertionError:
        pass
    return seen


def events(product: Product, reasons: Mapping[str, str]) -> dict[str, list[Object]]:
    """The Events of each model, once there is one for its reason; they are written a little after the condition."""

    def found() -> dict[str, list[Object]]:
        by_name: dict[str, list[Object]] = {name: [] for name in reasons}
        for event in product.cluster.all("events"):
            if event["involvedObject"]["kind"] == "TrainedModel":
                by_name.get(event["involvedObject"]["name"], []).append(event)
        return by_name

    def complete() -> bool:
        return all(any(e["reason"] == reasons[name] for e in told) for name, told in found().items())

    try:
        wait_until(complete, "", within=20, poll=1.0)
    except AssertionError:
        pass
    return found()


def refusal(client: Client, name: str, models: Models) -> CallError:
    """What a client gets."""
    try:
        client.classes(name, models.images[:1], timeout=10)
    except CallError as error:
        return error
    raise AssertionError(f"{name} answers")


def test_the_table_is_whole(models: Models) -> None:
    """What is tested is what is applied."""
    assert {row.name for row in rows(models)} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_mistake_is_told(failed: Seen, product: Product, name: str) -> None:
    """As a condition that names what is to be mended, as an Event, and to clients; secrets are in none."""
    row, condition = failed.rows[name], failed.conditions[name]
    assert (condition["status"], condition["reason"]) == ("False", row.reason), condition
    assert re.search(".*".join(map(re.escape, row.words)), condition["message"], re.DOTALL), condition
    told = [event for event in failed.events[name] if event["reason"] == row.reason]
    assert told, failed.events[name]
    if name in failed.refusals:
        assert {event["type"] for event in told} == {"Warning"}
        assert failed.refusals[name].code is grpc.StatusCode.FAILED_PRECONDITION
        assert row.reason in failed.refusals[name].message
    said = json.dumps([condition, failed.events[name]])
    assert not [secret for secret in (WRONG, product.store.secret_key, product.store.access_key) if secret in said]


@pytest.mark.parametrize("name", NAMES)
def test_mending_the_cause_is_enough(mended: dict[str, Object], name: str) -> None:
    """READY comes by itself."""
    assert mended[name]["status"] == "True", mended[name]


def test_without_the_secret(product: Product, models: Models, name: str) -> None:
    """A model cannot be fetched, and says what has to be created; creating it is enough."""
    product.cluster.delete("secret", "storage-config")
    try:
        with product.model(name, models.sample("sklearn"), "sklearn"):
            condition = product.until_reason(name, "StorageConfigMissing")
            assert "storage-config" in condition["message"]
            product.store_credentials()
            product.until_ready(name, within=180)
            told = events(product, {name: "StorageConfigMissing"})[name]
            assert ("Warning", "StorageConfigMissing") in {(e["type"], e["reason"]) for e in told}
    finally:
        product.store_credentials()


def test_what_is_told_again_is_counted(product: Product, models: Models, name: str) -> None:
    """One Event for both times, and one for what came between."""
    other = trained_model(name, models.sample("sklearn"), "sklearn", runtime="no-such-runtime")
    with product.model(name, "no-uri", "sklearn") as made:
        product.until_reason(name, "InvalidStorageUri")
        product.cluster.apply(other)
        product.until_reason(name, "RuntimeNotRecognized")
        product.cluster.apply(made)
        product.until_reason(name, "InvalidStorageUri")

        def told() -> dict[str, int]:
            return {e["reason"]: e["count"] for e in events(product, {name: "InvalidStorageUri"})[name]}

        wait_until(lambda: told() == {"InvalidStorageUri": 2, "RuntimeNotRecognized": 1}, lambda: f"{told()} is told")
