"""A stand-in for an API server: it answers paths with objects, over real HTTP, to the program's real client."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

UID = "6d3c0000-0000-0000-0000-000000000000"
VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.4"}


@contextmanager
def api_server(folder: Path, objects: dict[str, Any] | None = None, status: int = 200) -> Iterator[Path]:
    """Serves `objects` by path, 404 for others (or `status` for all); yields a kubeconfig with the context `test`."""
    kube_system = {"metadata": {"name": "kube-system", "uid": UID}}
    answers = {"/version": VERSION, "/api/v1/namespaces/kube-system": kube_system, **(objects or {})}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.split("?")[0].rstrip("/"))
            code = status if status != 200 else 200 if found is not None else 404
            body = found if code == 200 else {"kind": "Status", "code": code, "message": f"status {code}"}
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield kubeconfig(folder, f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def kubeconfig(folder: Path, server: str, context: str = "test") -> Path:
    path = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
    }
    path.write_text(yaml.safe_dump(content))
    return path
