"""Deep merge of Kubernetes objects, for overrides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By which field the items of a list are the same item, tried in this order.
KEYS = ("groupName", "mountPath", "containerPort", "name")


def merged(base: Any, override: Any) -> Any:
    """`override` laid over `base`; neither is changed.

    Mappings merge key by key, null removes a key. Lists of named items (containers, env, volumes, worker groups ...)
    merge by name, new ones at the end; any other list or value replaces.
    """
    if isinstance(base, Mapping) and isinstance(override, Mapping):
        result = dict(base)
        for key, value in override.items():
            if value is None:
                result.pop(key, None)
            else:
                result[key] = merged(result[key], value) if key in result else value
        return result
    if isinstance(base, list) and isinstance(override, list):
        key = next((key for key in KEYS if _keyed(base, key) and _keyed(override, key)), None)
        if key is None:
            return override
        wanted = {item[key]: item for item in override}
        kept = [merged(item, wanted.pop(item[key])) if item[key] in wanted else item for item in base]
        return kept + list(wanted.values())
    return override


def _keyed(items: list[Any], key: str) -> bool:
    return bool(items) and all(isinstance(item, Mapping) and key in item for item in items)
