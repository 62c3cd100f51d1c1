"""The contract that the stack exports is the one that `rayjobs` reads."""

from __future__ import annotations

import json

from components.manifests.contract import contract
from components.settings import parse
from jobs.target import contract as schema


def test_what_the_stack_exports_is_read_back_field_by_field() -> None:
    ingress = {"host": "ray.example.com", "tlsSecret": "tls", "controllerNamespace": "ingress"}
    clusters = [{"ingress": ingress}, {"name": "open", "auth": "disabled", "keeper": {"image": "rayjobs:1"}}]
    monitoring = {"prometheusHost": "http://prometheus.monitoring:9090"}
    settings = parse({"kubeconfig": "/k", "monitoring": monitoring, "clusters": clusters})
    exported = contract(settings, project="p", stack="dev", context="kind-ray", cluster_uid="6d3c")
    read = schema.parse(json.dumps(exported), "stack dev")
    # As text: the order of fields is that of docs/architecture.md.
    assert json.dumps(read.to_dict()) == json.dumps(exported)
    assert read.prometheus == "http://prometheus.monitoring:9090"
    assert read.cluster("open").auth_secret is None
    assert read.cluster("open").keeper == schema.KeeperService("open-keeper", 8270)
    assert read.cluster("raycluster-autoscaler").external_url == "https://ray.example.com"
