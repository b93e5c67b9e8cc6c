"""
A witness of what clients get while something happens: so many requests a second, sent by the clock.

A request that is not answered yet delays none that follows, and none is ever
sent again: what a client would have seen in that second is what is recorded.
Models are probers, so that each answer says which of them gave it.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import grpc
from tritonclient.grpc import InferResult, service_pb2

from tests.standalone.client import SERVICE, classes_of
from tests.standalone.models import Images, Labels
from tests.standalone.verdicts import Outcome, phases
from tests.standalone.waiting import wait_until

RATE: Final = 50.0
DEADLINE_S: Final = 30.0

_OPTIONS: Final = (
    # Neither the client's own retries nor the transparent ones.
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # An Envoy that is back is found at once: what is measured is not the client's patience.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 50),
    # How long an attempt to connect may take, whatever its name says: a frozen Envoy lets clients wait.
    ("grpc.min_reconnect_backoff_ms", 30_000),
)


class Testimony:
    """What became of requests."""

    def __init__(self) -> None:
        #: How long was asked, seconds; known when it is over.
        self.lasted = 0.0
        self._lock = threading.Lock()
        self._outcomes: list[Outcome] = []
        self._connected: list[float] = []

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Those of all requests that have ended, in the order of their ends."""
        with self._lock:
            return tuple(self._outcomes)

    @property
    def lost(self) -> tuple[Outcome, ...]:
        """Those that did not end well."""
        return tuple(o for o in self.outcomes if o.code is not grpc.StatusCode.OK)

    def of(self, model: str) -> tuple[Outcome, ...]:
        """The outcomes of one model."""
        return tuple(o for o in self.outcomes if o.model == model)

    def heard(self, model: str, number: int, *, times: int = 20, within: float = 30.0) -> None:
        """Wait until the model has answered as this prober, so many times from now on."""
        known = len(self.outcomes)
        wait_until(
            lambda: sum(o.model == model and o.number == number for o in self.outcomes[known:]) >= times,
            lambda: f"{model} does not answer as {number}: {self.outcomes[-3:]}",
            within=within,
        )

    def check(self, *, excused: Callable[[Outcome], bool] = lambda _: False) -> None:
        """Raises AssertionError if an answer was wrong, or a request was lost that is not excused."""
        wrong = [o for o in self.outcomes if o.code is grpc.StatusCode.OK and o.number is None]
        assert not wrong, f"{len(wrong)} wrong answers, first: {wrong[0]}"
        lost = [o for o in self.lost if not excused(o)]
        assert not lost, f"{len(lost)} of {len(self.outcomes)} requests lost: {lost[:3]} … {lost[-1]}"

    def connected(self, since: float) -> float:
        """When (monotonic) the client had a connection again, the first that was made after that moment."""
        return wait_until(
            lambda: next((moment for moment in self._connected if moment > since), 0.0), "no connection", within=60
        )

    def phases(self, model: str) -> list[int]:
        """Which probers answered for the model, one after the other."""
        return phases(self.of(model))

    def _add(self, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes.append(outcome)


class Witness(Testimony):
    """
    Asks each of `models` in turn about one image, `rate` requests a second in all, until its context ends.

    `answers[n]` is what a prober of number 0 says of image n. With rate 0 it asks only when told to (`ask`).
    """

    def __init__(
        self,
        target: str,
        models: Sequence[str],
        images: Images,
        answers: Labels,
        *,
        rate: float = RATE,
        options: Sequence[tuple[str, Any]] = _OPTIONS,
        deadline: float = DEADLINE_S,
    ) -> None:
        super().__init__()
        self._target = target
        self._models = tuple(models)
        self._messages = {m: [_message(m, images[n : n + 1]) for n in range(len(images))] for m in models}
        self._answers = [int(answer) for answer in answers]
        self._pause_s = 1 / rate if rate else None
        self._options = options
        self._deadline = deadline
        self._turns = itertools.count()
        self._under_way = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="witness")
        self._channel: grpc.Channel | None = None

    def __enter__(self) -> Self:
        self._channel = grpc.insecure_channel(self._target, options=self._options)
        self._channel.subscribe(self._heed)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self._channel is not None
        try:
            wait_until(lambda: not self._under_way, "requests without an end", within=self._deadline + 5)
        finally:
            self._channel.close()

    def ask(self, model: str) -> Callable[[], Outcome]:
        """Send one request now; call what is returned for its outcome."""
        ended = threading.Event()
        found: list[Outcome] = []

        def end(outcome: Outcome) -> None:
            found.append(outcome)
            ended.set()

        self._send(model, next(self._turns), end)

        def outcome() -> Outcome:
            assert ended.wait(self._deadline + 5), "a request without an end"
            return found[0]

        return outcome

    def _heed(self, connectivity: grpc.ChannelConnectivity) -> None:
        if connectivity is grpc.ChannelConnectivity.READY:
            self._connected.append(time.monotonic())

    def _run(self) -> None:
        due = began = time.monotonic()
        while self._pause_s is not None and not self._stop.wait(max(0.0, due - time.monotonic())):
            turn = next(self._turns)
            self._send(self._models[turn % len(self._models)], turn, lambda _: None)
            # What a busy machine was late for is left out, not made up for.
            due = max(due + self._pause_s, time.monotonic())
        self.lasted = time.monotonic() - began

    def _send(self, model: str, turn: int, done: Callable[[Outcome], None]) -> None:
        assert self._channel is not None
        index = (turn // len(self._models)) % len(self._answers)
        ask: Any = self._channel.unary_unary(f"{SERVICE}ModelInfer", response_deserializer=InferResponse.FromString)
        with self._lock:
            self._under_way += 1
        sent = time.monotonic()
        call = ask.future(self._messages[model][index], metadata=(("mm-vmodel-id", model),), timeout=self._deadline)

        def ended(call: Any) -> None:
            code = call.code()
            number = _number(call.result(), self._answers[index]) if code is grpc.StatusCode.OK else None
            outcome = Outcome(model, sent, time.monotonic(), code, number, call.details() or "")
            self._add(outcome)
            with self._lock:
                self._under_way -= 1
            done(outcome)

        call.add_done_callback(ended)


InferResponse: Final = service_pb2.ModelInferResponse


def _message(model: str, images: Images) -> bytes:
    tensor = service_pb2.ModelInferRequest.InferInputTensor(name="digits", datatype="FP32", shape=list(images.shape))
    request = service_pb2.ModelInferRequest(model_name=model, inputs=[tensor], raw_input_contents=[images.tobytes()])
    message: bytes = request.SerializeToString()
    return message


def _number(response: Any, answer: int) -> int | None:
    """Which prober says so; None if none would."""
    said = int(classes_of(InferResult(response))[0])
    return said // 100 if said % 100 == answer else None
