"""Secret storage-config: what it gives, what is wrong with it, and that it tells nobody."""

from __future__ import annotations

import json
import traceback
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.errors import ModelProblem, Reason
from orchestrator.domain.storage import StorageConfig, find_credentials
from tests.orchestrator.builders import make_credentials

GOOD = {
    "type": "s3",
    "access_key_id": "AKIDtopsecret",
    "secret_access_key": "hunter2hunter2",
    "endpoint_url": "https://s3.example",
}
SECRETS = ("AKIDtopsecret", "hunter2hunter2")


def config_of(text: str, key: str = "default") -> StorageConfig:
    return StorageConfig({key: text})


def without(name: str) -> dict[str, Any]:
    return {k: v for k, v in GOOD.items() if k != name}


def test_the_required_fields_are_enough() -> None:
    """Optional ones default to nothing, and null is nothing."""
    expected = make_credentials(
        access_key_id="AKIDtopsecret", secret_access_key="hunter2hunter2", endpoint_url="https://s3.example"
    )
    assert find_credentials(config_of(json.dumps(GOOD)), "default") == expected
    assert find_credentials(config_of(json.dumps(GOOD | {"region": None, "more": 1})), "default") == expected


def test_all_fields_are_taken() -> None:
    """Region, default bucket and certificate too."""
    optional = {"region": "eu-1", "default_bucket": "models", "certificate": "-----BEGIN"}
    found = find_credentials(config_of(json.dumps(GOOD | optional), "key"), "key")
    assert {name: getattr(found, name) for name in optional} == optional


@pytest.mark.parametrize(
    ("secret", "reason", "said"),
    [
        (None, Reason.STORAGE_CONFIG_MISSING, "no Secret 'storage-config' here; create it with the key 'default'"),
        (
            config_of("{}", "other"),
            Reason.STORAGE_KEY_NOT_FOUND,
            "Secret 'storage-config' has no key 'default'; add it, or name another in the annotation "
            "wmlserving.ai.ibm.com/secret-key",
        ),
        (
            StorageConfig({}, frozenset({"default"})),
            Reason.STORAGE_CONFIG_INVALID,
            "Secret 'storage-config', key 'default': not text in UTF-8",
        ),
        *(
            (config_of(text), Reason.STORAGE_CONFIG_INVALID, f"Secret 'storage-config', key 'default': {problem}")
            for text, problem in [
                ("", "not valid JSON"),
                ("hunter2hunter2", "not valid JSON"),
                ('{"secret_access_key": "hunter2hunter2",', "not valid JSON"),
                ("[" * 100_000, "not valid JSON"),
                ("null", "not a JSON object"),
                ('["hunter2hunter2"]', "not a JSON object"),
                ("{}", "field 'type' is missing"),
                *((json.dumps(without(name)), f"field {name!r} is missing") for name in GOOD),
                *((json.dumps(GOOD | {name: ""}), f"field {name!r} is missing") for name in GOOD),
                (json.dumps(GOOD | {"access_key_id": 5}), "field 'access_key_id' is not a string"),
                (json.dumps(GOOD | {"region": ["x"]}), "field 'region' is not a string"),
                (json.dumps(GOOD | {"type": "gs"}), "field 'type' must be 's3'"),
                (
                    json.dumps(GOOD | {"endpoint_url": "s3.example"}),
                    "field 'endpoint_url' must begin with http:// or https://",
                ),
                *(
                    (
                        json.dumps(GOOD | {"endpoint_url": url}),
                        "field 'endpoint_url' names no host, or one that cannot be read",
                    )
                    for url in ("http://", "http://[fd00::5:9000", "https://:9000", "http://s3:70000", "http://s3:x")
                ),
                (json.dumps(GOOD | {"endpoint_url": "http://s3\ud800:9000"}), "field 'endpoint_url' is not a string"),
                (json.dumps(GOOD | {"default_bucket": "\ud800"}), "field 'default_bucket' is not a string"),
            ]
        ),
    ],
)
def test_each_fault_has_its_reason_and_says_what_to_mend(
    secret: StorageConfig | None, reason: Reason, said: str
) -> None:
    """Missing Secret, missing key, no JSON, a field; never a word of the Secret itself, in no cause and no context."""
    with pytest.raises(ModelProblem) as caught:
        find_credentials(secret, "default")
    assert (caught.value.reason, caught.value.message) == (reason, said)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value)
    assert not any(s in shown for s in SECRETS)


def test_values_do_not_show_what_they_hold() -> None:
    """Neither repr nor str, of neither the Secret nor the credentials."""
    secret = config_of(json.dumps(GOOD | {"certificate": "hunter2hunter2"}))
    found = find_credentials(secret, "default")
    shown = f"{secret!r} {secret} {found!r} {found} {[found]} {found.version}"
    assert not any(s in shown for s in SECRETS)
    assert "https://s3.example" in shown


@pytest.mark.parametrize(
    "name", ["access_key_id", "secret_access_key", "endpoint_url", "region", "default_bucket", "certificate"]
)
def test_the_version_changes_with_every_field(name: str) -> None:
    """A failed load is retried at once whatever of its credentials was mended."""
    credentials = make_credentials(region="r", default_bucket="b", certificate="c")
    assert credentials.version == replace(credentials).version
    assert credentials.version != replace(credentials, **{name: "https://other"}).version
