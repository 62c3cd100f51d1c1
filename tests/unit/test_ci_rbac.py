"""docs/ci-rbac.yaml: CI's previews can read what a stack has, and nothing that leads to a job or a Secret."""

from __future__ import annotations

from typing import Any

import yaml

from components.kuberay import source
from components.settings.versions import DEFAULT_KUBERAY_VERSION
from tests.support.trees import tree
from tests.unit.components.golden_cases import GOLDEN

ROLE = yaml.safe_load((source.ROOT / "docs" / "ci-rbac.yaml").read_text())
READABLE = {
    (group, resource) for rule in ROLE["rules"] for group in rule["apiGroups"] for resource in rule["resources"]
}


def documents() -> list[dict[str, Any]]:
    """Every manifest that a stack can have: of each option, and KubeRay's own."""
    kuberay, version = tree(DEFAULT_KUBERAY_VERSION), DEFAULT_KUBERAY_VERSION
    files = [
        *GOLDEN.rglob("*.yaml"),
        *(file for path in source.folders(version) for file in (kuberay / path).rglob("*.yaml")),
    ]
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [
        document
        for file in files
        for document in yaml.load_all(file.read_text(), loader)
        if isinstance(document, dict) and {"apiVersion", "kind"} <= set(document)
    ]


def test_it_gives_no_right_but_to_read_and_none_that_leads_to_a_job_or_a_secret() -> None:
    assert ROLE["kind"] == "ClusterRole"
    assert {verb for rule in ROLE["rules"] for verb in rule["verbs"]} == {"get", "list"}
    assert not {"nonResourceURLs", "resourceNames"} & {key for rule in ROLE["rules"] for key in rule}
    resources = {resource for _, resource in READABLE}
    assert not {"secrets", "pods", "configmaps", "nodes", "*"} & resources
    # exec, attach, portforward, proxy, token: all of them are subresources.
    assert [resource for resource in resources if "/" in resource] == []


def test_every_object_of_a_stack_can_be_read_but_a_secret() -> None:
    objects = {(document["apiVersion"], document["kind"]) for document in documents()}
    kinds = {(version.rpartition("/")[0], kind) for version, kind in objects if kind not in ("Secret", "Kustomization")}
    irregular = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}
    resources = {(group, irregular.get(kind, f"{kind.lower()}s")) for group, kind in kinds}
    assert resources - READABLE == set()
    assert ("ray.io", "rayclusters") in resources
