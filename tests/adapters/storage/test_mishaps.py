"""Every error of the libraries has a reason of ours."""

from __future__ import annotations

import errno
import os
import ssl

import pytest
from botocore.exceptions import ClientError, SSLError

from adapters.domain.copies import Reason
from adapters.storage.mishaps import disk_failure, explain
from tests.adapters.storage.stores import credentials, source


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_what_to_do(number: int) -> None:
    """It is the adapter's, not the store's; no path of the machine is told."""
    failure = disk_failure(source("a"), OSError(number, os.strerror(number), "/var/lib/secret")).failure
    assert failure.reason is Reason.STORAGE_UNAVAILABLE
    assert failure.message == (
        f"s3://bucket/a: the adapter's disk is full ({os.strerror(number)}); give it more room or let other models go"
    )


def test_a_disk_that_fails_is_named() -> None:
    """In the system's words."""
    message = disk_failure(source("a"), OSError(errno.EIO, os.strerror(errno.EIO))).failure.message
    assert message == "s3://bucket/a: the adapter's disk fails (Input/output error)"


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


def test_an_endpoint_that_is_none_is_told_by_its_field() -> None:
    """Whatever is wrong with it: nothing is raised over the explanation."""
    failure = explain(ValueError(), source("a"), credentials("http://[fd00::5:9000")).failure
    assert failure.message.startswith("s3://bucket/a: endpoint_url did not answer as an S3 store does")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("WRONG_VERSION_NUMBER", "https://store does not speak TLS there; is endpoint_url http://store?"),
        ("RECORD_LAYER_FAILURE", "https://store does not speak TLS there; is endpoint_url http://store?"),
        ("CERTIFICATE_VERIFY_FAILED", "no trusted TLS connection to https://store; check endpoint_url and certificate"),
    ],
)
def test_a_store_without_tls_is_told_from_one_that_is_not_trusted(said: str, words: str) -> None:
    """By what the handshake said, however the libraries wrap it."""
    cause = ssl.SSLError(1, f"[SSL: {said}] whatever (_ssl.c:1006)")
    cause.reason = said
    error = SSLError(endpoint_url="https://store", error=cause)
    error.__cause__ = cause
    failure = explain(error, source("a"), credentials("https://store")).failure
    assert (failure.reason, failure.message) == (Reason.STORAGE_CONFIG_INVALID, f"s3://bucket/a: {words}")
