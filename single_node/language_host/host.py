"""The program `pulumi-language-python`: the engine starts it, asks it over gRPC, and has it run the Pulumi program.

Called by the engine with its own address, it prints the port on which it listens. The program itself runs in a child
process: it sets signal handlers, which only a main thread can. docs/decisions.md says what differs from Pulumi's own
host.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

# How many megabytes a message may have; the engine's own limit.
MESSAGE_BYTES = 400 * 1024**2
OPTIONS = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.max_send_message_length", MESSAGE_BYTES)]
# Exit code of a child that has told the engine what is wrong.
TOLD = 32
CHILD = "--run"


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """Answers the engine. Packages are not looked for: the engine takes the providers that are on PATH.

    Args:
        engine: address of the engine.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine

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
        # The configuration holds secrets: it goes through a pipe, not into the arguments or the environment.
        child = subprocess.Popen([sys.executable, "-u", __file__, CHILD], stdin=subprocess.PIPE, text=True)
        context.add_callback(child.terminate)  # does nothing once it has ended
        assert child.stdin is not None
        with child.stdin as pipe:
            json.dump(call, pipe)
        code = child.wait()
        if code == 0:
            return language_pb2.RunResponse()
        if code == TOLD:
            return language_pb2.RunResponse(bail=True)
        ended = f"exited with code {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
        return language_pb2.RunResponse(error=f"the program {ended}")


def serve(engine: str) -> None:
    """Listens on a free port of this machine, prints it, and serves until the engine ends this process."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=OPTIONS)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(Host(engine), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    # Ctrl-C reaches this process too. The engine ends the operation and then this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server.start()
    _end_with_parent()
    server.wait_for_termination()


def run_program(call: dict[str, Any]) -> int:
    """Runs the Pulumi program of a call of `Run`, and returns the exit code of this process."""
    import asyncio
    import logging
    import runpy
    import traceback

    import pulumi

    os.chdir(call["pwd"] or call["program"])
    program = os.path.join(call["program"], call["entry"])
    sys.argv = [program, *call["args"]]
    sys.path.insert(0, call["program"])
    # What the program's children read.
    os.environ["PULUMI_CONFIG"] = json.dumps(call["config"])
    os.environ["PULUMI_CONFIG_SECRET_KEYS"] = json.dumps(call["secret_keys"])
    pulumi.runtime.reset_options(**call["settings"])
    pulumi.runtime.set_all_config(call["config"], call["secret_keys"])
    # Work that a failed resource leaves behind is never awaited; asyncio would report each piece.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def run() -> None:
        runpy.run_path(program, run_name="__main__")

    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(run))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return TOLD
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        return 1 if code == TOLD else code
    except BaseException:
        pulumi.log.error(f"Program failed with an unhandled exception:\n{traceback.format_exc()}")
        return TOLD
    finally:
        loop.close()
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _end_with_parent() -> None:
    """Ends this process when its parent has ended, also after a `kill -9`."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    if sys.argv[1:] == [CHILD]:
        _end_with_parent()
        exit_code = run_program(json.load(sys.stdin))
        # Threads of the program must not keep the engine waiting.
        os._exit(exit_code)
    serve(next((word for word in reversed(sys.argv[1:]) if not word.startswith("-")), ""))
