"""The operator's Deployment: upstream's, with the settings merged into it; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.manifests.merge import deep_merge, drop_empty
from components.manifests.pods import env_list, with_env_in_order
from components.settings.kuberay import OPERATOR, KubeRay

Object = dict[str, Any]

# Upstream asks for the first time after 10 s, and the operator is there after 2. Everything in `up` waits for it. As
# upstream, it counts as not ready after half a minute without an answer.
READINESS = {"initialDelaySeconds": 1, "periodSeconds": 2, "failureThreshold": 13}


def pod_template(kuberay: KubeRay, upstream: Mapping[str, Any]) -> Object:
    """Merges the settings, and then their `podTemplate`, into the pod template of upstream's Deployment."""
    args = kuberay.args
    if kuberay.watch_namespaces:
        args = (*args, f"--watch-namespace={','.join(kuberay.watch_namespaces)}")
    if kuberay.metrics:
        args = (*args, "--enable-metrics")
    resources = drop_empty({"limits": kuberay.resources.limits_by_name, "requests": kuberay.resources.requests_by_name})
    container = {
        "args": operator_args(_container(upstream).get("args") or [], args) if args else [],
        "resources": resources,
        "readinessProbe": READINESS if _container(upstream).get("readinessProbe") else {},
        "env": env_list(kuberay.env),
    }
    spec = {
        "nodeSelector": kuberay.node_selector,
        "tolerations": kuberay.tolerations,
        "affinity": kuberay.affinity,
        "priorityClassName": kuberay.priority_class_name,
        "imagePullSecrets": [{"name": name} for name in kuberay.image_pull_secrets],
    }
    if settings := drop_empty(container):
        spec["containers"] = [{"name": OPERATOR, **settings}]
    metadata = drop_empty({"labels": kuberay.labels, "annotations": kuberay.annotations})
    own = drop_empty({"metadata": metadata, "spec": drop_empty(spec)})
    return with_env_in_order(deep_merge(deep_merge(upstream, own), kuberay.pod_template))


def _container(template: Mapping[str, Any]) -> Mapping[str, Any]:
    container: Mapping[str, Any] = template["spec"]["containers"][0]
    return container


def operator_args(upstream: Sequence[str], settings: Sequence[str]) -> list[str]:
    """Merges upstream's flags with those of the settings, which win.

    All feature gates go into one flag: of two flags of one name the operator reads only the last.
    """
    prefix = "--feature-gates="
    gates: dict[str, str] = {}
    flags: dict[str, str] = {}
    for arg in [*upstream, *settings]:
        if arg.startswith(prefix):
            for gate in arg.removeprefix(prefix).split(","):
                gates[gate.partition("=")[0]] = gate
        else:
            flags[arg.split("=", 1)[0]] = arg
    gate_flag = [prefix + ",".join(gates.values())] if gates else []
    return gate_flag + list(flags.values())
