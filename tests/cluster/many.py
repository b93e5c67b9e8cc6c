"""
Many TrainedModels at once, and what they cost: writes of statuses, and memory of an orchestrator.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.cluster.cluster import condition_of
from tests.cluster.product import Product, trained_model
from tests.standalone.waiting import wait_until

_LABEL: Final = "scale=many"
_WRITES: Final = re.compile(
    r'^apiserver_request_total\{.*resource="trainedmodels".*subresource="status".*verb="(?:APPLY|PATCH|PUT)".*\} (\S+)$',
    re.MULTILINE,
)


@contextmanager
def many(product: Product, number: int) -> Iterator[None]:
    """So many models of one object, created at once; they are gone afterwards."""
    made = [trained_model(f"scale-{n:04}", product.models.sample("sklearn"), "sklearn") for n in range(number)]
    for each in made:
        key, _, value = _LABEL.partition("=")
        each["metadata"]["labels"] = {key: value}
    try:
        # Created and not applied: a third of the requests, and the same for who watches.
        product.cluster.kubectl(
            "create", "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": made}), timeout=240
        )
        yield
    finally:
        product.cluster.kubectl("delete", "trainedmodels", "-l", _LABEL, "--wait=false", timeout=240)
        wait_until(
            lambda: not product.cluster.all("trainedmodels", _LABEL), "the models are not gone", within=120, poll=1.0
        )


def until_ready(product: Product, number: int, *, within: float) -> None:
    """Return once all of them are."""

    def missing() -> int:
        found = product.cluster.all("trainedmodels", _LABEL)
        ready = [each for each in found if condition_of(each, "Ready").get("status") == "True"]
        return number - len(ready)

    wait_until(lambda: not missing(), lambda: f"{missing()} of {number} are not ready", within=within, poll=1.0)


def status_writes(product: Product) -> float:
    """How often a status was written so far, or was to be and refused, as the API server counts."""
    return sum(map(float, _WRITES.findall(product.cluster.kubectl("get", "--raw", "/metrics"))))


@contextmanager
def status_changes(product: Product) -> Iterator[Callable[[], int]]:
    """
    Call what is given for how often a status has changed in what it says, as a watch shows it.

    It is written into a file, as it comes: the API server gives up watches that are read too slowly. One that it has
    given up all the same goes on where it was.
    """
    path = f"/apis/serving.kubeflow.org/v1alpha1/namespaces/{product.cluster.namespace}/trainedmodels"
    listed = json.loads(product.cluster.kubectl("get", "--raw", path))
    before = {each["metadata"]["uid"]: _said(each) for each in listed["items"]}
    with tempfile.TemporaryDirectory() as told, ExitStack() as watches:
        latest, files = listed["metadata"]["resourceVersion"], [Path(told) / "0"]

        def follow() -> subprocess.Popen[str]:
            with files[-1].open("wb") as file:
                argv = ("kubectl", "get", "--raw", f"{path}?watch=1&resourceVersion={latest}")
                watch = product.cluster.start(*argv, output=file)
            watches.callback(watch.wait)
            watches.callback(watch.kill)
            return watch

        watch = follow()

        def changes() -> int:
            nonlocal latest, watch
            ended = watch.poll() is not None
            found = [event["object"] for file in files for event in _events(file)]
            if ended:
                latest = found[-1]["metadata"]["resourceVersion"] if found else latest
                files.append(Path(told) / f"{len(files)}")
                watch = follow()
            said, number = dict(before), 0
            for model in found:
                was, now = said.get(model["metadata"]["uid"]), _said(model)
                number += now not in (was, None)
                said[model["metadata"]["uid"]] = now
            return number

        yield changes


def _events(file: Path) -> Iterator[dict[str, Any]]:
    """What is whole of it. Opened anew: who writes has its place in the file."""
    for line in file.read_bytes().split(b"\n"):
        try:
            event: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            # Still on its way; or the watch was given up in the middle of it, and another one brings it.
            return
        assert event["type"] != "ERROR", event
        yield event


def resident_bytes(product: Product, pod: str) -> int:
    """Of the orchestrator in that pod."""
    status = product.cluster.execute(pod, "cat", "/proc/1/status")
    return int(re.findall(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)[0]) * 1024


def _said(model: dict[str, Any]) -> dict[str, Any] | None:
    """Its status but for the times, None before there is one."""
    status: dict[str, Any] | None = model.get("status")
    if status is None:
        return None
    return status | {"conditions": [c | {"lastTransitionTime": ""} for c in status.get("conditions", ())]}
