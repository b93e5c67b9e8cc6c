"""A leader as an adapter knows one: it watches, and commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc

from protos import fleet_pb2, fleet_pb2_grpc

READY, LOST = fleet_pb2.SERVER_STATE_READY, fleet_pb2.SERVER_STATE_LOST
DOWNLOADING = fleet_pb2.COPY_STATE_DOWNLOADING
LOADED, FAILED = fleet_pb2.COPY_STATE_LOADED, fleet_pb2.COPY_STATE_FAILED


class Leader:
    """One leader's view: a Watch and commands."""

    def __init__(self, stub: fleet_pb2_grpc.AdapterAsyncStub, epoch: int) -> None:
        self.stub = stub
        self.epoch = epoch
        self.boot = ""
        self.copies: dict[str, fleet_pb2.Copy] = {}
        self.gone: set[str] = set()
        self.last = fleet_pb2.Report()
        self.reports: list[fleet_pb2.Report] = []
        self._call = stub.Watch(fleet_pb2.Hello(epoch=epoch, protocol=1))

    async def until(self, condition: Callable[[], bool], within_s: float = 30.0) -> None:
        async with asyncio.timeout(within_s):
            while not condition():
                report = await self._call.read()
                assert isinstance(report, fleet_pb2.Report)
                self.take(report)

    async def until_state(
        self, state: fleet_pb2.CopyState.ValueType, model: str, within_s: float = 30.0
    ) -> fleet_pb2.Copy:
        await self.until(lambda: model in self.copies and self.copies[model].state == state, within_s)
        return self.copies[model]

    def take(self, report: fleet_pb2.Report) -> None:
        self.last = report
        self.reports.append(report)
        self.boot = report.boot
        if report.full:
            self.copies.clear()
        for gone in report.gone:
            self.copies.pop(gone.model, None)
            self.gone.add(gone.model)
        self.copies.update({copy.key.model: copy for copy in report.copies})
        assert report.capacity.reserved <= report.capacity.total

    async def end(self) -> None:
        """Read to the end of the stream."""
        while (report := await self._call.read()) is not grpc.aio.EOF:
            assert isinstance(report, fleet_pb2.Report)
            self.take(report)

    def fence(self) -> fleet_pb2.Fence:
        return fleet_pb2.Fence(epoch=self.epoch, boot=self.boot)

    async def load(
        self,
        model: str,
        *,
        path: str = "",
        revision: str = "1",
        bucket: str = "b",
        credentials: fleet_pb2.Credentials | None = None,
    ) -> None:
        await self.stub.Load(
            fleet_pb2.LoadRequest(
                fence=self.fence(),
                key=fleet_pb2.Key(model=model, uid="u", revision=revision),
                source=fleet_pb2.Source(
                    bucket=bucket, path=path or model, framework="onnx", uri=f"s3://{bucket}/{path or model}"
                ),
                credentials=credentials
                or fleet_pb2.Credentials(access_key_id="AKIDAKID", secret_access_key="SECRETSECRET"),
            )
        )

    async def unload(self, model: str) -> None:
        request = fleet_pb2.UnloadRequest(fence=self.fence(), key=fleet_pb2.Key(model=model, uid="u", revision="1"))
        await self.stub.Unload(request)
