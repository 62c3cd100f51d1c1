"""Access to a RayCluster and identity of its pods: ServiceAccount, NetworkPolicies, Ingress, Service, Role; pure."""

from __future__ import annotations

from typing import Any

from components.manifests.merge import drop_empty
from components.manifests.monitoring import METRICS_PORTS, OPERATOR_LABELS, keeper_labels
from components.settings.access import Subject
from components.settings.kuberay import KubeRay
from components.settings.monitoring import Monitoring
from components.settings.raycluster import RayClusterSettings
from components.settings.start_params import AGENT_PORT, CLIENT_PORT
from jobs.target.contract import DASHBOARD_PORT

Object = dict[str, Any]

SERVE_PORT = 8000
OPERATOR_PORTS = (DASHBOARD_PORT, AGENT_PORT, SERVE_PORT)
# Pulumi does not wait until the object is ready.
SKIP_AWAIT_ANNOTATION = "pulumi.com/skipAwait"
# Of an object that stays when the stack no longer has it, for the checks that ask the cluster.
RETAIN_ANNOTATION = "ray-on-kubernetes/retain"


def _metadata(cluster: RayClusterSettings, name: str, **more: Any) -> Object:
    labels = {"app.kubernetes.io/name": "ray", "app.kubernetes.io/instance": cluster.name}
    return {"name": name, "namespace": cluster.namespace, "labels": labels, **drop_empty(more)}


def ray_pods(cluster: RayClusterSettings, node_type: str | None = None) -> Object:
    """A selector of the pods of a RayCluster."""
    labels = {"ray.io/cluster": cluster.name, **({"ray.io/node-type": node_type} if node_type else {})}
    return {"matchLabels": labels}


def tcp(*numbers: int) -> list[Object]:
    """Ports of a NetworkPolicy."""
    return [{"protocol": "TCP", "port": number} for number in numbers]


def _namespace(name: str) -> Object:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def service_account(cluster: RayClusterSettings) -> Object:
    """The ServiceAccount of the pods. A pod gets its token only where its template asks for it: for the autoscaler."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": _metadata(
            cluster, cluster.service_account_name, annotations=dict(cluster.service_account.annotations)
        ),
        "automountServiceAccountToken": False,
    }


def network_policies(cluster: RayClusterSettings, kuberay: KubeRay, monitoring: Monitoring) -> list[Object]:
    """Two NetworkPolicies: one of all pods, one of the head.

    They allow all traffic between the cluster's pods, metrics from `monitoring.scrapeFrom` or from everywhere, and the
    agents to the keeper. They allow the head's ports from its namespace, the operator and `allowFrom`. A NetworkPolicy
    does not apply to a port-forward: it comes from the node.
    """
    # The only label that upstream's manifests and its Helm chart have in common.
    operator = {
        **_namespace(kuberay.namespace),
        "podSelector": {"matchLabels": OPERATOR_LABELS},
    }
    callers: list[Object] = [{"podSelector": {}}, *cluster.network_policy.allow_from]
    if cluster.ingress and cluster.ingress.controller_namespace:
        callers.append(_namespace(cluster.ingress.controller_namespace))
    if cluster.load_balancer:
        callers += [{"ipBlock": {"cidr": cidr}} for cidr in cluster.load_balancer.source_ranges]
    inside: Object = {
        "podSelector": ray_pods(cluster),
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [{"podSelector": ray_pods(cluster)}]},
            {"from": monitoring.scrape_from or [{"namespaceSelector": {}}], "ports": tcp(*METRICS_PORTS)},
        ],
    }
    if cluster.keeper:
        # Agents serve the logs. The keeper reaches the head as every pod of the namespace does.
        keeper = {"podSelector": {"matchLabels": keeper_labels(cluster)}}
        inside["ingress"].append({"from": [keeper], "ports": tcp(AGENT_PORT)})
    head = {
        "podSelector": ray_pods(cluster, "head"),
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": callers, "ports": tcp(DASHBOARD_PORT, CLIENT_PORT, SERVE_PORT)},
            {"from": [operator], "ports": tcp(*OPERATOR_PORTS)},
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


def ingress(cluster: RayClusterSettings) -> Object | None:
    """The Ingress for the dashboard's port; None: the settings have none."""
    settings = cluster.ingress
    if settings is None:
        return None
    backend = {"service": {"name": cluster.head_service, "port": {"number": DASHBOARD_PORT}}}
    # Without this annotation Pulumi waits for an address, which many controllers never write.
    annotations = {**settings.annotations, SKIP_AWAIT_ANNOTATION: "true"}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": _metadata(cluster, f"{cluster.name}-dashboard", annotations=annotations),
        "spec": {
            **drop_empty({"ingressClassName": settings.class_name}),
            **drop_empty(
                {"tls": [{"hosts": [settings.host], "secretName": settings.tls_secret}] if settings.tls_secret else []}
            ),
            "rules": [
                {"host": settings.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
            ],
        },
    }


