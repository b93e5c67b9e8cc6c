"""
What differs between activators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.settings import Settings

#: Environment that an activator is started in. Else glibc keeps what messages leave behind for the next ones, in an arena
#: for every thread of gRPC; a large one is to go back to the kernel at once.
ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "262144"}

#: How many of the largest messages a budget has to take, copies included: one of that many is divided as the default is.
_LARGEST_MESSAGES: Final = 16


def budget_bytes(max_message_bytes: int) -> int:
    """What an activator may hold: 256 MiB for messages of 16 MiB, more where they may be larger."""
    return max(256 << 20, _LARGEST_MESSAGES * max_message_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivatorSettings(Settings):
    """
    What differs between activators.

    Addresses are gRPC's: `unix:/path` or `host:port`. `leader` lists all that
    may lead; one of them answers at a time.
    """

    listen: str
    leader: tuple[str, ...]
    max_message_bytes: int = 16 << 20
    #: Requests held, or on their way to a server that has not answered; in all, and for one model.
    max_waiting: int = 1_000
    max_waiting_per_model: int = 800
    #: What messages that are held may cost this process, copies included.
    max_bytes: int = budget_bytes(16 << 20)
    max_streams: int = 64
    #: How long a request without a deadline is held.
    default_wait_s: float = 120.0
    version: str = "0"
    #: `host:port` for a kubelet's questions and for scrapes; empty: nobody asks.
    health: str = ""
    #: At the same host, for the kubelet's word that the Envoy beside it is to be drained; 0: nobody says so.
    drain_port: int = 0
    #: The admin API of the Envoy beside it, `host:port`: it is drained when the kubelet says so.
    envoy_admin: str = ""
    #: How long a draining Envoy's listeners (more than its --drain-time-s), then its connections (more than the 5 s of a
    #: connection manager's drain_timeout), and its requests, are waited for.
    drain_least_s: float = 11.0
    drain_idle_s: float = 7.0
    drain_most_s: float = 40.0
    #: Where tls.crt, tls.key and ca.crt are, for leaders that are dialled with mutual TLS; None: without.
    tls_dir: str | None = None
    log_level: str = "info"
