"""
What holds for held requests whatever happens to them, in whatever order, in virtual time.

All of the activator but gRPC: requests, hold, gate and budget are the real ones;
clients, model servers and the leader are scripts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import grpc
import looptime
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.activator.budget import COPIES, Budget, Pool
from orchestrator.activator.channels import Channels
from orchestrator.activator.gate import Gate
from orchestrator.activator.hold import Hold
from orchestrator.activator.request import End
from orchestrator.activator.unary import Unary
from orchestrator.domain.demand import Answer, OnDemand, ReadyAt, Refused, WaitFor, Want
from tests.orchestrator.activator.fakes import message
from tests.properties import examples

LARGEST: Final = 100
TOTAL: Final = 1_280
MAX_WAITING: Final = 8
MAX_PER_MODEL: Final = 5
LINE: Final = 3
DEFAULT_WAIT_S: Final = 120.0
MODELS: Final = ("a", "b")
#: How a server may behave, by its address.
ECHO, EMPTY, DEAD, HUNG, STUCK, BROKEN = "echo:1", "empty:1", "dead:1", "hung:1", "stuck:1", "broken:1"
ANSWERS: Final[tuple[Answer, ...]] = (
    ReadyAt((ECHO,)),
    ReadyAt((DEAD, ECHO)),
    ReadyAt((EMPTY,)),
    ReadyAt((DEAD,)),
    ReadyAt((HUNG,)),
    ReadyAt((STUCK,)),
    ReadyAt((BROKEN,)),
    Refused(5, "no such model"),
    WaitFor("loading"),
    OnDemand(),
)
#: How a request that was not answered or cancelled may end.
ENDS: Final = frozenset(
    {
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,
    }
)


class Come(NamedTuple):
    """A request; without a name in its metadata it has to be read first."""

    model: str
    size: int
    patience: float | None
    named: bool
    read_s: float


class Leave(NamedTuple):
    """The client of one request goes away."""

    which: int


class Say(NamedTuple):
    """The leader's answer, heard if there is one."""

    model: str
    answer: Answer


class Lead(NamedTuple):
    """The stream to the leader begins, or ends."""

    there: bool


class Pass(NamedTuple):
    """Time."""

    seconds: float


Step = Come | Leave | Say | Lead | Pass

STEPS: Final = st.one_of(
    st.builds(
        Come,
        st.sampled_from(MODELS),
        st.integers(0, LARGEST - 10),
        st.none() | st.floats(0.1, 60),
        st.booleans(),
        st.sampled_from((0.0, 0.01, 20.0, 40.0)),
    ),
    st.builds(Leave, st.integers(0, 20)),
    st.builds(Say, st.sampled_from(MODELS), st.sampled_from(ANSWERS)),
    st.builds(Lead, st.booleans()),
    st.builds(Pass, st.sampled_from((0.0, 0.02, 1.0, 30.0))),
)


class Client:
    """A request's other end: gRPC's context for it, as far as the product uses it."""

    def __init__(self, come: Come, number: int) -> None:
        self.sent = message(come.model, bytes([number % 256]) * come.size)
        self.received: list[bytes] = []
        self.code = grpc.StatusCode.OK
        self._come = come
        self._since = asyncio.get_running_loop().time()

    async def read(self) -> object:
        await asyncio.sleep(self._come.read_s)
        return self.sent

    async def write(self, message: bytes, /) -> None:
        await asyncio.sleep(0)
        self.received.append(message)

    async def send_initial_metadata(self, initial_metadata: Sequence[tuple[str, str | bytes]], /) -> None:
        await asyncio.sleep(0)

    def invocation_metadata(self) -> grpc.aio.Metadata:
        return grpc.aio.Metadata(*((("mm-vmodel-id", self._come.model),) if self._come.named else ()))

    def time_remaining(self) -> float | None:
        if self._come.patience is None:
            return None
        return self._since + self._come.patience - asyncio.get_running_loop().time()

    def set_code(self, code: grpc.StatusCode, /) -> None:
        self.code = code

    def set_details(self, details: str, /) -> None:
        pass

    def set_trailing_metadata(self, trailing_metadata: Sequence[tuple[str, str | bytes]], /) -> None:
        pass


class Servers:
    """Connections to servers that behave by their address; counts those in use."""

    def __init__(self) -> None:
        self.in_use: Counter[str] = Counter()

    async def acquire(self, endpoint: str) -> Server | None:
        await asyncio.sleep(0)
        if endpoint == DEAD:
            return None
        self.in_use[endpoint] += 1
        return Server(endpoint)

    async def release(self, connection: Server) -> None:
        self.in_use[connection.endpoint] -= 1


