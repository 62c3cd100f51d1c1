"""Packages against Ray's own client as the oracle, and the faults of real directories."""

from __future__ import annotations

import io
import os
import random
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from jobs.errors import LocalFault, PackageTooLarge, Refused, SourceChanged
from jobs.upload.pack import pack, packed
from jobs.upload.plan import Plan
from jobs.upload.plan import plan as make_plan

ROOT = Path(__file__).parents[2]
NAMES = ["a", "b.py", "c d.txt", "été.csv", "data", "x.log", ".hidden", "keep", "[odd]", "UPPER", "node_modules"]
# What the stock client calls every directory whose root an ignore rule matches: it ships nothing (ray#53635).
EMPTY = "gcs://_ray_pkg_3030303030303030.zip"
PATTERNS = [
    "*.log", "data/", "/data", "!keep", "*", "!*.py", "**/a", "a/**", "data/*", "!data/keep", ".hidden", "# no",
    "b.p[xy]", "[^a]", "\\[odd\\]", "node_modules/", "data/**/a", " UPPER ", "?", "c*", "",
]  # fmt: skip


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "index.sqlite"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "src"
    path.mkdir()
    return path


def write(path: Path, content: bytes | str = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def packed_members(plan: Plan) -> dict[str, bytes]:
    out = io.BytesIO()
    pack(plan, out)
    with zipfile.ZipFile(out) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def stock(directory: Path, excludes: list[str], tmp_path: Path) -> tuple[str, dict[str, bytes]]:
    """The name and the content that Ray's own client gives to this directory."""
    working_dir = pytest.importorskip("ray._private.runtime_env.working_dir")
    from ray._private.runtime_env.packaging import create_package

    sent: dict[str, list[str]] = {}
    environment = working_dir.upload_working_dir_if_needed(
        {"working_dir": str(directory), "excludes": excludes},
        include_gitignore=True,
        upload_fn=lambda _path, excludes, is_file=False: sent.update(excludes=excludes),
    )
    target = tmp_path / f"stock{random.random()}.zip"
    create_package(str(directory), target, include_gitignore=True, excludes=sent["excludes"])
    with zipfile.ZipFile(target) as archive:
        return environment["working_dir"], {name: archive.read(name) for name in archive.namelist()}


def grow(dice: random.Random, directory: Path, depth: int) -> None:
    for name in dice.sample(NAMES, dice.randint(0, 6)):
        path, kind = directory / name, dice.random()
        if kind < 0.35 and depth < 3:
            path.mkdir()
            grow(dice, path, depth + 1)
        elif kind < 0.42:
            path.symlink_to(dice.choice(["nowhere", "b.py", "/etc/hostname"]))
        elif kind < 0.47:
            path.symlink_to(ROOT / "docs")
        else:
            path.write_bytes(dice.randbytes(dice.choice([0, 1, 100, 5000])))
    if dice.random() < 0.4:
        write(directory / dice.choice([".gitignore", ".rayignore"]), "\n".join(dice.choices(PATTERNS, k=3)))


@pytest.mark.parametrize("seed", range(60))
def test_any_tree_gets_the_stock_clients_name_and_content(seed: int, tmp_path: Path, source: Path, index: Path) -> None:
    dice = random.Random(seed)
    grow(dice, source, 0)
    write(source / "main.py", dice.randbytes(10))
    excludes = dice.choices(PATTERNS, k=dice.randint(0, 2))
    uri, members = stock(source, excludes, tmp_path)
    if uri == EMPTY:
        assert make_plan(source, excludes=excludes, index_path=index).uri != EMPTY
        return
    for _ in range(2):
        plan = make_plan(source, excludes=excludes, index_path=index)
        assert plan.uri == uri
        assert packed_members(plan) == {name: data for name, data in members.items() if name != "./"}


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


def test_an_unchanged_directory_is_not_read_again(source: Path, index: Path) -> None:
    write(source / "a.py")
    write(source / "b.py")
    time.sleep(2.1)
    assert make_plan(source, index_path=index).files_read == 2
    assert make_plan(source, index_path=index).files_read == 0
    assert make_plan(source, index_path=index, use_cache=False).files_read == 2


def test_an_edit_with_the_same_size_and_the_mtime_put_back_is_seen(source: Path, index: Path) -> None:
    path = write(source / "a.py", "lr = 1")
    time.sleep(2.1)
    before = make_plan(source, index_path=index)
    stamp = path.stat()
    with path.open("r+b") as file:
        file.write(b"lr = 2")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert path.stat().st_mtime_ns == stamp.st_mtime_ns
    after = make_plan(source, index_path=index)
    assert after.uri != before.uri
    assert after.uri == make_plan(source, use_cache=False, index_path=index).uri


def test_a_file_younger_than_two_seconds_is_read_every_time(source: Path, index: Path) -> None:
    write(source / "a.py")
    assert [make_plan(source, index_path=index).files_read for _ in range(2)] == [1, 1]


@pytest.mark.parametrize("content", [b"this is no database", b"SQLite format 3\x00" + b"\xff" * 200, b""])
def test_a_broken_index_costs_only_the_reading(content: bytes, source: Path, index: Path) -> None:
    write(source / "a.py")
    write(index, content)
    assert make_plan(source, index_path=index).files_read == 1


def test_an_index_that_cannot_be_written_costs_only_the_reading(source: Path, tmp_path: Path) -> None:
    write(source / "a.py")
    in_the_way = write(tmp_path / "file")
    assert make_plan(source, index_path=in_the_way / "index.sqlite").files_read == 1


def test_the_same_plan_packs_to_the_same_bytes(source: Path, index: Path) -> None:
    write(source / "run.sh", "echo").chmod(0o755)
    write(source / "b.py")
    (source / "empty").mkdir()
    plans = [make_plan(source, index_path=index)]
    os.utime(source / "b.py", (1, 1))
    plans.append(make_plan(source, index_path=index))
    outs = [io.BytesIO(), io.BytesIO()]
    for plan, out in zip(plans, outs, strict=True):
        pack(plan, out)
    assert outs[0].getvalue() == outs[1].getvalue()
    with zipfile.ZipFile(outs[0]) as archive:
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert modes == {"empty/": 0o755, "run.sh": 0o755, "b.py": 0o644}


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


def test_an_empty_directory_is_a_package_of_no_files(source: Path, index: Path) -> None:
    plan = make_plan(source, index_path=index)
    assert plan.files == ()
    assert packed_members(plan) == {}


def test_a_symlink_loop_is_refused_naming_the_link(source: Path, index: Path) -> None:
    write(source / "a/b/c.py")
    (source / "a/b/up").symlink_to("..")
    with pytest.raises(Refused, match=r"a/b/up.*leads back") as caught:
        make_plan(source, index_path=index)
    write(source / ".rayignore", caught.value.remedy.split("line ")[1].split(" to")[0])
    assert [file.relpath for file in make_plan(source, index_path=index).files] == [".rayignore", "a/b/c.py"]


def test_a_symlink_to_itself_or_to_nothing_is_left_out_and_listed(source: Path, index: Path, tmp_path: Path) -> None:
    write(source / "main.py")
    (source / "self").symlink_to("self")
    (source / "gone").symlink_to("nowhere")
    plan = make_plan(source, index_path=index)
    assert [noted.relpath for noted in plan.skipped] == ["gone", "self"]
    assert plan.uri == stock(source, [], tmp_path)[0]
    assert list(packed_members(plan)) == ["main.py"]


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


def test_names_with_spaces_and_other_scripts_survive(source: Path, index: Path, tmp_path: Path) -> None:
    for name in ["with space.py", "данные/файл.txt", "日本.csv", "quote'\"; rm.py", "new\nline"]:
        write(source / name, name)
    plan = make_plan(source, index_path=index)
    assert plan.uri == stock(source, [], tmp_path)[0]
    assert packed_members(plan)["данные/файл.txt"] == "данные/файл.txt".encode()
    assert len(plan.files) == 5


def test_a_name_that_is_not_utf8_is_refused(source: Path, index: Path) -> None:
    with open(os.fsencode(source) + b"/\xff.txt", "wb"):
        pass
    with pytest.raises(Refused, match="not UTF-8"):
        make_plan(source, index_path=index)


@pytest.mark.parametrize("change", ["edited", "grown", "shrunk", "vanished", "replaced by a pipe"])
def test_a_file_that_changes_between_plan_and_pack_is_never_sent_under_the_old_name(
    change: str, source: Path, index: Path
) -> None:
    path = write(source / "train.py", "lr = 1")
    plan = make_plan(source, index_path=index)
    if change in ("vanished", "replaced by a pipe"):
        path.unlink()
    else:
        write(path, {"edited": "lr = 2", "grown": "lr = 10", "shrunk": "lr"}[change])
    if change == "replaced by a pipe":
        os.mkfifo(path)
    with pytest.raises(SourceChanged, match=r"train\.py"), packed(plan):
        pass


def test_a_file_written_all_the_time_is_refused_with_the_way_out(
    source: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(source / "run.log", "line\n")
    look = os.fstat

    def look_after_another_line(descriptor: int) -> os.stat_result:
        if os.readlink(f"/proc/self/fd/{descriptor}") == str(path.resolve()):
            with path.open("a") as log:
                log.write("line\n")
        return look(descriptor)

    monkeypatch.setattr(os, "fstat", look_after_another_line)
    with pytest.raises(SourceChanged, match=r"(?s)run\.log.*\.rayignore"):
        make_plan(source, index_path=index)


def test_over_the_servers_limit_the_largest_files_are_named(source: Path, index: Path) -> None:
    write(source / "weights.bin", os.urandom(400_000))
    write(source / "small.py")
    plan = make_plan(source, index_path=index)
    named = r"(?s)weights\.bin \(0\.4 MiB\).*\.rayignore"
    with pytest.raises(PackageTooLarge, match=named), packed(plan, limit=300_000):
        pass
    with packed(plan, limit=500_000) as (body, size):
        assert body.tell() == 0
        assert 400_000 < size == len(body.read())


def test_what_compresses_below_the_limit_is_taken(source: Path, index: Path) -> None:
    write(source / "log.txt", b"the same line\n" * 100_000)
    with packed(make_plan(source, index_path=index), limit=100_000) as (_, size):
        assert size < 100_000


def test_a_full_temporary_directory_is_said_with_its_name(
    source: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source / "a.bin", os.urandom(100_000))
    plan = make_plan(source, index_path=index)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda: open("/dev/full", "r+b"))  # noqa: SIM115
    with pytest.raises(LocalFault, match="No space left on device"), packed(plan):
        pass


def test_an_archive_is_sent_as_it_is_under_the_stock_clients_name(tmp_path: Path) -> None:
    packaging = pytest.importorskip("ray._private.runtime_env.packaging")
    for name in ["pkg.zip", "pkg.tar.gz", "pkg.tgz", "pkg.tar.xz"]:
        path = write(tmp_path / name, os.urandom(1000))
        plan = make_plan(path)
        assert plan.uri == packaging.get_uri_for_package(path)
        with packed(plan) as (body, size):
            assert (body.read(), size) == (path.read_bytes(), 1000)


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


def test_a_hundred_thousand_files_are_planned_and_packed(source: Path, index: Path) -> None:
    for i in range(100):
        (source / f"d{i}").mkdir()
        for j in range(1000):
            with open(source / f"d{i}" / f"{j}.txt", "wb") as file:
                file.write(b"%d" % j)
    plan = make_plan(source, index_path=index)
    assert len(plan.files) == 100_000
    with packed(plan) as (body, _), zipfile.ZipFile(body) as archive:
        assert len(archive.namelist()) == 100_000
        assert archive.read("d99/999.txt") == b"999"
