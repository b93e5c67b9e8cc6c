"""Between the wire and the domain: nothing is lost, nothing unknown does harm."""

from __future__ import annotations

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.errors import Reason
from orchestrator.domain.fleet import NO_ROOM, Copy, CopyKey, CopyState, Failure, ServerState
from orchestrator.fleet.convert import key_from_proto, key_to_proto, load_request, report_from_proto
from orchestrator.fleet.observed import Report
from protos import fleet_pb2
from tests.orchestrator.builders import make_credentials, make_key, make_order

texts = st.text(max_size=10)


@given(st.builds(CopyKey, texts, texts, texts))
def test_keys_survive_the_wire(key: CopyKey) -> None:
    """Identity is all three parts."""
    wire = fleet_pb2.Key.FromString(key_to_proto(key).SerializeToString())
    assert key_from_proto(wire) == key


def test_a_report_is_read() -> None:
    """Every field; a duration that is unset is unknown and not zero."""
    wire = fleet_pb2.Report(
        boot="b1",
        seq=7,
        full=True,
        epoch=9,
        capacity=fleet_pb2.Capacity(total=100, reserved=30),
        copies=[
            fleet_pb2.Copy(
                key=key_to_proto(make_key()),
                state=fleet_pb2.COPY_STATE_LOADED,
                reserved=30,
                measured=20,
                download=Duration(seconds=1, nanos=500_000_000),
            )
        ],
        gone=[key_to_proto(make_key("r0"))],
        draining=True,
        closing=True,
        server=fleet_pb2.SERVER_STATE_READY,
    )
    assert report_from_proto(wire, "p1") == Report(
        boot="b1",
        full=True,
        server=ServerState.READY,
        epoch=9,
        total=100,
        reserved=30,
        copies=(
            Copy(
                key=make_key(), pod="p1", state=CopyState.LOADED, reserved=30, measured=20, download_s=1.5, load_s=None
            ),
        ),
        gone=(make_key("r0"),),
        draining=True,
        closing=True,
    )


def test_states_have_the_same_names_on_both_sides() -> None:
    """One that is added to the protocol is to be added here."""
    for value in fleet_pb2.CopyState.values():
        copy = fleet_pb2.Copy(key=key_to_proto(make_key()), state=value)
        found = report_from_proto(fleet_pb2.Report(copies=[copy]), "p1").copies[0].state
        expected = fleet_pb2.CopyState.Name(value).removeprefix("COPY_STATE_")
        assert found.value.upper() == ("UNKNOWN" if expected == "UNSPECIFIED" else expected)
    for server in fleet_pb2.ServerState.values():
        state = report_from_proto(fleet_pb2.Report(server=server), "p1").server
        name = fleet_pb2.ServerState.Name(server).removeprefix("SERVER_STATE_")
        assert state.value.upper() == ("STARTING" if name == "UNSPECIFIED" else name)


def test_what_a_newer_adapter_says_reads_as_the_cautious_thing() -> None:
    """A state that is not known: the server starts, and the copy has neither loaded nor failed."""
    said = fleet_pb2.Copy(key=key_to_proto(make_key()), failure=fleet_pb2.Failure(reason="ModelNotFound"))
    copy = fleet_pb2.Copy.FromString(said.SerializeToString() + b"\x10\x63")
    newer = fleet_pb2.Report.FromString(fleet_pb2.Report(copies=[copy]).SerializeToString() + b"\x50\x63")
    report = report_from_proto(newer, "p1")
    assert report.server is ServerState.STARTING
    assert report.copies == (Copy(key=make_key(), pod="p1", state=CopyState.UNKNOWN),)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (
            fleet_pb2.Failure(reason="NoRoom", message="full", needed=5, available=3),
            Failure(reason=NO_ROOM, message="full", needed=5, available=3),
        ),
        (
            fleet_pb2.Failure(reason="ModelNotFound", message="none", source_changed=True),
            Failure(reason="ModelNotFound", message="none", source_changed=True),
        ),
        (
            fleet_pb2.Failure(reason="OutOfMagic", message="poof"),
            Failure(reason=Reason.MODEL_LOAD_FAILED, message="poof"),
        ),
        (None, Failure(reason=Reason.MODEL_LOAD_FAILED, message="the adapter gave no reason")),
    ],
)
def test_a_failed_copy_has_a_reason_that_a_condition_can_show(
    failure: fleet_pb2.Failure | None, expected: Failure
) -> None:
    """Else it would be loaded again and again without a pause, or its status could not be written."""
    copy = fleet_pb2.Copy(key=key_to_proto(make_key()), state=fleet_pb2.COPY_STATE_FAILED, failure=failure)
    assert report_from_proto(fleet_pb2.Report(copies=[copy]), "p1").copies[0].failure == expected


def test_a_load_carries_all_that_it_needs() -> None:
    """The credentials too: they are nowhere else."""
    credentials = make_credentials(region="eu", default_bucket="not sent", certificate="PEM")
    request = load_request(
        fleet_pb2.Fence(epoch=3, boot="b1"),
        make_order(credentials=credentials, timeout_s=1.5),
    )
    assert request == fleet_pb2.LoadRequest(
        fence=fleet_pb2.Fence(epoch=3, boot="b1"),
        key=key_to_proto(make_key()),
        source=fleet_pb2.Source(bucket="models", path="digits", framework="sklearn", uri="s3://models/digits"),
        credentials=fleet_pb2.Credentials(
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            endpoint_url=credentials.endpoint_url,
            region="eu",
            certificate="PEM",
        ),
        reserve=5,
        urgent=True,
        timeout=Duration(seconds=1, nanos=500_000_000),
    )
