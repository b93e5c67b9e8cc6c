"""
Which user runtime pods name, where an administrator has not said.

Pod Security `restricted` lets no container run as root. OpenShift gives each
namespace users of its own, and refuses a pod that names another. Any other
cluster takes the images' users, and NVIDIA's for Triton is root: such a pod is
admitted and never starts. So there, and only there, all runtime pods name one,
whatever their images say.

OpenShift is known by the API group of its security context constraints: what
groups there are every account may read as a rule, and ours no more than that. An
API server that keeps it to itself has nobody named.
"""

from __future__ import annotations

import asyncio
import random
from http import HTTPStatus
from typing import Final

import structlog

from orchestrator.machinery.backoff import Backoff
from orchestrator.platform.kube.api import ApiError, ApiUnreachable, KubeApi

log = structlog.get_logger(__name__)

#: The one that the official images of Triton and MLServer have beside root.
UNPRIVILEGED: Final = 1000
#: Of SecurityContextConstraints.
_GROUP: Final = "/apis/security.openshift.io"


async def runtime_user(api: KubeApi) -> int | None:
    """A UID; None: nobody is named. Returns once the API server has answered for good, however long that takes."""
    backoff = Backoff(0.2, 5.0, random.random)
    said = ""
    while True:
        try:
            await api.get(_GROUP)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return UNPRIVILEGED
            problem, passing = str(error), error.passing
        except ApiUnreachable as error:
            problem, passing = str(error), True
        else:
            return None
        if problem != said:
            said = problem
            log.warning("api_groups_unknown", error=problem, again=passing)
        if not passing:
            return None
        await asyncio.sleep(backoff.next())
