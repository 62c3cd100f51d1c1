"""The alerts that fire, from an answer of Prometheus to findings. Pure."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import number_of
from ..spec.durations import show_duration
from ..spec.shown import SENTENCE_LIMIT, shown
from .finding import Finding, alert

# A cluster without nodes has an alert for each pod that waits: the text for people ends somewhere.
MOST_SHOWN = 20
_SEVERITIES = ("critical", "warning")
_OF_OPERATOR = "KubeRay"


@dataclass(frozen=True)
class Alert:
    """An alert that fires.

    Attributes:
        name: Its name.
        severity: Such as `critical`; may be empty.
        since: Since when its expression is true, in seconds since the epoch; None if that is not known.
        summary: What is wrong, in one or two sentences; may be empty.
        runbook: What to do; may be empty.
        place: NAMESPACE/NAME of its Ray cluster, or the namespace of the operator.
    """

    name: str
    severity: str
    since: float | None
    summary: str
    runbook: str
    place: str


def alerts_of(
    answer: Any, cluster: str | None, namespace: str | None, operator_namespace: str | None = None
) -> list[Alert]:
    """Returns the alerts that fire for a Ray cluster and for its operator: critical ones first, then the older ones.

    Args:
        answer: The JSON of `GET /api/v1/alerts` (https://prometheus.io/docs/prometheus/latest/querying/api/#alerts).
        cluster: Name of the RayCluster, which the label `ray_io_cluster` has; None: those of all Ray clusters.
        namespace: Its namespace.
        operator_namespace: The operator's, whose alerts have names that begin with `KubeRay`.

    Raises:
        TypeError, KeyError, AttributeError: The answer has another form.
    """
    alerts = []
    for each in answer["data"]["alerts"]:
        labels, annotations = _texts(each.get("labels")), _texts(each.get("annotations"))
        name, of_cluster = labels.get("alertname", ""), labels.get("ray_io_cluster")
        of_operator = name.startswith(_OF_OPERATOR) and (
            cluster is None or labels.get("namespace") == operator_namespace is not None
        )
        of_this_cluster = of_cluster is not None and (
            cluster is None or (of_cluster, labels.get("namespace")) == (cluster, namespace)
        )
        if each.get("state") != "firing" or not (of_operator or of_this_cluster):
            continue
        alerts.append(
            Alert(
                name=name,
                severity=labels.get("severity", ""),
                since=_time(each.get("activeAt")),
                summary=_sentences(annotations.get("summary", ""), annotations.get("description", "")),
                runbook=_line(annotations.get("runbook") or annotations.get("runbook_url", "")),
                place="/".join(filter(None, (labels.get("namespace"), of_cluster))),
            )
        )
    return sorted(alerts, key=_order)


def _texts(value: Any) -> Mapping[str, str]:
    return {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}


def _time(text: Any) -> float | None:
    """Returns a time of Go, such as `2026-11-27T16:40:05.123456789Z`, in seconds since the epoch."""
    try:
        seconds = datetime.fromisoformat(re.sub(r"\.\d+", "", text).replace("Z", "+00:00")).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return seconds if seconds > 0 else None  # Go's zero time is the year 1.


def _order(alert: Alert) -> tuple[int, float, str]:
    rank = _SEVERITIES.index(alert.severity) if alert.severity in _SEVERITIES else len(_SEVERITIES)
    return rank, alert.since or 0.0, alert.name


def about_alerts(alerts: Sequence[Alert], now: float, *, with_place: bool) -> Iterator[Finding]:
    """Yields a finding for each alert, and one for those after MOST_SHOWN.

    Args:
        alerts: The alerts, the most important first.
        now: When they were read, in seconds since the epoch.
        with_place: Name the Ray cluster of each.
    """
    for each in alerts[:MOST_SHOWN]:
        severity = f" ({each.severity})" if each.severity else ""
        place = f" of {each.place}" if with_place and each.place else ""
        since = f" since {_local(each.since)} ({show_duration(now - each.since)})" if each.since else ""
        text = f"{each.name}{severity}{place}{since}{f': {each.summary}' if each.summary else ''}"
        yield alert(text, shown(each.runbook, SENTENCE_LIMIT))
    if len(alerts) > MOST_SHOWN:
        yield alert(f"{number_of(len(alerts) - MOST_SHOWN, 'more alert')} of lower severity or later.")


def _local(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _line(text: str) -> str:
    """Returns the text in one line: YAML of a rule often ends with a new line, or has some inside."""
    return " ".join(text.split())


def _sentences(*texts: str) -> str:
    return " ".join(f"{_line(text).rstrip('.')}." for text in texts if text.strip())
