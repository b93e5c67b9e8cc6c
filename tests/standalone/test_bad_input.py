"""
Every False row of the contract's Status table, against real servers.

Each test does the same with another mistake: the reason is exact, the message
names what a person has to mend, a request is refused with both at once, and
the model gets READY by itself when the cause is mended. Meanwhile a model on
either server goes on answering: no mistake is a neighbour's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.ports import free_port
from tests.standalone.client import CallError, Client
from tests.standalone.liar import Liar
from tests.standalone.manifests import serving_runtime, trained_model
from tests.standalone.models import Labels, Models
from tests.standalone.stack import Condition, Stack
from tests.standalone.store import Store
from tests.standalone.traffic import Traffic
from tests.standalone.waiting import wait_until
from tests.trees import below

#: "At once": no waiting for a load or a time-out is in it.
_AT_ONCE_S = 2.0


@pytest.fixture(autouse=True)
def neighbours(line: dict[str, str], shared: Stack, models: Models) -> Iterator[None]:
    """A model on each server answers throughout every test, and none of its requests fails."""
    expected = {f: _known(shared, line[f], models) for f in ("sklearn", "onnx")}
    with (
        Traffic(shared.target, line["sklearn"], models.images[:20], expected["sklearn"]) as sklearn,
        Traffic(shared.target, line["onnx"], models.images[:20], expected["onnx"]) as onnx,
    ):
        yield
        wait_until(lambda: sklearn.answered and onnx.answered, "the neighbours answered nothing")
    sklearn.check()
    onnx.check()


@pytest.fixture
def fails(shared: Stack, client: Client, models: Models) -> Callable[..., Condition]:
    """Checks that a model fails, how it says so, and that its clients are told."""

    def check(name: str, reason: str, *fragments: str, within: float = 30.0) -> Condition:
        found = shared.wait_condition(name, reason, within=within)
        for fragment in fragments:
            assert fragment in found.message, f"{fragment!r} is not in: {found.message}"
        assert "/site-packages/" not in found.message, found.message
        # Where models lie is nobody's business; where the log lies is.
        said, _, log = found.message.partition("; more in its log (")
        assert str(shared.state) not in said, found.message
        assert not log or Path(log.removesuffix(")")).is_file(), found.message
        started = time.monotonic()
        with pytest.raises(CallError) as refused:
            client.classes(name, models.images[:1], timeout=10)
        assert time.monotonic() - started < _AT_ONCE_S
        assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION
        assert reason in refused.value.message
        assert client.triton.is_model_ready(name) is False
        return found

    return check


Fails = Callable[..., Condition]


def test_invalid_storage_uri(shared: Stack, models: Models, name: str, fails: Fails) -> None:
    """Another scheme than s3: the message says which is expected. A corrected file mends it."""
    shared.apply(trained_model(name, "https://example.com/model", "sklearn"))
    fails(name, "InvalidStorageUri", "https://example.com/model", "s3://bucket/path")
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn"))
    shared.wait_ready(name)


@pytest.mark.parametrize("uri", ["s3://models", "s3://models/../etc/passwd", "models/sklearn"])
def test_storage_uri_that_names_no_object(shared: Stack, models: Models, name: str, fails: Fails, uri: str) -> None:
    """No path, a path that climbs, no scheme."""
    shared.apply(trained_model(name, uri, "sklearn"))
    fails(name, "InvalidStorageUri", uri, "s3://bucket/path")


def test_no_runtime_takes_the_framework(shared: Stack, models: Models, name: str, fails: Fails) -> None:
    """The message lists what is taken; a corrected file mends it."""
    shared.apply(trained_model(name, models.sample("sklearn"), "mleap"))
    fails(name, "NoSupportingRuntime", "mleap", "sklearn", "onnx")
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn"))
    shared.wait_ready(name)


def test_named_runtime_does_not_take_the_framework(shared: Stack, models: Models, name: str, fails: Fails) -> None:
    """The message says what that runtime takes."""
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn", runtime="triton-2.x"))
    fails(name, "NoSupportingRuntime", "triton-2.x", "sklearn", "onnx")
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn", runtime="mlserver-0.x"))
    shared.wait_ready(name)


def test_runtime_not_recognized(shared: Stack, models: Models, name: str, fails: Fails) -> None:
    """The message lists the runtimes there are; adding the one that is named mends it."""
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn", runtime="late-mlserver"))
    fails(name, "RuntimeNotRecognized", "late-mlserver", "mlserver-0.x", "triton-2.x")
    shared.apply(serving_runtime("late-mlserver", "mlserver", ["sklearn"]))
    shared.wait_ready(name)
    shared.delete(name)
    shared.wait_gone(name)
    shared.remove("servingruntime-late-mlserver.yaml")


def test_storage_config_missing(
    shared: Stack, store: Store, models: Models, name: str, fails: Fails, line: dict[str, str]
) -> None:
    """Without the Secret: what it has to be called. What serves goes on; creating the Secret mends it."""
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn", key="whole"))
    shared.wait_condition(name, "StorageKeyNotFound")
    shared.drop_secret()
    try:
        fails(name, "StorageConfigMissing", "storage-config", "whole")
        assert {shared.condition(other).status for other in line.values()} == {"True"}
    finally:
        shared.secret(whole=store.entry())
    shared.wait_ready(name)
    assert {shared.condition(other).reason for other in line.values()} == {"Loaded"}
    shared.secret(whole=None)


def test_storage_key_not_found(shared: Stack, store: Store, models: Models, name: str, fails: Fails) -> None:
    """The message names the key and the annotation; adding the key mends it."""
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn", key="late"))
    fails(name, "StorageKeyNotFound", "late", "wmlserving.ai.ibm.com/secret-key")
    shared.secret(late=store.entry())
    shared.wait_ready(name)
    shared.secret(late=None)


@pytest.mark.parametrize("field", ["type", "access_key_id", "secret_access_key", "endpoint_url"])
def test_storage_config_lacks_a_field(
    shared: Stack, store: Store, models: Models, name: str, fails: Fails, field: str
) -> None:
    """The message names the missing field, and none of the others' values."""
    shared.secret(broken=store.entry(**{field: None}))
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn", key="broken"))
    found = fails(name, "StorageConfigInvalid", "broken", field)
    assert store.secret_key not in found.message
    shared.secret(broken=store.entry())
    shared.wait_ready(name)
    shared.secret(broken=None)


