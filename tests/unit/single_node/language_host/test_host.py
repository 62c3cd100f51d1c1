"""The language host, driven over gRPC as the engine drives it, with a stand-in of the engine and the real SDK."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2, json_format
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    language_pb2,
    language_pb2_grpc,
    resource_pb2,
    resource_pb2_grpc,
)

from single_node.language_host import host

# A program in Python needs seconds to start and to end, and on a busy machine many.
SECONDS = 120.0
# Says its process id, and sleeps.
SLEEPER = "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(600)\n"
Run = Callable[..., Any]


class Engine(engine_pb2_grpc.EngineServicer, resource_pb2_grpc.ResourceMonitorServicer):
    """Notes what a program logs, registers and exports. `arrived`: how many registrations have to be here before one
    is answered."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.outputs: dict[str, Any] = {}
        self.names: list[str] = []
        self.root = ""
        self.arrived = threading.Barrier(1)

    def Log(self, request: Any, _context: Any) -> Any:
        if request.severity == engine_pb2.ERROR:
            self.errors.append(request.message)
        return empty_pb2.Empty()

    def GetRootResource(self, _request: Any, _context: Any) -> Any:
        return engine_pb2.GetRootResourceResponse(urn=self.root)

    def SetRootResource(self, request: Any, _context: Any) -> Any:
        self.root = request.urn
        return engine_pb2.SetRootResourceResponse()

    def SupportsFeature(self, request: Any, _context: Any) -> Any:
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in {"secrets", "resourceReferences"})

    def RegisterResource(self, request: Any, _context: Any) -> Any:
        self.names.append(request.name)
        if request.type != "pulumi:pulumi:Stack":
            self.arrived.wait(SECONDS)
        urn = f"urn:pulumi:dev::small::{request.type}::{request.name}"
        return resource_pb2.RegisterResourceResponse(urn=urn, object=request.object)

    def RegisterResourceOutputs(self, request: Any, _context: Any) -> Any:
        self.outputs.update(json_format.MessageToDict(request.outputs))
        return empty_pb2.Empty()


