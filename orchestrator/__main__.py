"""
Commands, signals and exit codes.

`controller` and `activator` are processes of the product, started by a
platform; `standalone` is the whole product on one machine; `get` and
`describe` are the user's.

Exit codes: 0 ended as asked, 1 failed, 2 wrong use or a place that is taken,
130 interrupted before there was anything to end.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from orchestrator.domain.addresses import ANYWHERE
from orchestrator.domain.names import is_label
from orchestrator.domain.trained_model import API_VERSION, API_VERSIONS
from orchestrator.settings import VERSION

#: What a shell calls a process that SIGINT ended.
_INTERRUPTED = 130
DEFAULT_ADMIN = "http://127.0.0.1:8080"
_ADMIN = "the product's admin port (default %(default)s)"
_BIND = "where ports are opened (default all, of IPv4 and IPv6)"
_LARGEST = "of a request (default %(default)s)"
_LOGGED = "the least that is logged (default %(default)s)"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    try:
        return _main(argv)
    except KeyboardInterrupt:
        # A command that runs ends at a signal by itself; this one was still being read in.
        return _INTERRUPTED


def _main(argv: Sequence[str] | None) -> int:
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if len(rest) == 1 and not rest[0].startswith("-") and getattr(arguments, "name", "") is None:
        # argparse gives up on an optional NAME that comes after a flag; kubectl's users expect any order.
        arguments.name = rest.pop()
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    command: Callable[[Namespace], int] = arguments.command
    return command(arguments)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="wml-serving", description="Serves many models from a few shared model servers.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    standalone = commands.add_parser("standalone", help="the whole product on this machine")
    standalone.add_argument(
        "directory", metavar="DIR", type=Path, help="the desired state: *.yaml, *.yml and *.json in it, not below"
    )
    standalone.add_argument("--state-dir", metavar="STATE", type=Path, required=True, help="what survives restarts")
    standalone.add_argument(
        "--namespace", type=_name, default="wml-serving", help="objects of another are left alone (default %(default)s)"
    )
    standalone.add_argument("--grpc-port", type=_port, default=8033, help="inference (default %(default)s)")
    standalone.add_argument(
        "--admin-port", type=_port, default=8080, help="get, describe, health (default %(default)s)"
    )
    standalone.add_argument(
        "--pods-per-runtime", type=_positive, default=1, help="the most pods a runtime may have (default %(default)s)"
    )
    standalone.add_argument(
        "--pool-grace",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="idle pools stop after it (default %(default)s)",
    )
    standalone.add_argument("--max-message-bytes", type=_positive, default=16 << 20, help=_LARGEST)
    standalone.add_argument(
        "--recheck",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how often the sources of failed models are seen (default %(default)s)",
    )
    standalone.add_argument("--log-level", choices=_LEVELS, default="info", help=_LOGGED)
    standalone.set_defaults(command=_standalone)

    controller = commands.add_parser("controller", help="a process of the product; platforms start it")
    controller.add_argument("--settings", type=Path, metavar="FILE", help="on one machine; else in a cluster:")
    controller.add_argument("--namespace", type=_name, help="the only one that is looked at")
    controller.add_argument("--identity", metavar="POD", help="the pod's name")
    controller.add_argument("--address", metavar="IP", help="the pod's")
    controller.add_argument("--image", help="the product's own: what adapters run from")
    controller.add_argument(
        "--runtime-user",
        type=_user,
        metavar="UID",
        help="of runtime pods, or `image`: nobody is named (default 1000, on OpenShift image)",
    )
    controller.add_argument(
        "--models-api", choices=API_VERSIONS, default=API_VERSION, help="of TrainedModels (default %(default)s)"
    )
    controller.add_argument("--bind", default=ANYWHERE, metavar="ADDRESS", help=_BIND)
    controller.add_argument("--max-message-bytes", type=_positive, default=16 << 20, help=_LARGEST)
    controller.add_argument("--log-level", choices=_LEVELS, default="info", help=_LOGGED)
    controller.set_defaults(command=_controller, error=controller.error)

    activator = commands.add_parser("activator", help="a process of the product; platforms start it")
    activator.add_argument("--settings", type=Path, required=True, metavar="FILE")
    activator.set_defaults(command=_activator)

    mesh = commands.add_parser("mesh-bootstrap", help="write what a mesh pod's Envoy and activator are told")
    mesh.add_argument("directory", metavar="DIR", type=Path)
    mesh.add_argument("--node-id", required=True, metavar="UID", help="the pod's")
    mesh.add_argument("--leader", required=True, metavar="HOST:PORT", help="all that may lead, by one name")
    mesh.add_argument("--tls-dir", metavar="DIR", help="where the mesh's certificate is mounted")
    mesh.add_argument("--bind", default=ANYWHERE, metavar="ADDRESS", help=_BIND)
    mesh.add_argument("--max-message-bytes", type=_positive, default=16 << 20, help=_LARGEST)
    mesh.add_argument("--log-level", choices=_LEVELS, default="info", help=_LOGGED)
    mesh.set_defaults(command=_mesh_bootstrap)

    get = commands.add_parser("get", help="list models")
    get.add_argument("resource", choices=_RESOURCES, metavar="trainedmodels")
    get.add_argument("name", nargs="?", help="one model (default all)")
    get.add_argument("-o", "--output", choices=("wide", "json", "yaml"))
    get.add_argument("--admin", default=DEFAULT_ADMIN, metavar="URL", help=_ADMIN)
    get.set_defaults(command=_get)

    describe = commands.add_parser("describe", help="all about one model")
    describe.add_argument("resource", choices=_RESOURCES, metavar="trainedmodel")
    describe.add_argument("name")
    describe.add_argument("--admin", default=DEFAULT_ADMIN, metavar="URL", help=_ADMIN)
    describe.set_defaults(command=_describe)
    return parser


def _positive(text: str) -> int:
    if not 0 < (number := int(text)) < 1 << 31:
        raise ArgumentTypeError(f"{text} is out of range")
    return number


def _user(text: str) -> int:
    return 0 if text == "image" else _positive(text)


def _port(text: str) -> int:
    if not 0 < (number := int(text)) < 1 << 16:
        raise ArgumentTypeError(f"{text} is not a port")
    return number


def _seconds(text: str) -> float:
    if not 0 <= (number := float(text)) < 1e6:
        raise ArgumentTypeError(f"{text} is out of range")
    return number


def _name(text: str) -> str:
    if not is_label(text):
        raise ArgumentTypeError(f"{text!r} is not a lower case RFC 1123 label")
    return text


_LEVELS = ("debug", "info", "warning", "error")
_RESOURCES = ("trainedmodels", "trainedmodel", "tm")


# Each command imports what it needs when it runs: `get` starts in milliseconds, a controller does not load servers' code,
# and an interrupt meanwhile is met by `main`.


def _get(arguments: Namespace) -> int:
    from orchestrator.cli.verbs import get

    return get(arguments)


def _describe(arguments: Namespace) -> int:
    from orchestrator.cli.verbs import describe_model

    return describe_model(arguments)


def _controller(arguments: Namespace) -> int:
    if arguments.settings is not None:
        from orchestrator.cli.controller import controller

        return _run("controller", lambda: controller(arguments.settings))
    if missing := [f"--{name}" for name in ("namespace", "identity", "address", "image") if not vars(arguments)[name]]:
        arguments.error(f"--settings, or all that a cluster's needs: {', '.join(missing)} missing")
    from orchestrator.cli.replica import replica

    return _run("controller", lambda: replica(arguments))


def _activator(arguments: Namespace) -> int:
    from orchestrator.cli.activator import activator

    return _run("activator", lambda: activator(arguments.settings))


def _mesh_bootstrap(arguments: Namespace) -> int:
    from orchestrator.cli.mesh import mesh_bootstrap

    return mesh_bootstrap(arguments)


def _standalone(arguments: Namespace) -> int:
    from orchestrator.cli.standalone import standalone

    return standalone(arguments)


def _run(process: str, work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run a process of the product. What ends it is its last log line: whoever started it starts it again."""
    import asyncio

    import structlog

    from orchestrator.machinery.logs import configure_logs
    from orchestrator.machinery.signals import until_signal

    configure_logs("info", process=process)
    code = 1
    try:
        code = asyncio.run(until_signal(work))
    except* Exception as group:
        structlog.get_logger(__name__).critical("process_failed", problem=str(group.exceptions[0]), exc_info=group)
    return code


if __name__ == "__main__":
    sys.exit(main())
