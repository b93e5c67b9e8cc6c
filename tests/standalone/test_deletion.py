"""
Deletion: withdraw, drain, unload, free the files; and the name is free again.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from tests.standalone.client import CallError, Client
from tests.standalone.liar import Liar
from tests.standalone.manifests import trained_model
from tests.standalone.models import Models
from tests.standalone.servers import envoy_says, indexed
from tests.standalone.stack import Stack
from tests.standalone.traffic import Traffic
from tests.standalone.waiting import wait_until
from tests.trees import below


@pytest.mark.parametrize("framework", ["sklearn", "onnx"])
def test_deletion_under_traffic_loses_no_request_and_leaves_nothing(
    line: dict[str, str], shared: Stack, client: Client, models: Models, name: str, framework: str
) -> None:
    """
    Every request is answered rightly or with NOT_FOUND; afterwards the server and the disk know nothing of it.

    A neighbour on the same server does not notice.
    """
    suffix = {"sklearn": "joblib", "onnx": "onnx"}[framework]
    shared.apply(trained_model(name, models.uri(f"probe-7.{suffix}"), framework))
    shared.wait_ready(name)
    assert name in indexed(shared, framework)
    assert files_of(shared, name)
    expected = models.probe_labels + 700
    neighbour = line[framework]
    known = client.classes(neighbour, models.images[:20])
    not_found = frozenset({grpc.StatusCode.NOT_FOUND})
    with (
        Traffic(shared.target, name, models.probes, expected, tolerated=not_found) as traffic,
        Traffic(shared.target, neighbour, models.images[:20], known) as beside,
    ):
        wait_until(lambda: traffic.answered > 20, "no traffic")
        shared.delete(name)
        wait_until(lambda: traffic.refused > 20, "it is still served", within=15)
        wait_until(lambda: name not in indexed(shared, framework), "the server still has it", within=15)
    traffic.check(at_least=20)
    beside.check(at_least=20)
    wait_until(lambda: not files_of(shared, name), lambda: f"left: {files_of(shared, name)}", within=10)
    shared.wait_gone(name)
    with pytest.raises(CallError) as gone:
        client.classes(name, models.probes[:1])
    assert gone.value.code is grpc.StatusCode.NOT_FOUND
    assert name in gone.value.message


def test_requests_in_flight_are_finished_first(shared: Stack, models: Models, name: str, client: Client) -> None:
    """Requests that take long and were there before the deletion are answered."""
    shared.apply(trained_model(name, models.sample("sklearn"), "sklearn"))
    shared.wait_ready(name)
    many = np.tile(models.images, (20, 1))
    with ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        client.classes(name, many)
        assert time.monotonic() - started > 0.1, "too fast for this test to mean anything"
        taken = requests_taken(shared)
        asked = [pool.submit(client.classes, name, many) for _ in range(8)]
        wait_until(lambda: requests_taken(shared) >= taken + 8, "not all are sent")
        shared.delete(name)
        for answer in asked:
            assert len(answer.result(timeout=30)) == len(many)


def test_name_that_comes_back_is_another_model(shared: Stack, models: Models, name: str, client: Client) -> None:
    """Deleted and created again, at once and with other content: a new uid, and never an answer of the old one."""
    seen = set()
    for number in (1, 2, 3):
        shared.apply(trained_model(name, models.uri(f"probe-{number}.joblib"), "sklearn"))
        wait_until(lambda: shared.get(name) is not None, "it does not appear")
        shared.wait_ready(name)
        document = shared.get(name)
        assert document is not None
        seen.add(document["metadata"]["uid"])
        assert list(client.classes(name, models.probes)) == list(models.probe_labels + 100 * number)
        shared.delete(name)
        shared.wait_gone(name)
    assert len(seen) == 3


def test_deletion_of_a_model_that_failed_or_is_on_its_way(
    shared: Stack, liar: Liar, models: Models, name: str, client: Client
) -> None:
    """It goes, whatever state it is in: also in the midst of a download that does not end."""
    shared.apply(trained_model(name, models.uri("nothing-here"), "sklearn"))
    shared.wait_condition(name, "ModelNotFound")
    shared.delete(name)
    shared.wait_gone(name)
    with pytest.raises(CallError) as gone:
        client.classes(name, models.images[:1])
    assert gone.value.code is grpc.StatusCode.NOT_FOUND
    liar.buckets["slow"] = {"digits.joblib": models.file("sklearn/digits.joblib").read_bytes()}
    liar.stalled.add("slow")
    shared.secret(slow=liar.entry)
    shared.apply(trained_model(name, "s3://slow/digits.joblib", "sklearn", key="slow"))
    wait_until(lambda: liar.fetched["slow"], "it is not on its way")
    shared.delete(name)
    shared.wait_gone(name)
    wait_until(lambda: not files_of(shared, name), lambda: f"left: {files_of(shared, name)}", within=10)
    shared.secret(slow=None)


def requests_taken(stack: Stack) -> int:
    """The requests that Envoy has begun to route, so far."""
    said = envoy_says(stack, "/stats?filter=^http[.]mesh[.]downstream_rq_total$").decode()
    return int(said.partition("downstream_rq_total: ")[2].split()[0])


def files_of(stack: Stack, name: str) -> list[str]:
    """Whatever below STATE is called like the model, but for logs."""
    return [str(path) for path in below(stack.state) if name in path.name]
