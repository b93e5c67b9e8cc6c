"""
A witness beside the pods: a gRPC client with the policy `round_robin` over the names that DNS has for the Service.

A client outside of the node reaches one mesh pod, by way of a test's relay;
what users in a cluster have is every mesh pod, found by name, and a client that
goes on with another one when one of them goes. So the witness is a process
inside; it tells each outcome in a line of JSON, and ends with its input. The
monotonic clock is one for the machine.

usage: python -m tests.cluster.balanced TARGET PROBES.NPZ RATE ATTEMPTS MODEL...
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, Final, Self

import grpc
import numpy as np

from tests.cluster.product import MESH, PORT, Product
from tests.standalone.verdicts import Outcome
from tests.standalone.witness import Testimony, Witness

RATE: Final = 30.0
#: A server that died is back by then, on a machine that does other things too.
DEADLINE_S: Final = 110.0


class Balanced(Testimony):
    """
    Asks each of `models` in turn, `rate` requests a second in all, until its context ends.

    `attempts`: how often the client sends one that ends UNAVAILABLE, in all; else gRPC's defaults.
    """

    def __init__(self, product: Product, *models: str, rate: float = RATE, attempts: int = 1) -> None:
        super().__init__()
        self._cluster = product.cluster
        self._arguments = (str(product.models.file("probes.npz")), str(rate), str(attempts), *models)
        self._forwards = ExitStack()
        self._process: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, name="balanced")

    def __enter__(self) -> Self:
        command = (sys.executable, "-m", "tests.cluster.balanced", self._target(), *self._arguments)
        self._process = subprocess.Popen(
            self._cluster.command(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reader.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join()
        self._forwards.close()
        assert self._process.wait(10) == 0, "the witness failed"

    def _target(self) -> str:
        """The Service's name; in somebody's cluster, whose names are not known here, the mesh pods that it has now."""
        if not self._cluster.external:
            return f"dns:///wml-serving.{self._cluster.namespace}.svc.cluster.local:{PORT}"
        pods = [pod["metadata"]["name"] for pod in self._cluster.pods(MESH)]
        forwards = [self._cluster.port_forward(f"pod/{pod}", PORT) for pod in pods]
        return "ipv4:" + ",".join(self._forwards.enter_context(forward) for forward in forwards)

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                said: dict[str, Any] = json.loads(line)
                self._add(Outcome(**said | {"code": grpc.StatusCode[said["code"]]}))


class _Teller(Witness):
    def _add(self, outcome: Outcome) -> None:
        line = json.dumps(asdict(outcome) | {"code": outcome.code.name})
        with self._lock:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def _options(attempts: int) -> list[tuple[str, Any]]:
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if attempts > 1:
        policy = {
            "maxAttempts": attempts,
            "initialBackoff": "0.1s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config["methodConfig"] = [{"name": [{}], "retryPolicy": policy}]
    return [("grpc.service_config", json.dumps(config)), ("grpc.enable_http_proxy", 0)]


def main(target: str, probes: str, rate: str, attempts: str, *models: str) -> None:
    """See above."""
    with np.load(probes) as known:
        images, labels = known["images"], known["labels"]
    with _Teller(
        target, models, images, labels, rate=float(rate), options=_options(int(attempts)), deadline=DEADLINE_S
    ):
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