def external_url(cluster: RayClusterSettings) -> str | None:
    """URL of the Jobs API through the Ingress. The address of a load balancer is not known before its creation."""
    return f"https://{cluster.ingress.host}" if cluster.ingress else None


def load_balancer(cluster: RayClusterSettings) -> Object | None:
    """The Service of type LoadBalancer for the dashboard's port; None: the settings have none."""
    settings = cluster.load_balancer
    if settings is None:
        return None
    # Pulumi waits for an endpoint, and a suspended cluster has none.
    annotations = {**settings.annotations, **({SKIP_AWAIT_ANNOTATION: "true"} if cluster.suspend else {})}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(cluster, f"{cluster.name}-dashboard", annotations=annotations),
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerSourceRanges": settings.source_ranges,
            "selector": ray_pods(cluster, "head")["matchLabels"],
            "ports": [{"name": "dashboard", "protocol": "TCP", "port": DASHBOARD_PORT, "targetPort": DASHBOARD_PORT}],
        },
    }


def disruption_budget(cluster: RayClusterSettings) -> Object:
    """A PodDisruptionBudget that refuses to drain the head's node: there is only one head."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(cluster, f"{cluster.name}-head"),
        "spec": {"minAvailable": 1, "selector": ray_pods(cluster, "head")},
    }


def job_users(cluster: RayClusterSettings) -> list[Object]:
    """The least Role that `rayjobs` needs and the Role for exec, the same as docs/jobs-rbac.yaml, with RoleBindings.

    What Kubernetes can limit to names is limited to this cluster's. Names of pods change, and lists have no names: so
    port-forward and exec reach every pod of the namespace.
    """
    secrets = [rule("", "secrets", "get", name=cluster.auth_secret)] if cluster.auth_secret else []
    keeper = [rule("", "services", "get", name=cluster.keeper_name)] if cluster.keeper else []
    rules = [
        rule("", "services", "get", name=cluster.head_service),
        *keeper,
        rule("", "pods", "get", "list"),
        rule("", "pods/portforward", "get", "create"),
        *secrets,
        rule("", "events", "list"),
        rule("", "resourcequotas", "list"),
        rule("ray.io", "rayclusters", "get", name=cluster.name),
    ]
    executors = [user for user in cluster.job_users if user.exec]
    return [
        *_role(cluster, f"{cluster.name}-jobs", rules, cluster.job_users),
        *_role(cluster, f"{cluster.name}-exec", [rule("", "pods/exec", "get", "create")], executors),
    ]


def rule(group: str, resource: str, *verbs: str, name: str | None = None) -> Object:
    """A rule of a Role."""
    names = {"resourceNames": [name]} if name else {}
    return {"apiGroups": [group], "resources": [resource], **names, "verbs": list(verbs)}


def _role(cluster: RayClusterSettings, name: str, rules: list[Object], users: list[Subject]) -> list[Object]:
    """A Role and its RoleBinding; without users neither of them."""
    return role(_metadata(cluster, name), rules, [_subject(user) for user in users]) if users else []


def role(metadata: Object, rules: list[Object], subjects: list[Object]) -> list[Object]:
    """A Role and its RoleBinding, which have the same metadata."""
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": metadata["name"]},
            "subjects": subjects,
        },
    ]


def _subject(subject: Subject) -> Object:
    """As a RoleBinding has it."""
    if subject.kind == "ServiceAccount":
        return {"kind": subject.kind, "name": subject.name, "namespace": subject.namespace}
    return {"kind": subject.kind, "name": subject.name, "apiGroup": "rbac.authorization.k8s.io"}
