"""The program `pulumi-language-python`: the engine starts it, asks it over gRPC, and has it run the Pulumi program.

Called by the engine with its own address, it prints the port on which it listens. The program itself runs in a child
process: it sets signal handlers, which only a main thread can. docs/decisions.md says what differs from Pulumi's own
host.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from typing import Any

try:
    import grpc
    from google.protobuf import empty_pb2
    from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2
except ImportError as missing:
    sys.exit(
        f"pulumi-language-python: {missing} in {sys.executable}. Install the project's packages into .venv, or name a "
        "Python that has them: RAY_PULUMI_PYTHON=/path/to/python"
    )

# How many megabytes a message may have; the engine's own limit.
MESSAGE_BYTES = 400 * 1024**2
OPTIONS = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)]
# Exit code of a program that has shown its error to the engine; the official host has the same.
ERROR_SHOWN = 32
# Seconds that an interrupted program has to end; those of the official host.
GRACE_SECONDS = 5.0
CHILD = "--run"


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """Answers the engine. Packages are not looked for: the engine takes the providers that are on PATH.

    Args:
        engine: address of the engine.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._lock = threading.Lock()
        self._programs: list[Program] = []
        self._cancelled = False

    def Handshake(self, request: Any, _context: Any) -> Any:
        self.engine = request.engine_address or self.engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, _request: Any, _context: Any) -> Any:
        return plugin_pb2.PluginInfo(version="")

    def GetRequiredPlugins(self, _request: Any, _context: Any) -> Any:
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, _request: Any, _context: Any) -> Any:
        return language_pb2.GetRequiredPackagesResponse()

    def RuntimeOptionsPrompts(self, _request: Any, _context: Any) -> Any:
        return language_pb2.RuntimeOptionsResponse()

    def GetProgramDependencies(self, _request: Any, _context: Any) -> Any:
        return language_pb2.GetProgramDependenciesResponse()

    def About(self, _request: Any, _context: Any) -> Any:
        return language_pb2.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    def Cancel(self, _request: Any, _context: Any) -> Any:
        """Interrupts the program: after Ctrl-C, and after an update that failed."""
        with self._lock:
            self._cancelled = True
            programs = list(self._programs)
        for program in programs:
            program.interrupt()
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:
        call = {
            "program": request.info.program_directory or request.pwd,
            "entry": request.info.entry_point or request.program or ".",
            "pwd": request.pwd,
            "args": list(request.args),
            "config": dict(request.config),
            "secret_keys": list(request.configSecretKeys),
            "settings": {
                "project": request.project,
                "stack": request.stack,
                "organization": request.organization,
                "root_directory": request.info.root_directory,
                "parallel": request.parallel,
                "preview": request.dryRun,
                "engine_address": self.engine,
                "monitor_address": request.monitor_address,
            },
        }
        program = Program()
        with self._lock:
            self._programs.append(program)
            cancelled = self._cancelled
        context.add_callback(program.interrupt)
        if cancelled:
            program.interrupt()
        code = program.run(call)
        if code == 0:
            return language_pb2.RunResponse()
        if code == ERROR_SHOWN:
            return language_pb2.RunResponse(bail=True)
        ended = f"exited with non-zero exit code: {code}" if code > 0 else f"was ended by {_signal_name(-code)}"
        return language_pb2.RunResponse(error=f"program {ended}")


class Program:
    """The Pulumi program, in a process of its own."""

    def __init__(self) -> None:
        command = [sys.executable, "-u", __file__, CHILD, str(os.getpid())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        self._first_interrupt = threading.Lock()

    def run(self, call: dict[str, Any]) -> int:
        """Lets the program run to its end; returns its exit code, or a signal's number below zero."""
        # The configuration holds secrets: it goes through a pipe, not into the arguments or the environment.
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:  # it may have ended already
            json.dump(call, pipe)
        return self._process.wait()

    def interrupt(self) -> None:
        """Sends once what Ctrl-C sends, and kills the program if it has not ended in time."""
        if self._process.poll() is None and self._first_interrupt.acquire(blocking=False):
            self._process.send_signal(signal.SIGINT)
            timer = threading.Timer(GRACE_SECONDS, self._process.kill)
            timer.daemon = True
            timer.start()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def serve(engine: str) -> None:
    """Listens on a free port of this machine, prints it, and serves until the engine ends this process."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=OPTIONS)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(Host(engine), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    _end_with(os.getppid())
    # What the engine sends at its end. It waits 5 seconds for a host that ignores it.
    signal.signal(signal.SIGINT, lambda *_: server.stop(None))
    server.wait_for_termination()


def run_program(call: dict[str, Any]) -> int:
    """Runs the Pulumi program of a call of `Run`, and returns the exit code for this process.

    Raises:
        SystemExit: the program calls `sys.exit`. Python then shows its message and ends with its code.
    """
    import asyncio
    import logging
    import runpy

    import pulumi

    os.chdir(call["pwd"] or call["program"])
    program = os.path.normpath(os.path.join(call["program"], call["entry"]))
    sys.argv = [program, *call["args"]]
    sys.path[0] = call["program"]
    # What the program's children read.
    os.environ["PULUMI_CONFIG"] = json.dumps(call["config"])
    os.environ["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(call["secret_keys"])
    pulumi.runtime.reset_options(**call["settings"])
    pulumi.runtime.set_all_config(call["config"], call["secret_keys"])
    main = os.path.join(program, "__main__.py") if os.path.isdir(program) else program
    if not os.path.isfile(main):
        pulumi.log.error(f"unable to find main python program `{os.path.basename(main)}` in `{os.path.dirname(main)}`")
        return ERROR_SHOWN
    # Work that a failed resource leaves behind is never awaited; asyncio would report each piece.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # Each request to the engine holds a thread until its resource is there. asyncio's own pool has five or six threads
    # on a small machine, and hooks and transforms would wait for one. As many as the official host has.
    threads = futures.ThreadPoolExecutor(max_workers=max(call["settings"]["parallel"], 1) * 4)
    loop.set_default_executor(threads)

    def run() -> None:
        runpy.run_path(program, run_name="__main__")

    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(run))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return 1
    except Exception as error:
        pulumi.log.error(f"Program failed with an unhandled exception:\n{_traceback(error, main)}")
        return ERROR_SHOWN
    finally:
        threads.shutdown(wait=True)
        loop.close()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _traceback(error: Exception, main: str) -> str:
    """The traceback of the current exception from the program's own file on; all of it if that is not in it."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    own = (number for number, frame in enumerate(frames) if os.path.abspath(frame.filename) == os.path.abspath(main))
    return traceback.format_exc(limit=next(own, 0) - len(frames))


def _end_with(parent: int) -> None:
    """Ends this process when its parent has ended, also after a `kill -9`."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    if CHILD in sys.argv[1:2]:
        _end_with(int(sys.argv[2]))
        sys.exit(run_program(json.load(sys.stdin)))
    serve(next((word for word in reversed(sys.argv[1:]) if not word.startswith("-")), ""))
