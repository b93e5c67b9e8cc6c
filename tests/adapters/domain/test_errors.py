"""Errors derive their text from their data."""

from __future__ import annotations

import pytest

from adapters.domain.copies import Reason
from adapters.domain.errors import (
    AdapterError,
    LoadFailure,
    ServerGone,
    ServerNotReady,
    ServerRefused,
    ServerSilent,
    SourceChanged,
    StaleBoot,
    StaleEpoch,
)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (StaleEpoch(1, 2), "epoch 1 is stale: 2 was seen"),
        (StaleBoot("a", "b"), "boot 'a' is not the server's: it is 'b'"),
        (ServerNotReady(), "the model server is not ready"),
        (LoadFailure.because(Reason.MODEL_NOT_FOUND, "no such"), "ModelNotFound: no such"),
        (SourceChanged("k"), "object 'k' changed while it was read"),
        (ServerRefused("no"), "no"),
        (ServerSilent(1.5), "no answer within 1.5 s"),
        (ServerGone(), "the connection to the server failed"),
    ],
)
def test_each_error_says_what_happened(error: AdapterError, text: str) -> None:
    """One sentence that stands alone in a log line."""
    assert str(error) == text
