"""The keeper of a RayCluster: one pod with a volume, its rights, and who reaches whom; pure.

The pod runs `rayjobs keep`. It asks the head and the agents of the Ray pods directly, and the API server with a
ServiceAccount of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components.manifests.access import RETAIN_ANNOTATION, SKIP_AWAIT_ANNOTATION, ray_pods, role, rule, tcp
from components.manifests.merge import drop_empty
from components.manifests.monitoring import KEEPER_ENDPOINT, keeper_labels, scrape_annotations
from components.manifests.pods import RESTRICTED_CONTAINER, RESTRICTED_POD
from components.settings.keeper import PORT, Keeper
from components.settings.monitoring import Monitoring
from components.settings.raycluster import RayClusterSettings
from components.settings.start_params import AGENT_PORT
from jobs.target.contract import DASHBOARD_PORT

Object = dict[str, Any]

USER = 10001  # of image/Dockerfile
DATA, OUTPUTS = "/data", "/etc/rayjobs"
OUTPUTS_ANNOTATION = "ray-on-kubernetes/outputs"
# Of the API server, as its pods see it: managed clusters, kubeadm and kind, minikube, MicroK8s. A NetworkPolicy cannot
# name the API server, so these ports are open to every address.
API_SERVER_PORTS = (443, 6443, 8443, 16443)
DNS_PORTS = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]


def objects(cluster: RayClusterSettings, monitoring: Monitoring, outputs: Mapping[str, Any]) -> list[Object]:
    """Builds the objects of the keeper, the Deployment last; none without the setting.

    Args:
        cluster: settings of the cluster.
        monitoring: settings of monitoring: who scrapes the metrics.
        outputs: the stack's contract.
    """
    keeper = cluster.keeper
    if keeper is None:
        return []
    policies = [_network_policy(cluster, monitoring)] if cluster.network_policy.enabled else []
    return [
        {**_object(cluster, "v1", "ServiceAccount"), "automountServiceAccountToken": False},
        *_role(cluster),
        *policies,
        _volume_claim(cluster, keeper),
        _service(cluster),
        _deployment(cluster, keeper, monitoring, outputs),
    ]


def _metadata(cluster: RayClusterSettings, **annotations: str) -> Object:
    metadata = {"name": cluster.keeper_name, "namespace": cluster.namespace, "labels": keeper_labels(cluster)}
    return {**metadata, **drop_empty({"annotations": annotations})}


def _object(cluster: RayClusterSettings, version: str, kind: str, **annotations: str) -> Object:
    return {"apiVersion": version, "kind": kind, "metadata": _metadata(cluster, **annotations)}


def _role(cluster: RayClusterSettings) -> list[Object]:
    """What the keeper reads of Kubernetes: the token, and what `rayjobs why` and the page show of the cluster."""
    rules = [
        *([rule("", "secrets", "get", name=cluster.auth_secret)] if cluster.auth_secret else []),
        rule("", "pods", "list"),
        rule("", "events", "list"),
        rule("", "resourcequotas", "list"),
        rule("ray.io", "rayclusters", "get", name=cluster.name),
    ]
    subject = {"kind": "ServiceAccount", "name": cluster.keeper_name, "namespace": cluster.namespace}
    return role(_metadata(cluster), rules, [subject])


def _network_policy(cluster: RayClusterSettings, monitoring: Monitoring) -> Object:
    """Who may ask the keeper: those who may use the dashboard, and scrapers. Whom it may ask: Ray and Kubernetes."""
    callers: list[Object] = [{"podSelector": {}}, *cluster.network_policy.allow_from]
    scrapers = monitoring.scrape_from or ([] if cluster.keeper_is_closed else [{"namespaceSelector": {}}])
    if monitoring.scrape_from or monitoring.pod_monitor or monitoring.scrape_annotations:
        callers += scrapers
    return {
        **_object(cluster, "networking.k8s.io/v1", "NetworkPolicy"),
        "spec": {
            "podSelector": {"matchLabels": keeper_labels(cluster)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": callers, "ports": tcp(PORT)}],
            "egress": [
                {"to": [{"podSelector": ray_pods(cluster)}], "ports": tcp(DASHBOARD_PORT, AGENT_PORT)},
                {"ports": DNS_PORTS},
                {"ports": tcp(*API_SERVER_PORTS)},
            ],
        },
    }


def _volume_claim(cluster: RayClusterSettings, keeper: Keeper) -> Object:
    # Pulumi would wait until the claim is bound. With most classes that is when a pod uses it.
    annotations = {SKIP_AWAIT_ANNOTATION: "true", **({RETAIN_ANNOTATION: "true"} if keeper.retain else {})}
    return {
        **_object(cluster, "v1", "PersistentVolumeClaim", **annotations),
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            **drop_empty({"storageClassName": keeper.storage_class}),
            "resources": {"requests": {"storage": keeper.storage}},
        },
    }


def _service(cluster: RayClusterSettings) -> Object:
    # A keeper that cannot reach Ray is not ready, and then its answers are needed most.
    return {
        **_object(cluster, "v1", "Service", **{SKIP_AWAIT_ANNOTATION: "true"}),
        "spec": {
            "selector": keeper_labels(cluster),
            "publishNotReadyAddresses": True,
            "ports": [{"name": KEEPER_ENDPOINT, "port": PORT, "targetPort": PORT}],
        },
    }


def _deployment(
    cluster: RayClusterSettings, keeper: Keeper, monitoring: Monitoring, outputs: Mapping[str, Any]
) -> Object:
    # The keeper of a suspended cluster cannot reach Ray, so it never gets ready.
    skip = {SKIP_AWAIT_ANNOTATION: "true"} if cluster.suspend else {}
    return {
        **_object(cluster, "apps/v1", "Deployment", **skip),
        "spec": {
            "replicas": 1,
            # A second keeper cannot open the volume.
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": keeper_labels(cluster)},
            "template": pod_template(cluster, keeper, monitoring, outputs),
        },
    }


def pod_template(
    cluster: RayClusterSettings, keeper: Keeper, monitoring: Monitoring, outputs: Mapping[str, Any]
) -> Object:
    """Builds the template of the keeper's pod. Arguments: see `objects`."""
    annotations = {
        # Not a ConfigMap: CI's previews cannot read ConfigMaps, and a change here replaces the pod.
        OUTPUTS_ANNOTATION: json.dumps(outputs_of(cluster, outputs)),
        **scrape_annotations(monitoring, PORT),
    }
    user = {"runAsUser": USER, "runAsGroup": USER, "fsGroup": USER, "fsGroupChangePolicy": "OnRootMismatch"}
    placement = {
        "imagePullSecrets": [{"name": name} for name in keeper.image_pull_secrets],
        "nodeSelector": keeper.node_selector,
        "tolerations": keeper.tolerations,
    }
    return {
        "metadata": {"labels": keeper_labels(cluster), "annotations": annotations},
        "spec": {
            "serviceAccountName": cluster.keeper_name,
            "automountServiceAccountToken": True,
            "securityContext": {**RESTRICTED_POD, **user},
            "containers": [_container(keeper)],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": cluster.keeper_name}},
                {"name": "outputs", "downwardAPI": {"items": [_outputs_file()]}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            ],
            "terminationGracePeriodSeconds": 15,
            **drop_empty(placement),
        },
    }


