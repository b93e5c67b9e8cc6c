"""
What differs between activators.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.settings import Settings


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
    #: Messages held in this process.
    max_bytes: int = 256 << 20
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
