"""What Ray would refuse is refused before anything is sent, exactly as the installed Ray refuses it."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from jobs.errors import Refused
from jobs.spec.job_spec import JobSpec
from jobs.spec.runtime_env import resource_problems, runtime_env_problems

RUNTIME_ENVS: list[dict[str, Any]] = [
    {},
    {"env_vars": {"A": "1"}},
    {"env_vars": {"A": 1}},
    {"env_vars": {"A": True}},
    {"env_vars": {"A": None}},
    {"env_vars": ["A=1"]},
    {"env_vars": None},
    {"env_vars": {}},
    {"pip": ["a"], "uv": ["b"]},
    {"pip": ["a"], "conda": "env"},
    {"uv": ["a"], "conda": {"dependencies": []}},
    {"pip": ["a"], "uv": None},
    {"pip": ["a"]},
    {"pip": ["a", 1]},
    {"pip": 5},
    {"pip": {"packages": ["a"]}},
    {"pip": {}},
    {"pip": {"packages": ["a"], "pip_check": "yes"}},
    {"pip": {"packages": ["a"], "pip_check": True, "pip_version": "==23.0"}},
    {"pip": {"packages": ["a"], "pip_version": 23}},
    {"pip": {"packages": ["a"], "pip_install_options": "--pre"}},
    {"pip": {"packages": ["a"], "pip_install_options": ["--pre", 1]}},
    {"pip": {"packages": ["a"], "other": 1}},
    {"uv": ["a"]},
    {"uv": [1]},
    {"uv": {"packages": ["a"], "uv_check": 1}},
    {"uv": {"packages": ["a"], "uv_version": "==0.4"}},
    {"uv": {"packages": ["a"], "uv_pip_install_options": ["--pre"]}},
    {"uv": {"packages": "a"}},
    {"uv": {"packages": [1]}},
    {"uv": {"uv_check": True}},
    {"uv": {"packages": ["a"], "pip_check": True}},
    {"conda": "env"},
    {"conda": 5},
    {"conda": {"dependencies": ["pip"]}},
    {"excludes": ["data/"]},
    {"excludes": []},
    {"excludes": "data/"},
    {"excludes": [1]},
    {"working_dir": "s3://bucket/dir"},
    {"working_dir": "s3://bucket/a.zip"},
    {"working_dir": "https://example.com/a.tar.gz"},
    {"working_dir": "https://example.com/a.zip?token=1"},
    {"working_dir": "https://example.com/a.whl"},
    {"working_dir": "gs://bucket/a.tar.bz2"},
    {"working_dir": "ftp://example.com/a.zip"},
    {"working_dir": "local:///opt/code"},
    {"working_dir": "local://opt/code"},
    {"working_dir": "local:///opt/code.zip"},
    {"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip"},
    {"working_dir": 5},
    {"py_modules": ["s3://bucket/a.whl"]},
    {"py_modules": ["s3://bucket/a"]},
    {"py_modules": "s3://bucket/a.whl"},
    {"py_modules": [5]},
    {"config": {"setup_timeout_seconds": 60}},
    {"config": {"setup_timeout_seconds": -1}},
    {"config": {"setup_timeout_seconds": 0}},
    {"config": {"setup_timeout_seconds": "60"}},
    {"config": {"eager_install": False}},
    {"config": {"eager_install": "no"}},
    {"config": {"log_files": ["a"]}},
    {"config": {"log_files": "a"}},
    {"config": {"log_files": [1]}},
    {"config": []},
    {"container": {"image": "a"}, "env_vars": {"A": "1"}},
    {"container": {"image": "a"}, "pip": ["a"]},
    {"image_uri": "a"},
    {"image_uri": "a", "working_dir": "s3://bucket/a.zip"},
    {"image_uri": "a", "env_vars": {"A": "1"}, "config": {}},
    {"a_plugin_of_ours": {"any": 1}},
    {"working_dir": "https://example.com/a.zip#part"},
    {"working_dir": "s3://a.zip"},
    {"working_dir": "s3://bucket/a.zip/"},
    {"working_dir": "s3://bucket/a.zip/dir"},
    {"working_dir": "s3://bucket/zip"},
    {"working_dir": "S3://bucket/a.zip"},
    {"working_dir": "https://[::1/a.zip"},
    {"working_dir": "https://user:word@example.com/a.zip"},
    {"working_dir": "file:///mnt/a.tgz"},
    {"working_dir": "hdfs://host/a.zip"},
    {"working_dir": "local:///"},
    {"worker_process_setup_hook": "a.b"},
]


# Ray's client takes these. They fail on every node, or wait for ever for a process (seen with Ray 2.60).
FAILS_LATER: list[dict[str, Any]] = [
    {"pip": {"packages": ["a", 1]}},
    {"env_vars": []},
    {"env_vars": {"": "1"}},
    {"env_vars": {"A=B": "1"}},
    {"env_vars": {"A": "1\0"}},
    {"container": "image"},
    {"image_uri": 5},
    {"java_jars": "a.jar"},
    {"nsight": 5},
    {"rocprof_sys": [1]},
    {"py_executable": 5},
    {"worker_process_setup_hook": 5},
    {"conda": {"dependencies": [datetime.date(2026, 11, 27)]}},
    {"a_plugin_of_ours": {1, 2}},
]


@pytest.mark.parametrize("runtime_env", FAILS_LATER, ids=str)
def test_what_ray_takes_and_every_node_fails_is_refused_too(runtime_env: dict[str, Any]) -> None:
    ray: Any = pytest.importorskip("ray.runtime_env")
    ray.RuntimeEnv(**runtime_env)
    assert list(runtime_env_problems(runtime_env))


def test_a_directory_with_a_colon_in_its_name_is_a_local_directory() -> None:
    assert not list(runtime_env_problems({"working_dir": "runs/a:1"}))
    assert not list(runtime_env_problems({"working_dir": "run:1"}))


def test_keys_are_texts() -> None:
    assert list(runtime_env_problems({1: "a"})) == [("", "has a key that is a number; allowed: a text")]  # type: ignore[dict-item]


@pytest.mark.parametrize("runtime_env", RUNTIME_ENVS, ids=str)
def test_a_runtime_env_is_refused_exactly_if_ray_refuses_it(runtime_env: dict[str, Any]) -> None:
    ray: Any = pytest.importorskip("ray.runtime_env")
    try:
        ray.RuntimeEnv(**runtime_env)
        accepted = True
    except (ValueError, TypeError):
        accepted = False
    problems = list(runtime_env_problems(runtime_env))
    assert (not problems) == accepted, problems


# num_cpus, num_gpus, memory, resources, label_selector
RESOURCES: list[tuple[Any, Any, Any, Any, Any]] = [
    (None, None, None, None, None),
    (1, 0.5, 1024, {"x": 1}, {"a": "b"}),
    (-1, None, None, None, None),
    (0.00001, None, None, None, None),
    ("1", None, None, None, None),
    (None, -0.5, None, None, None),
    (None, None, 1.5, None, None),
    (None, None, -1, None, None),
    (None, None, None, {"CPU": 1}, None),
    (None, None, None, {"GPU": 1}, None),
    (None, None, None, {"memory": 1}, None),
    (None, None, None, {"object_store_memory": 1}, None),
    (None, None, None, {"x": -1}, None),
    (None, None, None, {"x": "1"}, None),
    (None, None, None, {"x": 1.5}, None),
    (None, None, None, ["x"], None),
    (None, None, None, None, {"a": 1}),
    (None, None, None, None, ["a"]),
    (None, None, None, None, {"a": ""}),
    (None, None, None, None, {"a": "b c"}),
    (None, None, None, None, {"a": "!in(b, c)", "x.example/a": "in(b)", "c": "!d", "d": "(a,b)"}),
    (None, None, None, None, {"a": "in()"}),
    (None, None, None, None, {"a": "!!b"}),
    (None, None, None, None, {"a": "gt(1)"}),
    (None, None, None, None, {"a": "x" * 63, "b" * 63: "c"}),
    (None, None, None, None, {"a": "x" * 64}),
    (None, None, None, None, {"b" * 64: "c"}),
    (None, None, None, None, {"": "c"}),
    (None, None, None, None, {"-a": "c"}),
    (None, None, None, None, {"a_b/c": "c", "a..b/c": "d"}),
    (None, None, None, None, {"a/b/c": "c"}),
    (None, None, None, None, {"/c": "c"}),
]


@pytest.mark.parametrize("resources", RESOURCES, ids=str)
def test_resources_are_refused_exactly_if_ray_refuses_them(resources: tuple[Any, ...]) -> None:
    common: Any = pytest.importorskip("ray.dashboard.modules.job.common")
    options: Any = pytest.importorskip("ray._common.ray_option_utils")
    utils: Any = pytest.importorskip("ray._common.utils")
    label_utils: Any = pytest.importorskip("ray._private.label_utils")
    cpus, gpus, memory, custom, labels = resources
    try:
        common.JobSubmitRequest(
            "true",
            entrypoint_num_cpus=cpus,
            entrypoint_num_gpus=gpus,
            entrypoint_memory=memory,
            entrypoint_resources=custom,
            entrypoint_label_selector=labels,
        )
        given = {"num_cpus": cpus, "num_gpus": gpus, "memory": memory, "resources": custom}
        given = {key: value for key, value in given.items() if value is not None}
        options.validate_actor_options(given, in_options=True)
        utils.resources_from_ray_options(given)
        if error := label_utils.validate_label_selector(labels):
            raise ValueError(error)
        accepted = True
    except (ValueError, TypeError):
        accepted = False
    problems = list(resource_problems(*resources))
    assert (not problems) == accepted, problems


def test_a_gpu_and_a_half_is_refused_as_the_server_does() -> None:
    assert [key for key, _ in resource_problems(None, 1.5, None, None, None)] == ["entrypoint_num_gpus"]


def test_numbers_without_end_are_refused() -> None:
    problems = list(resource_problems(float("inf"), float("inf"), None, {"x": float("nan")}, None))
    assert [key for key, _ in problems] == ["entrypoint_num_cpus", "entrypoint_num_gpus", "entrypoint_resources.x"]


def test_a_tuple_of_a_python_program_is_a_list() -> None:
    """It is one in the JSON that is sent."""
    assert not list(runtime_env_problems({"excludes": ("data/",), "pip": ("a",), "py_modules": ("s3://b/c.whl",)}))


def test_all_problems_are_named_at_once_and_no_value_is_shown() -> None:
    with pytest.raises(Refused) as refused:
        JobSpec.from_fields(
            "true",
            runtime_env={"env_vars": {"TOKEN": 987654321}, "pip": ["a"], "uv": ["b"], "working_dir": "s3://b/dir"},
            entrypoint_resources={"CPU": 1},
        )
    text = refused.value.message
    for words in (
        "runtime_env.env_vars.TOKEN is a number; allowed: a text, so put it into quotes.",
        "runtime_env.pip and uv are set together",
        "runtime_env.working_dir is a URI of no archive",
        "entrypoint_resources.CPU is no custom resource; use entrypoint_num_cpus (--entrypoint-num-cpus)",
    ):
        assert words in text, text
    assert "987654321" not in text
