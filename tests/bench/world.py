"""
What is measured: a store with models, and stacks of the product with real or instant servers.

The instant server stands where MLServer's environment is looked for, so that
the product starts it as it starts MLServer, and does not know.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from orchestrator.platform.local.installation import RUNTIMES_VARIABLE
from tests.bench.loader import BINARIES, question
from tests.standalone.manifests import Document, serving_runtime, trained_model
from tests.standalone.models import BUCKET, Models, trained
from tests.standalone.stack import Stack
from tests.standalone.store import Store

_RUNTIMES: Final = Path(__file__).resolve().parents[2] / ".runtimes"
_BEGIN: Final = time.monotonic()
#: The ServingRuntime of the instant server's pods: room for as many models as are asked for.
INSTANT: Final = "instant"
INSTANT_OBJECT: Final = f"s3://{BUCKET}/instant/model.joblib"
INSTANT_CONTENT: Final = b"the instant server looks at no content"
#: Real server → the framework whose sample is loaded into it.
REAL: Final = {"mlserver": "sklearn", "triton": "onnx"}


def say(text: str) -> None:
    """A line of progress."""
    sys.stderr.write(f"{time.monotonic() - _BEGIN:6.1f} s  {text}\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long and how often things are measured."""

    rounds: int
    warm_up_s: float
    seconds: float
    #: Whether the real servers are measured, too.
    real: bool
    #: Models that are asked for the first time, by one caller and by many.
    cold: int
    crowd: int
    #: Of Triton by one caller, and fewer: its stand-in backend here starts a process of its own for each model.
    cold_triton: int
    #: Files whose way to READY is timed, and starts of a whole stack.
    files: int
    starts: int
    #: Registered at once; and the numbers at which memory is looked at.
    registered: int
    sizes: tuple[int, ...]
    #: Models asked in turn while connections are counted.
    active: int
    #: On the cluster: pools that are launched for one model, leaders that are killed, models created at once.
    cold_pools: int
    failovers: int
    on_cluster: int


FULL: Final = Effort(
    rounds=3,
    warm_up_s=0.5,
    seconds=2.5,
    real=True,
    cold=300,
    crowd=50,
    cold_triton=50,
    files=30,
    starts=3,
    registered=1_000,
    sizes=(1_000, 5_000),
    active=200,
    cold_pools=10,
    failovers=5,
    on_cluster=1_000,
)
QUICK: Final = Effort(
    rounds=1,
    warm_up_s=0.1,
    seconds=0.3,
    real=False,
    cold=10,
    crowd=10,
    cold_triton=5,
    files=3,
    starts=1,
    registered=20,
    sizes=(20,),
    active=10,
    cold_pools=1,
    failovers=1,
    on_cluster=20,
)


@dataclass
class World:
    """A directory of its own with all that a run needs."""

    root: Path
    effort: Effort
    _stacks: int = field(default=0, init=False)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """The store serves meanwhile."""
        self.store.start()
        try:
            self.store.put(INSTANT_OBJECT, INSTANT_CONTENT)
            yield
        finally:
            self.store.stop()

    @cached_property
    def store(self) -> Store:
        """A real S3 server."""
        return Store(self.root / "store", access_key="bench-access-key", secret_key="bench-secret-key")

    @cached_property
    def message(self) -> Path:
        """The request that every model is sent."""
        return question(self.root)

    @cached_property
    def models(self) -> Models:
        """The samples' models, trained and in the store."""
        say("trains the samples' models")
        models = trained(self.root / "trained")
        models.upload(self.store)
        return models

    def instant(self) -> Stack:
        """A stack, not started, in which MLServer's place is taken by the instant server."""
        runtimes = self.root / "runtimes"
        if not runtimes.exists():
            (runtimes / "mlserver" / "bin").mkdir(parents=True)
            (runtimes / "mlserver" / "bin" / "mlserver").symlink_to(BINARIES / "instant")
            for name in ("triton", "envoy"):
                (runtimes / name).symlink_to(_RUNTIMES / name)
        stack = self._stack({RUNTIMES_VARIABLE: str(runtimes)})
        stack.apply(serving_runtime(INSTANT, "mlserver", ["sklearn"], memory="1Ti"))
        return stack

    def real(self) -> Stack:
        """A stack, not started, with the real servers."""
        return self._stack({})

    def _stack(self, environment: dict[str, str]) -> Stack:
        self._stacks += 1
        root = self.root / f"stack-{self._stacks}"
        root.mkdir()
        stack = Stack(root, environment=environment)
        stack.secret(default=self.store.entry())
        return stack


def instant_model(name: str) -> Document:
    """A model that the instant server serves."""
    return trained_model(name, INSTANT_OBJECT, "sklearn", runtime=INSTANT)


@contextmanager
def started(stack: Stack, *documents: Document) -> Iterator[Stack]:
    """The stack with these models, READY."""
    stack.apply(*documents)
    with stack:
        stack.wait_ready(*(each["metadata"]["name"] for each in documents), within=300.0)
        yield stack
