"""Every error of the libraries has a reason of ours."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from adapters.domain.copies import Reason
from adapters.storage.mishaps import explain
from tests.adapters.storage.stores import credentials, source


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (301, "PermanentRedirect", Reason.STORAGE_CONFIG_INVALID),
        (400, "AuthorizationHeaderMalformed", Reason.STORAGE_CONFIG_INVALID),
        (400, "ExpiredToken", Reason.STORAGE_ACCESS_DENIED),
        (401, "", Reason.STORAGE_ACCESS_DENIED),
        (403, "AccessDenied", Reason.STORAGE_ACCESS_DENIED),
        (404, "NoSuchBucket", Reason.MODEL_NOT_FOUND),
        (404, "NoSuchKey", Reason.MODEL_NOT_FOUND),
        (400, "Weird", Reason.STORAGE_UNAVAILABLE),
        (503, "SlowDown", Reason.STORAGE_UNAVAILABLE),
    ],
)
def test_answers_map_to_reasons(status: int, code: str, reason: Reason) -> None:
    """By code first, by status where the code says nothing."""
    error = ClientError(
        {"Error": {"Code": code, "Message": "words"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject"
    )
    failure = explain(error, source("a"), credentials("http://store")).failure
    assert failure.reason is reason
    assert failure.message.startswith("s3://bucket/a: ")
    assert "http://store" in failure.message
