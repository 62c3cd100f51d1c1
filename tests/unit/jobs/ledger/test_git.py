"""The commit of a directory."""

from __future__ import annotations

import subprocess
from pathlib import Path

from jobs.ledger import git


def test_the_commit_and_whether_it_is_dirty_are_found(tmp_path: Path) -> None:
    def run_git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=e@e", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )

    assert git.commit_of(tmp_path) is None
    run_git("init")
    assert git.commit_of(tmp_path) is None
    (tmp_path / "a").write_text("1")
    run_git("add", "a")
    run_git("commit", "-m", "x")
    clean = git.commit_of(tmp_path)
    assert clean is not None
    assert (len(clean.sha), clean.dirty) == (40, False)
    (tmp_path / "new").write_text("2")
    assert git.commit_of(tmp_path) == git.Commit(clean.sha, True)
