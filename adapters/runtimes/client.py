"""
The repository API that Triton and MLServer share, with one meaning for its answers.

Both servers speak the same protocol, but their answers differ in meaning: the
error for an unknown model, and whether an unload has happened when it is
confirmed. The differences are in the subclasses.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from adapters.domain.errors import NO_REASON, ServerError, ServerGone, ServerRefused, ServerSilent

T = TypeVar("T")

#: A restarted server is found at once; an idle connection is kept.
CHANNEL_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Despite its name this bounds one attempt to connect: a busy server takes more than a moment to accept.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
    ("grpc.max_receive_message_length", -1),
    # An error text is metadata, and may be long: beyond this size gRPC tells only its length.
    ("grpc.max_metadata_size", 64 << 10),
    ("grpc.absolute_max_metadata_size", 256 << 10),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

#: The beginning of a traceback in an error text: pybind11's (Triton's Python backend), and xgboost's.
_TRACEBACK: Final = re.compile(r"\n\nAt:|\nStack trace:")

_QUERY_S: Final = 10.0
_PROBE_S: Final = 2.0


class RuntimeClient(ABC):
    """One server's repository API. Implements `domain.ports.ModelServer`."""

    def __init__(self, target: str) -> None:
        self._client: Any = InferenceServerClient(url=target, channel_args=list(CHANNEL_OPTIONS))

    async def close(self) -> None:
        """Close the connection; calls that are under way fail with ServerGone."""
        await self._client.close()

    async def ailing(self) -> str:
        """Return a loaded model that may have broken. Waits for ever for servers that report that themselves."""
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    async def load(self, model: str, timeout_s: float) -> None:
        """Load, or load again; return when the model serves."""
        await self._call(self._client.load_model(model, client_timeout=timeout_s), timeout_s)
        if not await self._loaded(model):
            raise ServerRefused("the server loaded it, and says that it is not ready")

    async def unload(self, model: str, timeout_s: float) -> None:
        """Return when the server proves to have nothing of the model."""
        refusal: ServerRefused | None = None
        try:
            await self._call(self._client.unload_model(model, client_timeout=timeout_s), timeout_s)
        except ServerRefused as error:
            refusal = error  # perhaps only because it does not know the model
        await self._absent(model, timeout_s, refusal)

    async def is_loaded(self, model: str) -> bool:
        """Whether a request sent now would be served."""
        try:
            return bool(await self._call(self._client.is_model_ready(model, client_timeout=_QUERY_S), _QUERY_S))
        except ServerRefused:
            return False  # unknown: each server has its own code for that

    async def loaded_models(self) -> frozenset[str]:
        """Every model that takes memory in the server."""
        return frozenset(model for model, states in (await self._index()).items() if states & self.occupied)

    async def _loaded(self, model: str) -> bool:
        """Whether a model serves that the server claims to have loaded just now."""
        return await self.is_loaded(model)

    #: States in the index in which a model takes memory.
    occupied: frozenset[str]

    @abstractmethod
    async def _absent(self, model: str, timeout_s: float, refusal: ServerRefused | None) -> None:
        """Return when the model is proven absent; raise `refusal`, or ServerSilent, if it stays."""

    async def _index(self) -> Mapping[str, frozenset[str]]:
        """Model → the states of its versions."""
        answer = await self._call(self._client.get_model_repository_index(client_timeout=_QUERY_S), _QUERY_S)
        states: dict[str, frozenset[str]] = {}
        for each in answer.models:
            # MLServer sends its enum member's name with the class, as in "State.READY".
            state = str(each.state).rsplit(".", 1)[-1].upper()
            if each.name:
                states[each.name] = states.get(each.name, frozenset()) | {state}
        return states

    async def _call(self, call: Awaitable[T], timeout_s: float) -> T:
        try:
            return await call
        except InferenceServerException as error:
            raise await self._meaning(error, timeout_s) from None

    async def _meaning(self, error: InferenceServerException, timeout_s: float) -> ServerError:
        status = str(error.status() or "")
        if status.endswith("DEADLINE_EXCEEDED"):
            return ServerSilent(timeout_s)
        if status.endswith(("UNAVAILABLE", "CANCELLED")) and not await self._answers():
            return ServerGone()
        return ServerRefused(words(error.message() or ""))

    async def _answers(self) -> bool:
        try:
            await self._client.is_server_ready(client_timeout=_PROBE_S)
        except InferenceServerException as error:
            # A busy server is alive; only a failed connection means that it is not.
            return not str(error.status() or "").endswith(("UNAVAILABLE", "CANCELLED"))
        return True


def words(text: str) -> str:
    """The server's error text, without the traceback (with paths of its machine) that backends append."""
    return _TRACEBACK.split(text, 1)[0].strip() or NO_REASON
