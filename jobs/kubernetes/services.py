"""Services of the cluster: the one that a URL names, and the pod behind it that a tunnel leads to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import NotThere
from ..target.contract import LABEL
from ..target.resolve import is_loopback

if TYPE_CHECKING:
    from .api import Kube

_PORTS = {"http": 80, "https": 443}
# https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
_HOST = re.compile(rf"(?P<name>{LABEL.pattern})\.(?P<namespace>{LABEL.pattern})(\.svc(\.cluster\.local)?)?")


@dataclass(frozen=True)
class ServiceAddress:
    """A port of a Service."""

    name: str
    namespace: str
    port: int


def service_of(url: str) -> ServiceAddress | None:
    """Returns the Service that an http or https URL names as pods do: NAME.NAMESPACE, also with .svc or
    .svc.cluster.local behind it. None: it has any other host."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    match = _HOST.fullmatch(host)
    if match is None or is_loopback(host):
        return None
    return ServiceAddress(match["name"], match["namespace"], parts.port or _PORTS[parts.scheme])


async def pod_of_service(kube: Kube, service: ServiceAddress) -> tuple[str, int]:
    """Returns the name of a pod behind the Service, a ready one if there is one, and the port of the pod.

    Raises:
        NotThere: There is no such Service, it has no such port, or no pod of it runs.
        Unreachable, NotAllowed: See `Kube.request`.
    """
    from .tunnel import pod_state, running_pods

    name = f"{service.namespace}/{service.name}"
    found = await kube.get("services", service.name, namespace=service.namespace)
    spec = found.get("spec") or {}
    if not spec.get("selector"):
        raise NotThere(f"The Service {name} selects no pods, so no tunnel leads to it.")
    pods = await kube.pods(service.namespace, spec["selector"])
    running = running_pods(pods)
    if not running:
        states = ", ".join(f"{pod['metadata']['name']} is {pod_state(pod)}" for pod in pods) or "it has none"
        raise NotThere(f"No pod of the Service {name} runs: {states}.")
    return str(running[0]["metadata"]["name"]), _pod_port(spec, service, running[0])


def _pod_port(spec: Mapping[str, Any], service: ServiceAddress, pod: Mapping[str, Any]) -> int:
    """Returns the port of the pod to which the Service's port leads, as kube-proxy resolves `targetPort`.

    A headless Service has no ports of its own: its name leads to the pods.
    """
    if spec.get("clusterIP") == "None":
        return service.port
    ports = [port for port in spec.get("ports") or [] if port.get("port") == service.port]
    if not ports:
        known = ", ".join(str(port.get("port")) for port in spec.get("ports") or [])
        raise NotThere(f"The Service {service.namespace}/{service.name} has no port {service.port}; it has: {known}.")
    target = ports[0].get("targetPort") or service.port
    if isinstance(target, int):
        return target
    containers = (pod.get("spec") or {}).get("containers") or []
    for port in (port for container in containers for port in container.get("ports") or []):
        if port.get("name") == target:
            return int(port["containerPort"])
    raise NotThere(f"The pod {service.namespace}/{pod['metadata']['name']} has no port with the name {target}.")
