"""`rayStartParams`: what `ray start` refuses is refused before it is deployed, as bash and the installed Ray say."""

from __future__ import annotations

import subprocess
from typing import Any

import click
import pytest

from components.checks.rayclusters import build_and_check
from components.errors import StackError
from components.settings import parse, start_params
from components.settings.versions import DEFAULT_RAY_VERSION, parts
from tests.support.trees import tree

WITH_VALUE = ("log-color", "include-dashboard", "include-log-monitor")


def found(
    head: bool = True, ray_version: str = DEFAULT_RAY_VERSION, autoscaling: bool = False, **params: str
) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in params.items()}
    return dict(start_params.problems(named, head=head, ray_version=ray_version, autoscaling=autoscaling))


@pytest.fixture(scope="module")
def ray_start() -> click.Command:
    scripts: Any = pytest.importorskip("ray.scripts.scripts")
    command: click.Command = scripts.start
    return command


def written(name: str, value: str) -> str:
    """As convertParamMap of the operator writes a parameter."""
    if value.lower() in ("true", "false") and name not in WITH_VALUE:
        return f"--{name}" if value.lower() == "true" else ""
    return f"--{name}={value}"


def shell_words(line: str) -> list[str]:
    """As bash in the pod reads the line."""
    run = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=False, timeout=10)
    return run.stdout.decode().split("\0")[:-1] if run.returncode == 0 else ["--no-such-option"]


def ray_accepts(command: click.Command, params: dict[str, str], head: bool = True) -> bool:
    """Whether `ray start` takes the parameters of a group: its options, its JSON, its ports."""
    from ray._private.parameter import RayParams
    from ray._private.utils import parse_resources_json
    from ray.autoscaler._private.cli_logger import cf, cli_logger

    line = " ".join(written(*param) for param in params.items())
    try:
        options = command.make_context("start", shell_words(f"--metrics-export-port=8080 {line}")).params
        parse_resources_json(options["resources"], cli_logger, cf)
        RayParams(
            gcs_server_port=(options["port"] or 6379) if head else None,
            ray_client_server_port=10001
            if options["ray_client_server_port"] is None
            else options["ray_client_server_port"],
            metrics_agent_port=options["dashboard_agent_grpc_port"],
            **{
                name: options[name]
                for name in (
                    *("object_manager_port", "node_manager_port", "min_worker_port", "max_worker_port"),
                    *("worker_port_list", "dashboard_port", "dashboard_agent_listen_port", "runtime_env_agent_port"),
                    "metrics_export_port",
                )
            },
        ).update_pre_selected_port()
    except (click.ClickException, ValueError):
        return False
    return True


def test_the_types_are_those_of_the_installed_ray(ray_start: click.Command) -> None:
    import ray

    assert parts(ray.__version__)[:2] == parts(DEFAULT_RAY_VERSION)[:2]
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
        "verbose": "IntRange",  # counts its flags
        "resources": "StringParamType",
        "system-config": "FuncParamType",
    }
    assert ours == kinds


