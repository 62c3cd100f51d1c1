"""Two kustomize overlays over KubeRay's files, one for the CRDs and one for the operator.

The same settings give the same text. `kubectl kustomize` renders the overlays as Pulumi does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.errors import StackError
from components.kuberay.files import write_atomically
from components.kuberay.source import APISERVER_FOLDER, CRD_FOLDER, MANAGER_FOLDER, RBAC_FOLDER, ROOT
from components.manifests import operator
from components.manifests.access import SKIP_AWAIT_ANNOTATION
from components.settings.kuberay import OPERATOR, KubeRay
from components.settings.versions import SPLIT_CONFIG, at_least
from jobs.yaml_file import dump_yaml, parse_documents

# Of the kinds in the operator's ClusterRole, those without a namespace: a Role cannot grant them.
CLUSTER_SCOPED = {"ingressclasses"}

Object = dict[str, Any]


def images(kuberay: KubeRay) -> list[dict[str, str]]:
    """Returns the `images:` of the operator's overlay: upstream's image of that version, another registry, or your
    image."""
    registry = "quay.io/" if at_least(kuberay.version, SPLIT_CONFIG) else ""
    if kuberay.image_registry:
        registry = kuberay.image_registry.rstrip("/") + "/"
    operator = {"name": "kuberay/operator", "newName": f"{registry}kuberay/operator", "newTag": kuberay.version}
    if kuberay.image:
        operator = {"name": "kuberay/operator", **_image_parts(kuberay.image)}
    bundled = {"name": "kuberay/apiserver", "newName": f"{registry}kuberay/apiserver", "newTag": kuberay.version}
    return [operator, bundled] if kuberay.apiserver else [operator]


def _image_parts(image: str) -> dict[str, str]:
    if "@" in image:
        name, digest = image.split("@", 1)
        return {"newName": name, "digest": digest}
    head, slash, last = image.rpartition("/")
    name, colon, tag = last.partition(":")
    return {"newName": head + slash + name, **({"newTag": tag} if colon else {})}


def _deployment_patch(kuberay: KubeRay, tree: Path) -> list[Object]:
    """A JSON patch with the whole pod template: kustomize would merge lists by other rules than `podTemplate` has."""
    deployment = upstream_deployment(tree)
    upstream = deployment["spec"]["template"]
    template = operator.pod_template(kuberay, upstream)
    labels = template["metadata"].get("labels", {})
    for key, value in deployment["spec"]["selector"]["matchLabels"].items():
        if labels.get(key) != value:
            raise StackError(f"kuberay.labels.{key}: the Deployment of the operator selects its pods by it; remove it")
    return [] if template == upstream else [{"op": "replace", "path": "/spec/template", "value": template}]


def upstream_deployment(tree: Path) -> Object:
    """Reads the operator's Deployment from KubeRay's files.

    Raises:
        StackError: the files have none.
    """
    for document in parse_documents((tree / MANAGER_FOLDER / "manager.yaml").read_text()):
        if document["kind"] == "Deployment":
            deployment: Object = document
            return deployment
    raise StackError(
        f"{tree / MANAGER_FOLDER}/manager.yaml: it has no Deployment; is this a directory with KubeRay's files?"
    )


def crd_kustomization(tree: Path, folder: Path) -> Object:
    """Returns the kustomization of the CRDs. Old versions bundle a Namespace with them, which the stack creates
    itself."""
    return _kustomization(resources=[_relative(tree / CRD_FOLDER, folder)])


def operator_kustomization(kuberay: KubeRay, tree: Path, folder: Path) -> Object:
    """Returns the kustomization of RBAC and the operator. Kustomize writes the namespace into the bindings' subjects
    too."""
    folders = [RBAC_FOLDER, MANAGER_FOLDER] + ([APISERVER_FOLDER] if kuberay.apiserver else [])
    # Patched by target: a patch by name would have to state the manifest's own namespace, which the overlay replaces.
    patches = [_patch("Deployment", patch) for patch in [_deployment_patch(kuberay, tree)] if patch]
    # Only metrics go through it. Pulumi would wait ten seconds for its endpoints.
    patches.append(_patch("Service", _named("v1", "Service", annotations={SKIP_AWAIT_ANNOTATION: "true"})))
    if annotations := kuberay.service_account.annotations:
        patches.append(_patch("ServiceAccount", _named("v1", "ServiceAccount", annotations=annotations)))
    if kuberay.watch_namespaces:
        api_version = "rbac.authorization.k8s.io/v1"
        kinds = ("ClusterRole", "ClusterRoleBinding")
        patches += [_patch(kind, {**_named(api_version, kind), "$patch": "delete"}) for kind in kinds]
    return _kustomization(
        namespace=kuberay.namespace,
        resources=[_relative(tree / name, folder) for name in folders],
        images=images(kuberay),
        **({"replicas": [{"name": OPERATOR, "count": kuberay.replicas}]} if kuberay.replicas else {}),
        patches=patches,
    )


def _patch(kind: str, patch: Object | list[Object]) -> Object:
    return {"target": {"kind": kind, "name": OPERATOR}, "patch": dump_yaml(patch)}


def _named(api_version: str, kind: str, **metadata: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": OPERATOR, **metadata}}


def watch_roles(kuberay: KubeRay, tree: Path) -> list[Object]:
    """Returns upstream's ClusterRole as a Role in each watched namespace, with its RoleBinding."""
    rbac = "rbac.authorization.k8s.io"
    (upstream,) = parse_documents((tree / RBAC_FOLDER / "role.yaml").read_text())
    rules = [rule for rule in upstream["rules"] if not set(rule["resources"]) <= CLUSTER_SCOPED]
    subjects = [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": kuberay.namespace}]
    roles: list[Object] = []
    for namespace in kuberay.watch_namespaces:
        metadata = {"name": OPERATOR, "namespace": namespace}
        roles.append({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
        reference = {"apiGroup": rbac, "kind": "Role", "name": OPERATOR}
        binding = {"kind": "RoleBinding", "metadata": metadata, "roleRef": reference, "subjects": subjects}
        roles.append({"apiVersion": f"{rbac}/v1", **binding})
    return roles


def _kustomization(**fields: Any) -> Object:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **fields}


def _relative(target: Path, folder: Path) -> str:
    # Relative, so that the overlay has the same text on every machine with the same layout.
    return os.path.relpath(target.resolve(), folder.resolve())


def write(kuberay: KubeRay, tree: Path, stack: str, root: Path = ROOT) -> tuple[Path, Path]:
    """Writes both overlays below `.cache/overlays`.

    Args:
        kuberay: settings of the operator.
        tree: KubeRay's files of the pinned version.
        stack: name of the stack, which has overlays of its own.
        root: folder of the project.

    Returns:
        The folders of the CRDs' and the operator's overlay relative to `root`: Pulumi's state holds these paths.
    """
    base = root / ".cache" / "overlays" / stack
    crds, own = base / "crds", base / "operator"
    write_atomically(crds / "kustomization.yaml", _yaml(crd_kustomization(tree, crds)))
    if kuberay.watch_namespaces:
        # In a second layer, because the inner one would move these Roles to the operator's namespace.
        inner = own / "base"
        write_atomically(inner / "kustomization.yaml", _yaml(operator_kustomization(kuberay, tree, inner)))
        write_atomically(own / "roles.yaml", dump_yaml(*watch_roles(kuberay, tree)))
        write_atomically(own / "kustomization.yaml", _yaml(_kustomization(resources=["base", "roles.yaml"])))
    else:
        write_atomically(own / "kustomization.yaml", _yaml(operator_kustomization(kuberay, tree, own)))
    return crds.relative_to(root), own.relative_to(root)


def _yaml(document: Mapping[str, Any]) -> str:
    return dump_yaml(dict(document))
