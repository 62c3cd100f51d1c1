"""What `why` reads from the end of a log: the texts are those of Ray 2.9 and 2.60."""

from __future__ import annotations

import asyncio
import time
import traceback
from typing import Any

import pytest

from jobs.dashboard.client import RayJobsApi
from jobs.dashboard.http import HttpClient
from jobs.dashboard.log_end import END_BYTES, read_log_end
from jobs.diagnose.causes import cause_of
from jobs.diagnose.failure import last_failure
from jobs.diagnose.finding import CAUSE, CLUE
from jobs.diagnose.why import explain
from jobs.spec.job_info import JobInfo
from tests.support.http_server import JsonHandler, serve
from tests.unit.jobs.diagnose.cluster_objects import pod
from tests.unit.jobs.diagnose.test_why import HEAD, event, evidence, job, waiting

PACKAGE = "/tmp/ray/session_2026/runtime_resources/working_dir_files/_ray_pkg_0123456789abcdef"
SITE = "/home/ray/anaconda3/lib/python3.11/site-packages"

DRIVER = f"""2026-11-26 21:00:00,000 INFO job_manager.py:581 -- Runtime env is setting up.
epoch 1
Traceback (most recent call last):
  File "{PACKAGE}/train.py", line 9, in <module>
    main()
  File "{PACKAGE}/train.py", line 6, in main
    ray.get(grow.remote())
  File "{SITE}/ray/_private/auto_init_hook.py", line 22, in auto_init_wrapper
    return fn(*args, **kwargs)
           ^^^^^^^^^^^^^^^^^^^
  File "{SITE}/ray/_private/worker.py", line 2822, in get
    raise value
"""

OOM = f"""{DRIVER}ray.exceptions.OutOfMemoryError: 1 worker(s) were killed due to the node running low on memory. \
Memory on the node (IP: 10.244.0.12, ID: 5e1f) was 0.97GB used / 1.00GB limit (0.970000)
OOM kill reason: Memory usage 1041529569B exceeded threshold of 1020054733B (95.0% of 1073741824B limit)
Object store memory usage: [- objects spillable: 0
- bytes spillable: 0
- objects in use: 0

Eviction Stats:
(global lru) capacity: 300000000
(global lru) used: 0%]
Ray killed 1 worker(s) based on the killing policy
Considered workers: [
Selected to kill: (Task ID: 16310a0f, Worker PID: 190, Memory used: 0.71 GiB)
]
Top 10 memory users:
PID\tMEM(GB)\tCOMMAND
190\t0.71\tray::grow
1\t0.05\t/home/ray/anaconda3/bin/python
Refer to the documentation on how to address the out of memory issue: https://docs.ray.io/x.html. Consider \
provisioning more memory on this node or reducing task parallelism by requesting more CPUs per task.
"""

OOM_2_9 = f"""{DRIVER}ray.exceptions.OutOfMemoryError: Task was killed due to the node running low on memory.
Memory on the node (IP: 10.244.0.12, ID: 5e1f) where the task (task ID: 16310a0f, name=grow, pid=190, memory \
used=0.71GB) was running was 0.97GB / 1.00GB (0.970000), which exceeds the memory usage threshold of 0.95. Ray killed \
this worker (ID: 4c) because it was the most recently scheduled task. Top 10 memory users:
PID\tMEM(GB)\tCOMMAND
190\t0.71\tray::grow
Refer to the documentation on how to address the out of memory issue: https://docs.ray.io/x.html.
"""

TASK = f"""{DRIVER}ray.exceptions.RayTaskError(ValueError): \x1b[36mray::grow()\x1b[39m (pid=190, ip=10.244.0.12)
  File "{PACKAGE}/lib/model.py", line 31, in grow
    raise ValueError("lr must be positive")
ValueError: lr must be positive
"""

CREATION = f"""{DRIVER}ray.exceptions.ActorDiedError: The actor died because of an error raised in its creation task, \
\x1b[36mray::Model.__init__()\x1b[39m (pid=190, ip=10.244.0.12, actor_id=cafe, repr=<train.Model object at 0x7f>)
  File "{PACKAGE}/train.py", line 3, in __init__
    self.weights = open("weights.bin")
FileNotFoundError: [Errno 2] No such file or directory: 'weights.bin'
"""

