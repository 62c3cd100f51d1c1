"""The ledger: what it keeps, what it must not keep, and what it survives."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.errors import LedgerFault
from jobs.ledger import git, schema
from jobs.ledger.records import DELETED, REFUSED, TAIL_BYTES, Origin, Place, Tail, TailBuffer
from jobs.ledger.store import Ledger
from jobs.spec.job_spec import JobSpec
from tests.support.command import ROOT
from tests.support.ledger import PLACE, SPEC, record_all


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.sqlite"


def test_a_submission_is_kept_with_its_spec_its_place_and_every_status(path: Path) -> None:
    ledger = Ledger(path)
    commit = git.Commit("c0ffee", True)
    ledger.record_submission("a", SPEC, PLACE, Origin(key="nightly", working_dir="./src", commit=commit))
    for status in ("PENDING", "RUNNING", "RUNNING"):
        ledger.record_status("a", PLACE.identity, status)
    ledger.record_status("a", PLACE.identity, "FAILED", driver_exit_code=3, error_type="JOB_ENTRYPOINT_COMMAND_ERROR")
    entry = Ledger(path).get("a")
    assert entry is not None
    assert entry.spec == {
        "entrypoint": "python train.py",
        "runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"},
        "metadata": {"team": "a"},
        "entrypoint_num_cpus": 1,
    }
    assert (entry.place, entry.origin.key, entry.origin.commit, entry.digest) == (PLACE, "nightly", commit, SPEC.digest)
    assert [status for status, _ in entry.changes] == ["SUBMITTING", "PENDING", "RUNNING", "FAILED"]
    assert (entry.driver_exit_code, entry.error_type) == (3, "JOB_ENTRYPOINT_COMMAND_ERROR")
    assert json.loads(json.dumps(entry.as_json()))["package"] == "gcs://_ray_pkg_1.zip"


def test_a_job_ends_once_in_the_ledger(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record_submission("a", SPEC, PLACE, Origin())
    ledger.record_status("a", PLACE.identity, "SUCCEEDED")
    ledger.record_status("a", PLACE.identity, "RUNNING")
    ledger.record_status("a", PLACE.identity, "LOST")
    assert ledger.history()[0].status == "SUCCEEDED"


def test_attaching_to_the_same_work_makes_no_second_entry_and_other_work_does(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record_submission("a", SPEC, PLACE, Origin())
    ledger.record_submission("a", SPEC, PLACE, Origin())
    assert len(ledger.history()) == 1
    other = JobSpec("python other.py")
    ledger.record_submission("a", other, PLACE, Origin())
    ledger.record_status("a", PLACE.identity, REFUSED)
    found = ledger.get("a")
    assert found is not None
    assert found.digest == SPEC.digest
    assert len(ledger.history()) == 2


def test_a_deleted_job_that_is_submitted_again_is_a_new_entry(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record_submission("a", SPEC, PLACE, Origin())
    ledger.record_status("a", PLACE.identity, "SUCCEEDED")
    ledger.record_status("a", PLACE.identity, DELETED)
    ledger.record_submission("a", SPEC, PLACE, Origin())
    assert [entry.status for entry in ledger.history()] == ["SUBMITTING", "DELETED"]


def test_the_same_id_on_two_clusters_is_two_entries(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record_submission("a", SPEC, PLACE, Origin())
    ledger.record_submission("a", SPEC, Place("http://other", "address"), Origin())
    ledger.record_status("a", "http://other", "RUNNING")
    assert {entry.place.kind: entry.status for entry in ledger.history()} == {
        "stack": "SUBMITTING",
        "address": "RUNNING",
    }


def test_history_is_newest_first_and_can_be_narrowed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(path)
    for name in ("a", "b", "c"):
        monkeypatch.setenv("LOGNAME", "me" if name != "b" else "you")
        ledger.record_submission(name, SPEC, PLACE, Origin(batch="s" if name == "a" else None))
    ledger.record_status("c", PLACE.identity, "RUNNING")
    assert [entry.submission_id for entry in ledger.history()] == ["c", "b", "a"]
    assert [entry.submission_id for entry in ledger.history(mine=True)] == ["c", "a"]
    assert [entry.submission_id for entry in ledger.history(status="RUNNING")] == ["c"]
    assert [entry.submission_id for entry in ledger.history(batch="s")] == ["a"]
    assert [entry.submission_id for entry in ledger.history(limit=1)] == ["c"]


def test_the_tail_is_the_last_mebibyte_and_says_how_much_there_was(path: Path) -> None:
    ledger, buffer = Ledger(path), TailBuffer()
    ledger.record_submission("a", SPEC, PLACE, Origin())
    whole = random.Random(1).randbytes(3 * TAIL_BYTES + 12345)  # In other bytes a secret may be seen.
    for start in range(0, len(whole), 70_001):
        buffer.feed(whole[start : start + 70_001])
    ledger.record_tail("a", PLACE.identity, buffer.tail())
    tail = ledger.tail("a")
    assert tail is not None
    assert tail.data == whole[-TAIL_BYTES:]
    assert (tail.total, tail.whole) == (len(whole), False)


SECRET = "hunter2hunter2"
RAY = "2026-11-27 02:42:09,123\tINFO job_manager.py:1 -- Runtime env is set up; don't wait.\n"


@pytest.mark.parametrize(
    "entrypoint",
    [
        f"API_KEY={SECRET} python t.py",
        f"bash -c 'python t.py --password {SECRET}'",
        f"python -c '\nimport os\nos.system(\"curl https://u:{SECRET}@h\")\n'",
        f"python t.py --password={SECRET}",
        f"python t.py --password \\\n  {SECRET}",
    ],
)
def test_rays_own_line_about_an_entrypoint_is_kept_without_its_secret(path: Path, entrypoint: str) -> None:
    ledger = Ledger(path)
    ledger.record_submission("a", JobSpec(entrypoint), PLACE, Origin())
    log = f"{RAY}Running entrypoint for job a: {entrypoint}\nit's 5 o'clock \xe4\n".encode() + b"\xff\x00\r 99 %\n"
    buffer = TailBuffer()
    buffer.feed(log)
    ledger.record_tail("a", PLACE.identity, buffer.tail())
    tail = ledger.tail("a")
    assert tail is not None
    assert SECRET.encode() not in tail.data
    assert tail.data.startswith(RAY.encode())
    assert tail.data.endswith("it's 5 o'clock \xe4\n".encode() + b"\xff\x00\r 99 %\n")
    assert tail.whole
    assert SECRET.encode() not in path.read_bytes()


def test_binary_data_is_kept_and_a_secret_in_it_is_not(path: Path) -> None:
    """One line: by chance, a MiB of random bytes has something like `pw=` every other time."""
    ledger = Ledger(path)
    record_all(ledger)
    noise = bytes(range(11, 256)) * 40 + b"\xd3\x80Pw=\xf3\x7f\x02"
    log = noise + f"HOME=/root\0API_KEY={SECRET}\0".encode() + noise
    ledger.record_tail("a", PLACE.identity, Tail(log, len(log)))
    tail = ledger.tail("a")
    assert tail is not None
    assert SECRET.encode() not in tail.data
    assert tail.data.startswith(noise)
    assert tail.data.endswith(noise)


def test_a_private_key_that_a_program_prints_is_withheld_with_all_its_lines(path: Path) -> None:
    ledger = Ledger(path)
    record_all(ledger)
    key = "-----BEGIN RSA PRIVATE KEY-----\n" + "c2VjcmV0\n" * 40 + "-----END RSA PRIVATE KEY-----"
    ledger.record_tail("a", PLACE.identity, Tail(f"before\n{key}\nafter\n".encode(), 10**9))
    tail = ledger.tail("a")
    assert tail is not None
    assert tail.data == b"before\n(withheld)\nafter\n"


def test_a_secret_at_the_cut_of_a_log_is_withheld(path: Path) -> None:
    ledger = Ledger(path)
    record_all(ledger)
    buffer = TailBuffer()
    buffer.feed(f"x\nAPI_KEY={SECRET}\n".encode() + b"y" * (TAIL_BYTES - 8))
    ledger.record_tail("a", PLACE.identity, buffer.tail())
    tail = ledger.tail("a")
    assert tail is not None
    assert SECRET[-4:].encode() not in tail.data
    assert (tail.whole, len(tail.data)) == (False, TAIL_BYTES)


def test_a_follow_that_saw_less_does_not_replace_a_longer_tail(path: Path) -> None:
    ledger = Ledger(path)
    ledger.record_submission("a", SPEC, PLACE, Origin())
    ledger.record_tail("a", PLACE.identity, Tail(b"all of it", 9))
    ledger.record_tail("a", PLACE.identity, Tail(b"all", 3))
    assert ledger.tail("a") == Tail(b"all of it", 9)


def test_no_secret_value_reaches_the_file(path: Path) -> None:
    secrets = ["hunter2hunter2", "AKIA" + "Q" * 16, "hf_" + "x" * 34, "p4ssw0rd!", "tok-12345", "sig-abcdef", "s3cr3t"]
    spec = JobSpec(
        f"WANDB_API_KEY={secrets[0]} python t.py --password {secrets[3]} --api-key={secrets[4]} {secrets[1]}",
        {
            "env_vars": {"HF_TOKEN": secrets[4], "DATABASE_URL": f"postgres://u:{secrets[3]}@db/x", "MODE": secrets[2]},
            "pip": ["--index-url=https://u:" + secrets[6] + "@pypi.example/simple", "torch"],
            "working_dir": "https://b.example/p.zip?X-Amz-Signature=" + secrets[5],
        },
        {"client_secret": secrets[6]},
    )
    Ledger(path).record_submission("a", spec, PLACE, Origin(working_dir="https://u:" + secrets[3] + "@h/p.zip"))
    raw = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert [secret for secret in secrets if secret.encode() in raw] == []
    entry = Ledger(path).get("a")
    assert entry is not None
    assert "runtime_env.env_vars.HF_TOKEN" in entry.withheld
    assert entry.spec["runtime_env"]["pip"][1] == "torch"


def test_the_file_is_for_its_owner_only(path: Path) -> None:
    Ledger(path).record_submission("a", SPEC, PLACE, Origin())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_environment_names_the_ledger(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYJOBS_LEDGER", str(path))
    assert Ledger().path == path
    monkeypatch.delenv("RAYJOBS_LEDGER")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert Ledger().path == Path("/state/rayjobs/ledger.sqlite")


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Ledger("~/history.sqlite").path == tmp_path / "history.sqlite"
    monkeypatch.setenv("RAYJOBS_LEDGER", "~/other.sqlite")
    assert Ledger().path == tmp_path / "other.sqlite"


def test_reading_where_nothing_was_written_makes_no_file(path: Path) -> None:
    assert Ledger(path).history() == []
    assert Ledger(path).get("a") is None
    assert not path.exists()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "overwritten in the middle", "a directory"])
def test_a_damaged_ledger_warns_once_and_never_fails_a_job(damage: str, path: Path) -> None:
    for i in range(25):
        Ledger(path).record_submission(f"job-{i}", JobSpec("echo " + "x " * 2000), PLACE, Origin())
    content = path.read_bytes()
    if damage == "a directory":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "garbage": os.urandom(5000),
                "truncated": content[: len(content) // 2 + 100],
                "overwritten in the middle": content[:4096] + os.urandom(len(content) - 4096),
            }[damage]
        )
    warnings: list[str] = []
    record_all(Ledger(path, warnings.append))
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    with pytest.raises(LedgerFault, match="--ledger"):
        Ledger(path).history(limit=None)


def test_a_ledger_of_an_earlier_version_is_read_and_written(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.executescript(schema._MIGRATIONS[0])
        db.execute("PRAGMA user_version = 1")
        db.execute(
            "INSERT INTO submission (submission_id, identity, kind, attempt, spec, withheld, digest, user, host,"
            " created, status, status_at)"
            " VALUES ('old', 'x', 'address', 0, '{\"entrypoint\": \"true\"}', '[]', 'd', 'u', 'h', 1, 'SUCCEEDED', 1)"
        )
    ledger = Ledger(path)
    ledger.record_submission("new", SPEC, PLACE, Origin(modules=("/lib", "https://u:pa55w0rd@h/m.zip")))
    assert [(entry.submission_id, entry.origin.modules[:1]) for entry in ledger.history()] == [
        ("new", ("/lib",)),
        ("old", ()),
    ]
    assert b"pa55w0rd" not in path.read_bytes()


def test_a_ledger_of_a_newer_version_is_left_alone(path: Path) -> None:
    record_all(Ledger(path))
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    warnings: list[str] = []
    record_all(Ledger(path, warnings.append))
    assert len(warnings) == 1
    assert "newer version" in warnings[0]
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_warns_once(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    warnings: list[str] = []
    record_all(Ledger(in_the_way / "ledger.sqlite", warnings.append))
    assert len(warnings) == 1


SCRIPT = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
from jobs.ledger.records import *
from jobs.ledger.store import *
from jobs.spec.job_spec import JobSpec
place, spec = Place("i", "address"), JobSpec("python x.py")
warnings = []
ledger = Ledger(pathlib.Path(sys.argv[2]), warnings.append)
"""