def test_storage_config_is_not_json(shared: Stack, store: Store, models: Models, name: str, fails: Fails) -> None:
    """The message says so without quoting what is there."""
    shared.secret(broken=f"access_key_id: {store.access_key}\nsecret_access_key: {store.secret_key}\n")
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn", key="broken"))
    found = fails(name, "StorageConfigInvalid", "broken", "JSON")
    assert store.secret_key not in found.message
    assert store.access_key not in found.message
    shared.secret(broken=store.entry())
    shared.wait_ready(name)
    shared.secret(broken=None)


def test_no_bucket_and_no_default_bucket(shared: Stack, store: Store, name: str, fails: Fails) -> None:
    """`s3:///path` without `default_bucket` is told; with one it loads."""
    shared.apply(trained_model(name, "s3:///sklearn/digits.joblib", "sklearn", key="bucketless"))
    shared.secret(bucketless=store.entry())
    fails(name, "StorageConfigInvalid", "s3:///sklearn/digits.joblib", "default_bucket")
    shared.secret(bucketless=store.entry(default_bucket="models"))
    shared.wait_ready(name)
    shared.secret(bucketless=None)


def test_bucket_not_found(shared: Stack, store: Store, models: Models, name: str, fails: Fails) -> None:
    """The message names bucket and URI; making the bucket mends it."""
    uri = "s3://no-such-bucket/digits.joblib"
    shared.apply(trained_model(name, uri, "sklearn"))
    fails(name, "ModelNotFound", "no-such-bucket", uri)
    store.put(uri, models.file("sklearn/digits.joblib"))
    shared.wait_ready(name)


def test_object_not_found(shared: Stack, store: Store, models: Models, name: str, fails: Fails) -> None:
    """The message names the URI; uploading the object mends it."""
    uri = models.uri("late/digits.joblib")
    shared.apply(trained_model(name, uri, "sklearn"))
    fails(name, "ModelNotFound", uri)
    store.put(uri, models.file("sklearn/digits.joblib"))
    shared.wait_ready(name)


def test_storage_access_denied(shared: Stack, store: Store, models: Models, name: str, fails: Fails) -> None:
    """A wrong secret: the message names endpoint or key, and not the secret. Correcting the Secret mends it."""
    shared.secret(locked=store.entry(secret_access_key="a-wrong-secret-0123456789"))
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn", key="locked"))
    found = fails(name, "StorageAccessDenied", models.sample("sklearn"))
    assert "a-wrong-secret-0123456789" not in found.message
    assert store.access_key not in found.message
    shared.secret(locked=store.entry())
    shared.wait_ready(name)
    shared.secret(locked=None)


