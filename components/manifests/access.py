"""Who reaches a RayCluster and as whom its pods run: plain Kubernetes objects from settings; pure."""

from __future__ import annotations

from typing import Any

from components.manifests.pods import stated
from components.settings.access import subject
from components.settings.kuberay import KubeRay
from components.settings.raycluster import Cluster

Object = dict[str, Any]

DASHBOARD, CLIENT, SERVE = 8265, 10001, 8000
METRICS = (8080, 44217, 44227)  # Ray, autoscaler, dashboard
OPERATOR_PORTS = (DASHBOARD, 52365, SERVE)


def _metadata(cluster: Cluster, name: str, **more: Any) -> Object:
    labels = {"app.kubernetes.io/name": "ray", "app.kubernetes.io/instance": cluster.name}
    return {"name": name, "namespace": cluster.namespace, "labels": labels, **stated(more)}


def _pods(cluster: Cluster, node_type: str | None = None) -> Object:
    labels = {"ray.io/cluster": cluster.name, **({"ray.io/node-type": node_type} if node_type else {})}
    return {"matchLabels": labels}


def _ports(*numbers: int) -> list[Object]:
    return [{"protocol": "TCP", "port": number} for number in numbers]


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def service_account(cluster: Cluster) -> Object:
    """Its token reaches the head alone, where the autoscaler needs it: pods ask for it one by one."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(
            cluster, cluster.service_account_name, annotations=dict(cluster.service_account.annotations)
        ),
        "automountServiceAccountToken": False,
    }


def network_policies(cluster: Cluster, kuberay: KubeRay) -> list[Object]:
    """Everything between the cluster's own pods; to the head from its namespace, the operator, `allowFrom`; metrics.

    A port-forward comes from the node itself, which a NetworkPolicy does not concern.
    """
    # The one label that upstream's manifests and its Helm chart have in common.
    operator = {
        **_namespace(kuberay.namespace),
        "podSelector": {"matchLabels": {"app.kubernetes.io/component": "kuberay-operator"}},
    }
    callers: list[Object] = [{"podSelector": {}}, *cluster.network_policy.allow_from]
    if cluster.ingress and cluster.ingress.controller_namespace:
        callers.append(_namespace(cluster.ingress.controller_namespace))
    if cluster.load_balancer:
        callers += [{"ipBlock": {"cidr": cidr}} for cidr in cluster.load_balancer.source_ranges]
    inside = {
        "podSelector": _pods(cluster),
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"podSelector": _pods(cluster)}]},
            {"from": [{"namespaceSelector": {}}], "ports": _ports(*METRICS)},
        ],
    }
    head = {
        "podSelector": _pods(cluster, "head"),
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": callers, "ports": _ports(DASHBOARD, CLIENT, SERVE)},
            {"from": [operator], "ports": _ports(*OPERATOR_PORTS)},
        ],
    }
    return [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": _metadata(cluster, f"{cluster.name}-{name}"),
            "spec": spec,
        }
        for name, spec in (("pods", inside), ("head", head))
    ]


def ingress(cluster: Cluster) -> Object | None:
    wanted = cluster.ingress
    if wanted is None:
        return None
    backend = {"service": {"name": cluster.head_service, "port": {"number": DASHBOARD}}}
    # Without the annotation Pulumi waits for an address, which many controllers never write.
    annotations = {**wanted.annotations, "pulumi.com/skipAwait": "true"}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": _metadata(cluster, f"{cluster.name}-dashboard", annotations=annotations),
        "spec": {
            **stated({"ingressClassName": wanted.class_name}),
            "tls": [{"hosts": [wanted.host], "secretName": wanted.tls_secret}],
            "rules": [
                {"host": wanted.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
            ],
        },
    }


def external_url(cluster: Cluster) -> str | None:
    """Of the Ingress; a load balancer's address is known to nobody before it is there."""
    return f"https://{cluster.ingress.host}" if cluster.ingress else None


def load_balancer(cluster: Cluster) -> Object | None:
    wanted = cluster.load_balancer
    if wanted is None:
        return None
    annotations = {**wanted.annotations, **({"pulumi.com/skipAwait": "true"} if cluster.suspend else {})}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(cluster, f"{cluster.name}-dashboard", annotations=annotations),
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerSourceRanges": wanted.source_ranges,
            "selector": _pods(cluster, "head")["matchLabels"],
            "ports": [{"name": "dashboard", "protocol": "TCP", "port": DASHBOARD, "targetPort": DASHBOARD}],
        },
    }


def disruption_budget(cluster: Cluster) -> Object:
    """The head is one of a kind: draining its node is to be a decision."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(cluster, f"{cluster.name}-head"),
        "spec": {"minAvailable": 1, "selector": _pods(cluster, "head")},
    }


def job_users(cluster: Cluster) -> list[Object]:
    """The least Role with which `jobs` works, the same as docs/jobs-rbac.yaml, and who has it."""
    rights: list[tuple[str, list[str], list[str]]] = [
        ("", ["services"], ["get"]),
        ("", ["pods"], ["get", "list"]),
        ("", ["pods/portforward"], ["get", "create"]),
        ("", ["events", "resourcequotas"], ["list"]),
        ("ray.io", ["rayclusters"], ["get"]),
        ("", ["pods/exec"], ["get", "create"]),
    ]
    rules: list[Object] = [{"apiGroups": [group], "resources": kinds, "verbs": verbs} for group, kinds, verbs in rights]
    if cluster.auth_secret:
        rules.append(
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [cluster.auth_secret], "verbs": ["get"]}
        )
    name = f"{cluster.name}-jobs"
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": _metadata(cluster, name), "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": _metadata(cluster, name),
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
            "subjects": [subject(one) for one in cluster.job_users],
        },
    ]
