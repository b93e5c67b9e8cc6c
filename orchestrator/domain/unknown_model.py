"""
The servers' error texts for "I do not hold this model", in full.

A request that ends with one of these texts was sent by a stale route and belongs
elsewhere: Envoy retries it, and the activator asks the leader again. Or it names
its model in metadata alone, of which a server knows nothing: the activator
completes the message.

Triton's text for a version that a loaded model does not have is not among them:
that is the caller's mistake. MLServer has one text for both cases, with an empty
version where the caller named none, and another to ModelReady, where it takes its
own error for a fault.
"""

from __future__ import annotations

from typing import Final

#: Regular expressions (RE2's and Python's common ground) for the whole of a gRPC status message.
UNKNOWN_MODEL: Final = (
    "Request for unknown model: '[^']*' (is not found|has no available versions)",
    "Request for unknown model: '[^']*' version [0-9]+ is not at ready state",
    r"Model [^ ]*( with version [^ ]*)? (not found|is not ready yet\.)",
    # By itself: Envoy takes no expression that is much longer.
    r"Unexpected <class 'mlserver\.errors\.ModelNotFound'>: Model .*",
)
