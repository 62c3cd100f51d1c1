"""KubeRay's kustomize overlays, one for the CRDs and one for the operator, written as deterministic files.

`kubectl kustomize` renders them as well as Pulumi does. Where the folders are follows the version's layout.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from components.errors import StackError
from components.kuberay.source import APISERVER_FOLDER, CACHE, CRD_FOLDER, MANAGER_FOLDER, RBAC_FOLDER, ROOT
from components.settings.kuberay import KubeRay
from components.settings.versions import SPLIT_CONFIG, at_least

OPERATOR = "kuberay-operator"
APISERVER = "kuberay-apiserver"
# Directives of a kustomization that leave the content of a CRD alone.
HARMLESS = {"apiVersion", "kind", "resources", "metadata"}

CLUSTER_SCOPED = {"ingressclasses"}

Object = dict[str, Any]


def images(kuberay: KubeRay) -> list[dict[str, str]]:
    """The `images:` of the operator overlay: upstream's pins, another registry, or an image of one's own."""
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


def operator_args(upstream: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Upstream's arguments and ours. Feature gates become one flag: of two, the operator would read the last alone."""
    prefix = "--feature-gates="
    gates: dict[str, str] = {}
    others: dict[str, str] = {}
    for arg in [*upstream, *wanted]:
        if arg.startswith(prefix):
            for gate in arg.removeprefix(prefix).split(","):
                gates[gate.partition("=")[0]] = gate
        else:
            others[arg.split("=", 1)[0]] = arg
    joined = [prefix + ",".join(gates.values())] if gates else []
    return joined + list(others.values())


def _deployment_patch(kuberay: KubeRay, tree: Path) -> Object | None:
    container: Object = {}
    wanted = kuberay.args
    if kuberay.watch_namespaces:
        wanted = (*wanted, f"--watch-namespace={','.join(kuberay.watch_namespaces)}")
    if wanted:
        container["args"] = operator_args(_upstream_args(tree), wanted)
    sizes = {key: value for key, value in kuberay.resources if value}
    if sizes:
        container["resources"] = {"limits": sizes, "requests": sizes}
    if not container:
        return None
    return {"spec": {"template": {"spec": {"containers": [{"name": OPERATOR, **container}]}}}}


def _upstream_args(tree: Path) -> list[str]:
    for document in yaml.safe_load_all((tree / MANAGER_FOLDER / "manager.yaml").read_text()):
        if document and document["kind"] == "Deployment":
            found: list[str] = document["spec"]["template"]["spec"]["containers"][0].get("args") or []
            return found
    raise StackError(f"{tree / MANAGER_FOLDER}/manager.yaml: no Deployment in it; is this a tree of KubeRay?")


def crd_kustomization(tree: Path, folder: Path) -> Object:
    """The CRDs alone: the Namespace that old versions bundle with them is ours to make."""
    return _kustomization(resources=[_relative(tree / CRD_FOLDER, folder)])


def operator_kustomization(kuberay: KubeRay, tree: Path, folder: Path) -> Object:
    """RBAC and the operator in its namespace; kustomize carries the namespace into the subjects of the bindings."""
    folders = [RBAC_FOLDER, MANAGER_FOLDER] + ([APISERVER_FOLDER] if kuberay.apiserver else [])
    patch = _deployment_patch(kuberay, tree)
    # By target: the manifest's own namespace, which the overlay replaces, need not be known here.
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
    return {"target": {"kind": kind, "name": OPERATOR}, "patch": yaml.safe_dump(named, sort_keys=False)}


def watch_roles(kuberay: KubeRay, tree: Path) -> list[Object]:
    """In each watched namespace, upstream's ClusterRole as a Role; cluster-scoped kinds are of no use in one."""
    rbac = "rbac.authorization.k8s.io"
    upstream = yaml.safe_load((tree / RBAC_FOLDER / "role.yaml").read_text())
    rules = [rule for rule in upstream["rules"] if not set(rule["resources"]) <= CLUSTER_SCOPED]
    subjects = [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": kuberay.namespace}]
    found: list[Object] = []
    for namespace in kuberay.watch_namespaces:
        metadata = {"name": OPERATOR, "namespace": namespace}
        found.append({"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules})
        reference = {"apiGroup": rbac, "kind": "Role", "name": OPERATOR}
        binding = {"kind": "RoleBinding", "metadata": metadata, "roleRef": reference, "subjects": subjects}
        found.append({"apiVersion": f"{rbac}/v1", **binding})
    return found


def _kustomization(**fields: Any) -> Object:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **fields}


def _relative(target: Path, folder: Path) -> str:
    # Relative, so that the overlay is the same text on every machine with the same layout.
    return os.path.relpath(target.resolve(), folder.resolve())


def write(kuberay: KubeRay, tree: Path, stack: str, root: Path = ROOT) -> tuple[Path, Path]:
    """Writes both overlays of `stack`; returns (CRDs, operator) relative to `root`, as Pulumi's state keeps them."""
    base = root / ".cache" / "overlays" / stack
    crds, operator = base / "crds", base / "operator"
    _write(crds / "kustomization.yaml", _yaml(crd_kustomization(tree, crds)))
    if kuberay.watch_namespaces:
        # A layer of its own: the namespace that the inner overlay sets would move these Roles as well.
        inner = operator / "base"
        _write(inner / "kustomization.yaml", _yaml(operator_kustomization(kuberay, tree, inner)))
        _write(operator / "roles.yaml", yaml.safe_dump_all(watch_roles(kuberay, tree), sort_keys=False))
        _write(operator / "kustomization.yaml", _yaml(_kustomization(resources=["base", "roles.yaml"])))
    else:
        _write(operator / "kustomization.yaml", _yaml(operator_kustomization(kuberay, tree, operator)))
    return crds.relative_to(root), operator.relative_to(root)


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(document), sort_keys=False)


def _write(path: Path, text: str) -> None:
    if path.is_file() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        file.write(text)
    os.replace(file.name, path)


def crd_documents(tree: Path) -> list[Object]:
    """The CRDs of a version's tree, exactly as kustomize would give them.

    A plain reader: it follows `resources:` and raises StackError for any directive that could change the content.
    Megabytes of YAML take seconds to parse, so the result is kept as JSON under the digest of the files.
    """
    files = _crd_files(tree / CRD_FOLDER)
    content = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    kept = CACHE / "crds" / f"{content}.json"
    try:
        known: list[Object] = json.loads(kept.read_text())
        return known
    except (OSError, ValueError):
        pass
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    documents = [document for file in files for document in yaml.load_all(file.read_text(), loader) if document]
    others = sorted({document["kind"] for document in documents} - {"CustomResourceDefinition"})
    if others or not documents:
        raise StackError(f"{tree / CRD_FOLDER}: expected CRDs and nothing else, found {', '.join(others) or 'nothing'}")
    _write(kept, json.dumps(documents))
    return documents


def _crd_files(folder: Path) -> list[Path]:
    kustomization = folder / "kustomization.yaml"
    if not kustomization.is_file():
        raise StackError(f"{kustomization}: missing; is this a tree of KubeRay?")
    directives = yaml.safe_load(kustomization.read_text()) or {}
    unknown = sorted(set(directives) - HARMLESS)
    if unknown:
        raise StackError(f"{kustomization}: {', '.join(unknown)} would change the CRDs; allowed: resources")
    files: list[Path] = []
    for resource in directives.get("resources") or []:
        path = folder / resource
        files += _crd_files(path) if path.is_dir() else [path]
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        raise StackError(f"{kustomization}: it names files that are not there: {', '.join(missing)}")
    return files
