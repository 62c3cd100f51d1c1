"""Merging overrides into Kubernetes objects, and leaving empty fields out of them; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The field that identifies the items of a list. The first of these that all items have is used.
ITEM_KEYS = ("groupName", "mountPath", "containerPort", "name")
# Lists whose items have another one. These and the keys above are Kubernetes' own merge keys, see `patchMergeKey` in
# k8s.io/api/core/v1.
ITEM_KEYS_OF = {"topologySpreadConstraints": "topologyKey", "hostAliases": "ip", "volumeDevices": "devicePath"}
# Lists without such a field, of which the settings write one part and an override adds another.
ADDED = ("envFrom", "tolerations")


def deep_merge(base: Any, override: Any, field: str = "") -> Any:
    """Returns `base` with `override` merged into it. Neither argument is changed.

    Mappings merge key by key, and a null in `override` removes the key. Two lists of items with a name (containers,
    env, volumes, worker groups) merge item by item; new items go to the end. `envFrom` and `tolerations` are added to
    each other. Any other list or value is replaced.

    Args:
        base: manifest, or a part of it.
        override: its overrides.
        field: name of the field that holds both.
    """
    if isinstance(base, Mapping) and isinstance(override, Mapping):
        result = dict(base)
        for key, value in override.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = deep_merge(result[key], value, key) if key in result else value
        return result
    if isinstance(base, list) and isinstance(override, list):
        if field in ADDED:
            return base + [item for item in override if item not in base]
        keys = (ITEM_KEYS_OF[field],) if field in ITEM_KEYS_OF else ITEM_KEYS
        key = next((key for key in keys if _all_have(base, key) and _all_have(override, key)), None)
        if key is None:
            return override
        new = {item[key]: item for item in override}
        items = [deep_merge(item, new.pop(item[key])) if item[key] in new else item for item in base]
        return items + list(new.values())
    return override


def _all_have(items: list[Any], key: str) -> bool:
    return bool(items) and all(isinstance(item, Mapping) and key in item for item in items)


def drop_empty(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns `fields` without those that are None or empty. They would otherwise be in every manifest and diff."""
    return {key: value for key, value in fields.items() if value not in (None, {}, [], ())}