def outputs_of(cluster: RayClusterSettings, outputs: Mapping[str, Any]) -> Object:
    """Returns the contract for the keeper's pod: of this cluster alone, and with the pod's own way to Kubernetes.

    Without Prometheus: the NetworkPolicy does not lead there. Without the operator: its upgrade would replace the pod.
    """
    place = (cluster.namespace, cluster.name)
    own = [each for each in outputs["clusters"] if (each["namespace"], each["name"]) == place]
    needless = {"kubeconfig", "kubeContext", "prometheus", "operator"}
    return {**{key: value for key, value in outputs.items() if key not in needless}, "clusters": own}


def _outputs_file() -> Object:
    return {"path": "outputs.json", "fieldRef": {"fieldPath": f"metadata.annotations['{OUTPUTS_ANNOTATION}']"}}


def container_resources(keeper: Keeper) -> Object:
    """Limits and requests of the keeper's container."""
    limits = {"cpu": keeper.resources.cpu, "memory": keeper.resources.memory}
    requests = {"cpu": keeper.resources.cpu_request, "memory": keeper.resources.memory_request}
    return {"limits": limits, "requests": requests}


def _container(keeper: Keeper) -> Object:
    options = {
        "--data": DATA,
        "--listen": f"0.0.0.0:{PORT}",
        "--retain-days": str(keeper.retain_days),
        "--retain-bytes": str(keeper.most_log_bytes),
        "--log-bytes": str(keeper.most_bytes_of_one),
    }
    return {
        "name": "keeper",
        "image": keeper.image,
        "args": ["keep", "--in-cluster", *(word for option in options.items() for word in option)],
        "env": [
            {"name": "HOME", "value": "/tmp"},  # the root is read-only
            # Not as an option: `why` would repeat it in the commands that help, and users have another file.
            {"name": "RAYJOBS_OUTPUTS", "value": f"{OUTPUTS}/outputs.json"},
        ],
        "ports": [{"name": KEEPER_ENDPOINT, "containerPort": PORT}],
        # On a busy node Python takes a while to start.
        "startupProbe": {**_probe("/livez"), "periodSeconds": 2, "failureThreshold": 300},
        "livenessProbe": {**_probe("/livez"), "periodSeconds": 10, "timeoutSeconds": 10, "failureThreshold": 6},
        "readinessProbe": {**_probe("/healthz"), "periodSeconds": 5, "timeoutSeconds": 5},
        "resources": container_resources(keeper),
        "volumeMounts": [
            {"name": "data", "mountPath": DATA},
            {"name": "outputs", "mountPath": OUTPUTS, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        "securityContext": {**RESTRICTED_CONTAINER, "readOnlyRootFilesystem": True},
    }


def _probe(path: str) -> Object:
    # The server answers to its own names only, and the kubelet would send the pod's address as the host.
    return {"httpGet": {"path": path, "port": KEEPER_ENDPOINT, "httpHeaders": [{"name": "Host", "value": "localhost"}]}}
