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
from components.settings.kuberay import KubeRay
from components.settings.versions import SPLIT_CONFIG, at_least
from jobs.yaml_file import dump_yaml, parse_documents

OPERATOR = "kuberay-operator"
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


def operator_args(upstream: list[str], settings: tuple[str, ...]) -> list[str]:
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


def _deployment_patch(kuberay: KubeRay, tree: Path) -> Object | None:
    container: Object = {}
    args = kuberay.args
    if kuberay.watch_namespaces:
        args = (*args, f"--watch-namespace={','.join(kuberay.watch_namespaces)}")
    if args:
        container["args"] = operator_args(_upstream_args(tree), args)
    sizes = {key: value for key, value in kuberay.resources if value}
    if sizes:
        container["resources"] = {"limits": sizes, "requests": sizes}
    if not container:
        return None
    return {"spec": {"template": {"spec": {"containers": [{"name": OPERATOR, **container}]}}}}


def _upstream_args(tree: Path) -> list[str]:
    for document in parse_documents((tree / MANAGER_FOLDER / "manager.yaml").read_text()):
        if document and document["kind"] == "Deployment":
            args: list[str] = document["spec"]["template"]["spec"]["containers"][0].get("args") or []
            return args
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
    patch = _deployment_patch(kuberay, tree)
    # Patched by target: a patch by name would have to state the manifest's own namespace, which the overlay replaces.
    patches = [_patch("Deployment", patch)] if patch else []
    if kuberay.watch_namespaces:
        patches += [_patch(kind, {"$patch": "delete"}) for kind in ("ClusterRole", "ClusterRoleBinding")]
    return _kustomization(
        namespace=kuberay.namespace,
        resources=[_relative(tree / name, folder) for name in folders],
        images=images(kuberay),
        **({"patches": patches} if patches else {}),
    )


def _patch(kind: str, patch: Object) -> Object:
    group = "apps" if kind == "Deployment" else "rbac.authorization.k8s.io"
    named = {"apiVersion": f"{group}/v1", "kind": kind, "metadata": {"name": OPERATOR}, **patch}
    return {"target": {"kind": kind, "name": OPERATOR}, "patch": dump_yaml(named)}


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
    crds, operator = base / "crds", base / "operator"
    write_atomically(crds / "kustomization.yaml", _yaml(crd_kustomization(tree, crds)))
    if kuberay.watch_namespaces:
        # In a second layer, because the inner one would move these Roles to the operator's namespace.
        inner = operator / "base"
        write_atomically(inner / "kustomization.yaml", _yaml(operator_kustomization(kuberay, tree, inner)))
        write_atomically(operator / "roles.yaml", dump_yaml(*watch_roles(kuberay, tree)))
        write_atomically(operator / "kustomization.yaml", _yaml(_kustomization(resources=["base", "roles.yaml"])))
    else:
        write_atomically(operator / "kustomization.yaml", _yaml(operator_kustomization(kuberay, tree, operator)))
    return crds.relative_to(root), operator.relative_to(root)


def _yaml(document: Mapping[str, Any]) -> str:
    return dump_yaml(dict(document))
