"""What a jobs file expands to, and the ids of its jobs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.batch import jobs_file as batch
from jobs.batch import sweep
from jobs.batch.jobs_file import Batch
from jobs.errors import Refused
from jobs.spec.job_spec import JobFields


def expand(content: str, *sweeps: str) -> Batch:
    return batch.parse(content, Path("/base"), "jobs.yaml", "jobs", sweep.parse(sweeps))


def test_a_jobs_file_merges_defaults_and_multiplies_what_uses_the_sweep() -> None:
    found = expand(
        """
        name: tune
        concurrency: 3
        sweep: {lr: [1e-3, 0.5], seed: 0..1}
        defaults:
          working_dir: src
          runtime_env: {env_vars: {A: "1"}}
          metadata: {team: a}
          entrypoint_num_cpus: 2
        jobs:
          - {name: train, entrypoint: "python t.py {lr} {seed}", metadata: {kind: train}}
          - {entrypoint: [python, report.py], working_dir: "s3://b/p.zip"}
        """,
        "seed=7",
    )
    assert (found.name, found.concurrency) == ("tune", 3)
    assert [job.request.spec.entrypoint for job in found.jobs] == [
        "python t.py 1e-3 7", "python t.py 0.5 7", "python report.py",
    ]  # fmt: skip
    first, last = found.jobs[0].request.spec, found.jobs[-1].request.spec
    assert first.metadata == {"lr": "1e-3", "seed": "7", "team": "a", "kind": "train"}
    assert (first.working_dir, last.working_dir) == ("/base/src", "s3://b/p.zip")
    assert first.runtime_env == {"env_vars": {"A": "1"}, "working_dir": "/base/src"}
    assert first.entrypoint_num_cpus == 2


def test_everything_wrong_in_a_jobs_file_is_said_at_once() -> None:
    with pytest.raises(Refused) as caught:
        expand(
            """
            concurency: 3
            concurrency: 0
            defaults: {name: x}
            jobs:
              - {entrypoint: "a", gpus: 1}
              - {name: b}
              - {entrypoint: "c", metadata: {seed: 1}, entrypoint_num_cpus: "2"}
              - just text
            """
        )
    said = str(caught.value)
    for part in [
        "concurency: is not known; did you mean concurrency? allowed: name, concurrency",
        "concurrency: must be at least 1",
        "defaults.name: is not known",
        "jobs[0].gpus: is not known",
        "jobs[1].entrypoint: is missing",
        "jobs[2].metadata.seed: must be a string",
        "jobs[2].entrypoint_num_cpus: must be a number, it is a string",
        "jobs[3]: must be an object",
    ]:
        assert part in said


@pytest.mark.parametrize("content", ["", "[]", "jobs:", "jobs: []", "jobs: {}"])
def test_a_jobs_file_without_jobs_is_refused(content: str) -> None:
    with pytest.raises(Refused, match="jobs"):
        expand(content)


def test_a_missing_or_malformed_jobs_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"no jobs file .*none\.yaml"):
        batch.from_file(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("jobs: [}")
    with pytest.raises(Refused, match=r"bad\.yaml is not YAML at line 1"):
        batch.from_file(tmp_path / "bad.yaml")


def test_ids_are_the_same_every_time_and_different_for_every_job() -> None:
    whole = batch.from_sweep(["python", "{path}"], {}, {"path": ["a/b", "a:b", "a_b", "x" * 200, "x" * 201, "é"]})
    first, second = batch.with_ids(whole, "my sweep"), batch.with_ids(whole, "my sweep")
    ids = [job.request.submission_id for job in first.jobs]
    assert ids == [job.request.submission_id for job in second.jobs]
    assert len(set(ids)) == 6
    from jobs.spec.submission_id import check_submission_id

    assert [check_submission_id(str(each)) for each in ids] == ids


def test_without_a_name_other_content_is_another_batch() -> None:
    one = batch.with_ids(batch.from_sweep(["python", "{a}"], {"working_dir": "gcs://1.zip"}, {"a": ["1"]}))
    two = batch.with_ids(batch.from_sweep(["python", "{a}"], {"working_dir": "gcs://2.zip"}, {"a": ["1"]}))
    assert one.name != two.name


def test_two_equal_jobs_in_a_batch_are_refused() -> None:
    whole = expand("jobs: [{name: a, entrypoint: x}, {name: a, entrypoint: x}]")
    with pytest.raises(Refused, match="are equal"):
        batch.with_ids(whole)


def test_the_derived_names_and_ids_never_change() -> None:
    """`--resume` of a batch without a name depends on them, also after an update of this program."""
    fields: JobFields = {
        "working_dir": "gcs://_ray_pkg_1.zip",
        "runtime_env": {"env_vars": {"X": "1"}},
        "metadata": {},
        "entrypoint_num_gpus": 1.0,
        "entrypoint_resources": {},
        "entrypoint_label_selector": {},
    }
    swept = batch.with_ids(batch.from_sweep(["python", "{a}"], fields, {"a": ["1", "b/c"]}))
    assert [job.submission_id for job in swept.jobs] == ["batch-2e321d335e-a1", "batch-2e321d335e-ab_c-465c217f"]
    jobs = """
        - {name: t, entrypoint: [python, t.py], working_dir: "s3://b/p.zip", entrypoint_num_cpus: 2}
        - {name: ü, entrypoint: x}
    """
    listed = batch.with_ids(replace(expand(f"jobs:{jobs}"), name=None))
    assert [job.submission_id for job in listed.jobs] == ["batch-f4c853a17a-t", "batch-f4c853a17a-_-993d773c"]


def test_what_ray_would_fail_is_named_for_every_job_at_once_and_once_for_a_sweep() -> None:
    content = {
        "jobs": [
            {"entrypoint": "a {i}", "runtime_env": {"env_vars": {"A": 1}}, "entrypoint_resources": {"CPU": 1}},
            {"entrypoint": "b", "runtime_env": {"pip": ["a"], "uv": ["b"]}},
        ]
    }
    with pytest.raises(Refused) as refused:
        batch.parse(json.dumps(content), Path(), "jobs.yaml", "", {"i": ["1", "2"]})
    message = refused.value.message
    assert message.startswith("jobs.yaml cannot be used:\n  jobs[0]: runtime_env.env_vars.A is a number")
    assert message.count("entrypoint_resources.CPU") == 1
    assert "jobs[1]: runtime_env.pip and uv are set together" in message


def in_file(tmp_path: Path, content: str) -> Batch:
    file = tmp_path / "jobs.yaml"
    file.write_text(content)
    return batch.from_file(file)


def test_a_sweep_of_a_file_has_its_values_as_typed_like_one_of_the_command_line(tmp_path: Path) -> None:
    values = ["yes", "off", "True", "null", "01", "1.10", "1e3", "0x1F", "0o17", "1_000", "22:22", "2026-01-02", ".5"]
    line = "train.py {x}"
    jobs = in_file(tmp_path, f"sweep: {{x: [{', '.join(values)}]}}\njobs: [{{entrypoint: '{line}'}}]").jobs
    assert [job.params["x"] for job in jobs] == values
    typed = batch.from_sweep([line], JobFields(), sweep.parse([f"x={','.join(values)}"])).jobs
    assert [job.request.spec.entrypoint for job in jobs] == [job.request.spec.entrypoint for job in typed]


def test_the_words_of_an_entrypoint_are_as_typed(tmp_path: Path) -> None:
    words = "[python, t.py, --seed, 01, --version, 1.10, --flag, yes, --since, 2026-01-02]"
    file = f"defaults: {{entrypoint: {words}}}\njobs: [{{name: a}}, {{name: b, entrypoint: {words}}}]"
    expected = "python t.py --seed 01 --version 1.10 --flag yes --since 2026-01-02"
    assert [job.request.spec.entrypoint for job in in_file(tmp_path, file).jobs] == [expected, expected]


@pytest.mark.parametrize("words", ["[python, {a: b}]", "[python, [x]]", "[python, !!null x]"])
def test_a_word_that_is_no_text_is_refused(tmp_path: Path, words: str) -> None:
    with pytest.raises(Refused):
        in_file(tmp_path, f"jobs: [{{entrypoint: {words}}}]")


def test_an_alias_of_a_sweep_is_as_typed_too(tmp_path: Path) -> None:
    file = "sweep: {a: &seeds [01, 02], b: *seeds}\njobs: [{entrypoint: 'x {a} {b}'}]"
    assert [job.params for job in in_file(tmp_path, file).jobs][-1] == {"a": "02", "b": "02"}