NODE = f"""{DRIVER}ray.exceptions.NodeDiedError: Task failed because the node it was running on is dead or \
unavailable. Node IP: 10.244.0.12, node ID: 5e1f. This can happen if the node was preempted, had a hardware failure, \
or its raylet crashed unexpectedly.
"""

ACTOR = f"""{DRIVER}ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
\tclass_name: Model
\tactor_id: cafe
\tpid: 190
\tip: 10.244.0.12
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed.
"""

PIP = f"""{DRIVER}ray.exceptions.RuntimeEnvSetupError: Failed to set up runtime environment.
Could not create the actor because its associated runtime env failed to be created.
Traceback (most recent call last):
  File "{SITE}/ray/_private/runtime_env/agent/runtime_env_agent.py", line 390, in _create_runtime_env_with_retry
    runtime_env_context = await asyncio.wait_for(
ray._private.runtime_env.utils.SubprocessCalledProcessError: Run cmd[4] failed with the following details.
Command '['python', '-m', 'pip', 'install']' returned non-zero exit status 1.
ERROR: Could not find a version that satisfies the requirement nope (from versions: none)
ERROR: No matching distribution found for nope
"""
UV = f"""{PIP.partition("ERROR: ")[0]}
    error: No solution found when resolving dependencies
      cause: Because nope was not found in the package registry and you require nope==1.0, we can conclude that your
    hint: Packages were unavailable because index lookups were disabled
"""

WORKER = pod("ray-small-group-worker-x", phase="Running", podIP="10.244.0.12")


def program(log: str = "", *, code: int = 1, message: str = "", **found: Any) -> Any:
    failed = job("FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=code, message=message)
    return explain(evidence(job=failed, log_end=log, **found))


def only_cause(log: str, **found: Any) -> str:
    (cause,) = [each for each in program(log, pods=[WORKER], **found) if each.kind == CAUSE]
    return f"{cause.text} -> {cause.remedy}"


@pytest.mark.parametrize("log", [OOM, OOM_2_9])
def test_out_of_memory_names_the_group_what_was_used_and_allowed_and_the_setting(log: str) -> None:
    cause = only_cause(log)
    assert "ran out of memory: worker group small-group (10.244.0.12) used 0.97 of 1.00 GB." in cause
    assert "The program ended at train.py, line 6, in main." in cause
    assert "-> Raise `memory` of the worker group small-group in the stack's config" in cause


def test_out_of_memory_at_an_address_names_the_node() -> None:
    (cause,) = [each for each in program(OOM, pods=[], ray_cluster=None, kube_read=False) if each.kind == CAUSE]
    assert "node 10.244.0.12 used 0.97 of 1.00 GB" in cause.text


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (TASK, "failed in the task grow: ValueError: lr must be positive (lib/model.py, line 31, in grow)"),
        (
            CREATION,
            "An actor failed in its creation (Model.__init__): FileNotFoundError: [Errno 2] No such file or directory: "
            "'weights.bin' (train.py, line 3, in __init__).",
        ),
        (NODE, "A node died while the job used it: worker group small-group (10.244.0.12)."),
        (ACTOR, "The actor Model died: Worker unexpectedly exits with a connection error code 2."),
        (ACTOR, "raise `memory` of the worker group"),
        (UV, "could not be set up: cause: Because nope was not found in the package registry"),
        (PIP, "could not be set up: ERROR: No matching distribution found for nope -> Check the name"),
        (
            PIP.replace("ERROR: Could", "WARNING: Retrying: NewConnectionError('refused')\nERROR: Could"),
            "-> The pods do not reach the package index",
        ),
        (
            f"{DRIVER}ray.exceptions.ObjectStoreFullError: Failed to put object 00ff in object store because it is "
            "full. Object size is 1073741824 bytes.\nThe local object store is full of objects that are still in "
            "scope and cannot be evicted.\n",
            "The object store of a node is full of objects that are in use: ray.exceptions.ObjectStoreFullError: "
            "Failed to put object 00ff",
        ),
        (f"{DRIVER}ray.exceptions.OutOfDiskError: Local disk is full\n", "-> Raise `ephemeralStorage`"),
        (f"{DRIVER}ray.exceptions.WorkerCrashedError: The worker died unexpectedly while executing this task.\n",
         "A worker process died: it was killed, often for its memory"),
        (TASK.replace("ValueError: lr must be positive", "OutOfMemoryError: CUDA out of memory. 2 GiB"),
         "A GPU ran out of memory: OutOfMemoryError: CUDA out of memory. 2 GiB (lib/model.py, line 31, in grow)."),
        (
            TASK.replace("ValueError: lr must be positive", "ModuleNotFoundError: No module named 'torch'"),
            "does not have the Python module 'torch' of the task grow (lib/model.py, line 31, in grow)",
        ),
        (
            'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\nRuntimeError: Version '
            "mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.1\nThis process on node 1 was "
            "started with:\n    Ray: 2.9.0\n    Python: 3.9.2\n",
            "than the cluster: Ray 2.60.0, Python 3.11.1, Ray 2.9.0, Python 3.9.2 (first the cluster's",
        ),
        (
            f'{DRIVER}  File "python/ray/includes/common.pxi", line 107, in ray._raylet.check_status\n'
            "ray.exceptions.GetTimeoutError: Get timed out: some object(s) not ready.\n",
            "for a task or an actor: ray.exceptions.GetTimeoutError: Get timed out: some object(s) not ready. "
            "(train.py, line 6, in main).",
        ),
        ('  File "a.py", line 3\n    x =\n       ^\nSyntaxError: invalid syntax\n', "SyntaxError: invalid syntax"),
    ],
)  # fmt: skip
def test_the_end_of_the_log_names_the_cause_by_its_kind(log: str, text: str) -> None:
    assert text in only_cause(log)


