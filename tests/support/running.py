"""A running operation of the engine: its lines with their times, its events, and ways to end it early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ops import changes, engine
from tests.support.stack import ROOT, Run, Stack


class Running:
    """Starts an operation of a stack in its own session, so that a signal reaches nothing else."""

    def __init__(self, stack: Stack, operation: str = "up", kubeconfig: Path | None = None) -> None:
        self._log = stack.folder / f"running-{time.monotonic_ns()}.json"
        environment = {**os.environ, **stack.environment, "PULUMI_DEBUG_COMMANDS": "true"}
        environment["PULUMI_SKIP_UPDATE_CHECK"] = "true"
        if kubeconfig:
            environment["KUBECONFIG"] = str(kubeconfig)
        command = [str(engine.find_cli()), operation, "--yes", "--skip-preview", "--stack", stack.name]
        command += ["--config-file", str(stack.config_file), "--event-log", str(self._log)]
        self.lines: list[tuple[float, str]] = []
        self.process = subprocess.Popen(
            [*command, "--non-interactive", "--color", "never"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.rstrip()))

    @property
    def text(self) -> str:
        return "\n".join(line for _, line in self.lines)

    def events(self) -> list[dict[str, Any]]:
        """The events that the engine has logged so far, without an unfinished last line."""
        if not self._log.is_file():
            return []
        return [json.loads(line) for line in self._log.read_text().split("\n")[:-1] if line]

    def begun(self) -> list[changes.Change]:
        """The operations that have begun, in order."""
        return changes.read(self.events())

    def until(self, condition: Callable[[], bool], seconds: float = 240) -> bool:
        """Waits for `condition`; False where the operation ended first. Fails the test after `seconds`."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                return condition()
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s:\n{self.text}"
            time.sleep(0.05)
        return True

    def first(self, text: str) -> float | None:
        """When the first line with `text` came (monotonic seconds); None if none did."""
        return next((when for when, line in self.lines if text in line), None)

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends it to the whole process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def terminate(self) -> None:
        """SIGTERM to the CLI only, as a CI sends it when it gives up."""
        self.process.terminate()

    def kill(self) -> None:
        """SIGKILL to the CLI and all its children, as when a runner is lost."""
        for process in _of_session(self.process.pid):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(30)

    def end(self, seconds: float = 300) -> Run:
        """Waits until the operation has ended."""
        try:
            self.process.wait(seconds)
        finally:
            if self.process.poll() is None:
                self.kill()
        self._reader.join(10)
        return Run(self.process.returncode, self.text, self.begun())


def _of_session(leader: int) -> list[int]:
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader:
                processes.append(int(entry.name))
    return processes
