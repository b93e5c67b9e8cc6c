"""
A model on standby whose store stalls on demand: what is to be held for it is held for as long as a test wants.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import pytest
from tritonclient.grpc import InferResult, service_pb2

from tests.standalone.client import SERVICE, CallError, Client, classes_of
from tests.standalone.liar import Liar
from tests.standalone.manifests import serving_runtime, trained_model
from tests.standalone.models import Models
from tests.standalone.processes import Process
from tests.standalone.stack import Stack
from tests.standalone.store import Store
from tests.standalone.traffic import Traffic
from tests.standalone.waiting import wait_until

#: Models as a request names them, and which prober each is: prober n answers 100 n + digit.
COLD, OTHER, WARM = "cold", "other", "warm"
PROBERS: Final = {COLD: 0, OTHER: 1, WARM: 2}
RUNTIME: Final = "room-for-one"
BUCKET: Final = "slow"
MIB: Final = 1 << 20


@dataclass
class Cold:
    """A stack in which `COLD` is on standby, its store stalls, and `WARM` is served."""

    stack: Stack
    liar: Liar
    models: Models

    def loaded(self, name: str) -> bool:
        """Whether a server has it."""
        document = self.stack.get(name)
        return document is not None and any(copy["state"] == "Loaded" for copy in document["live"]["copies"])

    def loads(self) -> int:
        """How often `COLD` was fetched."""
        return self.liar.fetched[BUCKET]

    def make_cold(self) -> None:
        """Have `OTHER` take its place, and its next load stall."""
        self.liar.release()
        with self.stack.client() as client:
            client.classes(OTHER, self.models.probes[:1])
        wait_until(lambda: not self.loaded(COLD), "it stays loaded")
        self.liar.hold()

    def ask(self, channel: grpc.Channel, count: int) -> list[Asked]:
        """So many requests to it at once, no two alike."""
        return [Asked(channel, self.models, COLD, number) for number in range(count)]

    def held(self, asked: list[Asked]) -> None:
        """Wait until they are all held: a later one is, until its deadline, and none is over."""
        with self.stack.client() as client:
            wait_until(lambda: self._held(client), "who asks later is not held")
        assert not [each.call.code() for each in asked if each.call.done()]

    def _held(self, client: Client) -> bool:
        """Whether a request that is sent now is held until its deadline."""
        with pytest.raises(CallError) as late:
            client.classes(COLD, self.models.probes[:1], timeout=1.0)
        assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED, late.value
        # Who holds it names the model. In the client's own words it may have been on its way all the time.
        return COLD in late.value.message


class Asked:
    """A request with an id and an input of its own."""

    def __init__(self, channel: grpc.Channel, models: Models, model: str, number: int) -> None:
        probe = number % len(models.probes)
        self.id = f"request-{number}"
        self.expected = int(models.probe_labels[probe]) + 100 * PROBERS[model]
        request = service_pb2.ModelInferRequest(model_name=model, id=self.id)
        request.inputs.add(name="digits", datatype="FP32", shape=[1, 64])
        request.raw_input_contents.append(models.probes[probe].tobytes())
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"{SERVICE}ModelInfer")
        self.call = ask.future(request.SerializeToString(), metadata=(("mm-vmodel-id", model),), timeout=90)

    def check(self) -> None:
        """Raises AssertionError unless it got its own answer."""
        assert self.call.code() is grpc.StatusCode.OK, f"{self.id}: {self.call.code()}: {self.call.details()}"
        answer = service_pb2.ModelInferResponse.FromString(self.call.result())
        assert (answer.id, list(classes_of(InferResult(answer)))) == (self.id, [self.expected])


@contextmanager
def cold_stack(directory: Path, models: Models, store: Store) -> Iterator[Cold]:
    """One for all tests of a module: each begins with `make_cold`, and leaves what it killed to come back."""
    stack = Stack(directory)
    with Liar() as liar:
        liar.buckets[BUCKET] = {"model.joblib": models.file(f"padded-{PROBERS[COLD]}.joblib").read_bytes()}
        # Some bytes at a time: an adapter asks a store that is silent for half a minute again, and gives it up after three.
        liar.dripping.add(BUCKET)
        liar.release()
        stack.secret(default=store.entry(), slow=liar.entry)
        with stack:
            stack.apply(trained_model(WARM, models.uri(f"padded-{PROBERS[WARM]}.joblib"), "sklearn"))
            stack.wait_ready(WARM)
            document = stack.get(WARM)
            assert document is not None
            size = document["live"]["copies"][0]["reservedBytes"]
            stack.apply(
                serving_runtime(RUNTIME, "mlserver", ["sklearn"], memory=str(size * 3 // 2), load_s=600),
                trained_model(COLD, f"s3://{BUCKET}/model.joblib", "sklearn", runtime=RUNTIME, key="slow"),
            )
            stack.wait_ready(COLD)
            stack.apply(trained_model(OTHER, models.uri(f"padded-{PROBERS[OTHER]}.joblib"), "sklearn", runtime=RUNTIME))
            stack.wait_ready(OTHER)
            yield Cold(stack, liar, models)
            liar.release()


@contextmanager
def channel_to(stack: Stack) -> Iterator[grpc.Channel]:
    """A connection of the test's own."""
    options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 500))
    with grpc.insecure_channel(stack.target, options=options) as channel:
        yield channel


@contextmanager
def warm_traffic(cold: Cold) -> Iterator[Traffic]:
    """Requests to `WARM`, all of which are answered rightly."""
    expected = cold.models.probe_labels + 100 * PROBERS[WARM]
    with Traffic(cold.stack.target, WARM, cold.models.probes, expected) as traffic:
        wait_until(lambda: traffic.answered, "no traffic")
        yield traffic
        before = traffic.answered
        wait_until(lambda: traffic.answered > before or traffic.failures, "traffic stopped")
    traffic.check()


def resident(process: Process) -> int:
    """Bytes of memory that it has."""
    size: int = process.process.memory_info().rss
    return size
