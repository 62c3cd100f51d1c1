"""Paths at the Kubernetes API server; pure. A name is one segment of a path, whatever characters it has."""

from __future__ import annotations

import re
from urllib.parse import quote

from ..errors import Refused

_SEGMENT = re.compile(r"([-._~:A-Za-z0-9]|%[0-9A-Fa-f]{2})+")


def segment(name: str) -> str:
    """Quotes one name for a path. Raises Refused for the names that mean another folder."""
    if name in ("", ".", ".."):
        raise Refused(f"{name!r} is not a name in Kubernetes.")
    return quote(name, safe=":")


def resource_path(api_version: str, plural: str, name: str = "", namespace: str = "", subresource: str = "") -> str:
    """Returns the path of a list, or of one object.

    Args:
        api_version: such as `v1` or `ray.io/v1`.
        plural: the resource, such as `pods`.
        name: of the object; empty: the list.
        namespace: empty for a cluster-wide resource.
        subresource: such as `status`; empty: the object itself.

    Raises:
        Refused: a name is `.` or `..`.
    """
    group = ["apis", *map(segment, api_version.split("/"))] if "/" in api_version else ["api", segment(api_version)]
    folder = ["namespaces", segment(namespace)] if namespace else []
    last = [segment(part) for part in (plural, name, subresource) if part]
    return "/" + "/".join([*group, *folder, *last])


def check_path(path: str) -> None:
    """Raises Refused unless each segment is a quoted name: `..`, `//`, `?` or `#` lead to another object."""
    segments = path.split("/")
    if segments[0] or not all(_SEGMENT.fullmatch(part) and part not in (".", "..") for part in segments[1:]):
        raise Refused(
            f"{path[:200]!r} is not the path of an object in Kubernetes: one of its names has characters that no name "
            "has.",
            "Check the names in the outputs file or in the stack.",
        )