class Server:
    """A connection, and the one call that is made on it."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._message = b""
        self._code = grpc.StatusCode.OK

    def unary(self, method: str) -> Server:
        return self

    def __call__(self, message: bytes, *, metadata: object, timeout: float | None) -> Server:
        self._message = message
        return self

    async def initial_metadata(self) -> tuple[tuple[str, str], ...]:
        if self.endpoint == HUNG:
            await asyncio.Event().wait()
        await asyncio.sleep(0.01)
        return ()

    async def read(self) -> bytes:
        if self.endpoint == EMPTY:
            raise error(grpc.StatusCode.INVALID_ARGUMENT, "Model m not found")
        if self.endpoint == STUCK:
            await asyncio.Event().wait()
        if self.endpoint == BROKEN:
            raise error(grpc.StatusCode.UNAVAILABLE, "connection reset")
        return self._message

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    async def details(self) -> str:
        return ""

    async def trailing_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    def done(self) -> bool:
        return False

    def cancel(self) -> None:
        pass


def error(code: grpc.StatusCode, text: str) -> grpc.aio.AioRpcError:
    """A call's failure."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=text)


class World:
    """A script's state: what is asked at each step and at the end."""

    def __init__(self) -> None:
        self.gate = Gate(max_waiting=MAX_WAITING, max_per_model=MAX_PER_MODEL)
        self.hold = Hold(self.gate, Budget.divide(TOTAL, largest=LARGEST, max_line=LINE))
        self.servers = Servers()
        self.requests: list[tuple[Come, Client, asyncio.Task[str]]] = []
        #: What the leader was told; None while there is none.
        self.leader: dict[str, Want] | None = None

    @property
    def pools(self) -> tuple[Pool, ...]:
        return (self.hold.budget.early, self.hold.budget.requests, self.hold.budget.responses)

    def take(self, step: Step) -> float:
        """Have it happen; returns how long to wait."""
        match step:
            case Come():
                client = Client(step, len(self.requests))
                self.requests.append((step, client, asyncio.create_task(self._serve(client))))
            case Leave(which) if self.requests:
                self.requests[which % len(self.requests)][2].cancel()
            case Say(model, answer) if self.leader is not None:
                self.hold.answer(model, answer)
            case Lead(there=True) if self.leader is None:
                self.leader = self.hold.everything()
            case Lead(there=False) if self.leader is not None:
                self.leader = None
                self.hold.unheard()
            case Pass(seconds):
                return seconds
            case _:
                pass
        return 0.0

    def check(self) -> None:
        """The laws at any moment."""
        for pool in self.pools:
            assert 0 <= pool.settled <= pool.used <= pool.total
            assert pool.line <= LINE
        assert COPIES * sum(pool.used for pool in self.pools) <= TOTAL
        assert self.hold.waiting <= MAX_WAITING
        held = Counter(come.model for come, _, task in self.requests if not task.done())
        assert self.hold.waiting <= held.total()
        if self.leader is None:
            return
        changes = self.hold.changes()
        for model in changes.release:
            del self.leader[model]
        for model, want in changes.want.items():
            assert want.stale or self.leader.get(model) != want, "one want is one load, whatever the number of waiters"
            self.leader[model] = want

    async def _serve(self, client: Client) -> str:
        # As the proxy does it.
        try:
            request = Unary(
                self.hold,
                cast("Channels", self.servers),
                client,
                "ModelInfer",
                max_message_bytes=LARGEST,
                default_wait_s=DEFAULT_WAIT_S,
            )
            await request.run(load=True)
        except End as end:
            return end.code.name
        return client.code.name


async def play(steps: list[Step]) -> None:
    """The script, and then enough time for all that is bounded by time."""
    world = World()
    for step in steps:
        await asyncio.sleep(world.take(step))
        # A turn for each await between two decisions.
        for _ in range(5):
            await asyncio.sleep(0)
        world.check()
    # Of a server that begins answers and does not end them, each has its turn.
    await asyncio.sleep(4 * DEFAULT_WAIT_S)
    world.check()
    for _, _, task in world.requests:
        # What is left is at a server that says nothing, and its client the only one who can end it.
        assert task.done() or world.servers.in_use[HUNG]
        task.cancel()
    ended = await asyncio.gather(*(task for _, _, task in world.requests), return_exceptions=True)
    for (_, client, _), how in zip(world.requests, ended, strict=True):
        if how == "OK":
            assert client.received == [client.sent], "each gets its own answer, once"
        else:
            assert client.received == []
            assert isinstance(how, asyncio.CancelledError) or how in {code.name for code in ENDS}, how
    await asyncio.sleep(2)
    world.check()
    assert world.hold.waiting == world.servers.in_use.total() == 0, "every place is given back"
    assert [(pool.used, pool.settled, pool.line) for pool in world.pools] == [(0, 0, 0)] * 3, "and every byte"
    assert not world.leader, "what no one waits for is released"
    assert world.hold.everything() == {}
    world.hold.stop_timer()


@given(st.lists(STEPS, max_size=40))
@example([Come("a", 0, None, True, 0.0), Lead(True), Say("a", ReadyAt((STUCK,))), Pass(0.0)])
@examples(150)
def test_every_request_ends_and_all_it_had_is_given_back_once(steps: list[Step]) -> None:
    """
    In any order of arrivals, cancellations, answers, faults of servers, and leaders that come and go.

    Bytes and places stay within their bounds at every moment, and one want stands for any number of waiters.
    """
    loop = looptime.new_event_loop()
    try:
        loop.run_until_complete(play(steps))
    finally:
        loop.close()
