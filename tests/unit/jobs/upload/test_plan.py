"""What is planned of a directory, and the faults of real directories."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.errors import Refused, SourceChanged
from jobs.packages import PackagePlanner, own_output_notice
from jobs.spec.job_spec import JobSpec
from jobs.upload.plan import plan as make_plan
from tests.support.command import ROOT, Cli
from tests.support.directories import packed_members, write

# What the stock client calls every directory whose root an ignore rule matches: it ships nothing (ray#53635).
EMPTY = "gcs://_ray_pkg_3030303030303030.zip"


@pytest.mark.parametrize("pattern", [".*", "*\n!*.py", "**\n!main.py"])
def test_a_rule_that_matches_the_root_never_makes_a_constant_name(pattern: str, source: Path, index: Path) -> None:
    write(source / "main.py", "one")
    write(source / ".gitignore", pattern)
    first = make_plan(source, index_path=index)
    write(source / "main.py", "two")
    second = make_plan(source, index_path=index)
    assert first.uri != second.uri
    assert packed_members(second)["main.py"] == b"two"


def test_excludes_that_match_the_root_still_upload_the_code(source: Path, index: Path) -> None:
    write(source / "main.py")
    write(source / ".secret")
    plan = make_plan(source, excludes=[".*"], index_path=index)
    assert [file.relpath for file in plan.files] == ["main.py"]
    assert plan.uri != EMPTY


def test_the_stock_clients_environment_switches_are_honoured(
    source: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source / "a.log")
    write(source / ".gitignore", "*.log")
    write(source / "__pycache__/m.pyc")
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    monkeypatch.setenv("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")
    plan = make_plan(source, index_path=index)
    assert [file.relpath for file in plan.files] == [".gitignore", "__pycache__/m.pyc", "a.log"]


def test_the_plan_says_which_rule_removed_what(source: Path, index: Path) -> None:
    write(source / "main.py", "x" * 10)
    write(source / ".gitignore", "*.log\n")
    write(source / "sub/.rayignore", "big.bin\n")
    for name in ["a.log", "sub/big.bin", ".git/config", "notes.txt"]:
        write(source / name)
    plan = make_plan(source, excludes=["notes.txt"], index_path=index)
    assert {(r.relpath, r.source, r.pattern) for r in plan.ignored} == {
        ("a.log", ".gitignore", "*.log"),
        ("sub/big.bin", "sub/.rayignore", "big.bin"),
        (".git", "default", ".git"),
        ("notes.txt", "excludes", "notes.txt"),
    }
    assert plan.largest(1)[0].relpath == "main.py"
    assert plan.total_bytes == 10 + len("*.log\n") + len("big.bin\n")


def test_likely_secrets_are_named_and_their_content_is_not(source: Path, index: Path) -> None:
    key = "AKIA" + "ABCDEFGHIJKLMNOP"
    write(source / ".env", "PASSWORD=hunter2")
    write(source / "deploy/id_rsa")
    write(source / "server.pem")
    write(source / "settings.py", f"KEY = '{key}'")
    write(source / "sa.json", '{"type": "service_account"}')
    write(source / ".env.example", "PASSWORD=")
    write(source / "monkey.py")
    for _ in range(2):
        plan = make_plan(source, index_path=index)
        assert [noted.relpath for noted in plan.secrets] == [
            ".env", "deploy/id_rsa", "sa.json", "server.pem", "settings.py",
        ]  # fmt: skip
        assert "hunter2" not in repr(plan.secrets)
        assert key not in repr(plan.secrets)


def test_a_missing_directory_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"no-such.*does not exist"):
        make_plan(tmp_path / "no-such")


@pytest.mark.parametrize("excludes", ["data/", [1], [["a"]]])
def test_excludes_that_are_no_list_of_patterns_are_refused(excludes: list[str], source: Path) -> None:
    with pytest.raises(Refused, match="must be a list of patterns"):
        make_plan(source, excludes=excludes)


def test_a_plain_file_is_refused_as_working_dir(source: Path) -> None:
    with pytest.raises(Refused, match="is a file"):
        make_plan(write(source / "main.py"))


def test_a_symlink_loop_is_refused_naming_the_link(source: Path, index: Path) -> None:
    write(source / "a/b/c.py")
    (source / "a/b/up").symlink_to("..")
    with pytest.raises(Refused, match=r"a/b/up.*leads back") as caught:
        make_plan(source, index_path=index)
    write(source / ".rayignore", caught.value.remedy.split("line ")[1].split(" to")[0])
    assert [file.relpath for file in make_plan(source, index_path=index).files] == [".rayignore", "a/b/c.py"]


def test_pipes_and_sockets_are_left_out_and_listed_and_never_waited_for(source: Path, index: Path) -> None:
    write(source / "main.py")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "socket"))
        plan = make_plan(source, index_path=index)
    assert [noted.relpath for noted in plan.skipped] == ["pipe", "socket"]
    assert list(packed_members(plan)) == ["main.py"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs root, to become a user who may not read")
@pytest.mark.parametrize("unreadable", ["model.bin", "private"])
def test_an_unreadable_path_is_refused_by_name(unreadable: str, tmp_path: Path) -> None:
    # pytest's directories are closed to other users.
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        write(Path(name, "src/model.bin"))
        Path(name, "src/private").mkdir()
        Path(name, "src", unreadable).chmod(0)
        script = (
            "import os, pathlib, sys; sys.path.insert(0, sys.argv[1])\n"
            "from jobs import errors; from jobs.upload.plan import plan\n"
            "os.setegid(65534); os.seteuid(65534)\n"
            "try: plan(sys.argv[2], use_cache=False, index_path=pathlib.Path('/nonexistent/i'))\n"
            "except errors.Refused as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(ROOT), f"{name}/src"], capture_output=True, text=True, check=False
        )
    assert unreadable in done.stdout, done.stderr
    assert "chmod u+r" in done.stdout


def test_a_name_that_is_not_utf8_is_refused(source: Path, index: Path) -> None:
    with open(os.fsencode(source) + b"/\xff.txt", "wb"):
        pass
    with pytest.raises(Refused, match="not UTF-8"):
        make_plan(source, index_path=index)


@pytest.fixture
def written_at_each_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Callable[[], None]], None]:
    """Calls a function at each look at a file, as another program that writes to it all the time."""

    def begin(path: Path, write_more: Callable[[], None]) -> None:
        look = os.fstat

        def look_after_a_write(descriptor: int) -> os.stat_result:
            if os.readlink(f"/proc/self/fd/{descriptor}") == str(path.resolve()):
                write_more()
            return look(descriptor)

        monkeypatch.setattr(os, "fstat", look_after_a_write)

    return begin


def test_a_file_rewritten_all_the_time_is_refused_with_the_way_out(
    source: Path, index: Path, written_at_each_look: Callable[[Path, Callable[[], None]], None]
) -> None:
    path = write(source / "state.json", "0")
    count = itertools.count()
    written_at_each_look(path, lambda: os.utime(path, ns=(0, next(count))))
    with pytest.raises(SourceChanged, match=r"(?s)state\.json.*\.rayignore"):
        make_plan(source, index_path=index)


def test_a_log_that_grows_all_the_time_is_planned_as_far_as_it_was(
    source: Path, index: Path, written_at_each_look: Callable[[Path, Callable[[], None]], None]
) -> None:
    path = write(source / "run.log", "line\n")

    def another_line() -> None:
        with path.open("a") as log:
            log.write("line\n")

    written_at_each_look(path, another_line)
    plan = make_plan(source, index_path=index)
    (file,) = plan.files
    assert 0 < file.size < path.stat().st_size
    assert packed_members(plan)["run.log"] == b"line\n" * (file.size // 5)


@contextmanager
def output_to(path: Path, descriptor: int) -> Iterator[None]:
    """Sends standard output (1) or standard error (2) of this process to a file, as `> run.log` does."""
    before = os.dup(descriptor)
    with path.open("wb", buffering=0) as log:
        os.dup2(log.fileno(), descriptor)
        try:
            os.write(descriptor, b"Uploading")
            yield
        finally:
            os.dup2(before, descriptor)
            os.close(before)


@pytest.mark.parametrize("descriptor", [1, 2])
def test_the_file_that_the_output_goes_to_is_left_out_and_the_name_stays(
    descriptor: int, source: Path, index: Path
) -> None:
    write(source / "train.py")
    before = make_plan(source, index_path=index)
    with output_to(source / "run.log", descriptor):
        (source / "link.log").symlink_to("run.log")
        (source / "hard.log").hardlink_to(source / "run.log")
        during = make_plan(source, index_path=index)
    assert during.uri == before.uri
    why = "this command writes to it"
    assert [(path.relpath, path.why) for path in during.skipped] == [
        ("hard.log", why), ("link.log", why), ("run.log", why)
    ]  # fmt: skip
    assert "hard.log, link.log, run.log" in own_output_notice([during])
    after = make_plan(source, index_path=index)
    assert [file.relpath for file in after.files] == ["hard.log", "link.log", "run.log", "train.py"]
    assert not own_output_notice([after])


def test_a_file_that_the_program_of_a_user_holds_open_is_packed(source: Path, index: Path) -> None:
    """The job may need it: `connect()` is called by programs that have files of their own."""
    with (source / "config.json").open("w") as config:
        config.write("{}")
        config.flush()
        assert packed_members(make_plan(source, index_path=index)) == {"config.json": b"{}"}


@pytest.mark.parametrize("ledger", [None, "src/own.sqlite"])
def test_the_ledger_in_the_directory_is_in_no_package(
    ledger: str | None, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(source))
    for name in ("RAYJOBS_LEDGER", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(source.parent)
    write(source / "train.py")
    write(PackagePlanner(ledger=ledger).own_databases[0])
    for _ in range(2):  # The second time there is an index too.
        _, (plan,) = asyncio.run(PackagePlanner(ledger=ledger).plan(JobSpec("true", {"working_dir": "src"})))
        assert [file.relpath for file in plan.files] == ["train.py"]
    assert (source / ".cache/rayjobs/package-index.sqlite").exists()


def test_a_database_of_this_command_is_left_out_with_its_journals(source: Path, index: Path) -> None:
    for name in ("ledger.sqlite", "ledger.sqlite-wal", "train.py"):
        write(source / name)
    plan = make_plan(source, index_path=index, own_databases=[source / "ledger.sqlite"])
    assert [file.relpath for file in plan.files] == ["train.py"]


def test_a_remote_uri_is_passed_through(tmp_path: Path) -> None:
    for uri in [
        "s3://bucket/code.zip",
        "https://example.org/a/main.tar.gz?x=1",
        "gcs://_ray_pkg_1.zip",
        "local:///app",
    ]:
        plan = make_plan(uri)
        assert (plan.uri, plan.needs_upload) == (uri, False)
    with pytest.raises(Refused, match=r"s3://bucket/dir.*(?s:.*)\.zip"):
        make_plan("s3://bucket/dir?secret=1")


def test_symlinks_that_lead_out_of_the_directory_are_named(source: Path, index: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside / "key.txt")
    write(source / "inside.txt")
    (source / "file").symlink_to(outside / "key.txt")
    (source / "folder").symlink_to(outside)
    (source / "relative").symlink_to(Path("..") / "outside" / "key.txt")
    (source / "within").symlink_to("inside.txt")
    made = make_plan(source, index_path=index)
    assert [(link.relpath, link.target) for link in made.outside] == [
        ("file", str(outside / "key.txt")),
        ("folder", str(outside)),
        ("relative", str(outside / "key.txt")),
    ]


def test_the_plan_shows_symlinks_that_lead_out(source: Path, bare_cli: Cli, tmp_path: Path) -> None:
    target = write(tmp_path / "elsewhere" / "data")
    (source / "link").symlink_to(target)
    done = bare_cli.raw("submit", "--plan", "--working-dir", str(source), "--", "true")
    assert done.returncode == 0
    assert f"link  -> {target}" in done.stdout.decode()
    done = bare_cli.raw("submit", "--plan", "--output", "json", "--working-dir", str(source), "--", "true")
    assert json.loads(done.stdout)["outside"] == [{"relpath": "link", "target": str(target)}]
