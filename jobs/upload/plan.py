"""The package of a working_dir before it is packed: its files, its name, what is left out, likely secrets.

The name is the one that Ray's own client gives to the same directory, so that both share uploads: the XOR of
sha1(relative path + content) over files and directories. Pipes, unreadable files, symlink loops, and ignore rules that
match the root make the stock client hang, upload an empty package, or fail half way. Here they are errors, or skipped
by name.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..activity import activity
from ..errors import Refused, SourceChanged, number_of
from ..spec import secret_patterns
from ..spec.runtime_env import PACKAGE_ENDINGS, uri_problem
from . import ignore_rules
from .ignore_rules import RuleSet
from .index import Entry, Stamp, default_path, load, store
from .own_files import own_files

ARCHIVES = PACKAGE_ENDINGS["working_dir"]
CHUNK = 1024 * 1024
OWN_OUTPUT = "this command writes to it"
# The stock client begins its XOR with this.
_FIRST_HASH = int.from_bytes(b"0" * 8, "big")
# Times a file is read before giving up, if it changes while it is read.
_ATTEMPTS = 3


class PlannedFile(NamedTuple):
    """`relpath` has POSIX separators; `size` is in bytes; `digest` is the 20 bytes of sha1(relpath + content)."""

    relpath: str
    size: int
    executable: bool
    digest: bytes


@dataclass(frozen=True)
class IgnoredPath:
    """A file or whole directory that a rule leaves out. `source` is the ignore file, `excludes` or `default`."""

    relpath: str
    source: str
    pattern: str


@dataclass(frozen=True)
class SkippedPath:
    """A path that cannot be packed, and why."""

    relpath: str
    why: str


@dataclass(frozen=True)
class OutsideLink:
    """A symlink to a file or directory outside the working directory. What is there is packed."""

    relpath: str
    target: str


@dataclass(frozen=True)
class LikelySecret:
    """A file that looks like a secret, and why."""

    relpath: str
    why: str


@dataclass(frozen=True)
class Plan:
    """The content of an upload: a working_dir or a module.

    Attributes:
        kind: `directory` (packed), `archive` (sent unchanged) or `remote` (nothing is sent).
        source: The path or URI as it was given.
        uri: The name of the package on the server.
        root: The directory or archive; None for a remote URI.
        files: The files, sorted by path.
        empty_directories: The directories without content, sorted by path.
        ignored: The paths that a rule leaves out.
        skipped: The paths that cannot be packed.
        outside: Symlinks that lead out of the directory; they are followed.
        secrets: Files that look like secrets; they are uploaded.
        prefix: The directory inside the package that holds the files; empty: its top.
        files_read: The number of files that were read; the others were known from the index.
    """

    kind: str
    source: str
    uri: str
    root: Path | None = None
    files: tuple[PlannedFile, ...] = ()
    empty_directories: tuple[str, ...] = ()
    ignored: tuple[IgnoredPath, ...] = ()
    skipped: tuple[SkippedPath, ...] = ()
    outside: tuple[OutsideLink, ...] = ()
    secrets: tuple[LikelySecret, ...] = ()
    files_read: int = 0
    prefix: str = ""

    @property
    def total_bytes(self) -> int:
        """Before compression."""
        return sum(file.size for file in self.files)

    @property
    def needs_upload(self) -> bool:
        return self.kind != "remote"

    def largest(self, count: int = 10) -> list[PlannedFile]:
        return sorted(self.files, key=lambda file: (-file.size, file.relpath))[:count]


def plan(
    directory: str | Path,
    *,
    excludes: Sequence[str] = (),
    use_cache: bool = True,
    index_path: Path | None = None,
    own_databases: Sequence[Path] = (),
) -> Plan:
    """Reads a working directory. Nothing is written but the index.

    Args:
        directory: A directory, an archive, or a remote URI.
        excludes: Patterns of files to leave out, as in a .gitignore.
        use_cache: Files that have not changed since an earlier plan are not read again.
        index_path: The index of these files; in this user's cache directory by default.
        own_databases: SQLite databases that this command writes. They are left out, as are the files that its output
            goes to.

    Raises:
        Refused: It is missing or unreadable, has a symlink loop, or an ignore file has a wrong pattern.
        SourceChanged: A file keeps changing.
    """
    if "://" in str(directory):
        return _remote(str(directory))
    root = Path(directory).absolute()
    if root.is_file() and root.name.endswith(ARCHIVES):
        return _archive(str(directory), root)
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise Refused(
            f"working_dir {str(directory)!r} {problem}.",
            f"Use a directory, an archive ({', '.join(ARCHIVES)}) or a remote URI.",
        )
    if isinstance(excludes, str) or not all(isinstance(pattern, str) for pattern in excludes):
        raise Refused(f"excludes must be a list of patterns, it is {excludes!r}.", "Write it like ['*.ckpt', 'data/'].")
    return _Walk(str(directory), root, excludes, use_cache, index_path or default_path(), own_databases).plan()


def _remote(uri: str) -> Plan:
    if problem := uri_problem(uri, "working_dir"):
        raise Refused(f"working_dir {uri.partition('?')[0]!r} {problem}.")
    return Plan("remote", uri, uri)


def _archive(source: str, path: Path) -> Plan:
    file = whole_file(path)
    suffix = next(extension for extension in ARCHIVES if path.name.endswith(extension))
    extension = ".tar.gz" if suffix == ".tgz" else suffix
    return Plan("archive", source, f"gcs://_ray_pkg_{file.digest.hex()}{extension}", path, (file,), files_read=1)


def whole_file(path: Path) -> PlannedFile:
    """Reads a file that is sent as it is; the digest is that of its content only. Raises Refused, SourceChanged."""
    with open_source(path, path.name) as file:
        digest = hashlib.sha1(usedforsecurity=False)
        size = 0
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return PlannedFile(path.name, size, False, digest.digest())


@dataclass(frozen=True)
class _Directory:
    relpath: str
    rules: tuple[RuleSet, ...]
    ancestors: tuple[tuple[int, int], ...]


class _Walk:
    """One pass over a directory. The order of the walk does not matter: the digests are XORed, the result is sorted."""

    def __init__(
        self,
        source: str,
        root: Path,
        excludes: Sequence[str],
        use_cache: bool,
        index_path: Path,
        own_databases: Sequence[Path],
    ) -> None:
        self.source, self.root, self.index_path = source, root, index_path
        self.real_root = root.resolve()
        self.began_ns = time.time_ns()
        self.known = load(index_path, str(root)) if use_cache else {}
        self.own = own_files([index_path, *own_databases])  # `load` may have created the index.
        self.fresh: dict[str, Entry] = {}
        self.files: list[PlannedFile] = []
        self.empty: list[str] = []
        self.ignored: list[IgnoredPath] = []
        self.skipped: list[SkippedPath] = []
        self.outside: list[OutsideLink] = []
        self.secrets: list[LikelySecret] = []
        self.unreadable: list[str] = []
        self.hash = _FIRST_HASH
        defaults = os.environ.get("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", ",".join(ignore_rules.DEFAULTS))
        self.base_rules = (
            # One list in this order, as in the stock client: a later `!pattern` revokes a default.
            ignore_rules.parse([*(d.strip() for d in defaults.split(",")), *excludes], "excludes"),
        )
        self.defaults = {d.strip() for d in defaults.split(",")} - set(excludes)
        skip_gitignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") == "1"
        self.ignore_files = (".rayignore",) if skip_gitignore else ignore_rules.IGNORE_FILES

    def plan(self) -> Plan:
        at = os.stat(self.root)
        self._mix(name_digest(".").digest())
        todo = [_Directory("", self.base_rules, ((at.st_dev, at.st_ino),))]
        with activity(f"Reading {self.source}") as reading:
            while todo:
                todo += self._visit(todo.pop())
                reading.detail = number_of(len(self.files), "file")
        if self.unreadable:
            names = ", ".join(sorted(self.unreadable)[:5])
            raise Refused(
                f"{number_of(len(self.unreadable), 'path')} in {self.source} cannot be read: {names}.",
                "Make them readable (chmod u+r), or add them to .rayignore.",
            )
        vanished = self.known.keys() - {file.relpath for file in self.files}
        store(self.index_path, str(self.root), self.fresh, vanished, self.began_ns)
        return Plan(
            "directory",
            self.source,
            _uri(self.hash),
            self.root,
            tuple(sorted(self.files, key=lambda file: file.relpath)),
            tuple(sorted(self.empty)),
            tuple(sorted(self.ignored, key=lambda path: path.relpath)),
            tuple(sorted(self.skipped, key=lambda path: path.relpath)),
            tuple(sorted(self.outside, key=lambda link: link.relpath)),
            tuple(sorted(self.secrets, key=lambda secret: secret.relpath)),
            len(self.fresh),
        )

    def _visit(self, directory: _Directory) -> list[_Directory]:
        base = directory.relpath
        try:
            entries = list(os.scandir(self.root / base))
        except FileNotFoundError:
            return []
        except OSError:
            self.unreadable.append(f"{base or '.'}/")
            return []
        names = {entry.name for entry in entries}
        rules = directory.rules + tuple(
            ignore_rules.read(self.root / base / name, base)
            for name in self.ignore_files
            if name in names and (self.root / base / name).is_file()
        )
        # The stock client also applies a directory's own ignore file to the directory ("*" in it removes the whole).
        # Not for the root: the stock client would upload an empty package with a constant name (ray#53635).
        if base:
            for own_rules in rules[len(directory.rules) :]:
                if pattern := own_rules.match(base):
                    self.ignored.append(IgnoredPath(base, own_rules.source, pattern))
                    return []
            self._mix(name_digest(base).digest())
            if not entries:
                self.empty.append(base)
        inner = []
        for entry in entries:
            relpath = f"{base}/{entry.name}" if base else entry.name
            if not self._is_ignored(relpath, rules) and (below := self._take(entry, relpath, rules, directory)):
                inner.append(below)
        return inner

    def _is_ignored(self, relpath: str, rules: tuple[RuleSet, ...]) -> bool:
        for ruleset in rules:
            if pattern := ruleset.match(relpath):
                source = ruleset.source
                if source == "excludes" and pattern in self.defaults:
                    source = "default"
                self.ignored.append(IgnoredPath(relpath, source, pattern))
                return True
        return False

    def _take(
        self, entry: os.DirEntry[str], relpath: str, rules: tuple[RuleSet, ...], parent: _Directory
    ) -> _Directory | None:
        try:
            at = entry.stat()
        except FileNotFoundError:
            if entry.is_symlink():
                self._skip(relpath, "a symlink to nothing")
            return None
        except OSError as error:
            if entry.is_symlink():
                self._skip(relpath, f"a symlink that cannot be followed ({error.strerror})")
            else:
                self.unreadable.append(relpath)
            return None
        if entry.is_symlink():
            self._note_outside(relpath)
        if stat.S_ISDIR(at.st_mode):
            here = (at.st_dev, at.st_ino)
            if here in parent.ancestors:
                raise Refused(
                    f"{self.source}: the symlink {relpath} leads back to a directory that contains it.",
                    f"Remove it, or add the line {relpath} to .rayignore.",
                )
            return _Directory(relpath, rules, (*parent.ancestors, here))
        if not stat.S_ISREG(at.st_mode):
            self._skip(relpath, "a pipe, socket or device")
            return None
        self._take_file(relpath, at)
        return None

    def _take_file(self, relpath: str, at: os.stat_result) -> None:
        if (at.st_dev, at.st_ino) in self.own:
            # Without a trace in the package's name: two submissions of the same code share one package.
            self.skipped.append(SkippedPath(relpath, OWN_OUTPUT))
            return
        known = self.known.get(relpath)
        if known is None or known.stamp != Stamp.of(at):
            try:
                known = _read(self.root / relpath, relpath)
            except FileNotFoundError:
                return
            except PermissionError:
                self.unreadable.append(relpath)
                return
            except OSError as error:
                self.unreadable.append(f"{relpath} ({error.strerror})")
                return
            self.fresh[relpath] = known
        self._mix(known.digest)
        self.files.append(PlannedFile(relpath, known.stamp.size, bool(at.st_mode & 0o111), known.digest))
        if known.finding:
            self.secrets.append(LikelySecret(relpath, known.finding))

    def _note_outside(self, relpath: str) -> None:
        target = (self.root / relpath).resolve()
        if not target.is_relative_to(self.real_root):
            self.outside.append(OutsideLink(relpath, str(target)))

    def _skip(self, relpath: str, why: str) -> None:
        # The stock client counts the name of a path that it cannot open, and packs nothing for it.
        self._mix(name_digest(relpath).digest())
        self.skipped.append(SkippedPath(relpath, why))

    def _mix(self, digest: bytes) -> None:
        self.hash ^= _hash(digest)


def _hash(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big")


def _uri(hash_of_all: int) -> str:
    return f"gcs://_ray_pkg_{hash_of_all:016x}.zip"


def name_digest(relpath: str) -> hashlib._Hash:
    try:
        return hashlib.sha1(relpath.encode(), usedforsecurity=False)
    except UnicodeEncodeError:
        raise Refused(
            f"The file name {os.fsencode(relpath)!r} is not UTF-8.", "Rename it, or add a pattern for it to .rayignore."
        ) from None


def _read(path: Path, relpath: str) -> Entry:
    """Reads a file up to the size that it has when it is opened. A log that grows meanwhile is no disturbance: `pack`
    takes the same part, and checks its digest."""
    for _ in range(_ATTEMPTS):
        with _open(path) as file:
            before = Stamp.of(os.fstat(file.fileno()))
            digest = name_digest(relpath)
            head = before_last = last = b""
            size = 0
            while chunk := file.read(min(CHUNK, before.size - size)):
                head = head or chunk
                before_last, last = last, chunk
                digest.update(chunk)
                size += len(chunk)
            after = Stamp.of(os.fstat(file.fileno()))
            if size == before.size and (after == before or after.size > size):
                end = before_last + last if before_last else b""
                finding = secret_patterns.by_name(relpath) or secret_patterns.by_content(head, end)
                return Entry(before, digest.digest(), finding)
    raise changed(relpath, "changes while it is read")


def single_file_plan(source: str, path: Path) -> Plan:
    """Reads a file that is a package by itself, named as by the stock client. Raises Refused, SourceChanged."""
    try:
        entry = _read(path, path.name)
        executable = bool(path.stat().st_mode & 0o111)
    except OSError as error:
        raise Refused(f"Could not read {path}: {error.strerror}.", "Make it readable (chmod u+r).") from None
    file = PlannedFile(path.name, entry.stamp.size, executable, entry.digest)
    secrets = (LikelySecret(path.name, entry.finding),) if entry.finding else ()
    uri = _uri(_FIRST_HASH ^ _hash(entry.digest))
    return Plan("directory", source, uri, path.parent, (file,), secrets=secrets, files_read=1)


def changed(relpath: str, how: str, *, vanished: bool = False) -> SourceChanged:
    return SourceChanged(
        f"{relpath} {how}: another program writes into the directory.",
        "Submit again when it has finished, or add the file to .rayignore.",
        vanished=vanished,
    )


def _open(path: Path) -> BinaryIO:
    # O_NONBLOCK: opening must not hang if a pipe has replaced the file.
    return open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)


def open_source(path: Path, relpath: str) -> BinaryIO:
    """Opens the file for reading. Raises Refused, SourceChanged."""
    try:
        return _open(path)
    except FileNotFoundError:
        raise changed(relpath, "vanished while the package was made", vanished=True) from None
    except OSError as error:
        raise Refused(f"Could not read {path}: {error.strerror}.", "Make it readable (chmod u+r).") from None
