"""A gRPC server that answers the repository API as the test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc


class InferenceServer:
    """State is public: tests set it, and look at it."""

    def __init__(self) -> None:
        #: Model → state in the index.
        self.index: dict[str, str] = {}
        #: Method → the status and words of its refusal.
        self.refusals: dict[str, tuple[grpc.StatusCode, str]] = {}
        #: What the index says of an unloading model, one state a question.
        self.lingering: list[str] = []
        self.calls: list[str] = []
        #: While cleared, nothing is answered.
        self.answers = asyncio.Event()
        self.answers.set()
        #: How long it takes to answer.
        self.delay_s = 0.0
        self.ready = True
        self.target = ""
        self._server: grpc.aio.Server | None = None

    async def start(self, target: str = "127.0.0.1:0") -> None:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        handlers: Any = service_pb2_grpc
        handlers.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(target)
        self.target = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def __getattr__(self, name: str) -> Any:
        """Methods that no test needs."""
        if name[0].isupper():
            return self.ServerReady
        raise AttributeError(name)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        await self._enter("ServerReady", context)
        return service_pb2.ServerReadyResponse(ready=self.ready)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        await self._enter("ModelReady", context)
        if request.name not in self.index:
            await context.abort(grpc.StatusCode.UNKNOWN, f"Model {request.name} not found")
        return service_pb2.ModelReadyResponse(ready=self.index[request.name] == "READY")

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:
        await self._enter("RepositoryIndex", context)
        answer = service_pb2.RepositoryIndexResponse()
        for name, state in self.index.items():
            if state == "UNLOADING":
                state = self.lingering.pop(0) if self.lingering else "UNAVAILABLE"
            answer.models.add(name=name, version="1", state=state)
        return answer

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:
        await self._enter("RepositoryModelLoad", context)
        self.index.setdefault(request.model_name, "READY")
        return service_pb2.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:
        await self._enter("RepositoryModelUnload", context)
        if self.lingering:
            self.index[request.model_name] = "UNLOADING"
        else:
            self.index.pop(request.model_name, None)
        return service_pb2.RepositoryModelUnloadResponse()

    async def _enter(self, method: str, context: Any) -> None:
        self.calls.append(method)
        await self.answers.wait()
        await asyncio.sleep(self.delay_s)
        if method in self.refusals:
            await context.abort(*self.refusals[method])


@asynccontextmanager
async def inference_server() -> AsyncIterator[InferenceServer]:
    """One that listens."""
    server = InferenceServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
