"""The adapter's words are the controller's, and show no secret."""

from __future__ import annotations

from adapters.domain.copies import CopyKey, CopyState, Credentials, Order, Reason, ServerState, Source
from orchestrator.domain import errors, fleet

CREDENTIALS = Credentials(
    access_key_id="AK/ID+1", secret_access_key="s3cr/et=", endpoint_url="http://x", certificate="-----BEGIN"
)


def test_credentials_do_not_show_in_a_repr() -> None:
    """Neither a log line nor an assertion can leak them, nor an order that has them."""
    order = Order(
        key=CopyKey("m", "u", "1"),
        source=Source(bucket="b", path="m", framework="onnx", uri="s3://b/m"),
        credentials=CREDENTIALS,
    )
    for shown in (repr(CREDENTIALS), repr(order)):
        assert not [secret for secret in ("AK", "s3cr", "BEGIN") if secret in shown]
        assert "http://x" in shown


def test_reasons_are_the_controllers() -> None:
    """Each is a condition reason, but for the one that is the leader's business and not the user's."""
    ours = {reason.value for reason in Reason}
    assert ours - {reason.value for reason in errors.Reason} == {fleet.NO_ROOM}


def test_states_are_the_controllers() -> None:
    """No more and no fewer, but for what the controller knows nothing of."""
    known = [state.value for state in fleet.CopyState if state is not fleet.CopyState.UNKNOWN]
    assert [state.value for state in CopyState] == known
    assert [state.value for state in ServerState] == [state.value for state in fleet.ServerState]