def run(path: Path, body: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT + body, str(ROOT), str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]


def test_a_full_disk_warns_and_what_was_written_before_stays(path: Path) -> None:
    record_all(Ledger(path))
    body = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "size = pathlib.Path(sys.argv[2]).stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 8192, size + 8192))\n"
        "for i in range(100): ledger.record_submission(f'full-{i}', spec, place, Origin())\n"
        "print(len(warnings), warnings[0])"
    )
    out, _ = run(path, body).communicate()
    assert out.startswith("1 ")
    assert Ledger(path).get("a") is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become a user who may not write")
def test_a_read_only_ledger_warns_once_and_can_be_read() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "ledger.sqlite")
        record_all(Ledger(path))
        Path(name).chmod(0o555)
        path.chmod(0o444)
        body = (
            "import os; os.setegid(65534); os.seteuid(65534)\n"
            "ledger.record_submission('b', spec, place, Origin()); ledger.record_status('b', 'i', 'RUNNING')\n"
            "print(len(warnings), [entry.submission_id for entry in ledger.history()])"
        )
        out, _ = run(path, body).communicate()
        assert out.strip() == "1 ['a']"


def test_two_processes_lose_nothing(path: Path) -> None:
    body = (
        "for i in range(25):\n"
        "  ledger.record_submission(f'{sys.argv[3]}-{i}', spec, place, Origin())\n"
        "  ledger.record_status(f'{sys.argv[3]}-{i}', 'i', 'RUNNING')\n"
        "print(warnings)"
    )
    command = [sys.executable, "-c", SCRIPT + body, str(ROOT), str(path)]
    both = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("x", "y")]
    assert [process.communicate()[0].strip() for process in both] == ["[]", "[]"]
    assert len(Ledger(path).history(status="RUNNING", limit=None)) == 50


def test_a_process_killed_while_writing_leaves_a_sound_ledger(path: Path) -> None:
    body = (
        "i = 0\n"
        "while True:\n"
        "  i += 1\n"
        "  ledger.record_submission(f'k-{i}', spec, place, Origin())\n"
        "  ledger.record_tail(f'k-{i}', 'i', Tail(b'x' * 200000, 200000))\n"
        "  print(i, flush=True)"
    )
    done = 0
    for _ in range(5):
        process = run(path, body)
        assert process.stdout is not None
        for _ in range(3):
            done = int(process.stdout.readline())
        time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        warnings: list[str] = []
        ledger = Ledger(path, warnings.append)
        record_all(ledger)
        assert warnings == []
        assert ledger.get(f"k-{done}") is not None
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
