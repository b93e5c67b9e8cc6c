"""
Which user the servers run as, where neither their images nor the cluster name one.

Pod Security `restricted` lets no container run as root. OpenShift gives each
namespace users of its own, and refuses a pod that names another. Any other
cluster takes the image's user, which for NVIDIA's Triton is root: such a pod is
admitted and never starts. So a user is named there, and only there.

OpenShift is known by the API group of its security context constraints, since
every account may read what groups there are and none of ours may read more.
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

#: Of the first account of people in an image: `triton-server` in NVIDIA's, `default` in MLServer's.
UNPRIVILEGED: Final = 1000
#: Of SecurityContextConstraints.
_GROUP: Final = "/apis/security.openshift.io"


async def runtime_user(api: KubeApi) -> int | None:
    """A UID to name; None: the cluster gives one. Returns once the API server has answered, however long it takes."""
    backoff = Backoff(0.2, 5.0, random.random)
    said = ""
    while True:
        try:
            await api.get(_GROUP)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return UNPRIVILEGED
            problem = str(error)
        except ApiUnreachable as error:
            problem = str(error)
        else:
            return None
        if problem != said:
            said = problem
            log.warning("api_groups_unknown", error=problem)
        await asyncio.sleep(backoff.next())
