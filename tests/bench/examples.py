"""
Results of a run that never was, for tests of what is made from results.
"""

from __future__ import annotations

from typing import Final

from tests.bench.cold import Cold, Crowd, FirstRequests
from tests.bench.on_cluster import OnCluster
from tests.bench.ready import Ready
from tests.bench.results import Machine, Results
from tests.bench.scale import Connections, Registration, Scale, Weight
from tests.bench.warm import CROWDED, DIRECT, EACH, ONE, PATHS, PLAIN, Shape, Warm

MACHINE: Final = Machine(
    processor="some processor", cores=2, memory_gib=24.0, kernel="6.1", python="3.11.7", load_average=0.25
)
NOTHING: Final = Results(machine=MACHINE, begun="2026-11-25 20:00 UTC", minutes=10.0, command="make bench")
FIRST_REQUESTS: Final = 60


def everything(server: str = "mlserver") -> Results:
    """All parts, of the instant server and another; each target is reached."""
    rows = {"instant": ((ONE, EACH, CROWDED), PATHS), server: ((ONE, EACH), [path for path in PATHS if path != PLAIN])}
    warm = tuple(
        _warm(name, shape, path) for name, (shapes, paths) in rows.items() for shape in shapes for path in paths
    )
    cold = Cold(
        server=server,
        total=tuple(20.0 + n / 100 for n in range(FIRST_REQUESTS)),
        download=(4.0,) * FIRST_REQUESTS,
        load=(7.0,) * FIRST_REQUESTS,
    )
    crowd = Crowd(server=server, callers=16, models=50, p50=(90.0,), p90=(300.0,), longest=(400.0,))
    return Results(
        machine=MACHINE,
        begun=NOTHING.begun,
        minutes=NOTHING.minutes,
        command=NOTHING.command,
        warm=warm,
        first=FirstRequests(cold=(cold,), crowd=(crowd,)),
        ready=(Ready(server=server, file=(0.1, 0.2, 0.3), start=(2.5, 3.0), away=(0.3, 0.4, 0.5)),),
        scale=Scale(
            registrations=(Registration(models=1_000, seconds=(4.0, 4.5)),),
            weights=tuple(
                Weight(models=models, process=process, rss=80.0 + models / 100, pss=60.0)
                for models in (1, 5_000)
                for process in ("controller", "envoy")
            ),
            connections=Connections(models=200, callers=16, connections=402),
        ),
        cluster=OnCluster(
            cold=(12.0, 14.0, 13.0),
            warm=(0.4, 0.5),
            failover=(14.0,),
            failover_ready=(16.0,),
            models=1_000,
            models_s=30.0,
            memory=(120.0, 90.0),
        ),
    )


def _warm(server: str, shape: Shape, path: str) -> Warm:
    direct = path == DIRECT
    rate = 1_000.0 * shape.callers * (1.0 if direct else 0.7)
    return Warm(
        server=server,
        callers=shape.callers,
        connections=shape.connections,
        path=path,
        rate=(rate, rate + 50, rate - 50),
        p50_ms=(0.1 if direct else 0.25,),
        p99_ms=(1.5,),
        envoy_us=() if direct else (40.0,),
    )
