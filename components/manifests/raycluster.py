"""The RayCluster object of a cluster's settings; pure."""

from __future__ import annotations

import json
from typing import Any

from components.manifests import redis
from components.manifests.merge import deep_merge, drop_empty
from components.manifests.monitoring import head_env, scrape_annotations
from components.manifests.pods import HEAD_PORTS, RESTRICTED_CONTAINER, TOKEN_MOUNT, TOKEN_VOLUME, env_list, template
from components.settings.monitoring import OFF, Monitoring
from components.settings.pods import Pod, WorkerGroup
from components.settings.raycluster import RayClusterSettings
from components.settings.versions import AUTOSCALER_VERSION, V1_API, at_least

# The autoscaler writes into the list of worker groups, and for the API server that list has one owner. Without force
# the next update of ours is a conflict. With it, and without `replicas` from us, no worker is lost.
FORCE_ANNOTATION = "pulumi.com/patchForce"
WAIT_ANNOTATION = "pulumi.com/waitFor"
# Seconds until the autoscaler ends after it has lost its head; Ray's default is 60. It ignores SIGTERM, so a head pod
# that is deleted would last for its whole grace period, although Ray itself ends at once when nothing runs.
GCS_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"
# Pods are awaited before their namespace is deleted: its controller looks for them only every quarter of a minute. A
# suspended cluster has none, and the garbage collector needs half a second for each.
DELETION_ANNOTATION = "pulumi.com/deletionPropagationPolicy"


def api_version(kuberay_version: str) -> str:
    """Returns the API version of RayClusters that this version of KubeRay stores."""
    return "ray.io/v1" if at_least(kuberay_version, V1_API) else "ray.io/v1alpha1"


def manifest(cluster: RayClusterSettings, kuberay_version: str, monitoring: Monitoring = OFF) -> dict[str, Any]:
    """Builds the RayCluster object, with `spec` of the settings merged into the finished spec."""
    scaling = cluster.autoscaling
    spec = {
        "rayVersion": cluster.ray_version,
        "suspend": cluster.suspend or None,
        "upgradeStrategy": drop_empty({"type": cluster.upgrade_strategy}),
        "authOptions": _auth(cluster),
        "enableInTreeAutoscaling": scaling.enabled,
        "autoscalerOptions": _autoscaler(cluster, kuberay_version) if scaling.enabled else None,
        "gcsFaultToleranceOptions": redis.options(cluster),
        "headGroupSpec": _head(cluster, kuberay_version, monitoring),
        "workerGroupSpecs": [
            _worker_group(cluster, name, group, monitoring) for name, group in cluster.worker_groups.items()
        ],
    }
    return {
        "apiVersion": api_version(kuberay_version),
        "kind": "RayCluster",
        "metadata": {
            "name": cluster.name,
            "namespace": cluster.namespace,
            **drop_empty({"labels": cluster.labels}),
            "annotations": {
                **cluster.annotations,
                **redis.deletion_annotation(cluster),
                FORCE_ANNOTATION: "true",
                WAIT_ANNOTATION: json.dumps(ready_when(cluster)),
                **({DELETION_ANNOTATION: "background"} if cluster.suspend and cluster.create_namespace else {}),
            },
        },
        "spec": deep_merge(drop_empty(spec), cluster.spec),
    }


def ready_when(cluster: RayClusterSettings) -> list[str]:
    """Returns the conditions that Pulumi waits for, all of them.

    Pulumi's wait, unlike a hook after the creation, keeps a cluster that did not get ready in the state.
    """
    if cluster.readiness == "state":
        return [f"jsonpath={{.status.state}}={'suspended' if cluster.suspend else 'ready'}"]
    if cluster.suspend:
        return ["condition=RayClusterSuspended"]
    # The head accepts jobs, and all workers of the first size were ready once.
    return ["condition=HeadPodReady", "condition=RayClusterProvisioned"]