def test_an_eviction_is_a_cause_for_a_node_that_died_and_a_clue_for_a_program_that_failed_by_itself() -> None:
    evicted = event("ray-small-group-worker-x", "Evicted", "The node was low on resource: memory.")
    unrelated = pod("w", containerStatuses=[waiting("ray-worker", "ImagePullBackOff")])
    for log, kind in ((NODE, CAUSE), (TASK, CLUE)):
        findings = program(log, events=[evicted], pods=[WORKER, unrelated])
        assert [each.kind for each in findings if "Evicted" in each.text] == [kind]
        assert [each.kind for each in findings if "cannot be pulled" in each.text] == [CLUE]


def test_what_the_program_printed_after_its_last_exception_is_a_clue() -> None:
    handled = (
        f"{TASK}all results are bad, giving up\n(raylet) Spilled 5120 MiB, 40 objects, write throughput 9 MiB/s.\n"
    )
    clues = [each.text for each in program(handled, code=3) if each.kind == CLUE]
    assert clues == [
        "The log ends with: all results are bad, giving up",
        "The object store was full: Ray moved objects to the disk (5120 MiB, 40 objects), which is slow.",
    ]


def test_a_running_job_whose_tasks_are_killed_for_memory_again_and_again_says_so() -> None:
    """Ray repeats such tasks without end."""
    report = (
        "(raylet) [2026-11-26 19:21:02,241 E 11 11] (raylet) node_manager.cc:3064: {} Workers (tasks / actors) killed "
        "due to memory pressure (OOM), 0 Workers crashed due to other reasons at node (ID: b8aa, IP: {}) over the last "
        "time period. To see more information about the Workers killed on this node, use `ray logs raylet.out`\n"
    )
    log = "".join(report.format(*each) for each in ((2, "10.244.0.12"), (3, "10.244.0.12"), (0, "10.0.0.1")))
    running = explain(evidence(job=job("RUNNING"), log_end=f"epoch 1\n{log}", pods=[HEAD, WORKER]))
    assert [(each.text, each.remedy[:43]) for each in running if each.kind == CAUSE] == [
        (
            "Ray killed 5 workers because worker group small-group (10.244.0.12) ran out of memory. It repeats such "
            "tasks.",
            "Raise `memory` of the worker group small-gr",
        )
    ]
    killed = program(log, code=137, pods=[WORKER])
    assert [each.kind for each in killed if "Ray killed 5" in each.text] == [CLUE]


