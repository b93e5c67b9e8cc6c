"""
The components of the node: their command lines and configuration, from nothing but names.

Each is a unit that can be stopped and started by itself, as a test of its
absence wants. The settings are those of a production node, but for what a
sandbox on a shared machine cannot have: no eviction by disk or memory of the
host, no durable etcd, no leader election of the single replicas.
NetworkPolicies are enforced by kubernetes-sigs' own agent, which is asked
about each connection that begins between pods.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.cluster.node import users
from tests.cluster.node.place import (
    API,
    BINARIES,
    CGROUP,
    CONTAINERD,
    CONTAINERD_ROOT,
    KUBECONFIG,
    NODE,
    NODE_IP,
    PKI,
    PODS,
    SERVICES,
    STATE,
)

PAUSE: Final = "localhost/wml-serving/pause:1"
ETCD: Final = "http://127.0.0.1:2379"
#: Of the kernel, where packets wait for the agent's verdict.
QUEUE: Final = 100
#: In the cluster: whose token the agent has.
AGENT: Final = "network-policies"
#: Where a process in a pod finds its token; the agent knows no other place, and `/run` is the node's own.
ACCOUNT: Final = Path("/run/secrets/kubernetes.io/serviceaccount")

_CONTAINERD_CONFIG: Final = STATE / "containerd.toml"
_CNI: Final = STATE / "cni"
_KUBELET_CONFIG: Final = STATE / "kubelet.json"
_PROXY_CONFIG: Final = STATE / "proxy.json"
_COREFILE: Final = STATE / "Corefile"
KUBELET_KUBECONFIG: Final = STATE / "kubelet.kubeconfig"


def commands() -> dict[str, tuple[str, ...]]:
    """Unit → command line, in the order in which they start."""
    return {
        "etcd": (
            *(f"{BINARIES}/etcd", "--data-dir", f"{STATE}/etcd", "--unsafe-no-fsync", "--log-level", "warn"),
            *("--listen-client-urls", ETCD, "--advertise-client-urls", ETCD),
            *("--listen-peer-urls", "http://127.0.0.1:2380"),
        ),
        "containerd": ("containerd", "--config", str(_CONTAINERD_CONFIG)),
        "apiserver": (
            *(f"{BINARIES}/kube-apiserver", "--etcd-servers", ETCD),
            *("--secure-port", "6443", "--bind-address", "0.0.0.0", "--advertise-address", NODE_IP),
            *("--client-ca-file", f"{PKI}/ca.crt"),
            *("--tls-cert-file", f"{PKI}/apiserver.crt", "--tls-private-key-file", f"{PKI}/apiserver.key"),
            *("--kubelet-client-certificate", f"{PKI}/admin.crt", "--kubelet-client-key", f"{PKI}/admin.key"),
            *("--kubelet-certificate-authority", f"{PKI}/ca.crt", "--kubelet-preferred-address-types", "InternalIP"),
            *("--service-account-key-file", f"{PKI}/accounts.pub"),
            *("--service-account-signing-key-file", f"{PKI}/accounts.key"),
            *("--service-account-issuer", "https://kubernetes.default.svc"),
            *("--service-cluster-ip-range", SERVICES, "--authorization-mode", "Node,RBAC"),
            # Its reconciler insists on an address that is no loopback and no bridge's; boot writes the endpoints.
            *("--endpoint-reconciler-type", "none", "--profiling=false"),
            # For users as OpenShift gives them.
            *("--feature-gates", "MutatingAdmissionPolicy=true"),
            *("--runtime-config", "admissionregistration.k8s.io/v1beta1=true"),
        ),
        "controller-manager": (
            *(f"{BINARIES}/kube-controller-manager", "--kubeconfig", str(KUBECONFIG), "--leader-elect=false"),
            *("--service-account-private-key-file", f"{PKI}/accounts.key", "--root-ca-file", f"{PKI}/ca.crt"),
            *("--use-service-account-credentials", "--bind-address", "127.0.0.1"),
        ),
        "policies": (
            *("env", "KUBERNETES_SERVICE_HOST=127.0.0.1", "KUBERNETES_SERVICE_PORT=6443"),
            *(f"{BINARIES}/kube-network-policies", "--hostname-override", NODE, "--nfqueue-id", str(QUEUE)),
            *("--metrics-bind-address", "127.0.0.1:9080"),
        ),
        "scheduler": (
            *(f"{BINARIES}/kube-scheduler", "--kubeconfig", str(KUBECONFIG), "--leader-elect=false"),
            *("--bind-address", "127.0.0.1"),
        ),
        "kubelet": (
            *(f"{BINARIES}/kubelet", "--config", str(_KUBELET_CONFIG), "--kubeconfig", str(KUBELET_KUBECONFIG)),
            *("--hostname-override", NODE, "--node-ip", NODE_IP, "--root-dir", "/var/lib/kubelet"),
        ),
        "proxy": (f"{BINARIES}/kube-proxy", "--config", str(_PROXY_CONFIG)),
        "dns": (f"{BINARIES}/coredns", "-conf", str(_COREFILE)),
    }


def files() -> dict[str, str]:
    """Path below the node's state → what is in it."""
    return {
        str(_CONTAINERD_CONFIG): containerd(str(CONTAINERD_ROOT), "/run/containerd"),
        f"{_CNI}/10-pods.conflist": json.dumps(_cni()),
        str(_KUBELET_CONFIG): json.dumps(_kubelet()),
        str(_PROXY_CONFIG): json.dumps(_proxy()),
        str(_COREFILE): _corefile(),
        str(KUBECONFIG): json.dumps(kubeconfig("admin")),
        str(KUBELET_KUBECONFIG): json.dumps(kubeconfig("kubelet")),
        f"{STATE}/resolv.conf": f"nameserver {NODE_IP}\nsearch svc.cluster.local cluster.local\n",
    }