@pytest.mark.parametrize(
    "params",
    [
        {"memory": "4Gi"},
        {"memory": "4294967296"},
        {"object-store-memory": "1e9"},
        {"num-cpus": "500m"},
        {"num-cpus": "2"},
        {"num-cpus": "2.5"},
        {"num-cpus": ""},
        {"num-cpus": "true"},
        {"num_cpus": "2"},
        {"num-cpu": "2"},
        {"Num-Cpus": "2"},
        {"--num-cpus": "2"},
        {"num-gpus": "all"},
        {"num-gpus": "0"},
        {"block": "true"},
        {"block": "yes"},
        {"no-monitor": "1"},
        {"include-log-monitor": "maybe"},
        {"include-log-monitor": "0"},
        {"include-log-monitor": "False"},
        {"log-style": "record"},
        {"log-style": "loud"},
        {"log-color": "False"},
        {"log-style": "Record"},
        {"verbose": "3"},
        {"verbose": "true"},
        {"temp-dir": "/tmp/ray"},
        {"temp-dir": "/tmp/my ray"},
        {"temp-dir": "'/tmp/my ray'"},
        {"temp-dir": "/tmp/ray'"},
        {"node-name": "a (b)"},
        {"temp-dir": "true"},
        {"resources": '{"a": 1}'},
        {"resources": '{"a":1}'},
        {"resources": """'{"a": 1}'"""},
        {"resources": r'"{\"a\": 1, \"b\": 2}"'},
        {"resources": "'a=1'"},
        {"resources": "'[1]'"},
        {"system-config": """'{"a": 1}'"""},
        {"system-config": '{"a": 1}'},
        {"system-reserved-cpu": "0.5"},
        {"system-reserved-cpu": "half"},
        {"disable-usage-stats": "true"},
        {"some-new-option": "1"},
        {"min-worker-port": "10000", "max-worker-port": "20000"},
        {"min-worker-port": "20000"},
        {"min-worker-port": "20000", "max-worker-port": "30000"},
        {"max-worker-port": "0"},
        {"min-worker-port": "80"},
        {"max-worker-port": "65536"},
        {"worker-port-list": "10002,10003"},
        {"worker-port-list": "10001,10002"},
        {"worker-port-list": "80"},
        {"worker-port-list": "10002-10010"},
        {"worker-port-list": ""},
        {"object-manager-port": "8076"},
        {"object-manager-port": "12345"},
        {"object-manager-port": "12345", "worker-port-list": "10002"},
        {"object-manager-port": "8265"},
        {"object-manager-port": "8076", "node-manager-port": "8076"},
        {"runtime-env-agent-port": "80"},
        {"runtime-env-agent-port": "0"},
        {"dashboard-agent-grpc-port": "52365"},
    ],
    ids=str,
)
@pytest.mark.parametrize("head", [True, False], ids=["head", "worker"])
def test_a_value_is_refused_exactly_if_ray_start_refuses_it(
    ray_start: click.Command, params: dict[str, str], head: bool
) -> None:
    ours = list(start_params.problems(params, head=head, ray_version=DEFAULT_RAY_VERSION, autoscaling=False))
    assert (not ours) == ray_accepts(ray_start, params, head), ours


@pytest.mark.parametrize(
    "params",
    [
        {"ray-client-server-port": "0"},
        {"ray-client-server-port": "80"},
        {"ray-client-server-port": "10005"},
        {"ray-client-server-port": "9001"},
        {"dashboard-port": "52365"},
    ],
    ids=str,
)
def test_a_port_of_a_worker_is_refused_exactly_if_ray_refuses_it(
    ray_start: click.Command, params: dict[str, str]
) -> None:
    ours = list(start_params.problems(params, head=False, ray_version=DEFAULT_RAY_VERSION, autoscaling=False))
    assert (not ours) == ray_accepts(ray_start, params, head=False), ours


@pytest.mark.parametrize("name", sorted(start_params.HEAD_ONLY))
def test_an_option_of_the_head_is_refused_on_a_worker(ray_start: click.Command, name: str) -> None:
    value = "true" if name == "include-dashboard" else "6379"
    with pytest.raises((click.ClickException, ValueError)):
        ray_start.main(["--address=127.0.0.1:1", f"--{name}={value}"], standalone_mode=False)
    assert "only on the head" in found(head=False, **{name: value})[name]


RESOURCES = [
    {"num-cpus": "2"},
    {"num-cpus": "$(nproc)"},
    {"memory": "$BYTES"},
    {"num-gpus": "1"},
    {"resources": """'{"a": 1}'"""},
    {"resources": r'"{\"a\": 1}"'},
    {"resources": r"{\"a\":1}"},
    {"resources": """'{"a": 0.5}'"""},
    {"resources": """'{"a": '"$N"'}'"""},
]