@pytest.mark.parametrize(
    "piece",
    ["9", "\n", " ", "Memory on the node (IP: 1, ", "ray::", "(", "a.", "Spilled 9", '  File "', "ip: ", "Error"],
)
def test_no_log_makes_the_answer_slow(piece: str) -> None:
    log = f"{DRIVER}Version mismatch: The cluster was started with\n{piece * (END_BYTES // len(piece))}\n{NODE[-200:]}"
    began = time.perf_counter()
    program(log)
    assert time.perf_counter() - began < 5


def test_without_a_log_the_message_of_the_job_is_read() -> None:
    (cause,) = [each for each in program(message=TASK[-200:]) if each.kind == CAUSE]
    assert "ValueError: lr must be positive" in cause.text


def ray_exceptions() -> Any:
    return pytest.importorskip("ray.exceptions", reason="ray is not installed")


# Errors in the program itself: their type and message say it.
OF_PROGRAM = {
    "RayError", "RayTaskError", "AsyncioActorExit", "RayChannelError", "RayChannelTimeoutError",
    "OufOfBandObjectRefSerializationException", "RayCgraphCapacityExceeded", "UnserializableException",
    "ActorAlreadyExistsError", "ActorHandleNotFoundError", "PlasmaObjectNotAvailable",
}  # fmt: skip


def test_every_exception_type_of_ray_has_a_cause_or_is_an_error_in_the_program() -> None:
    types = ray_exceptions().RAY_EXCEPTION_TYPES
    frame = 'Traceback (most recent call last):\n  File "train.py", line 1, in <module>\n    main()\n'
    without = {
        each.__name__ for each in types if cause_of(last_failure(f"{frame}ray.exceptions.{each.__name__}: x")) is None
    }
    assert without == OF_PROGRAM


def test_the_texts_of_rays_exceptions_are_those_of_the_table() -> None:
    exceptions = ray_exceptions()
    texts = {
        "object store full": exceptions.ObjectStoreFullError("x"),
        "disk full": exceptions.OutOfDiskError("x"),
        "out of memory": exceptions.OutOfMemoryError("1 worker(s) were killed"),
        "node died": exceptions.NodeDiedError("x"),
        "worker died": exceptions.WorkerCrashedError(),
        "runtime_env": exceptions.RuntimeEnvSetupError("ERROR: No matching distribution found for nope"),
        "actor died": exceptions.ActorDiedError(),
        "placement group removed": exceptions.TaskPlacementGroupRemoved(),
    }
    for name, error in texts.items():
        lines = traceback.format_exception(type(error), error, None)
        log = f'Traceback (most recent call last):\n  File "train.py", line 1, in <module>\n    f()\n{"".join(lines)}'
        cause = cause_of(last_failure(log))
        assert cause is not None
        assert cause.name == name


def test_a_secret_in_an_exception_is_not_shown() -> None:
    (cause,) = [each for each in program(TASK.replace("lr must", "password=hunter2hunter2")) if each.kind == CAUSE]
    assert "hunter2hunter2" not in cause.text


def log_end_of(url: str) -> bytes:
    """The end of the log of a failed job."""

    async def read() -> bytes:
        http = HttpClient(url)
        try:
            return await read_log_end(RayJobsApi(http), JobInfo("a", "FAILED", driver_node_id="n"))
        finally:
            await http.close()

    return asyncio.run(read())


def test_only_the_last_lines_of_a_log_are_asked_for_and_kept() -> None:
    paths: list[str] = []

    class Dashboard(JsonHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * (END_BYTES + 1000) + b"\nend\n")

    with serve(Dashboard) as url:
        end = log_end_of(url)
    assert len(end) == END_BYTES
    assert end.endswith(b"\nend\n")
    assert "lines=500" in paths[0]


@pytest.mark.parametrize("status", [404, 500])
def test_a_log_that_is_gone_is_no_failure_of_why(status: int) -> None:
    class Dashboard(JsonHandler):
        def do_GET(self) -> None:
            self.answer("Could not find it: not found", status)

    with serve(Dashboard) as url:
        assert log_end_of(url) == b""