def _auth(cluster: RayClusterSettings) -> dict[str, Any] | None:
    if cluster.auth.mode == "disabled":
        return None
    return {"mode": "token", **drop_empty({"secretName": cluster.auth.secret_name})}


def _autoscaler(cluster: RayClusterSettings, kuberay_version: str) -> dict[str, Any]:
    scaling = cluster.autoscaling
    limits = {"cpu": scaling.resources.cpu, "memory": scaling.resources.memory}
    requests = scaling.resources.requests
    # Without the field the operator and Ray decide independently, so it is always written.
    # Old KubeRay has no such field and knows only v1. Write v2 anyway: then the schema check reports it.
    written = scaling.version == "v2" or at_least(kuberay_version, AUTOSCALER_VERSION)
    return {
        **({"version": scaling.version} if written else {}),
        "upscalingMode": scaling.upscaling_mode,
        "idleTimeoutSeconds": scaling.idle_timeout_seconds,
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "limits": limits,
            "requests": {"cpu": requests.cpu or limits["cpu"], "memory": requests.memory or limits["memory"]},
        },
        **({"securityContext": RESTRICTED_CONTAINER} if cluster.pod_security else {}),
        **({"volumeMounts": [TOKEN_MOUNT]} if _autoscaler_has_mounts(kuberay_version) else {}),
        "env": env_list({GCS_PATIENCE: "5", **scaling.env}),
    }


def _autoscaler_has_mounts(kuberay_version: str) -> bool:
    """Returns whether `autoscalerOptions` of this version has `volumeMounts`."""
    return at_least(kuberay_version, V1_API)


def _group(pod: Pod, start_params: dict[str, str], resources: dict[str, str]) -> dict[str, Any]:
    return {"rayStartParams": start_params, **drop_empty({"resources": resources, "labels": pod.ray_labels})}


def _head(cluster: RayClusterSettings, kuberay_version: str, monitoring: Monitoring) -> dict[str, Any]:
    head = cluster.head
    # The head runs no tasks unless the settings give it CPUs. Write the 0 into `resources` or
    # `rayStartParams`, whichever this head uses.
    if head.ray_resources:
        group = _group(head, head.ray_start_params, {"CPU": "0", **head.ray_resources})
    else:
        group = _group(head, {"num-cpus": "0", **head.ray_start_params}, {})
    if not at_least(kuberay_version, V1_API):
        group["serviceType"] = "ClusterIP"  # it had no default yet
    # Only the autoscaler, a sidecar of the head, calls Kubernetes. Its token may change pods, and the head runs the
    # drivers of jobs: so the token is mounted into the autoscaler's container only, where the version allows it.
    token_volume = cluster.autoscaling.enabled and _autoscaler_has_mounts(kuberay_version)
    return {
        **group,
        "template": template(
            cluster,
            head,
            "ray-head",
            ports=HEAD_PORTS,
            volumes=[TOKEN_VOLUME] if token_volume else [],
            mount_token=cluster.autoscaling.enabled and not token_volume,
            env=head_env(cluster, monitoring),
            annotations=scrape_annotations(monitoring),
        ),
    }


def _worker_group(cluster: RayClusterSettings, name: str, group: WorkerGroup, monitoring: Monitoring) -> dict[str, Any]:
    counts: dict[str, Any] = {"minReplicas": group.min, "maxReplicas": group.max}
    if not cluster.autoscaling.enabled:
        counts["replicas"] = group.min if group.replicas is None else group.replicas
    if group.num_of_hosts > 1:
        counts["numOfHosts"] = group.num_of_hosts
    options = {"idleTimeoutSeconds": group.idle_timeout_seconds, "priority": group.priority}
    return {
        "groupName": name,
        **counts,
        **drop_empty(options),
        **_group(group, group.ray_start_params, group.ray_resources),
        "template": template(cluster, group, "ray-worker", annotations=scrape_annotations(monitoring)),
    }
