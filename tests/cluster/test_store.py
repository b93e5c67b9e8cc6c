"""The S3 server of the tests is in the cluster, where pods find it."""

from __future__ import annotations

from tests.cluster.store import Store
from tests.standalone.models import Models


def test_it_has_the_models(store: Store, models: Models) -> None:
    """What was uploaded is what it gives."""
    for framework in ("sklearn", "onnx"):
        path = models.sample(framework).removeprefix("s3://models/")
        assert store.content(models.sample(framework)) == models.file(path).read_bytes()


def test_pods_find_it_by_name(store: Store) -> None:
    """By the endpoint that the Secret has: it answers, and lets nobody in without the key."""
    code = "import sys, urllib.request as r\ntry: r.urlopen(sys.argv[1])\nexcept r.HTTPError as e: print(e.code)"
    assert store.cluster.python("-c", code, store.endpoint) == "403\n"
