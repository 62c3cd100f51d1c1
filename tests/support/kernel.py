"""A real Jupyter kernel: cells are executed as a notebook does it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_client.blocking import BlockingKernelClient
    from jupyter_client.manager import KernelManager

SECONDS = 120


@dataclass
class Cell:
    """What a notebook received of one cell.

    Attributes:
        printed: The text of its streams.
        shown: The HTML of each display and of the result, as it is at the end.
        updates: How often a display was replaced.
        error: The exception: its name and its text; empty without one.
    """

    printed: str = ""
    shown: list[str] = field(default_factory=list)
    updates: int = 0
    error: str = ""


class Kernel:
    """A running kernel."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager = manager
        self._client = client

    def run(self, code: str, *, interrupt_at: str = "") -> Cell:
        """Executes a cell.

        Args:
            code: Its source.
            interrupt_at: Interrupt the kernel, as Jupyter's button does, when this text is printed or shown.
        """
        cell = Cell()
        places: dict[str, int] = {}
        waiting = bool(interrupt_at)

        def receive(message: dict[str, Any]) -> None:
            nonlocal waiting
            kind, content = message["msg_type"], message["content"]
            text = content.get("text", "") + content.get("data", {}).get("text/html", "")
            if kind == "stream":
                cell.printed += text
            elif kind in ("display_data", "execute_result", "update_display_data") and text:
                name = content.get("transient", {}).get("display_id")
                if kind == "update_display_data":
                    cell.shown[places[name]] = text
                    cell.updates += 1
                else:
                    places[name] = len(cell.shown)
                    cell.shown.append(text)
            if waiting and interrupt_at in text:
                waiting = False
                self._manager.interrupt_kernel()

        reply = self._client.execute_interactive(code, output_hook=receive, timeout=SECONDS)["content"]
        if reply["status"] == "error":
            cell.error = f"{reply['ename']}: {reply['evalue']}"
        return cell


@contextmanager
def running_kernel(folder: Path, environ: Mapping[str, str]) -> Iterator[Kernel]:
    """A kernel whose working directory is `folder`, until the end of the context."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder), env=dict(environ))
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