@pytest.mark.parametrize("params", RESOURCES, ids=str)
def test_a_resource_is_refused_exactly_if_the_autoscaler_cannot_read_it(params: dict[str, str]) -> None:
    module: Any = pytest.importorskip("ray.autoscaler._private.kuberay.autoscaling_config")
    container = {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
    group = {"groupName": "a", "rayStartParams": params, "template": {"spec": {"containers": [container]}}}
    try:
        module._get_ray_resources_from_group_spec(group, False)
        reads = True
    except (ValueError, AssertionError):
        reads = False
    assert (not found(head=False, autoscaling=True, **params)) == reads
    assert not found(head=False, autoscaling=False, **params)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"memory": "4Gi"}, ["clusters[0].head.rayStartParams.memory", '"4Gi"', "4294967296"]),
        ({"num-cpus": "500m"}, ['"500m"', "a whole number"]),
        ({"num_cpus": "2"}, ["rayStartParams.num_cpus", "did you mean num-cpus?"]),
        ({"num-gpus": "all"}, ['"all"', "a whole number"]),
        ({"object-store-memory": "1000"}, ['"1000"', "78643200 (75Mi) or more"]),
        ({"dashboard-port": "9999"}, ['"9999"', "the outputs lead to port 8265; allowed: 8265"]),
        ({"resources": '{"a": 1}'}, ["""'{"custom": 1}'""", "`rayResources`"]),
        ({"min-worker-port": "10000"}, ["min-worker-port", "port 10001 is used twice", "ray-client-server-port"]),
        ({"object-manager-port": "12345"}, ["port 12345 is used twice", "for ports of workers, 10002 to 19999"]),
        ({"redis-password": "a b"}, ["rayStartParams.redis-password: (value not shown)"]),
    ],
)
def test_the_error_names_key_value_and_what_is_allowed(params: dict[str, str], words: list[str]) -> None:
    with pytest.raises(StackError) as refused:
        parse({"clusters": [{"head": {"rayStartParams": params}}]})
    assert [word for word in words if word not in str(refused.value)] == []
    assert "a b" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value", "head", "worker"),
    [
        ("dashboard-port", "8265", True, True),
        ("dashboard-port", "9999", False, True),
        ("dashboard-port", "$PORT", False, True),
        ("port", "6379", True, False),
        ("port", "6380", False, False),
        ("ray-client-server-port", "9001", False, True),
        ("dashboard-agent-listen-port", "52366", False, True),
        ("metrics-export-port", "8080", True, True),
        ("metrics-export-port", "9090", False, False),
        ("dashboard-host", "127.0.0.1", False, True),
        ("dashboard-host", "$POD_IP", False, True),
        ("dashboard-host", "0.0.0.0", True, True),
        ("include-dashboard", "true", True, False),
        ("include-dashboard", "false", False, False),
        ("head", "true", True, False),
        ("address", "other:6379", False, False),
        ("address", "$FQ_RAY_IP:6379", False, True),
        ("block", "true", True, True),
        ("block", "false", False, False),
        ("node-ip-address", "$MY_POD_IP", True, True),
        ("node-ip-address", "127.0.0.1", True, True),
        ("node-ip-address", "10.0.0.7", False, False),
        ("num-cpus", "0", True, True),
        ("no-monitor", "true", True, True),
    ],
)
def test_what_the_rest_of_the_manifest_depends_on_keeps_its_value(
    name: str, value: str, head: bool, worker: bool
) -> None:
    for is_head, allowed in ((True, head), (False, worker)):
        texts = start_params.problems({name: value}, head=is_head, ray_version=DEFAULT_RAY_VERSION, autoscaling=True)
        assert (not list(texts)) == allowed


def test_what_the_shell_of_the_pod_replaces_is_not_checked() -> None:
    assert found(num_cpus="$(nproc)", node_ip_address="$MY_POD_IP", temp_dir="/tmp/$(hostname)") == {}


def test_an_option_of_another_version_of_ray_is_a_warning() -> None:
    def settings(version: str, name: str) -> Any:
        groups = {"a": {"rayStartParams": {name: "1"}}}
        return parse({"clusters": [{"rayVersion": version, "workerGroups": groups}]})

    (warning,) = settings("2.61.0", "num-tpus").warnings()
    assert warning.startswith("clusters[0].workerGroups.a.rayStartParams.num-tpus: `ray start` of Ray 2.60.0 has no")
    assert "did you mean num-" in warning
    build_and_check(settings("2.61.0", "num-tpus"), tree("v1.7.0"))
    with pytest.raises(StackError, match="did you mean"):
        settings(DEFAULT_RAY_VERSION, "num-tpus")
    with pytest.raises(StackError, match=r"did you mean num-cpus\?"):
        settings("2.61.0", "num_cpus")  # no version has underscores
