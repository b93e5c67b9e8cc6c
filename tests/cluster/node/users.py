"""
A user that no image knows for every pod of a hardened namespace, as OpenShift gives one.

There it is its admission of pods that does so (SCC `restricted-v2`); here it is
a policy of the API server with the same effect on pods that name no user. That
a cluster does so is known by the definition of such constraints.
"""

from __future__ import annotations

from typing import Any, Final

#: As OpenShift picks one for each namespace.
RANDOM_UID: Final = 1000730000

#: The definition without which the cluster is any Kubernetes.
GROUP: Final = "security.openshift.io"
SIGN: Final = f"securitycontextconstraints.{GROUP}"

_NAME: Final = "random-users"
_API: Final = "admissionregistration.k8s.io/v1beta1"


def sign() -> dict[str, Any]:
    """The definition, of nothing in particular."""
    plural = SIGN.partition(".")[0]
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": SIGN},
        "spec": {
            "group": GROUP,
            "scope": "Cluster",
            "names": {"kind": "SecurityContextConstraints", "plural": plural},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def policy() -> list[dict[str, Any]]:
    """The policy, that it holds everywhere where Pod Security `restricted` is enforced, and the sign of it."""
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    user = f"runAsUser: {RANDOM_UID}, runAsGroup: 0, fsGroup: {RANDOM_UID}"
    expression = f"Object{{spec: Object.spec{{securityContext: Object.spec.securityContext{{{user}}}}}}}"
    unnamed = "!has(object.spec.securityContext) || !has(object.spec.securityContext.runAsUser)"
    return [
        sign(),
        {
            "apiVersion": _API,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": _NAME},
            "spec": {
                "matchConstraints": {"resourceRules": [pods]},
                "matchConditions": [{"name": "names-no-user", "expression": unnamed}],
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
            },
        },
        {
            "apiVersion": _API,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": _NAME},
            "spec": {
                "policyName": _NAME,
                "matchResources": {
                    "namespaceSelector": {"matchLabels": {"pod-security.kubernetes.io/enforce": "restricted"}}
                },
            },
        },
    ]