def test_storage_unavailable(shared: Stack, store: Store, models: Models, name: str, fails: Fails) -> None:
    """Nothing listens at the endpoint: the message names it. Another endpoint in the Secret mends it."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    shared.secret(nowhere=store.entry(endpoint_url=endpoint))
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn", key="nowhere"))
    fails(name, "StorageUnavailable", endpoint)
    shared.secret(nowhere=store.entry())
    shared.wait_ready(name)
    shared.secret(nowhere=None)


@pytest.mark.parametrize(
    "key",
    ["bad/../../escape.joblib", "bad//etc/passwd", "bad/a\nb", "bad/" + "x" * 300, "elsewhere/model.joblib"],
    ids=["climbs", "absolute", "control", "long", "elsewhere"],
)
def test_hostile_keys_are_an_invalid_layout(
    shared: Stack, liar: Liar, store: Store, models: Models, name: str, fails: Fails, key: str
) -> None:
    """A store that lists keys which cannot be files gets no file anywhere, and the message says which key."""
    liar.buckets["lies"] = {"bad/model.joblib": b"fine", key: b"hostile"}
    shared.secret(liar=liar.entry)
    shared.apply(trained_model(name, "s3://lies/bad", "sklearn", key="liar"))
    fails(name, "InvalidModelLayout", "s3://lies/bad", "object key")
    assert not [path for path in below(shared.state) if path.name == "escape.joblib"]
    del liar.buckets["lies"][key]
    liar.buckets["lies"]["bad/model.joblib"] = models.file("sklearn/digits.joblib").read_bytes()
    shared.wait_ready(name)
    shared.secret(liar=None)


def test_corrupt_native_configuration(shared: Stack, store: Store, models: Models, name: str, fails: Fails) -> None:
    """A config.pbtxt that is none: the message names the file. Uploading a right one mends it."""
    store.put(models.uri("native/config.pbtxt"), b"instance_group [ { count: \n")
    store.put(models.uri("native/1/model.onnx"), models.file("onnx/digits.onnx"))
    shared.apply(trained_model(name, models.uri("native"), "onnx"))
    fails(name, "InvalidModelLayout", models.uri("native"), "config.pbtxt")
    store.put(models.uri("native/config.pbtxt"), b'backend: "onnxruntime"\n')
    shared.wait_ready(name)


def test_corrupt_model_settings(shared: Stack, store: Store, models: Models, name: str, fails: Fails) -> None:
    """The same for MLServer's model-settings.json."""
    store.put(models.uri("native-sklearn/model-settings.json"), b'{"name": ')
    store.put(models.uri("native-sklearn/model.joblib"), models.file("sklearn/digits.joblib"))
    shared.apply(trained_model(name, models.uri("native-sklearn"), "sklearn"))
    fails(name, "InvalidModelLayout", models.uri("native-sklearn"), "model-settings.json")
    store.put(
        models.uri("native-sklearn/model-settings.json"),
        b'{"name": "x", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}}',
    )
    shared.wait_ready(name)


@pytest.mark.parametrize(
    ("framework", "runtime"),
    [("sklearn", "mlserver-0.x"), ("xgboost", "mlserver-0.x"), ("lightgbm", "mlserver-0.x"), ("onnx", "triton-2.x")],
)
def test_garbage_is_the_servers_to_refuse(
    shared: Stack, store: Store, models: Models, name: str, fails: Fails, framework: str, runtime: str
) -> None:
    """The message names runtime, framework and URI, then has the server's words. Uploading a model mends it."""
    suffix = models.sample(framework).rpartition(".")[2]
    uri = store.put(models.uri(f"garbage/{framework}/model.{suffix}"), b"this is no model\n" * 10)
    shared.apply(trained_model(name, uri, framework))
    found = fails(name, "ModelLoadFailed", runtime, framework, uri)
    words = found.message.partition(uri)[2].strip(" :.")
    assert words, f"no words of the server's: {found.message}"
    store.put(uri, models.file(f"{framework}/digits.{suffix}"))
    shared.wait_ready(name)


def test_model_too_large(shared: Stack, models: Models, name: str, fails: Fails) -> None:
    """More bytes than one pod has for models: the message has both numbers. A larger runtime mends it."""
    limit = 1 << 20
    shared.apply(serving_runtime("tiny", "mlserver", ["sklearn"], memory=str(limit)))
    shared.apply(trained_model(name, models.uri("padded-0.joblib"), "sklearn", runtime="tiny"))
    found = fails(name, "ModelTooLarge", str(limit))
    size = models.file("padded-0.joblib").stat().st_size
    numbers = [int(word) for word in found.message.replace(",", " ").split() if word.isdigit()]
    assert any(number >= size for number in numbers), found.message
    shared.apply(trained_model(name, models.uri("padded-0.joblib"), "sklearn"))
    shared.wait_ready(name)
    shared.delete(name)
    shared.wait_gone(name)
    shared.remove("servingruntime-tiny.yaml")


def test_downloading_is_told_while_it_lasts(
    shared: Stack, liar: Liar, client: Client, models: Models, name: str
) -> None:
    """A slow store: not READY, reason Downloading, and a request waits instead of failing."""
    liar.buckets["slow"] = {"digits.joblib": models.file("sklearn/digits.joblib").read_bytes()}
    liar.stalled.add("slow")
    shared.secret(liar=liar.entry)
    shared.apply(trained_model(name, "s3://slow/digits.joblib", "sklearn", key="liar"))
    found = shared.wait_condition(name, "Downloading")
    assert "s3://slow/digits.joblib" in found.message
    with pytest.raises(CallError) as late:
        client.classes(name, models.images[:1], timeout=1.0)
    assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    liar.release()
    assert client.classes(name, models.images[:1])[0] == _known(shared, name, models)[0]
    shared.wait_ready(name)
    shared.secret(liar=None)


def _known(shared: Stack, name: str, models: Models) -> Labels:
    """What the model says of the first images: what its neighbours' traffic is held against."""
    with shared.client() as client:
        return client.classes(name, models.images[:20])
