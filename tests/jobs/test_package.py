"""Packages against Ray's own client as the oracle, and the faults of real directories."""

from __future__ import annotations

import os
import random
import zipfile
from pathlib import Path

import pytest

from jobs.upload.modules import module_plan
from jobs.upload.pack import packed
from jobs.upload.plan import plan as make_plan
from tests.support.command import ROOT
from tests.support.directories import packed_members, write

NAMES = ["a", "b.py", "c d.txt", "été.csv", "data", "x.log", ".hidden", "keep", "[odd]", "UPPER", "node_modules"]


# What the stock client calls every directory whose root an ignore rule matches: it ships nothing (ray#53635).
EMPTY = "gcs://_ray_pkg_3030303030303030.zip"


PATTERNS = [
    "*.log", "data/", "/data", "!keep", "*", "!*.py", "**/a", "a/**", "data/*", "!data/keep", ".hidden", "# no",
    "b.p[xy]", "[^a]", "\\[odd\\]", "node_modules/", "data/**/a", " UPPER ", "?", "c*", "",
]  # fmt: skip


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


@pytest.mark.parametrize("seed", range(10))
def test_a_module_of_any_tree_gets_the_stock_clients_content(seed: int, tmp_path: Path, source: Path) -> None:
    """The stock client applies no defaults to modules; the trees have nothing that they would leave out."""
    packaging = pytest.importorskip("ray._private.runtime_env.packaging")
    dice = random.Random(seed)
    grow(dice, source, 0)
    write(source / "__init__.py", dice.randbytes(10))
    excludes = dice.choices(PATTERNS, k=dice.randint(0, 2))
    if packaging.get_uri_for_directory(str(source), include_gitignore=True, excludes=excludes) == EMPTY:
        return
    target = tmp_path / "stock.zip"
    packaging.create_package(
        str(source), target, include_gitignore=True, include_parent_dir=True, excludes=list(excludes)
    )
    with zipfile.ZipFile(target) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert packed_members(module_plan(str(source), excludes=excludes)) == {
        name: data for name, data in members.items() if name != "src/"
    }


def test_a_single_file_gets_the_stock_clients_name_and_content(source: Path, tmp_path: Path) -> None:
    packaging = pytest.importorskip("ray._private.runtime_env.packaging")
    path = write(source / "ours.py", "VALUE = 1")
    plan = module_plan(str(path))
    assert plan.uri == packaging.get_uri_for_file(str(path))
    packaging.create_package(str(path), tmp_path / "stock.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path / "stock.zip") as archive:
        assert packed_members(plan) == {name: archive.read(name) for name in archive.namelist()}


def test_a_symlink_to_itself_or_to_nothing_is_left_out_and_listed(source: Path, index: Path, tmp_path: Path) -> None:
    write(source / "main.py")
    (source / "self").symlink_to("self")
    (source / "gone").symlink_to("nowhere")
    plan = make_plan(source, index_path=index)
    assert [noted.relpath for noted in plan.skipped] == ["gone", "self"]
    assert plan.uri == stock(source, [], tmp_path)[0]
    assert list(packed_members(plan)) == ["main.py"]


def test_names_with_spaces_and_other_scripts_survive(source: Path, index: Path, tmp_path: Path) -> None:
    for name in ["with space.py", "данные/файл.txt", "日本.csv", "quote'\"; rm.py", "new\nline"]:
        write(source / name, name)
    plan = make_plan(source, index_path=index)
    assert plan.uri == stock(source, [], tmp_path)[0]
    assert packed_members(plan)["данные/файл.txt"] == "данные/файл.txt".encode()
    assert len(plan.files) == 5


def test_an_archive_is_sent_as_it_is_under_the_stock_clients_name(tmp_path: Path) -> None:
    packaging = pytest.importorskip("ray._private.runtime_env.packaging")
    for name in ["pkg.zip", "pkg.tar.gz", "pkg.tgz", "pkg.tar.xz"]:
        path = write(tmp_path / name, os.urandom(1000))
        plan = make_plan(path)
        assert plan.uri == packaging.get_uri_for_package(path)
        with packed(plan) as (body, size):
            assert (body.read(), size) == (path.read_bytes(), 1000)


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
