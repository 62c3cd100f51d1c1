"""`rayStartParams`: what `ray start` refuses is refused before it is deployed, as the installed Ray says."""

from __future__ import annotations

from typing import Any

import click
import pytest

from components.errors import StackError
from components.settings import parse, start_params


def found(head: bool = True, **params: str) -> list[tuple[str, str]]:
    return list(start_params.problems({name.replace("_", "-"): value for name, value in params.items()}, head=head))


@pytest.fixture(scope="module")
def ray_start() -> click.Command:
    scripts: Any = pytest.importorskip("ray.scripts.scripts")
    command: click.Command = scripts.start
    return command


def accepts(command: click.Command, name: str, value: str) -> bool:
    """Whether `ray start` takes the option as the operator writes it."""
    flag = value.lower() == "true" and name not in ("log-color", "include-dashboard", "include-log-monitor")
    option = f"--{name}" if flag else f"--{name}={value}"
    try:
        command.make_context("start", [option])
    except click.ClickException:
        return False
    return True


def test_the_types_are_those_of_the_installed_ray(ray_start: click.Command) -> None:
    kinds: dict[str, str] = {}
    for option in ray_start.params:
        name = max(option.opts, key=len).lstrip("-")
        flag = isinstance(option, click.Option) and option.is_flag
        kinds[name] = "flag" if flag else type(option.type).__name__
    ours = {
        **dict.fromkeys(start_params.INTEGERS, "IntParamType"),
        **dict.fromkeys(start_params.NUMBERS, "FloatParamType"),
        **dict.fromkeys(start_params.FLAGS, "flag"),
        **dict.fromkeys(start_params.BOOLEANS, "BoolParamType"),
        **dict.fromkeys(start_params.CHOICES, "Choice"),
        **dict.fromkeys(start_params.TEXTS, "StringParamType"),
        "verbose": "IntRange",
        "system-config": "FuncParamType",
    }
    assert ours == kinds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory", "4Gi"),
        ("memory", "4294967296"),
        ("object-store-memory", "1e9"),
        ("num-cpus", "500m"),
        ("num-cpus", "2"),
        ("num-cpus", "2.5"),
        ("num-cpus", ""),
        ("num-cpus", "true"),
        ("num_cpus", "2"),
        ("num-cpu", "2"),
        ("Num-Cpus", "2"),
        ("--num-cpus", "2"),
        ("num-gpus", "all"),
        ("num-gpus", "0"),
        ("block", "true"),
        ("block", "yes"),
        ("no-monitor", "1"),
        ("include-dashboard", "true"),
        ("include-log-monitor", "maybe"),
        ("log-style", "record"),
        ("log-style", "loud"),
        ("temp-dir", "/tmp/ray"),
        ("temp-dir", "true"),
        ("resources", '{"a": 1}'),
        ("system-reserved-cpu", "0.5"),
        ("system-reserved-cpu", "half"),
        ("disable-usage-stats", "true"),
    ],
)
def test_a_value_is_refused_exactly_if_ray_start_refuses_it(ray_start: click.Command, name: str, value: str) -> None:
    ours = list(start_params.problems({name: value}, head=True))
    assert (not ours) == accepts(ray_start, name, value), ours


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"memory": "4Gi"}, ["clusters[0].head.rayStartParams.memory", '"4Gi"', "4294967296"]),
        ({"num-cpus": "500m"}, ['"500m"', "a whole number"]),
        ({"num_cpus": "2"}, ["rayStartParams.num_cpus", "did you mean `num-cpus`"]),
        ({"num-gpus": "all"}, ['"all"', "a whole number"]),
        ({"dashboard-port": "9999"}, ['"9999"', "the outputs lead to it", "allowed: 8265"]),
    ],
)
def test_the_error_names_key_value_and_what_is_allowed(params: dict[str, str], words: list[str]) -> None:
    with pytest.raises(StackError) as refused:
        parse({"clusters": [{"head": {"rayStartParams": params}}]})
    assert [word for word in words if word not in str(refused.value)] == []


@pytest.mark.parametrize(
    ("name", "value", "head", "worker"),
    [
        ("dashboard-port", "8265", True, True),
        ("dashboard-port", "9999", False, True),
        ("port", "6380", False, True),
        ("ray-client-server-port", "10002", False, True),
        ("dashboard-agent-listen-port", "1", False, True),
        ("metrics-export-port", "9090", False, False),
        ("dashboard-host", "127.0.0.1", False, True),
        ("dashboard-host", "0.0.0.0", True, True),
        ("include-dashboard", "false", False, True),
        ("head", "true", True, False),
        ("address", "other:6379", True, False),
    ],
)
def test_what_the_rest_of_the_manifest_depends_on_keeps_its_value(
    name: str, value: str, head: bool, worker: bool
) -> None:
    for is_head, allowed in ((True, head), (False, worker)):
        assert (not list(start_params.problems({name: value}, head=is_head))) == allowed


def test_what_the_shell_of_the_pod_replaces_is_not_checked() -> None:
    assert found(num_cpus="$(nproc)", node_ip_address="$MY_POD_IP") == []


def test_an_option_of_a_newer_ray_passes() -> None:
    assert found(some_new_option="1") == []
