"""Versions of KubeRay and Ray, and the first version that has each feature."""

from __future__ import annotations

import re

DEFAULT_KUBERAY_VERSION = "v1.7.0"
DEFAULT_RAY_VERSION = "2.60.0"  # stated only here; images, manifests and checks follow

KUBERAY_PATTERN = r"^v(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.]+)?$"
RAY_PATTERN = r"^\d+\.\d+\.\d+(rc\d+)?$"

MOVING_TAG = r"(^|[-._])(latest|nightly|master|main|dev)($|[-._])"

# The first version of KubeRay with ...
V1_API = "v1.0.0"  # RayCluster as ray.io/v1
SPLIT_CONFIG = "v1.1.0"  # only ray-operator/config, no manifests/
CONDITIONS = "v1.3.0"  # status.conditions without a feature gate
AUTOSCALER_VERSION = "v1.4.0"  # spec.autoscalerOptions.version
OPERATOR_METRICS = "v1.4.0"  # the operator's flag --enable-metrics
TOKEN_AUTH_KUBERAY = "v1.5.1"  # spec.authOptions
DELETION_TIMEOUT = "v1.7.0"  # the annotation that ends the clean-up of Redis

# The first version of Ray with ...
TOKEN_AUTH_RAY = "2.52.0"  # token authentication
SAFE_RAY = "2.54.0"  # the fix of CVE-2026-27482: a web page in the browser could delete jobs
PRIORITY_RAY = "2.56.0"  # priorities of worker groups


def parts(version: str) -> tuple[int, ...]:
    """Returns the three numbers of a version such as `v1.7.0` or `2.60.0`. A suffix such as `rc1` is ignored."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def at_least(version: str, minimum: str) -> bool:
    return parts(version) >= parts(minimum)


def ray_version_of_image(image: str) -> str | None:
    """Returns the Ray version that the tag of an image states, such as that of `team/ray:2.60.0-py311-gpu`.

    None: the tag states none. Teams number their own images too (`1.4.2`, `2026.04.14`). So outside of Ray's own
    repositories only 2.x counts: Ray has published nothing else since 2022.
    """
    match = re.match(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(rc\d+)?(?![\d.])", image_tag(image) or "")
    if match is None or (match.group(1) != "2" and not is_official(image)):
        return None
    return ".".join(match.group(1, 2, 3))


def is_official(image: str) -> bool:
    """Returns whether an image is one of Ray's own, or a mirror's copy: `rayproject/ray` at any registry."""
    return "rayproject" in image.split("/")[:-1]


def is_moving(image: str) -> bool:
    """Returns whether the image reference may name another image tomorrow: no digest, and no tag or one such as
    `latest`."""
    tag = image_tag(image)
    return "@" not in image and (tag is None or re.search(MOVING_TAG, tag) is not None)


def image_tag(image: str) -> str | None:
    """Returns the tag of an image reference; None: it has none. The port of a registry is not a tag."""
    name = image.split("@", 1)[0].rsplit("/", 1)[-1]
    return name.split(":", 1)[1] if ":" in name else None
