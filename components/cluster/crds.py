"""KubeRay's CRDs on a cluster: apply, read, remove. No Pulumi in here.

Every function takes the API and the names it works on; `crds.py` makes a resource of them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from components.cluster.api import Api, ClusterError

CRDS_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
OWNER_ANNOTATION = "ray-on-kubernetes/stack"
VERSION_ANNOTATION = "ray-on-kubernetes/kuberay-version"
DIGEST_ANNOTATION = "ray-on-kubernetes/digest"
SHOWN_FIELDS = 8
WAIT_SECONDS = 120.0

Crd = Mapping[str, Any]


def digest(content: Any) -> str:
    """Short digest of a JSON value, the same whatever the order of its keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def summary(documents: Sequence[Crd]) -> dict[str, dict[str, str]]:
    """What a preview shows of each CRD: its served versions and the digest of its content."""
    return {
        document["metadata"]["name"]: {
            "digest": digest(document["spec"]),
            "served": ", ".join(version["name"] for version in document["spec"]["versions"] if version.get("served")),
        }
        for document in documents
    }


def get(api: Api, name: str) -> dict[str, Any] | None:
    return api.get(f"{CRDS_PATH}/{name}")


def fields(crd: Crd) -> set[str]:
    """Path of every field in the stored version's schema, such as `spec.workerGroupSpecs[].template.spec`."""
    stored = next(version for version in crd["spec"]["versions"] if version.get("storage"))
    found: set[str] = set()

    def walk(schema: Mapping[str, Any], path: str) -> None:
        for name, entry in (schema.get("properties") or {}).items():
            inner = f"{path}.{name}" if path else name
            found.add(inner)
            walk(entry, inner)
        if isinstance(schema.get("items"), Mapping):
            walk(schema["items"], f"{path}[]")

    walk(stored.get("schema", {}).get("openAPIV3Schema", {}), "")
    return found


def field_changes(old: Crd, new: Crd) -> str:
    """What a new CRD adds and takes away, field by field; a field inside a new one is not said again."""
    before, after = fields(old), fields(new)

    def outermost(paths: set[str]) -> list[str]:
        return sorted(path for path in paths if path.rpartition(".")[0].removesuffix("[]") not in paths)

    def shown(paths: list[str]) -> str:
        more = f" and {len(paths) - SHOWN_FIELDS} more" if len(paths) > SHOWN_FIELDS else ""
        return ", ".join(paths[:SHOWN_FIELDS]) + more

    added, removed = outermost(after - before), outermost(before - after)
    parts = [f"adds {shown(added)}"] if added else []
    parts += [f"REMOVES {shown(removed)}"] if removed else []
    return "; ".join(parts) or "changes the rules of existing fields"


def pending_changes(api: Api, documents: Sequence[Crd]) -> list[str]:
    """What `apply` would do to each CRD on the cluster, a line each; empty where all of them are as they should be."""
    known = {
        metadata["name"]: (metadata.get("annotations") or {}).get(DIGEST_ANNOTATION)
        for metadata in api.metadata(CRDS_PATH)
    }
    lines = []
    for document in documents:
        name = document["metadata"]["name"]
        if name in known and known[name] != digest(document["spec"]) and (live := get(api, name)):
            lines.append(f"{name}: {field_changes(live, document)}")
    return lines


def foreign(api: Api, names: Sequence[str], owner: str) -> list[str]:
    """Which of the CRDs are on the cluster and were not put there, or left there, by the stack `owner`."""
    found = ((name, get(api, name)) for name in names)
    return [
        name
        for name, live in found
        if live is not None and (live["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION) != owner
    ]


def apply(api: Api, documents: Sequence[Crd], *, version: str, owner: str) -> dict[str, str]:
    """Server-side apply, in place, and wait until each is established. Returns the digest of each live spec.

    Conflicts are forced: the caller has made sure whose CRDs these are, and a field edited by hand is drift.
    """
    for document in documents:
        metadata = {
            "name": document["metadata"]["name"],
            "annotations": {
                **(document["metadata"].get("annotations") or {}),
                OWNER_ANNOTATION: owner,
                VERSION_ANNOTATION: version,
                DIGEST_ANNOTATION: digest(document["spec"]),
            },
        }
        manifest = {
            "apiVersion": document["apiVersion"],
            "kind": document["kind"],
            "metadata": metadata,
            "spec": document["spec"],
        }
        api.apply(f"{CRDS_PATH}/{metadata['name']}", manifest, force=True)
    return {name: _established(api, name) for name in summary(documents)}


def live_digests(api: Api, names: Sequence[str]) -> dict[str, str | None]:
    """Digest of each live spec; None for a CRD that is not there."""
    found = {name: get(api, name) for name in names}
    return {name: digest(live["spec"]) if live else None for name, live in found.items()}


def remaining_objects(api: Api, names: Sequence[str]) -> list[str]:
    """Every custom resource that would go with these CRDs, as `Kind namespace/name`."""
    objects = []
    for name in names:
        live = get(api, name)
        if live is None:
            continue
        spec = live["spec"]
        version = next(entry["name"] for entry in spec["versions"] if entry["storage"])
        listing = api.get(f"/apis/{spec['group']}/{version}/{spec['names']['plural']}") or {"items": []}
        kind = spec["names"]["kind"]
        objects += [
            f"{kind} {item['metadata'].get('namespace')}/{item['metadata']['name']}" for item in listing["items"]
        ]
    return objects


def remove(api: Api, names: Sequence[str]) -> None:
    """Delete the CRDs and wait until they are gone.

    Raises ClusterError, with nothing deleted, while any custom resource of theirs is left: deleting a CRD deletes
    every object of its kind on the cluster, other teams' too.
    """
    left = remaining_objects(api, names)
    if left:
        shown = ", ".join(left[:10]) + (f" and {len(left) - 10} more" if len(left) > 10 else "")
        raise ClusterError(
            f"the CRDs are kept: these objects would be deleted with them: {shown}. Delete them first, or keep "
            "the CRDs with `kuberay.retainCrds: true`, `pulumi up`, and destroy again."
        )
    for name in names:
        api.delete(f"{CRDS_PATH}/{name}")
    for name in names:
        _wait(partial(_gone, api, name), f"CRD {name} to be gone")


def _gone(api: Api, name: str) -> bool | None:
    return get(api, name) is None or None


def _established(api: Api, name: str) -> str:
    def look() -> str | None:
        live = get(api, name)
        conditions = (live or {}).get("status", {}).get("conditions") or []
        if live and any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            return digest(live["spec"])
        return None

    return str(_wait(look, f"CRD {name} to be established"))


def _wait(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS
    while (answer := look()) is None:
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {WAIT_SECONDS:.0f} s for {what}. `kubectl describe crd` says why.")
        time.sleep(0.2)
    return answer
