"""What Ray would refuse is refused before anything is sent, exactly as the installed Ray refuses it."""

from __future__ import annotations

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
]


@pytest.mark.parametrize("runtime_env", RUNTIME_ENVS, ids=str)
def test_a_runtime_env_is_refused_exactly_if_ray_refuses_it(runtime_env: dict[str, Any]) -> None:
    ray: Any = pytest.importorskip("ray.runtime_env")
    # The numbers in a list of packages pass in Ray until pip refuses them.
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
]


@pytest.mark.parametrize("resources", RESOURCES, ids=str)
def test_resources_are_refused_exactly_if_ray_refuses_them(resources: tuple[Any, ...]) -> None:
    common: Any = pytest.importorskip("ray.dashboard.modules.job.common")
    options: Any = pytest.importorskip("ray._common.ray_option_utils")
    utils: Any = pytest.importorskip("ray._common.utils")
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
        accepted = True
    except (ValueError, TypeError):
        accepted = False
    problems = list(resource_problems(*resources))
    assert (not problems) == accepted, problems


def test_a_gpu_and_a_half_is_refused_as_the_server_does() -> None:
    assert [key for key, _ in resource_problems(None, 1.5, None, None, None)] == ["entrypoint_num_gpus"]


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
