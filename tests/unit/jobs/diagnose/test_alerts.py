"""What `why` says of the alerts in an answer of Prometheus."""

from __future__ import annotations

import time
from typing import Any

import pytest

from jobs.diagnose.alerts import MOST_SHOWN, alerts_of
from jobs.diagnose.evidence import Evidence, Gap
from jobs.diagnose.finding import ALERT, Finding
from jobs.diagnose.why import explain
from jobs.spec.job_info import JobInfo

NOW = 1_795_800_000.0


def alert(name: str = "RayHeadDown", state: str = "firing", at: str = "", **labels: str) -> dict[str, Any]:
    """An alert of the cluster ray-cluster/ray as Prometheus has it."""
    of_cluster = {"ray_io_cluster": "ray", "namespace": "ray-cluster", "severity": "warning"}
    return {
        "labels": {"alertname": name, **of_cluster, **labels},
        "annotations": {"summary": "The head does not answer.", "runbook": "rayjobs check"},
        "state": state,
        "activeAt": at or time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime(NOW - 1330)),
        "value": "1e+00",
    }


def answer(*alerts: dict[str, Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"alerts": list(alerts)}}


def names(*alerts: dict[str, Any], cluster: str | None = "ray") -> list[str]:
    return [each.name for each in alerts_of(answer(*alerts), cluster, cluster and "ray-cluster", "ray-system")]


def said(*alerts: dict[str, Any], submission_id: str | None = None, **found: Any) -> list[Finding]:
    own = alerts_of(answer(*alerts), "ray", "ray-cluster", "ray-system")
    base: dict[str, Any] = {"ray_reached": True, "cluster": "ray", "namespace": "ray-cluster", "read_at": NOW}
    return explain(Evidence(submission_id, alerts=own, **{**base, **found}))


def test_an_alert_has_name_severity_since_when_summary_and_runbook() -> None:
    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW - 1330))
    text = f"RayHeadDown (critical) since {local} (22m10s): The head does not answer."
    assert said(alert(severity="critical")) == [Finding(ALERT, text, "rayjobs check")]


def test_only_alerts_that_fire_for_this_cluster_or_its_operator_count() -> None:
    others = [
        alert("Pending", state="pending"),
        alert("OtherCluster", ray_io_cluster="ray-2"),
        alert("OtherNamespace", namespace="other"),
        alert("KubeRayOfOthers", ray_io_cluster="ray-2", namespace="other"),
        {"labels": {"alertname": "NodeDown", "namespace": "ray-cluster"}, "state": "firing"},
        {"labels": {"alertname": "NotOurs", "namespace": "ray-system"}, "state": "firing"},
    ]
    operator = {"labels": {"alertname": "KubeRayOperatorDown", "namespace": "ray-system"}, "state": "firing"}
    assert sorted(names(*others, operator, alert())) == ["KubeRayOperatorDown", "RayHeadDown"]


def test_an_address_has_no_cluster_so_those_of_all_clusters_count_with_their_names() -> None:
    other = alert(ray_io_cluster="ray-2", namespace="other")
    node = {"labels": {"alertname": "NodeDown", "namespace": "ray-cluster"}, "state": "firing"}
    found = alerts_of(answer(other, node), None, None)
    texts = [each.text for each in explain(Evidence(None, ray_reached=True, alerts=found, read_at=NOW))]
    assert [text.partition(" since")[0] for text in texts] == ["RayHeadDown (warning) of other/ray-2"]


def test_critical_alerts_come_first_and_then_the_older_ones() -> None:
    old, new = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00.5+01:00"
    alerts = [
        alert("Info", severity="info", at=old),
        alert("New", at=new),
        alert("Old", at=old),
        alert("Critical", severity="critical", at=new),
    ]
    assert names(*alerts) == ["Critical", "Old", "New", "Info"]


def test_what_an_alert_does_not_have_is_left_out() -> None:
    bare = {"labels": alert()["labels"], "state": "firing", "activeAt": "0001-01-01T00:00:00Z", "annotations": None}
    assert said(bare) == [Finding(ALERT, "RayHeadDown (warning)")]


def test_the_description_has_the_numbers_and_follows_the_summary() -> None:
    annotations = {"summary": "Workers are missing", "description": "2 pods run,\nthe stack has at least 3.\n"}
    [finding] = said({**alert(), "annotations": annotations})
    assert finding.text.endswith("): Workers are missing. 2 pods run, the stack has at least 3.")


def test_a_runbook_url_of_other_rules_is_shown_too() -> None:
    [finding] = said({**alert(), "annotations": {"runbook_url": "https://runbooks/x"}})
    assert finding.remedy == "https://runbooks/x"


def test_alerts_come_after_the_findings_of_the_job_and_before_what_was_not_read() -> None:
    job = JobInfo("a", "FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=127)
    found = said(alert(), submission_id="a", job=job, gaps=[Gap("events", "no right")])
    assert [each.kind for each in found] == ["fact", "cause", "alert", "unread"]


def test_an_alert_is_a_problem_of_the_cluster_but_no_cause_of_a_job() -> None:
    assert [each.text for each in said()] == ["No problems found."]
    assert [each.kind for each in said(alert())] == ["alert"]
    found = said(alert(), submission_id="a", job=JobInfo("a", "RUNNING"))
    assert [each.text for each in found if each.kind == "clue"] == ["No cause found."]


def test_a_cluster_with_very_many_alerts_has_an_end() -> None:
    found = said(*(alert(pod=f"w{number}", severity=f"s{number:02}") for number in range(MOST_SHOWN + 5)))
    assert len(found) == MOST_SHOWN + 1
    assert found[-1].text == "5 more alerts of lower severity or later."


def test_what_others_wrote_into_an_alert_is_shown_without_secrets_and_control_characters() -> None:
    texts = {"summary": "\x1b[2J https://u:hunter2hunter2@h", "runbook": "\x1b[31m curl https://u:hunter2hunter2@h"}
    [finding] = said({**alert("Ray\x1b[0m"), "annotations": texts})
    assert "hunter2" not in finding.text + finding.remedy
    assert "\x1b" not in finding.text + finding.remedy


@pytest.mark.parametrize("wrong", [{}, {"data": []}, {"data": {"alerts": [5]}}, {"data": {"alerts": None}}])
def test_an_answer_of_another_form_is_an_error_that_the_caller_expects(wrong: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, AttributeError)):
        alerts_of(wrong, "ray", "ray-cluster", "ray-system")
