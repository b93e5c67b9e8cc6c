"""
What can be wrong with a model, as values.

The tree:

- `ProductError`
    - `InvalidManifest`: a document that is not the object it claims to be
    - `FleetError`: an adapter did not accept a command
    - `PlatformUnavailable`: the platform could not do or store something now
    - `Deposed`: another process leads; ends this one
    - `LeadLost`: another process may lead; ends this one
    - `ModelProblem`: a TrainedModel that cannot be served as it stands; carries
      the condition reason and a message that says what to do

An error holds data; text is derived from it.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Condition reasons of a TrainedModel; docs/operations.md, Troubleshooting, explains each to users."""

    LOADED = "Loaded"
    STANDBY = "Standby"
    RUNTIME_STARTING = "RuntimeStarting"
    DOWNLOADING = "Downloading"
    LOADING = "Loading"
    RUNTIME_UNAVAILABLE = "RuntimeUnavailable"
    INVALID_STORAGE_URI = "InvalidStorageUri"
    NO_SUPPORTING_RUNTIME = "NoSupportingRuntime"
    RUNTIME_NOT_RECOGNIZED = "RuntimeNotRecognized"
    STORAGE_CONFIG_MISSING = "StorageConfigMissing"
    STORAGE_KEY_NOT_FOUND = "StorageKeyNotFound"
    STORAGE_CONFIG_INVALID = "StorageConfigInvalid"
    MODEL_NOT_FOUND = "ModelNotFound"
    STORAGE_ACCESS_DENIED = "StorageAccessDenied"
    STORAGE_UNAVAILABLE = "StorageUnavailable"
    INVALID_MODEL_LAYOUT = "InvalidModelLayout"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    MODEL_TOO_LARGE = "ModelTooLarge"


class EventReason(StrEnum):
    """Reasons of Events that are no condition's; docs/operations.md, Events, explains each to users."""

    INVALID_MANIFEST = "InvalidManifest"
    INVALID_SERVING_RUNTIME = "InvalidServingRuntime"
    DEPLOYMENT_NOT_OURS = "DeploymentNotOurs"
    DEPLOYMENT_GOING = "DeploymentGoing"
    SERVING_RUNTIME_GONE = "ServingRuntimeGone"
    REFUSED = "Refused"
    UNEXPECTED = "Unexpected"
    REMOVAL_HELD = "RemovalHeld"
    REMOVAL_LET_GO = "RemovalLetGo"
    REMOVAL_CALLED_OFF = "RemovalCalledOff"


class ProductError(Exception):
    """Base of all errors that the product raises on purpose."""


class InvalidManifest(ProductError):
    """A document that cannot be read as the object it claims to be."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class ModelProblem(ProductError):
    """The model cannot be served until a person changes something."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def surprise(error: Exception) -> str:
    """A message for an unexpected error: its type and place only, since its text may hold anything (secrets, too)."""
    trace, where = error.__traceback__, ""
    while trace is not None:
        where, trace = f" in {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}", trace.tb_next
    return f"internal error of the orchestrator ({type(error).__name__}{where}): please report it"


class FleetError(ProductError):
    """An adapter did not accept a command; the caller looks again rather than assuming anything."""


class PlatformUnavailable(ProductError):
    """The platform (such as an API server) cannot be reached or asks to wait; the work is tried again later."""

    def __init__(self, problem: str, *, retry_after_s: float = 0.0) -> None:
        """`retry_after_s`: how long the platform asks to be left alone."""
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class Deposed(ProductError):
    """Another process has taken the lead. Ends this one: what it knows is out of date."""

    def __init__(self, epoch: int, successor: int) -> None:
        super().__init__(epoch, successor)
        self.epoch = epoch
        self.successor = successor

    def __str__(self) -> str:
        return f"another leads, of epoch {self.successor}; this one's was {self.epoch}"


class LeadLost(ProductError):
    """The lead could not be confirmed any more, so another process may have taken it. Ends this one."""

    def __init__(self, epoch: int, why: str) -> None:
        super().__init__(epoch, why)
        self.epoch = epoch
        self.why = why

    def __str__(self) -> str:
        return f"the lead of epoch {self.epoch} is lost: {self.why}"
