"""The RayCluster: settings to manifest (pure), and the component around it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pulumi

from components.hooks.update_review import Review
from components.manifests import redis
from components.manifests.deep_merge import merged
from components.manifests.pods import HEAD_PORTS, RESTRICTED_CONTAINER, TOKEN_MOUNT, TOKEN_VOLUME, stated, template
from components.resources.kubernetes_object import declare
from components.settings.pods import Head, Pod, WorkerGroup
from components.settings.raycluster import Cluster
from components.settings.versions import AUTOSCALER_VERSION, V1_API, at_least

# The autoscaler writes into the list of worker groups, which the API server gives to one owner as a whole. Without
# force the next change of ours would be a conflict; with it, and no `replicas` from us, no worker is lost.
FORCE_ANNOTATION = "pulumi.com/patchForce"
WAIT_ANNOTATION = "pulumi.com/waitFor"
# A namespace of the stack's own goes right after the RayCluster and waits for its pods anyway: waiting for them twice
# would make a destroy longer by half.
DELETION_ANNOTATION = "pulumi.com/deletionPropagationPolicy"


def api_version(kuberay_version: str) -> str:
    return "ray.io/v1" if at_least(kuberay_version, V1_API) else "ray.io/v1alpha1"


def manifest(cluster: Cluster, kuberay_version: str) -> dict[str, Any]:
    """The RayCluster object, with `cluster.spec` laid over the finished spec."""
    scaling = cluster.autoscaling
    spec = {
        "rayVersion": cluster.ray_version,
        "suspend": cluster.suspend or None,
        "upgradeStrategy": stated({"type": cluster.upgrade_strategy}),
        "authOptions": _auth(cluster),
        "enableInTreeAutoscaling": scaling.enabled,
        "autoscalerOptions": _autoscaler(cluster, kuberay_version) if scaling.enabled else None,
        "gcsFaultToleranceOptions": redis.options(cluster),
        "headGroupSpec": _head(cluster, kuberay_version),
        "workerGroupSpecs": [_worker(cluster, name, group) for name, group in cluster.worker_groups.items()],
    }
    return {
        "apiVersion": api_version(kuberay_version),
        "kind": "RayCluster",
        "metadata": {
            "name": cluster.name,
            "namespace": cluster.namespace,
            **stated({"labels": cluster.labels}),
            "annotations": {
                **cluster.annotations,
                **redis.deletion_annotation(cluster),
                FORCE_ANNOTATION: "true",
                WAIT_ANNOTATION: json.dumps(ready_when(cluster)),
                **({DELETION_ANNOTATION: "background"} if cluster.create_namespace else {}),
            },
        },
        "spec": merged(stated(spec), cluster.spec),
    }


def ready_when(cluster: Cluster) -> list[str]:
    """What Pulumi waits for, all of it. Unlike a hook after creation, a wait that fails stays in the state."""
    if cluster.readiness == "state":
        return [f"jsonpath={{.status.state}}={'suspended' if cluster.suspend else 'ready'}"]
    if cluster.suspend:
        return ["condition=RayClusterSuspended"]
    # The head takes jobs, and the workers that the settings ask for have been there once.
    return ["condition=HeadPodReady", "condition=RayClusterProvisioned"]


def _auth(cluster: Cluster) -> dict[str, Any] | None:
    if cluster.auth.mode == "disabled":
        return None
    return {"mode": "token", **stated({"secretName": cluster.auth.secret_name})}


def _autoscaler(cluster: Cluster, kuberay_version: str) -> dict[str, Any]:
    scaling = cluster.autoscaling
    limits = {"cpu": scaling.resources.cpu, "memory": scaling.resources.memory}
    requests = scaling.resources.requests
    # Always said: left out, the operator and Ray each decide for themselves, and not alike. KubeRay before the field
    # knows nothing but v1, so v1 needs no saying there; v2 is said all the same, and refused by the version's schema.
    said = scaling.version == "v2" or at_least(kuberay_version, AUTOSCALER_VERSION)
    return {
        **({"version": scaling.version} if said else {}),
        "upscalingMode": scaling.upscaling_mode,
        "idleTimeoutSeconds": scaling.idle_timeout_seconds,
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "limits": limits,
            "requests": {"cpu": requests.cpu or limits["cpu"], "memory": requests.memory or limits["memory"]},
        },
        **({"securityContext": RESTRICTED_CONTAINER} if cluster.pod_security else {}),
        **({"volumeMounts": [TOKEN_MOUNT]} if _mounts_for_the_autoscaler(kuberay_version) else {}),
        **stated({"env": [{"name": name, "value": value} for name, value in scaling.env.items()]}),
    }


def _group(pod: Pod, start_params: dict[str, str], resources: dict[str, str]) -> dict[str, Any]:
    return {"rayStartParams": start_params, **stated({"resources": resources, "labels": pod.ray_labels})}


def _head(cluster: Cluster, kuberay_version: str) -> dict[str, Any]:
    head: Head = cluster.head
    # No task on the head unless asked for: said once, in the place where this head says its resources.
    if head.ray_resources:
        group = _group(head, head.ray_start_params, {"CPU": "0", **head.ray_resources})
    else:
        group = _group(head, {"num-cpus": "0", **head.ray_start_params}, {})
    if not at_least(kuberay_version, V1_API):
        group["serviceType"] = "ClusterIP"  # had no default yet
    # The autoscaler, beside the head, is the only one that talks to Kubernetes; its token may change pods, and the head
    # runs the drivers of jobs.
    own = cluster.autoscaling.enabled and _mounts_for_the_autoscaler(kuberay_version)
    return {
        **group,
        "template": template(
            cluster,
            head,
            "ray-head",
            ports=HEAD_PORTS,
            volumes=[TOKEN_VOLUME] if own else [],
            mount_token=cluster.autoscaling.enabled and not own,
        ),
    }


def _mounts_for_the_autoscaler(kuberay_version: str) -> bool:
    """Whether `autoscalerOptions` of this version has volumeMounts."""
    return at_least(kuberay_version, V1_API)


def _worker(cluster: Cluster, name: str, group: WorkerGroup) -> dict[str, Any]:
    counts: dict[str, Any] = {"minReplicas": group.min, "maxReplicas": group.max}
    if not cluster.autoscaling.enabled:
        counts["replicas"] = group.min if group.replicas is None else group.replicas
    if group.num_of_hosts > 1:
        counts["numOfHosts"] = group.num_of_hosts
    options = {"idleTimeoutSeconds": group.idle_timeout_seconds, "priority": group.priority}
    return {
        "groupName": name,
        **counts,
        **stated(options),
        **_group(group, group.ray_start_params, group.ray_resources),
        "template": template(cluster, group, "ray-worker"),
    }


class RayCluster(pulumi.ComponentResource):
    """One RayCluster; created once `manifest` is usable, as told by `ready_when`.

    `before`: objects that it needs to start and until its end; `after`: objects that stand on it.
    `review`: what looks at an update before it happens.
    `depends_on`: its namespace and the operator; the order of `destroy` follows from it.
    """

    object: pulumi.CustomResource

    def __init__(
        self,
        name: str,
        *,
        manifest: dict[str, Any],
        before: Sequence[dict[str, Any]] = (),
        after: Sequence[dict[str, Any]] = (),
        ready_timeout_seconds: int,
        delete_timeout_seconds: int,
        depends_on: Sequence[pulumi.Resource],
        protect: bool = False,
        review: Review | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ray-on-kubernetes:raycluster:RayCluster", name, {}, opts)
        meta = manifest["metadata"]
        ready, gone = f"{ready_timeout_seconds}s", f"{delete_timeout_seconds}s"

        def companion(made: dict[str, Any], needs: Sequence[pulumi.Resource]) -> pulumi.CustomResource:
            own = f"{made['metadata']['namespace']}/{made['kind']}/{made['metadata']['name']}"
            return declare(own, made, pulumi.ResourceOptions(parent=self, depends_on=list(needs)))

        needed = [companion(made, depends_on) for made in before]
        self.object = declare(
            name,
            manifest,
            pulumi.ResourceOptions(
                parent=self,
                depends_on=[*depends_on, *needed],
                protect=protect,
                hooks=review.hook(name, meta["namespace"], meta["name"]) if review else None,
                custom_timeouts=pulumi.CustomTimeouts(create=ready, update=ready, delete=gone),
            ),
        )
        for made in after:
            companion(made, [self.object])
        self.register_outputs({"name": meta["name"], "namespace": meta["namespace"]})
