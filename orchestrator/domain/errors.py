"""
What can be wrong with a model, as values.

The tree:

- `ProductError`
    - `InvalidManifest`: a document that is not the object it claims to be
    - `FleetError`: an adapter did not accept a command
    - `PlatformUnavailable`: the platform did not do or store something now
    - `Deposed`: another leads; ends the process
    - `LeadLost`: another may lead; ends the process
    - `ModelProblem`: a TrainedModel that cannot be served as it stands; carries
      the condition reason and a message that says what to do

An error holds data; text is derived from it.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Condition reasons of a TrainedModel: the Status table of the contract."""

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
    """What is told of an error that nobody expected: its kind and its place. Its own text may hold anything."""
    trace, where = error.__traceback__, ""
    while trace is not None:
        where, trace = f" in {trace.tb_frame.f_code.co_name}:{trace.tb_lineno}", trace.tb_next
    return f"internal error of the orchestrator ({type(error).__name__}{where}): please report it"


class FleetError(ProductError):
    """An adapter did not accept a command; the caller looks again rather than assuming anything."""


class PlatformUnavailable(ProductError):
    """The platform, such as an API server, could not be asked, or puts it off; what was to be done is done later."""

    def __init__(self, problem: str, *, retry_after_s: float = 0.0) -> None:
        """`retry_after_s`: how long the platform asks to be left alone."""
        super().__init__(problem)
        self.retry_after_s = retry_after_s


class Deposed(ProductError):
    """Another has taken the lead. Ends the process: whatever it knows is of an age that is over."""

    def __init__(self, epoch: int, successor: int) -> None:
        super().__init__(epoch, successor)
        self.epoch = epoch
        self.successor = successor

    def __str__(self) -> str:
        return f"another leads, of epoch {self.successor}; this one's was {self.epoch}"


class LeadLost(ProductError):
    """The lead was not confirmed any more, so that another may have taken it. Ends the process."""

    def __init__(self, epoch: int, why: str) -> None:
        super().__init__(epoch, why)
        self.epoch = epoch
        self.why = why

    def __str__(self) -> str:
        return f"the lead of epoch {self.epoch} is lost: {self.why}"
