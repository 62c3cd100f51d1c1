"""What `from rayjobs import ...` promises: names, types, and a page that shows them."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import jobs
from jobs import api, errors
from jobs.spec.job_spec import JobFields, JobSpec
from ops import api_docs

ROOT = Path(__file__).resolve().parents[3]


def test_every_error_is_public_and_every_public_name_is_there() -> None:
    of_this_package = {name for name, value in vars(errors).items() if inspect.isclass(value) and name[0] != "_"}
    assert {name for name in of_this_package if issubclass(getattr(errors, name), errors.JobsError)} <= {*jobs.__all__}
    assert all(getattr(jobs, name) for name in jobs.__all__)
    with pytest.raises(AttributeError):
        _ = jobs.no_such_name


def test_the_tree_of_errors_is_the_hierarchy() -> None:
    lines = [line for line in str(errors.__doc__).splitlines() if line.startswith("    ")]
    parents: list[str] = []
    for line in lines:
        depth, name = (len(line) - len(line.lstrip())) // 2 - 2, line.split()[0]
        parents[depth:] = [name]
        assert getattr(errors, name).__base__.__name__ == (parents[depth - 1] if depth else "Exception")
    assert {line.split()[0] for line in lines} == {
        name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, errors.JobsError)
    }


def test_an_error_has_its_first_attribute_name_and_its_exit_code() -> None:
    error = errors.Refused("no", "yes")
    assert (error.what, error.message, error.remedy, error.exit_code) == ("no", "no", "yes", 2)
    signals = [errors.Interrupted("x", terminated=terminated) for terminated in (False, True)]
    assert [(error.exit_code, error.terminated) for error in signals] == [(130, False), (143, True)]


def test_the_blocking_and_the_async_functions_take_the_same_options() -> None:
    assert _annotations(api.ConnectOptions) == _keywords(api.connect_async)
    assert _annotations(api.SubmitOptions) == _keywords(api.AsyncClient.submit) | _annotations(JobFields)


def test_the_fields_of_a_job_stand_once() -> None:
    of_a_spec = {field.name for field in dataclasses.fields(JobSpec)}
    assert {*JobFields.__annotations__} == of_a_spec - {"entrypoint"} | {"working_dir"}


def _annotations(options: type) -> dict[str, str]:
    return {name: _text(annotation) for name, annotation in options.__annotations__.items()}


def _keywords(function: Callable[..., object]) -> dict[str, str]:
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.annotation for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY}


def _text(annotation: object) -> str:
    return str(getattr(annotation, "__forward_arg__", annotation))


def test_a_wrong_keyword_is_an_error_for_a_type_checker(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "script.py").write_text(
        "from jobs import connect\n"
        "with connect(stack='dev', patience=60) as client:\n"
        "    job = client.submit('true', working_dir='.', timeout=5)\n"
        "    client.submit('true', workingdir='.')\n"
        "    client.submit('true', entrypoint_num_cpus='two')\n"
        "connect(stak='dev')\n"
        "reveal_type(job.wait().exit_code)\n"
    )
    words = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(tmp_path / "script.py")]
    words += ["--cache-dir", str(ROOT / ".mypy_cache"), "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    errors_at = [int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line]
    assert errors_at == [4, 5, 6], done.stdout + done.stderr
    assert 'Revealed type is "int"' in done.stdout.replace("builtins.", "")


def test_the_ledger_of_connect_may_be_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with api.connect("http://127.0.0.1:9", ledger="~/history.sqlite") as client:
        recorder = client._client.session.recorder
        assert recorder is not None
        assert recorder.ledger.path == tmp_path / "history.sqlite"


def test_the_page_of_the_python_api_is_current() -> None:
    assert api_docs.PAGE.read_text(encoding="utf-8") == api_docs.page(), "run: make docs"


def test_every_public_method_is_documented() -> None:
    for name in ("AsyncClient", "Client", "Job", "JobInfo", "Result", "connect", "connect_async"):
        value = getattr(jobs, name)
        assert inspect.getdoc(value), name
        members = vars(value).items() if inspect.isclass(value) else ()
        fields = getattr(value, "_fields", ())
        undocumented = [
            member
            for member, inner in members
            if not member.startswith("_")
            and member not in fields
            and (callable(inner) or isinstance(inner, property | classmethod))
            and not inspect.getdoc(inner)
        ]
        assert undocumented == [], name
