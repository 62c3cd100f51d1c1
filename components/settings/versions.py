"""Versions of KubeRay and Ray, and what each of KubeRay's can do."""

from __future__ import annotations

import re

DEFAULT_KUBERAY_VERSION = "v1.7.0"
DEFAULT_RAY_VERSION = "2.60.0"  # the one place; images, manifests and checks follow

KUBERAY_PATTERN = r"^v(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.]+)?$"
RAY_PATTERN = r"^\d+\.\d+\.\d+(rc\d+)?$"

MOVING = r"(^|[-._])(latest|nightly|master|main|dev)($|[-._])"

# First version with ...
V1_API = "v1.0.0"  # RayCluster as ray.io/v1
SPLIT_CONFIG = "v1.1.0"  # manifests/ gone; only ray-operator/config
DELETION_TIMEOUT = "v1.7.0"  # annotation that ends the clean-up of Redis
CONDITIONS = "v1.3.0"  # status.conditions without a feature gate
AUTOSCALER_VERSION = "v1.4.0"  # spec.autoscalerOptions.version

TOKEN_AUTH_RAY = "2.52.0"
PRIORITY_RAY = "2.56.0"
SAFE_RAY = "2.54.0"  # below: refused unless allowed in writing


def parts(version: str) -> tuple[int, ...]:
    """`v1.7.0` or `2.60.0` as numbers; what follows the numbers is left out."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def at_least(version: str, first: str) -> bool:
    return parts(version) >= parts(first)


def ray_version_of_tag(tag: str) -> str | None:
    """Ray version that an image tag states, such as `2.60.0-py311-gpu`; None where it states none."""
    found = re.match(r"(\d+\.\d+\.\d+)(?![\d.])", tag)
    return found.group(1) if found else None


def is_moving(image: str) -> bool:
    """Whether the same image reference means something else tomorrow."""
    tag = image_tag(image)
    return "@" not in image and (tag is None or re.search(MOVING, tag) is not None)


def image_tag(image: str) -> str | None:
    """Tag of an image reference; None without one (a port of the registry is no tag)."""
    name = image.split("@", 1)[0].rsplit("/", 1)[-1]
    return name.split(":", 1)[1] if ":" in name else None
