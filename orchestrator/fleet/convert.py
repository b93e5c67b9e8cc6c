"""
Between protos/fleet.proto and domain values: the only place that knows both.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.duration_pb2 import Duration

from orchestrator.domain.errors import Reason
from orchestrator.domain.fleet import NO_ROOM, Copy, CopyKey, CopyState, Failure, LoadOrder, ServerState
from orchestrator.fleet.observed import Report
from protos import fleet_pb2

_SERVER: Final = {
    fleet_pb2.SERVER_STATE_STARTING: ServerState.STARTING,
    fleet_pb2.SERVER_STATE_READY: ServerState.READY,
    fleet_pb2.SERVER_STATE_LOST: ServerState.LOST,
}
_COPY: Final = {
    fleet_pb2.COPY_STATE_DOWNLOADING: CopyState.DOWNLOADING,
    fleet_pb2.COPY_STATE_LOADING: CopyState.LOADING,
    fleet_pb2.COPY_STATE_LOADED: CopyState.LOADED,
    fleet_pb2.COPY_STATE_UNLOADING: CopyState.UNLOADING,
    fleet_pb2.COPY_STATE_FAILED: CopyState.FAILED,
}
_REASONS: Final = frozenset({NO_ROOM, *(r.value for r in Reason)})


def report_from_proto(report: fleet_pb2.Report, pod: str) -> Report:
    """
    A report as a domain value.

    States that this side does not know (a newer adapter's) are read cautiously:
    as a server that is starting, or a copy in an unknown state. A failure always
    gets a reason that a condition can show.
    """
    return Report(
        boot=report.boot,
        full=report.full,
        server=_SERVER.get(report.server, ServerState.STARTING),
        epoch=report.epoch,
        total=report.capacity.total,
        reserved=report.capacity.reserved,
        copies=tuple(_copy(copy, pod) for copy in report.copies),
        gone=tuple(key_from_proto(key) for key in report.gone),
        draining=report.draining,
        closing=report.closing,
    )


def key_from_proto(key: fleet_pb2.Key) -> CopyKey:
    """A copy's identity."""
    return CopyKey(key.model, key.uid, key.revision)


def key_to_proto(key: CopyKey) -> fleet_pb2.Key:
    """Inverse of `key_from_proto`."""
    return fleet_pb2.Key(model=key.model, uid=key.uid, revision=key.revision)


def load_request(fence: fleet_pb2.Fence, order: LoadOrder) -> fleet_pb2.LoadRequest:
    """The command to load a copy. It holds the credentials in the clear: never log it."""
    timeout = Duration()
    timeout.FromNanoseconds(int(order.timeout_s * 1e9))
    credentials = order.credentials
    return fleet_pb2.LoadRequest(
        fence=fence,
        key=key_to_proto(order.key),
        source=fleet_pb2.Source(
            bucket=order.source.bucket, path=order.source.path, framework=order.framework, uri=order.uri
        ),
        credentials=fleet_pb2.Credentials(
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            endpoint_url=credentials.endpoint_url,
            region=credentials.region,
            certificate=credentials.certificate,
        ),
        reserve=order.reserve,
        urgent=order.urgent,
        timeout=timeout,
    )


def _copy(copy: fleet_pb2.Copy, pod: str) -> Copy:
    state, failure = _COPY.get(copy.state, CopyState.UNKNOWN), None
    if state is CopyState.FAILED or (state is not CopyState.UNKNOWN and copy.HasField("failure")):
        failure = Failure(
            reason=copy.failure.reason if copy.failure.reason in _REASONS else Reason.MODEL_LOAD_FAILED.value,
            message=copy.failure.message or "the adapter gave no reason",
            needed=copy.failure.needed,
            available=copy.failure.available,
            source_changed=copy.failure.source_changed,
            crashed=copy.failure.crashed,
        )
    return Copy(
        key=key_from_proto(copy.key),
        pod=pod,
        state=state,
        reserved=copy.reserved,
        measured=copy.measured,
        failure=failure,
        download_s=copy.download.ToNanoseconds() / 1e9 if copy.HasField("download") else None,
        load_s=copy.load.ToNanoseconds() / 1e9 if copy.HasField("load") else None,
    )
