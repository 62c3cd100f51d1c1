"""Which Kubernetes cluster the stack goes to, found out before anything is registered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.errors import StackError
from components.kubeapi import Api, ClusterError


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers: `context` as the kubeconfig names it, `uid` of its namespace kube-system."""

    context: str
    uid: str
    api: Api


def connect(kubeconfig: str, context: str) -> Cluster:
    """Raises StackError, with what to do, for a kubeconfig or context that does not lead to a cluster that answers."""
    context = context or current_context(kubeconfig)
    try:
        api = Api(kubeconfig or None, context)
        return Cluster(context, api.cluster_uid(), api)
    except ClusterError as error:
        raise StackError(str(error)) from error


def current_context(kubeconfig: str) -> str:
    """The current context by kubectl's rules: the first file that names one."""
    paths = [kubeconfig] if kubeconfig else os.environ.get("KUBECONFIG", "~/.kube/config").split(os.pathsep)
    there = [path for path in (Path(path).expanduser() for path in paths if path) if path.is_file()]
    if not there and "KUBERNETES_SERVICE_HOST" in os.environ:
        return ""  # in a pod: its service account
    if not there:
        raise StackError(
            f"no kubeconfig at {', '.join(map(str, paths))}. Set `kubeconfig` or KUBECONFIG to a file that "
            "`kubectl --kubeconfig FILE get nodes` works with; `make demo` can make a cluster on this machine."
        )
    found = next((name for name in map(_names_context, there) if name), None)
    if found is None:
        known = ", ".join(name for path in there for name in _contexts(path)) or "none"
        raise StackError(
            f"{', '.join(map(str, there))}: no current context. Set `kubeContext`; contexts there: {known}."
        )
    return found


def _names_context(path: Path) -> str | None:
    name = _read(path).get("current-context")
    return str(name) if name else None


def _contexts(path: Path) -> Iterator[str]:
    for entry in _read(path).get("contexts") or []:
        yield str(entry["name"])


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        # The parser's message quotes the file, and a kubeconfig holds credentials.
        raise StackError(f"kubeconfig {path}: cannot be read as YAML ({type(error).__name__}).") from error
    if not isinstance(content, dict):
        raise StackError(f"kubeconfig {path}: not a kubeconfig.")
    return content
