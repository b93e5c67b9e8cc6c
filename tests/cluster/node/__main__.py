"""
A real Kubernetes node on this machine, in namespaces of its own.

usage: python -m tests.cluster.node VERB

    images          build what images are missing
    up              images, and the node unless it is up; returns when it is ready
    apply           the product's manifests with these images
    down            end the node, whatever state it is in, and leave nothing
    exec COMMAND    run a command (a shell's) inside: its network, its names, KUBECONFIG
    stop UNIT       end a component (kill UNIT: at once); start UNIT starts it again; units lists them
    hold, boot      what `up` starts: not for you
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Final

from tests.cluster.node import holder, images, inside, manifests, units
from tests.cluster.node.place import HOLDER_LOG, LOGS, NODE_IP, ROOT

_UP_WITHIN_S: Final = 180.0


def up() -> None:
    """Bring it up in the background; nothing to do if it is."""
    images.build()
    if inside.is_ready():
        inside.mend()
        images.load()
        return
    with holder.open_log() as log:
        subprocess.Popen(
            (sys.executable, "-m", "tests.cluster.node", "hold"),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    wait_until_ready()


def wait_until_ready() -> None:
    """Raises SystemExit with what its holder and its components said last."""
    deadline = time.monotonic() + _UP_WITHIN_S
    begun = False
    while not inside.is_ready():
        held = holder.holder() is not None
        if (begun and not held) or time.monotonic() > deadline:
            raise SystemExit(f"the node did not come up\n{last_words()}")
        begun = begun or held
        time.sleep(0.2)


def last_words() -> str:
    """The ends of the logs."""
    logs = [HOLDER_LOG, *sorted(LOGS.glob("*.log"))]
    parts = [
        f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        for log in logs
        if log.exists()
    ]
    return "\n".join(parts)


def down() -> None:
    """End it; whoever holds it cleans up, else this does."""
    deadline = time.monotonic() + 60
    while (pid := holder.holder()) is not None:
        try:
            os.kill(pid, signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL)
            # One that is frozen hears of nothing else.
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
        time.sleep(0.2)
    with holder.locked():
        holder.clean()


def main(argv: list[str]) -> int:
    """See above."""
    match argv:
        case ["images"]:
            images.build()
        case ["up"]:
            up()
        case ["apply"]:
            manifests.apply()
            sys.stderr.write(f"the node is up; its pods reach it at {NODE_IP}: see README, On a node of its own\n")
        case ["down"]:
            down()
        case ["hold"]:
            return holder.hold(leash=False)
        case ["hold", "--leash"]:
            return holder.hold(leash=True)
        case ["boot"]:
            from tests.cluster.node import boot

            boot.main()
        case ["exec", command]:
            line = inside.command(("sh", "-c", command))
            os.execvp(line[0], line)
        case ["start", unit]:
            inside.start_unit(unit)
        case ["stop", unit]:
            inside.stop_unit(unit)
        case ["kill", unit]:
            inside.stop_unit(unit, signal.SIGKILL)
        case ["units"]:
            for unit in units.commands():
                sys.stdout.write(f"{unit}{'' if inside.unit_runs(unit) else ' (stopped)'}\n")
        case _:
            sys.stderr.write(__doc__ or "")
            return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (inside.NotUp, holder.Busy, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; a node that is up, or on its way, goes on: make cluster-down ends it\n")
        sys.exit(130)
