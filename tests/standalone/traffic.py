"""
Requests to a model, one after the other, while something else happens.
"""

from __future__ import annotations

import threading
from typing import Self

import grpc

from tests.standalone.client import CallError, Client
from tests.standalone.models import Images, Labels

#: Between two requests: traffic is a witness, not a load test.
_PAUSE_S = 0.01


class Traffic:
    """
    Asks about one image at a time in a thread until its context ends.

    Every answer is checked. `tolerated` statuses are counted, all else that
    goes wrong is in `failures`.
    """

    def __init__(
        self,
        target: str,
        model: str,
        images: Images,
        expected: Labels,
        *,
        tolerated: frozenset[grpc.StatusCode] = frozenset(),
    ) -> None:
        self.answered = 0
        self.refused = 0
        self.failures: list[str] = []
        self._target = target
        self._model = model
        self._images = images
        self._expected = expected
        self._tolerated = tolerated
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"traffic-{model}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def check(self, *, at_least: int = 1) -> None:
        """Raises AssertionError unless none failed and enough were answered."""
        assert not self.failures, f"{len(self.failures)} requests to {self._model} failed, first: {self.failures[0]}"
        assert self.answered >= at_least, f"{self._model} answered {self.answered} requests only"

    def _run(self) -> None:
        with Client(self._target) as client:
            turn = 0
            while not self._stop.wait(_PAUSE_S):
                self._ask(client, turn % len(self._images))
                turn += 1

    def _ask(self, client: Client, index: int) -> None:
        try:
            answer = client.classes(self._model, self._images[index : index + 1], timeout=10.0)
        except CallError as error:
            if error.code in self._tolerated:
                self.refused += 1
            else:
                self.failures.append(str(error))
            return
        if answer[0] == self._expected[index]:
            self.answered += 1
        else:
            self.failures.append(f"answered {answer[0]}, not {self._expected[index]}")
