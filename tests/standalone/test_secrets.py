"""
Secrets stay where the user put them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import quote

import pytest

from tests.standalone.client import CallError
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.trees import files_below

#: Characters that URLs, JSON and YAML spell differently.
_WRONG_ACCESS = "AKIADISTINCTIVE/+ID"
_WRONG_SECRET = 'distinctive/+"secret=&value'


@pytest.fixture
def exercised(line: dict[str, str], shared: Stack, store: Store, models: Models, name: str) -> Iterator[Stack]:
    """The shared stack after loads that worked, and failures of each kind that has to do with the Secret."""
    entries = {
        "wrong": store.entry(access_key_id=_WRONG_ACCESS, secret_access_key=_WRONG_SECRET),
        "nowhere": store.entry(endpoint_url="http://127.0.0.1:9"),
        "lacking": store.entry(endpoint_url=None),
    }
    shared.secret(**entries, broken=f"{{{store.access_key} {store.secret_key}")
    reasons = {
        "wrong": "StorageAccessDenied",
        "nowhere": "StorageUnavailable",
        "lacking": "StorageConfigInvalid",
        "broken": "StorageConfigInvalid",
    }
    for key in reasons:
        shared.apply(trained_model(f"{name}-{key}", models.sample("sklearn"), "sklearn", key=key))
    for key, reason in reasons.items():
        shared.wait_condition(f"{name}-{key}", reason)
        with shared.client() as client, pytest.raises(CallError):
            client.classes(f"{name}-{key}", models.images[:1])
    yield shared
    shared.delete(*(f"{name}-{key}" for key in reasons))
    shared.secret(**dict.fromkeys(reasons))


def spellings(secret: str) -> set[bytes]:
    """As text, in a URL, in JSON, in base64."""
    raw = secret.encode()
    return {raw, quote(secret, safe="").encode(), secret.replace('"', '\\"').encode(), base64.b64encode(raw)}


def test_no_secret_in_files_command_lines_logs_or_statuses(exercised: Stack, store: Store) -> None:
    """Neither ids nor secrets, of stores that worked and that did not, in any spelling; whatever ran before this."""
    secrets = (store.access_key, store.secret_key, _WRONG_ACCESS, _WRONG_SECRET)
    wanted = {spelling for secret in secrets for spelling in spellings(secret)}
    places: dict[str, bytes] = {}
    for path in files_below(exercised.state):
        # What goes while it is looked at is not left there.
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_size < 64 << 20:
                places[str(path)] = path.read_bytes()
    places |= {f"command line of {p.role}": p.command.encode() for p in exercised.processes()}
    places["output"] = exercised.text().encode()
    places["admin API"] = repr([exercised.get(name) for name in exercised.listed()]).encode()
    places |= {
        f"describe {name}": exercised.run("describe", "trainedmodel", name).stdout.encode()
        for name in exercised.listed()
        if name.endswith(("-wrong", "-broken"))
    }
    assert len(places) > 10
    found = {place for place, content in places.items() if any(secret in content for secret in wanted)}
    assert not found
