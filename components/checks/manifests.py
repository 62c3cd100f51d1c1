"""Every manifest of the stack, checked against the pinned version before anything is registered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.checks import exposure as safety
from components.checks import operator_rules as rules
from components.checks import schema
from components.errors import refuse
from components.manifests import quota as guards
from components.resources import raycluster
from components.settings.load import Settings
from components.settings.versions import CONDITIONS, DELETION_TIMEOUT, at_least


def rayclusters(settings: Settings, tree: Path) -> list[dict[str, Any]]:
    """The manifest of each cluster in the settings. Raises StackError with everything that KubeRay would not take."""
    version = settings.kuberay.version
    # Of somebody else's operator nothing is known of its gates.
    gates = settings.kuberay.feature_gates if settings.kuberay.operator == "own" else rules.GATES
    manifests, problems = [], []
    for index, cluster in enumerate(settings.clusters):
        manifest = raycluster.manifest(cluster, version)
        found = schema.problems(manifest, tree, version) or (
            rules.violations(manifest, gates) + safety.violations(cluster, manifest)
        )
        if cluster.readiness == "conditions" and not at_least(version, CONDITIONS):
            found.append(f"KubeRay {version}: it has no conditions to wait for; write `readiness: state` to do without")
        tolerance = cluster.fault_tolerance
        if tolerance and tolerance.deletion_timeout_seconds and not at_least(version, DELETION_TIMEOUT):
            text = "it has no end to the clean-up of Redis; write `faultTolerance.deletionTimeoutSeconds: 0`"
            found.append(f"KubeRay {version}: {text} to do without")
        problems += [f"clusters[{index}] ({cluster.name}): {text}" for text in found]
        manifests.append(manifest)
    if not problems:
        problems += guards.problems(settings, manifests)
    refuse(f"KubeRay {version} would not take these settings:", problems)
    return manifests
