"""
Names that more than one side relies on: of objects, labels, annotations, ports and files.

The manifests repeat them, and a test compares the two. Labels follow the
recommended ones of Kubernetes; what is the product's own has the prefix of its
TrainedModel annotations.
"""

from __future__ import annotations

from typing import Final

from orchestrator.transport.identity import ROLES

#: Prefix of the objects of the product, and the name of the clients' Service.
PRODUCT: Final = "wml-serving"
PREFIX: Final = "wmlserving.ai.ibm.com"

#: Who owns which field, in server-side apply.
FIELD_MANAGER: Final = PRODUCT

LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
#: On runtime pods and their Deployment: the name of the ServingRuntime.
LABEL_RUNTIME: Final = f"{PREFIX}/runtime"

#: Whose rights runtime pods have: none. Models are code of users'.
RUNTIME_ACCOUNT: Final = f"{PRODUCT}-runtime"

ORCHESTRATOR: Final = "orchestrator"
MESH: Final = "mesh"
RUNTIME: Final = "runtime"

#: Lease, Deployment and headless Service of the orchestrator.
ORCHESTRATOR_NAME: Final = f"{PRODUCT}-{ORCHESTRATOR}"
#: On the Lease: the leader's epoch.
ANNOTATION_EPOCH: Final = f"{PREFIX}/epoch"

#: Where clients send requests.
MESH_PORT: Final = 8033
#: The mesh pod's own: Envoy's readiness; the activator's health and metrics, and the drain of that Envoy.
MESH_READY_PORT: Final = 8034
ACTIVATOR_HEALTH_PORT: Final = 8035
ACTIVATOR_DRAIN_PORT: Final = 8037
#: The orchestrator's: delta CDS and Demand; admin API, health and metrics.
CONTROL_PORT: Final = 8090
ADMIN_PORT: Final = 8080
#: The adapter's: the fleet protocol; health and metrics; the drain.
ADAPTER_PORT: Final = 8085
ADAPTER_HEALTH_PORT: Final = 8086
ADAPTER_DRAIN_PORT: Final = 8087

#: Secrets: the certificate authority, and a certificate for each role. Keys tls.crt, tls.key, ca.crt.
CA_SECRET: Final = f"{PRODUCT}-ca"
TLS_SECRETS: Final = {role: f"{PRODUCT}-{role}-tls" for role in ROLES}
#: Where a pod mounts its own.
TLS_DIRECTORY: Final = "/etc/wml-serving/tls"
#: Where a runtime pod's containers share models: repository/ is the server's, adapter/ the adapter's scratch.
MODELS_DIRECTORY: Final = "/models"
