"""Manifests against the CRD of the pinned version, unknown fields included.

The API server drops an unknown field silently: a cluster could look protected by a token and be open. So a field that
the version does not have is an error here, before anything is registered.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import jsonschema

from components.kuberay.crds import crd_documents
from jobs.errors import did_you_mean

# The feature of a field that old versions lack, and the setting that switches it off.
REMEDIES = {
    "spec.authOptions": "token authentication; to deploy without it set `auth: disabled`",
    "spec.autoscalerOptions.version": "autoscaler v2; to deploy without it set `autoscaling.version: v1`",
    "spec.upgradeStrategy": "upgrade strategies; remove `upgradeStrategy`",
    "spec.suspend": "suspension; remove `suspend`",
    "spec.gcsFaultToleranceOptions": "these options for fault tolerance; remove `faultTolerance`",
}
REQUIRED = {"replicas": "with it every update would undo the autoscaler; set `autoscaling.enabled: false`"}
Schema = dict[str, Any]


def strict(schema: Mapping[str, Any], root: bool = False) -> Schema:
    """Converts a CRD's structural schema to a JSON Schema that refuses unknown fields."""
    result: Schema = {
        key: value
        for key, value in schema.items()
        if key in ("type", "enum", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
        or key in ("required", "minProperties", "maxProperties", "uniqueItems", "anyOf", "oneOf", "allOf", "not")
    }
    if schema.get("x-kubernetes-int-or-string"):
        result = {"type": ["integer", "string"], **({"pattern": schema["pattern"]} if "pattern" in schema else {})}
    if schema.get("nullable") and isinstance(result.get("type"), str):
        result["type"] = [result["type"], "null"]
    if "properties" in schema:
        result["properties"] = {name: strict(entry) for name, entry in schema["properties"].items()}
    if "items" in schema:
        result["items"] = strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), Mapping):
        result["additionalProperties"] = strict(schema["additionalProperties"])
    elif schema.get("type") == "object" and not (
        schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("additionalProperties")
    ):
        result["additionalProperties"] = False
    if root:
        # The API server adds these to every schema.
        result["properties"] = {**result.get("properties", {}), "apiVersion": {}, "kind": {}, "metadata": {}}
    return result


def of_kind(documents: Sequence[Mapping[str, Any]], api_version: str, kind: str) -> Schema | None:
    """Returns the strict schema of a kind; None: the CRDs do not have the kind in that API version."""
    group, _, version = api_version.partition("/")
    for document in documents:
        spec = document["spec"]
        if spec["group"] == group and spec["names"]["kind"] == kind:
            for entry in spec["versions"]:
                if entry["name"] == version and entry.get("served"):
                    return strict(entry["schema"]["openAPIV3Schema"], root=True)
    return None


@functools.cache
def schema_of(tree: Path, api_version: str, kind: str) -> Schema | None:
    """Returns the strict schema of a kind by KubeRay's files; None: see `of_kind`. A process reads them once."""
    return of_kind(crd_documents(tree), api_version, kind)


def problems(manifest: Mapping[str, Any], tree: Path, version: str) -> list[str]:
    """Returns the parts of a manifest that the CRD of the version does not accept, each with version and field.

    Args:
        manifest: manifest of one object.
        tree: KubeRay's files of that version.
        version: version of KubeRay.
    """
    schema = schema_of(tree, manifest["apiVersion"], manifest["kind"])
    if schema is None:
        return [f"KubeRay {version} has no {manifest['kind']} in {manifest['apiVersion']}"]
    return [f"KubeRay {version}: {text}" for text in _problems(manifest, schema)]


def pod_template_problems(template: Mapping[str, Any], tree: Path, api_version: str) -> list[str]:
    """Returns the parts of a pod template that the RayClusters of the version would not accept for their own pods.

    Args:
        template: the pod template, of any workload.
        tree: KubeRay's files of that version.
        api_version: API version of its RayClusters.
    """
    cluster = schema_of(tree, api_version, "RayCluster") or {}
    properties = cluster.get("properties", {}).get("spec", {}).get("properties", {})
    return _problems(template, properties.get("headGroupSpec", {}).get("properties", {}).get("template", {}))


def _problems(manifest: Mapping[str, Any], schema: Schema) -> list[str]:
    errors = jsonschema.Draft202012Validator(schema).iter_errors(manifest)
    return sorted({text for error in errors for text in _error_lines(error)})


def _error_lines(error: jsonschema.ValidationError) -> Iterator[str]:
    path = _path(error.absolute_path)
    if error.validator == "additionalProperties":
        allowed = cast(Schema, error.schema).get("properties", {})
        for name in sorted(set(cast(Schema, error.instance)) - set(allowed)):
            field = f"{path}.{name}" if path else name
            remedy = REMEDIES.get(field)
            hint = (
                f"this version has no {remedy}"
                if remedy
                else f"{did_you_mean(name, allowed, sentence=False)}{_allowed(allowed)}"
            )
            yield f"{field}: unknown field; {hint}"
    elif error.validator == "required":
        hint = next((f"; {text}" for name, text in REQUIRED.items() if f"'{name}'" in error.message), "")
        yield f"{path}: {error.message}{hint}"
    else:
        # The validator's own message quotes the value.
        hidden = f"(value not shown) {error.validator}: {error.validator_value}"
        hint = "; write it in quotes" if _is_unquoted(error) else ""
        yield f"{path}: {hidden if 'env' in error.absolute_path else error.message[:200]}{hint}"


def _is_unquoted(error: jsonschema.ValidationError) -> bool:
    return error.validator == "type" and error.validator_value == "string" and isinstance(error.instance, (int, float))


def _allowed(fields: Mapping[str, Any]) -> str:
    names = sorted(fields)
    return f"allowed: {', '.join(names[:40])}{' ...' if len(names) > 40 else ''}" if names else "allowed: no field"


def _path(steps: Sequence[int | str]) -> str:
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path
