"""Builds the RayCluster manifests of the stack and checks them against the pinned KubeRay. Asks no cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.checks import exposure, operator_rules, quota_fit, schema
from components.errors import refuse
from components.kuberay import overlay
from components.manifests import keeper, operator, raycluster
from components.settings import Settings
from components.settings.kuberay import KubeRay
from components.settings.monitoring import OFF
from components.settings.raycluster import RayClusterSettings
from components.settings.versions import CONDITIONS, DELETION_TIMEOUT, at_least


def build_and_check(settings: Settings, tree: Path) -> list[dict[str, Any]]:
    """Builds the RayCluster manifest of each entry of `settings.clusters` and checks it.

    Args:
        settings: settings of the stack.
        tree: KubeRay's files of the pinned version.

    Raises:
        StackError: this version of KubeRay would refuse or drop a setting; the message lists all problems, one a line.
    """
    version = settings.kuberay.version
    # The gates of an operator that the stack does not install are not known.
    gates = settings.kuberay.feature_gates if settings.kuberay.operator == "own" else operator_rules.GATES
    manifests, problems = [], []
    for index, cluster in enumerate(settings.clusters):
        manifest = raycluster.manifest(cluster, version, settings.monitoring)
        texts = schema.problems(manifest, tree, version) or [
            *operator_rules.violations(manifest, gates),
            *exposure.violations(cluster, manifest),
        ]
        texts += _features_without_support(cluster, version)
        texts += _keeper_pod(cluster, tree, raycluster.api_version(version))
        problems += [f"clusters[{index}] ({cluster.name}): {text}" for text in texts]
        manifests.append(manifest)
    problems += _operator_pod(settings.kuberay, tree)
    if not problems:
        problems += quota_fit.problems(settings, manifests)
    refuse(f"KubeRay {version} does not accept these settings:", problems)
    return manifests


def _operator_pod(kuberay: KubeRay, tree: Path) -> list[str]:
    """Returns problems of the operator's pod, by the schema that the CRD has for Ray's pods."""
    if kuberay.operator != "own":
        return []
    template = operator.pod_template(kuberay, overlay.upstream_deployment(tree)["spec"]["template"])
    texts = schema.pod_template_problems(template, tree, raycluster.api_version(kuberay.version))
    return [f"kuberay, pod of the operator: {text}" for text in texts]


def _keeper_pod(cluster: RayClusterSettings, tree: Path, api_version: str) -> list[str]:
    """Returns problems of the keeper's pod, by the schema that the CRD has for Ray's pods."""
    if cluster.keeper is None:
        return []
    template = keeper.pod_template(cluster, cluster.keeper, OFF, {"clusters": []})
    return [f"pod of the keeper: {text}" for text in schema.pod_template_problems(template, tree, api_version)]


def _features_without_support(cluster: RayClusterSettings, version: str) -> list[str]:
    """Returns the settings that this version cannot do. They have no CRD field, so the schema check cannot find
    them."""
    problems = []
    if cluster.readiness == "conditions" and not at_least(version, CONDITIONS):
        problems.append(f"KubeRay {version} has no conditions to wait for; set `readiness: state`")
    tolerance = cluster.fault_tolerance
    if tolerance and tolerance.deletion_timeout_seconds and not at_least(version, DELETION_TIMEOUT):
        text = f"KubeRay {version} cannot limit the clean-up of Redis"
        problems.append(f"{text}; set `faultTolerance.deletionTimeoutSeconds: 0`")
    return problems
