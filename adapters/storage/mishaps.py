"""
Errors of the S3 libraries, as reasons that a person can act on.

The libraries' texts quote URLs, requests and sometimes keys. Only the store's
error code and the store's own message are passed on, scrubbed.
"""

from __future__ import annotations

import errno
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    InvalidRegionError,
    ParamValidationError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
    UnknownEndpointError,
    UnsupportedSignatureVersionError,
)
from botocore.parsers import ResponseParserError

from adapters.domain.copies import Credentials, Failure, Reason, Source
from adapters.domain.errors import LoadFailure
from adapters.domain.texts import clean, scrub

_DENIED: Final = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "Unauthorized",
    }
)
_CONFIG: Final = frozenset(
    {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect", "MovedPermanently"}
)

#: OpenSSL's names for an answer that is not TLS: up to 3.1, and since.
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"})


def status_of(error: ClientError) -> int:
    """The HTTP status of the answer."""
    response: dict[str, Any] = error.response
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status if isinstance(status, int) else 0


def etag_of(value: Any) -> str:
    """The ETag without quotes: some stores quote it, some only in some answers."""
    return str(value or "").strip('"')


def explain(error: Exception, source: Source, credentials: Credentials) -> LoadFailure:
    """The failure that `error`, from one of the libraries, means."""
    if isinstance(error, LoadFailure):
        reason, text = error.failure.reason, f"{source.uri}: {error.failure.message}"
    elif isinstance(error, ClientError):
        reason, text = _answered(error, source, credentials)
    else:
        reason, text = _unanswered(error, source, credentials)
    return LoadFailure(Failure(reason=reason, message=clean(scrub(text, credentials))))


def not_found(source: Source) -> LoadFailure:
    """The store has neither this object nor any below it."""
    return LoadFailure.because(
        Reason.MODEL_NOT_FOUND,
        f"{source.uri}: bucket {source.bucket!r} has no object {source.path!r} and none below it; "
        "upload the model or correct storageUri",
    )


def disk_failure(source: Source, error: OSError) -> LoadFailure:
    """The adapter's own disk is full or fails."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        problem = f"the adapter's disk is full ({error.strerror}); give it more room or let other models go"
    else:
        problem = f"the adapter's disk fails ({error.strerror})"
    return LoadFailure.because(Reason.STORAGE_UNAVAILABLE, clean(f"{source.uri}: {problem}"))


def no_ranges() -> LoadFailure:
    """The store answered a request for a part with something else."""
    return LoadFailure.because(
        Reason.STORAGE_UNAVAILABLE, "the store does not answer requests for a part of an object as an S3 store does"
    )


def too_slow(came: int, total: int, seconds: float, slowest: int) -> LoadFailure:
    """The `came` bytes of the last `seconds` are fewer than `slowest` a second."""
    return LoadFailure.because(
        Reason.STORAGE_UNAVAILABLE,
        f"the download is too slow: {came} of {total} bytes came in {seconds:g} s, and less than {slowest} a second "
        "is not waited for any longer; check the store and the network, or raise modelLoadingTimeoutMillis of the "
        "runtime",
    )


def _answered(error: ClientError, source: Source, credentials: Credentials) -> tuple[Reason, str]:
    details = error.response.get("Error", {})
    code, words, status = str(details.get("Code", "")), str(details.get("Message", "")), status_of(error)
    said = clean(scrub(f"{code}: {words}" if words else code, credentials), limit=300)
    where = _endpoint(credentials)
    if code == "NoSuchBucket":
        return Reason.MODEL_NOT_FOUND, (
            f"{source.uri}: there is no bucket {source.bucket!r} at {where}; create it or correct storageUri"
        )
    if code in _DENIED or status in {401, 403}:
        return Reason.STORAGE_ACCESS_DENIED, (
            f"{source.uri}: {where} refused access ({said}); check access_key_id, secret_access_key "
            "and that they may list and read the bucket"
        )
    if code in _CONFIG or status in {301, 307}:
        return Reason.STORAGE_CONFIG_INVALID, (
            f"{source.uri}: {where} does not serve this bucket as configured ({said}); check region and endpoint_url"
        )
    if status == 404:
        return Reason.MODEL_NOT_FOUND, f"{source.uri}: not found at {where} ({said}); upload it or correct storageUri"
    return Reason.STORAGE_UNAVAILABLE, f"{source.uri}: {where} answered HTTP {status} ({said})"


def _unanswered(error: Exception, source: Source, credentials: Credentials) -> tuple[Reason, str]:
    where = _endpoint(credentials)
    match error:
        case SSLError() if _no_tls(error):
            plain = where.replace("https://", "http://", 1)
            return Reason.STORAGE_CONFIG_INVALID, (
                f"{source.uri}: {where} does not speak TLS there; is endpoint_url {plain}?"
            )
        case SSLError():
            return Reason.STORAGE_CONFIG_INVALID, (
                f"{source.uri}: no trusted TLS connection to {where}; check endpoint_url and certificate"
            )
        case InvalidRegionError() | UnknownEndpointError() | UnsupportedSignatureVersionError():
            return Reason.STORAGE_CONFIG_INVALID, f"{source.uri}: region or endpoint_url is not usable"
        case ParamValidationError():
            return Reason.MODEL_NOT_FOUND, f"{source.uri}: {source.bucket!r} is no bucket name; correct storageUri"
        case ConnectTimeoutError() | EndpointConnectionError() | ProxyConnectionError():
            problem = "cannot be reached"
        case ReadTimeoutError() | TimeoutError():
            problem = "did not answer in time"
        case ResponseParserError() | KeyError() | ValueError():
            problem = "did not answer as an S3 store does"
        case _:
            problem = f"broke the connection ({type(error).__name__})"
    return Reason.STORAGE_UNAVAILABLE, f"{source.uri}: {where} {problem}; check that it is up and endpoint_url is right"


def _no_tls(error: BaseException) -> bool:
    """Whether the store did not speak TLS: the libraries wrap the handshake's error."""
    cause: BaseException | None = error
    while cause is not None:
        # A library's own kind of SSLError may have no reason.
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", "") in _NO_TLS:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _endpoint(credentials: Credentials) -> str:
    """The endpoint for messages: a URL may carry a password."""
    try:
        parts = urlsplit(credentials.endpoint_url)
    except ValueError:
        return "endpoint_url"  # as "http://[::1:9000"
    return f"{parts.scheme}://{parts.netloc.rsplit('@', 1)[-1]}"
