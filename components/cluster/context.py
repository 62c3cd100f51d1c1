"""Which Kubernetes cluster the stack goes to, found out before anything is registered."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.cluster.api import Api, ClusterError
from components.errors import StackError


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers: `context` as the kubeconfig names it, `uid` of its namespace kube-system."""

    context: str
    uid: str
    api: Api


def connect(kubeconfig: str, context: str) -> Cluster:
    """Raises StackError, with what to do, for a kubeconfig or context that does not lead to a cluster that answers."""
    context = resolve_context(kubeconfig, context)
    try:
        api = Api(kubeconfig or None, context)
        return Cluster(context, api.cluster_uid(), api)
    except ClusterError as error:
        raise StackError(str(error)) from error


def resolve_context(kubeconfig: str, context: str) -> str:
    """`context`, or the current one by kubectl's rules: of the first file that names one. Empty: in a pod.

    Raises StackError where no file is there or readable, and for a context that none of them has.
    """
    paths = [kubeconfig] if kubeconfig else os.environ.get("KUBECONFIG", "~/.kube/config").split(os.pathsep)
    there = [path for path in (Path(path).expanduser() for path in paths if path) if path.is_file()]
    if not there and not kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
        return ""  # in a pod: its service account
    if not there:
        raise StackError(
            f"no kubeconfig at {', '.join(map(str, paths))}. Set `kubeconfig` or KUBECONFIG to a file that "
            "`kubectl --kubeconfig FILE get nodes` works with; `make demo` can make a cluster on this machine."
        )
    contents = [read_kubeconfig(path) for path in there]
    known = [str(entry.get("name")) for content in contents for entry in content.get("contexts") or []]
    found = context or next((str(c["current-context"]) for c in contents if c.get("current-context")), "")
    if found not in known:
        problem = f"no context {found}" if found else "no current context"
        raise StackError(
            f"{', '.join(map(str, there))}: {problem}. Set `kubeContext` to one of: {', '.join(known) or 'none there'}."
        )
    return found


def read_kubeconfig(path: Path) -> dict[str, Any]:
    """The content of one kubeconfig. Raises StackError, which does not repeat the content: it holds credentials."""
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise StackError(f"kubeconfig {path}: cannot be read as YAML{line} ({type(error).__name__}).") from None
    if not isinstance(content, dict):
        raise StackError(f"kubeconfig {path}: not a kubeconfig.")
    return content