def containerd(root: str, run: str) -> str:
    """containerd's configuration, with its files in `root` and what does not outlive it in `run`."""
    cri = '[plugins."io.containerd.grpc.v1.cri"'
    return "\n".join(
        (
            "version = 2",
            f"root = {json.dumps(root)}",
            f"state = {json.dumps(run + '/state')}",
            "[grpc]",
            f"address = {json.dumps(run + '/containerd.sock')}",
            '[plugins."io.containerd.internal.v1.opt"]',
            f"path = {json.dumps(run + '/opt')}",
            f"{cri}]",
            f"sandbox_image = {json.dumps(PAUSE)}",
            # Without CAP_SYS_RESOURCE a container may not have a lower score than its parent, and runc dies.
            "restrict_oom_score_adj = true",
            f"{cri}.cni]",
            'bin_dir = "/usr/lib/cni"',
            f"conf_dir = {json.dumps(str(_CNI))}",
            f"{cri}.containerd]",
            'snapshotter = "overlayfs"',
            "",
        )
    )


def kubeconfig(user: str) -> dict[str, Any]:
    """For whoever has the certificate `user`."""
    certificate = {"client-certificate": f"{PKI}/{user}.crt", "client-key": f"{PKI}/{user}.key"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "node", "cluster": {"server": API, "certificate-authority": f"{PKI}/ca.crt"}}],
        "users": [{"name": user, "user": certificate}],
        "contexts": [{"name": "node", "context": {"cluster": "node", "user": user}}],
        "current-context": "node",
    }


def bootstrap() -> dict[str, Any]:
    """Objects without which no pod reaches the API server, or has a user."""
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "admin-proxy"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": "system:node-proxier",
                },
                "subjects": [{"kind": "User", "name": "admin", "apiGroup": "rbac.authorization.k8s.io"}],
            },
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "kubernetes",
                    "namespace": "default",
                    "labels": {"kubernetes.io/service-name": "kubernetes"},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": [NODE_IP], "conditions": {"ready": True}}],
                "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
            },
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": AGENT, "namespace": "kube-system"}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": AGENT},
                "rules": [
                    {"apiGroups": [""], "resources": ["pods", "namespaces"], "verbs": ["list", "watch"]},
                    {
                        "apiGroups": ["networking.k8s.io"],
                        "resources": ["networkpolicies"],
                        "verbs": ["list", "watch"],
                    },
                ],
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": AGENT},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": AGENT},
                "subjects": [{"kind": "ServiceAccount", "name": AGENT, "namespace": "kube-system"}],
            },
            *users.policy(),
        ],
    }


def _cni() -> dict[str, Any]:
    addresses = {"type": "host-local", "ranges": [[{"subnet": PODS}]], "routes": [{"dst": "0.0.0.0/0"}]}
    # From pod to pod through the node, where the kernel asks the agent; a bridge would be a way around it.
    link = {"type": "ptp", "ipMasq": True, "ipam": addresses}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [link, portmap]}


def _kubelet() -> Mapping[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{PKI}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD}",
        "clusterDNS": [NODE_IP],
        "clusterDomain": "cluster.local",
        "tlsCertFile": f"{PKI}/kubelet.crt",
        "tlsPrivateKeyFile": f"{PKI}/kubelet.key",
        "resolvConf": "/dev/null",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        # The disk and the memory are the host's, which others use, too.
        "evictionHard": dict.fromkeys(("memory.available", "nodefs.available", "nodefs.inodesFree"), "0%")
        | {"imagefs.available": "0%", "imagefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "enforceNodeAllocatable": [],
        "maxPods": 100,
        # A test of many pods waits for its pods, not for a rate meant for shared registries.
        "serializeImagePulls": False,
    }


def _proxy() -> Mapping[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(KUBECONFIG)},
        "mode": "nftables",
        "clusterCIDR": PODS,
        "hostnameOverride": NODE,
        # The kernel's table is the host's: left as it is.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }


def _corefile() -> str:
    return "\n".join(
        (
            ".:53 {",
            f"  bind {NODE_IP}",
            "  errors",
            "  kubernetes cluster.local in-addr.arpa {",
            f'    kubeconfig "{KUBECONFIG}"',
            "    pods insecure",
            "  }",
            "  cache 5",
            "}",
            "",
        )
    )
