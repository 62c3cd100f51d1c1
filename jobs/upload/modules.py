"""The packages of local `py_modules`: a module's directory, a single file, or a wheel.

Ray's own client gives a directory the same name as a `working_dir` and as a module, although the two packages differ,
and gives a wheel the same name whatever is in it. Whichever was first on the server would stay. Here the name of a
module's package says its content.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import Refused
from .plan import ARCHIVES, Plan, plan, single_file_plan, whole_file

# name-version(-build)-python-abi-platform.whl: the specification of wheels.
_WHEEL = re.compile(r"(?P<name>[^-]+-[^-]+)(?:-\d[^-]*)?(?P<tags>-[^-]+-[^-]+-[^-]+\.whl)")


def module_plan(
    path: str, *, excludes: Sequence[str] = (), use_cache: bool = True, own_databases: Sequence[Path] = ()
) -> Plan:
    """Reads an entry of `py_modules`.

    Args:
        path: A module's directory, a `.py` file, a wheel, or an archive.
        excludes: See `plan`; for a directory.
        use_cache: See `plan`; for a directory.
        own_databases: See `plan`; for a directory.

    Raises:
        Refused: It is missing, unreadable or of another kind.
        SourceChanged: A file keeps changing.
    """
    source = Path(path).absolute()
    if source.is_dir():
        whole = plan(path, excludes=excludes, use_cache=use_cache, own_databases=own_databases)
        # The package holds the directory itself: it is unpacked into a directory on the path of Python.
        name = (source.resolve() if source.name == ".." else source).name
        digest = hashlib.sha1(f"{name}/{whole.uri}".encode(), usedforsecurity=False).hexdigest()
        return replace(whole, uri=f"gcs://_ray_pkg_{digest[:16]}.zip", prefix=f"{name}/")
    if not source.is_file():
        raise Refused(f"py_modules has {path!r}, which does not exist.", "Use a directory, a .py file or a wheel.")
    if source.suffix == ".whl":
        return _wheel(path, source)
    if source.name.endswith(ARCHIVES):
        return plan(path)
    if source.suffix == ".py":
        return single_file_plan(path, source)
    raise Refused(
        f"py_modules has {path!r}, which is no module.",
        f"Use a directory, a .py file, a wheel, or an archive ({', '.join(ARCHIVES)}).",
    )


def _wheel(path: str, source: Path) -> Plan:
    parts = _WHEEL.fullmatch(source.name)
    if parts is None:
        raise Refused(
            f"py_modules has {path!r}, whose name is not that of a wheel.",
            "Use NAME-VERSION-PYTHON-ABI-PLATFORM.whl, as `python -m build` writes it: pip reads the name.",
        )
    file = whole_file(source)
    # pip reads the whole name, and nothing reads its build number.
    uri = f"gcs://{parts['name']}-0{file.digest.hex()[:16]}{parts['tags']}"
    return Plan("archive", path, uri, source, (file,), files_read=1)