def serve(servicers: dict[Callable[[Any, Any], None], Any], threads: int = 40) -> tuple[grpc.Server, str]:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=threads))
    for add, servicer in servicers.items():
        add(servicer, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    return server, address


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def monitor(engine: Engine) -> Iterator[str]:
    """The address of the stand-in."""
    server, address = serve({
        engine_pb2_grpc.add_EngineServicer_to_server: engine,
        resource_pb2_grpc.add_ResourceMonitorServicer_to_server: engine,
    })  # fmt: skip
    yield address
    server.stop(None)


@pytest.fixture
def address(monitor: str) -> Iterator[str]:
    """The address of a host in this process."""
    server, address = serve({language_pb2_grpc.add_LanguageRuntimeServicer_to_server: host.Host(monitor)})
    yield address
    server.stop(None)


@pytest.fixture
def run(monitor: str, address: str, tmp_path: Path) -> Run:
    """Runs a program, given as its source, and returns what the host answers."""

    def start(source: str, **changes: Any) -> Any:
        (tmp_path / "__main__.py").write_text(textwrap.dedent(source))
        with grpc.insecure_channel(address) as channel:
            stub = language_pb2_grpc.LanguageRuntimeStub(channel)
            return stub.Run(run_request(tmp_path, monitor, **changes), timeout=SECONDS)

    return start


@contextmanager
def sleeper(folder: Path, host_address: str, monitor: str) -> Iterator[tuple[Any, Path]]:
    """Has a host run a program that sleeps; yields the call and the program's folder in /proc."""
    (folder / "__main__.py").write_text(SLEEPER)
    with grpc.insecure_channel(host_address) as channel:
        call = language_pb2_grpc.LanguageRuntimeStub(channel).Run.future(run_request(folder, monitor))
        pid = folder / "pid"
        until(lambda: pid.exists() and bool(pid.read_text()), "the program does not start")
        yield call, Path("/proc", pid.read_text())


def run_request(folder: Path, monitor: str, **changes: Any) -> Any:
    info = language_pb2.ProgramInfo(root_directory=str(folder), program_directory=str(folder), entry_point=".")
    fields: dict[str, Any] = {"project": "small", "stack": "dev", "pwd": str(folder), "program": ".", "parallel": 8}
    return language_pb2.RunRequest(**{**fields, "monitor_address": monitor, "info": info, **changes})


def cancel(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        language_pb2_grpc.LanguageRuntimeStub(channel).Cancel(empty_pb2.Empty(), timeout=SECONDS)


def until(met: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not met():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_program_sees_its_stack_its_configuration_and_its_arguments(run: Run, engine: Engine, tmp_path: Path) -> None:
    answer = run(
        """
        import os, sys, pulumi
        config = pulumi.Config()
        pulumi.export("stack", [pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack()])
        pulumi.export("preview", pulumi.runtime.is_dry_run())
        pulumi.export("plain", config.require("plain"))
        pulumi.export("hidden", config.require_secret("hidden"))
        pulumi.export("arguments", sys.argv[1:])
        pulumi.export("folder", os.getcwd())
        """,
        organization="team",
        dryRun=True,
        config={"small:plain": "p", "small:hidden": "hunter2"},
        configSecretKeys=["small:hidden"],
        args=["--once"],
    )
    assert (answer.error, answer.bail) == ("", False)
    secret = engine.outputs.pop("hidden")
    assert secret["value"] == "hunter2"
    assert len(secret) == 2  # marked as a secret
    stack = {"stack": ["team", "small", "dev"], "preview": True, "plain": "p"}
    assert engine.outputs == {**stack, "arguments": ["--once"], "folder": str(tmp_path)}


def test_the_configuration_is_not_in_the_arguments_or_the_first_environment(run: Run, engine: Engine) -> None:
    run(
        """
        import pathlib, pulumi
        seen = [pathlib.Path("/proc/self", name).read_bytes() for name in ("cmdline", "environ")]
        pulumi.export("visible", any(b"hunter2" in text for text in seen))
        """,
        config={"small:hidden": "hunter2"},
        configSecretKeys=["small:hidden"],
    )
    assert engine.outputs == {"visible": False}


def test_an_error_for_people_is_shown_without_a_traceback(run: Run, engine: Engine) -> None:
    answer = run("import pulumi\nraise pulumi.RunError('set `clusters`')\n")
    assert engine.errors == ["set `clusters`"]
    assert (answer.error, answer.bail) == ("program exited with non-zero exit code: 1", False)


def test_an_unexpected_error_is_shown_with_the_programs_own_lines(run: Run, engine: Engine, tmp_path: Path) -> None:
    answer = run("def broken():\n    raise KeyError('lost')\nbroken()\n")
    assert (answer.error, answer.bail) == ("", True)
    lines = engine.errors[0].splitlines()
    assert lines[:2] == ["Program failed with an unhandled exception:", "Traceback (most recent call last):"]
    assert lines[2] == f'  File "{tmp_path}/__main__.py", line 3, in <module>'
    assert lines[-1] == "KeyError: 'lost'"
    assert host.__file__ not in engine.errors[0]


def test_a_syntax_error_names_the_line(run: Run, engine: Engine, tmp_path: Path) -> None:
    assert run("x = (\n").bail
    assert f'File "{tmp_path}/__main__.py", line 1' in engine.errors[0]
    assert "SyntaxError: '(' was never closed" in engine.errors[0]


def test_a_folder_without_a_program_is_named(run: Run, engine: Engine, tmp_path: Path) -> None:
    info = language_pb2.ProgramInfo(program_directory=str(tmp_path), entry_point="other")
    (tmp_path / "other").mkdir()
    assert run("", info=info).bail
    assert engine.errors == [f"unable to find main python program `__main__.py` in `{tmp_path}/other`"]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import os; os._exit(3)", "program exited with non-zero exit code: 3"),
        ("import sys; sys.exit(4)", "program exited with non-zero exit code: 4"),
        ("import sys; sys.exit(0)", ""),
        ("import os; os.kill(os.getpid(), 9)", "program was ended by SIGKILL"),
        ("import os; os.kill(os.getpid(), 40)", "program was ended by signal 40"),
    ],
)
def test_how_a_program_ended_is_said(run: Run, source: str, error: str) -> None:
    answer = run(source)
    assert (answer.error, answer.bail) == (error, False)


def test_the_text_of_sys_exit_is_shown(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        run("import sys\nprint('first')\nsys.exit('the reason')\n").error == "program exited with non-zero exit code: 1"
    )
    shown = capfd.readouterr()
    assert "first" in shown.out
    assert "the reason" in shown.err


def test_as_many_resources_are_registered_at_once_as_the_engine_allows(run: Run, engine: Engine) -> None:
    engine.arrived = threading.Barrier(32)  # four for each of the eight that the request allows
    answer = run(
        """
        import pulumi
        for number in range(32):
            pulumi.ComponentResource("small:index:Part", f"part-{number}")
        """
    )
    assert (answer.error, engine.errors) == ("", [])
    assert len(engine.names) == 33  # with the stack


@pytest.mark.parametrize("stubborn", [False, True], ids=["ends by itself", "ignores it"])
def test_cancel_ends_the_program(
    run: Run, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stubborn: bool
) -> None:
    # Python needs seconds to end on a busy machine.
    monkeypatch.setattr(host, "GRACE_SECONDS", 0.5 if stubborn else SECONDS)
    ignore = "signal.signal(signal.SIGINT, signal.SIG_IGN)" if stubborn else ""
    with futures.ThreadPoolExecutor() as pool:
        answer = pool.submit(run, f"import signal\n{ignore}\n{SLEEPER}")
        until((tmp_path / "pid").exists, "the program does not start")
        cancel(address)
        # A program in Python gets Ctrl-C as KeyboardInterrupt, and Python then ends by the signal.
        number = "SIGKILL" if stubborn else "SIGINT"
        assert answer.result(SECONDS).error == f"program was ended by {number}"


def test_a_program_that_starts_after_cancel_is_interrupted_too(run: Run, address: str) -> None:
    cancel(address)
    assert "program was ended by" in run(SLEEPER).error


def test_a_call_that_ends_early_ends_the_program(address: str, monitor: str, tmp_path: Path) -> None:
    with sleeper(tmp_path, address, monitor) as (call, program):
        call.cancel()
        until(lambda: not program.exists(), "the program outlives its call")


def started(*command: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, f"127.0.0.1:{int(process.stdout.readline())}"


def test_the_host_ends_when_the_engine_asks_and_takes_its_program_along(monitor: str, tmp_path: Path) -> None:
    process, address = started(sys.executable, host.__file__, monitor)
    with sleeper(tmp_path, address, monitor) as (_, program):
        asked = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
        assert time.monotonic() - asked < 4  # the engine kills it after 5
        until(lambda: not program.exists(), "the program outlives the host")


def test_neither_the_host_nor_the_program_outlives_a_killed_engine(monitor: str, tmp_path: Path) -> None:
    command = f"{sys.executable} {host.__file__} {monitor} & echo $! >{tmp_path}/host; wait"
    shell, address = started("sh", "-c", command)  # the shell stands for the engine
    with sleeper(tmp_path, address, monitor) as (_, program):
        own = Path("/proc", (tmp_path / "host").read_text().strip())
        os.kill(shell.pid, signal.SIGKILL)
        shell.wait()
        until(lambda: not own.exists(), "the host outlives the engine")
        until(lambda: not program.exists(), "the program outlives the engine")


def test_a_python_without_pulumi_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-E", host.__file__, "127.0.0.1:1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    for words in ("No module named", sys.executable, "RAY_PULUMI_PYTHON"):
        assert words in done.stderr


def test_the_host_answers_what_the_engine_asks_before_a_run(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = language_pb2_grpc.LanguageRuntimeStub(channel)
        stub.Handshake(language_pb2.LanguageHandshakeRequest(engine_address="127.0.0.1:1"), timeout=SECONDS)
        for name, question in {
            "GetPluginInfo": empty_pb2.Empty(),
            "GetRequiredPlugins": language_pb2.GetRequiredPluginsRequest(),
            "GetRequiredPackages": language_pb2.GetRequiredPackagesRequest(),
            "RuntimeOptionsPrompts": language_pb2.RuntimeOptionsRequest(),
            "GetProgramDependencies": language_pb2.GetProgramDependenciesRequest(),
        }.items():
            getattr(stub, name)(question, timeout=SECONDS)
        about = stub.About(language_pb2.AboutRequest(), timeout=SECONDS)
        assert (about.executable, about.version) == (sys.executable, sys.version.split()[0])
