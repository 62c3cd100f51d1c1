"""A stand-in for an API server: it answers paths with objects, over real HTTP, to the program's real client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.http_server import JsonHandler, serve
from tests.support.port_forward import forward

UID = "6d3c0000-0000-0000-0000-000000000000"
VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.4"}


@contextmanager
def api_server(
    folder: Path,
    objects: dict[str, Any] | None = None,
    status: int = 200,
    forwards: Mapping[str, int] | None = None,
) -> Iterator[Path]:
    """Serves objects; yields a kubeconfig with the context `test`.

    Args:
        folder: where the kubeconfig is written.
        objects: each object by its path; 404 for others. A number is the status of the answer.
        status: the status of all answers.
        forwards: ports of this machine by the path and query of their port-forward.
    """
    kube_system = {"metadata": {"name": "kube-system", "uid": UID}}
    answers = {"/version": VERSION, "/api/v1/namespaces/kube-system": kube_system, **(objects or {})}

    class Handler(JsonHandler):
        def do_GET(self) -> None:
            if forwards and self.path in forwards:
                forward(self, forwards[self.path])
                return
            found = answers.get(self.path.split("?")[0].rstrip("/"), 404)
            code = status if status != 200 else found if isinstance(found, int) else 200
            refusal = {"kind": "Status", "code": code, "message": f"status {code}"}
            self.answer(found if code == 200 else refusal, code)

    with serve(Handler) as url:
        yield kubeconfig(folder, url)


def kubeconfig(folder: Path, server: str, context: str = "test") -> Path:
    """Writes a kubeconfig whose user has a token, and returns its path."""
    return kubeconfig_of(folder, {"token": "secret-token"}, {"server": server}, context)


def kubeconfig_of(folder: Path, user: dict[str, Any], cluster: dict[str, Any], context: str = "test") -> Path:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(content))
    return path
