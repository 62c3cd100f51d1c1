"""A stack for every option; the manifests of each are in golden/, and on a real API server in tests/cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from components.checks.rayclusters import build_and_check
from components.kuberay import overlay
from components.manifests import objects
from components.manifests.contract import contract
from components.settings import Settings, parse
from tests.support.trees import tree

GOLDEN = Path(__file__).with_name("golden")
Config = dict[str, Any]


def _one(**cluster: Any) -> Config:
    return {"clusters": [cluster]}


EVERYTHING_OF_A_POD: Config = {
    "cpu": "4",
    "memory": "16Gi",
    "requests": {"cpu": "3500m"},
    "ephemeralStorage": "100Gi",
    "rayStartParams": {"object-store-memory": 1000000000},
    "rayLabels": {"tier": "a"},
    "env": {"PLAIN": 1, "FROM_SECRET": {"secret": "s3", "key": "token"}},
    "envFromSecrets": ["more"],
    "labels": {"team": "vision"},
    "annotations": {"owner": "vision@example.com"},
    "nodeSelector": {"pool": "ray"},
    "tolerations": [{"key": "ray", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "podAffinityTerm": {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"team": "vision"}},
                    },
                }
            ]
        }
    },
    "topologySpreadConstraints": [
        {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"team": "vision"}},
        }
    ],
    "priorityClassName": "high",
    "imagePullSecrets": ["pull"],
    "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "50Gi"}}],
    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    "securityContext": {"readOnlyRootFilesystem": False},
    "podSecurityContext": {"fsGroup": 100},
    "podTemplate": {"spec": {"terminationGracePeriodSeconds": 120}},
}

CASES: dict[str, Config] = {
    "default": {},
    "pod-options": _one(workerGroups={"all": EVERYTHING_OF_A_POD}),
    "env-order": _one(
        # Sorted by name, as the engine gives mappings.
        head={"env": {"A_URL": "http://$(Z_HOST):$(PORT)", "PORT": "80", "SHELL": "$(date) $$(PORT)", "Z_HOST": "h"}},
        workerGroups={
            "list": {
                "env": [
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "KEY", "secret": "s3", "key": "token"},
                    {"name": "A_URL", "value": "http://$(POD_IP)/$(KEY)"},
                    {"name": "EMPTY"},
                ]
            }
        },
        autoscaling={"env": {"A": "$(B)", "B": "1"}},
    ),
    "gpu": _one(workerGroups={"gpu": {"gpu": 2, "cpu": 8, "memory": "64Gi", "min": 0, "idleTimeoutSeconds": 300}}),
    "spot-with-fallback": _one(
        workerGroups={
            "spot": {"min": 0, "priority": 10, "nodeSelector": {"lifecycle": "spot"}},
            "on-demand": {"min": 0, "priority": 0},
        }
    ),
    "escape-hatch": _one(
        spec={
            "headServiceAnnotations": {"a": "b"},
            "workerGroupSpecs": [{"groupName": "small-group", "numOfHosts": 4}],
        }
    ),
    "ray-resources": _one(head={"rayResources": {"disk": 1}}, workerGroups={"w": {"rayResources": {"CPU": 8}}}),
    "autoscaling-off": _one(autoscaling={"enabled": False}, workerGroups={"w": {"replicas": 3}}),
    "autoscaling-v1": _one(autoscaling={"version": "v1", "idleTimeoutSeconds": 30, "upscalingMode": "Conservative"}),
    "autoscaler-sizes": _one(
        autoscaling={
            "resources": {"cpu": 1, "memory": "1Gi", "requests": {"cpu": "100m", "memory": "256Mi"}},
            "env": {"RAY_LOG_TO_STDERR": 1},
        }
    ),
    "head-sizes": _one(head={"cpu": 2, "memory": "8Gi", "requests": {"memory": "8Gi"}}),
    "labels-and-annotations": _one(labels={"team": "vision"}, annotations={"owner": "vision@example.com"}),
    "own-account-and-gpu": _one(
        workerGroups={"amd": {"gpu": 1, "gpuResource": "amd.com/gpu", "serviceAccountName": "team-account"}}
    ),
    "allowed-in-writing": _one(image="r.example/ray:nightly", rayVersion="2.53.0", allow=["old-ray", "moving-tag"]),
    "suspended": _one(suspend=True),
    "upgrade-strategy": _one(upgradeStrategy="Recreate"),
    "own-image": _one(image="r.example:5000/team/ray:2.58.0-gpu", imagePullPolicy="Always"),
    "own-token": _one(auth={"mode": "token", "secretName": "team-token"}),
    "no-token": _one(auth="disabled"),
    "fault-tolerance-trial": _one(faultTolerance={"redis": {"inCluster": True}}),
    "fault-tolerance-trial-password": _one(
        faultTolerance={"redis": {"inCluster": True, "password": {"secret": "redis", "key": "password"}}}
    ),
    "fault-tolerance-trial-image": _one(
        faultTolerance={"redis": {"inCluster": True, "image": "r.example/redis:7.4.1"}}
    ),
    "fault-tolerance-external": _one(
        faultTolerance={
            "redis": {
                "address": "rediss://redis.example.com:6380",
                "username": {"secret": "redis", "key": "user"},
                "password": {"secret": "redis", "key": "password"},
            },
            "storageNamespace": "team-a",
            "deletionTimeoutSeconds": 200,
        }
    ),
    "fault-tolerance-no-password": _one(
        faultTolerance={"redis": {"address": "[fd00::1]:6379"}}, allow=["redis-without-password"]
    ),
    "network-policy-off": _one(networkPolicy={"enabled": False}),
    "network-policy-allow-from": _one(
        networkPolicy={
            "allowFrom": [
                {"namespaceSelector": {"matchLabels": {"team": "notebooks"}}},
                {"ipBlock": {"cidr": "10.0.0.0/8"}},
            ]
        }
    ),
    "ingress": _one(
        ingress={
            "host": "ray.example.com",
            "tlsSecret": "ray-tls",
            "className": "nginx",
            "controllerNamespace": "ingress-nginx",
            "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
        }
    ),
    "ingress-alb": _one(
        ingress={
            "host": "ray.example.com",
            "className": "alb",
            "annotations": {
                "alb.ingress.kubernetes.io/certificate-arn": "arn:aws:acm:eu-west-1:111122223333:certificate/a",
                "alb.ingress.kubernetes.io/target-type": "ip",
            },
        },
        networkPolicy={"allowFrom": [{"ipBlock": {"cidr": "10.0.0.0/16"}}]},
    ),
    "load-balancer": _one(loadBalancer={"sourceRanges": ["10.0.0.0/8"], "annotations": {"internal": True}}),
    "restricted": {
        "namespaces": {"ray-cluster": {"podSecurity": "restricted", "labels": {"team": "a"}}},
        "clusters": [{"podSecurity": "restricted", "faultTolerance": {"redis": {"inCluster": True}}}],
    },
    "service-account": _one(serviceAccount={"annotations": {"example.com/identity": "ray"}}),
    "no-service-account": _one(serviceAccount={"create": False}),
    "disruption-budget": _one(headDisruptionBudget=True),
    "job-users": _one(
        jobUsers=[
            {"kind": "Group", "name": "data-science"},
            {"kind": "ServiceAccount", "name": "ci", "namespace": "ci"},
        ]
    ),
    "job-users-exec": _one(jobUsers=[{"kind": "Group", "name": "admins", "exec": True}]),
    "quota": {"namespaces": {"ray-cluster": {"quota": {"cpu": 20, "memory": "80Gi", "gpu": 0, "pods": 30}}}},
    "quota-fit": {
        "namespaces": {"ray-cluster": {"quota": "fit"}},
        "clusters": [{}, {"name": "second", "workerGroups": {"gpu": {"gpu": 1, "max": 3, "numOfHosts": 2}}}],
    },
    "limits": {
        "namespaces": {
            "ray-cluster": {
                "limits": {
                    "default": {"cpu": 1, "memory": "1Gi"},
                    "defaultRequest": {"cpu": "100m", "memory": "1Gi"},
                    "max": {"cpu": 8, "memory": "32Gi"},
                }
            }
        }
    },
    "monitoring": {
        "monitoring": {"podMonitor": True, "rules": True},
        "clusters": [{}, {"name": "fixed", "autoscaling": {"enabled": False}}],
    },
    "monitoring-elsewhere": {
        "monitoring": {
            "podMonitor": {"labels": {"release": "prometheus"}, "interval": "15s", "namespace": "monitoring"},
            "rules": {"labels": {"release": "prometheus"}, "namespace": "monitoring"},
            "scrapeFrom": [
                {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
                }
            ],
            "prometheusHost": "http://prometheus.monitoring:9090/",
            "grafanaHost": "https://grafana.example.com",
        },
    },
    "monitoring-annotations": {"monitoring": {"scrapeAnnotations": True}},
    "monitoring-existing-operator": {
        "monitoring": {"podMonitor": True, "rules": True},
        "kuberay": {"operator": "existing"},
        "clusters": [{"createNamespace": False}],
    },
    "keeper": _one(keeper={"image": "registry.example.com/rayjobs:0.1.0"}),
    "keeper-everything": {
        "monitoring": {"podMonitor": True, "rules": True, "prometheusHost": "http://p.monitoring:9090"},
        "clusters": [
            {
                "createNamespace": False,
                "jobUsers": [{"kind": "Group", "name": "data-science"}],
                "keeper": {
                    "image": "registry.example.com/rayjobs:0.1.0",
                    "storage": "50Gi",
                    "storageClass": "fast",
                    "retainDays": 365,
                    "retainBytes": "30Gi",
                    "logBytes": "1Gi",
                    "resources": {"cpu": 2, "memory": "1Gi", "requests": {"cpu": "200m", "memory": "512Mi"}},
                    "retain": True,
                    "imagePullSecrets": ["pull"],
                    "nodeSelector": {"pool": "system"},
                    "tolerations": [{"key": "system", "operator": "Exists"}],
                },
            },
            {"name": "second", "namespace": "second"},
        ],
    },
    "keeper-elsewhere": {
        "monitoring": {
            "podMonitor": {"namespace": "monitoring"},
            "scrapeFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        },
        "clusters": [{"auth": "disabled", "suspend": True, "keeper": {"image": "r.example/rayjobs:0.1.0"}}],
    },
    "keeper-annotations": {
        "monitoring": {"scrapeAnnotations": True},
        "clusters": [{"networkPolicy": {"enabled": False}, "keeper": {"image": "r.example/rayjobs:0.1.0"}}],
    },
    "keeper-quota": {
        "namespaces": {"ray-cluster": {"quota": "fit", "podSecurity": "restricted"}},
        "clusters": [{"podSecurity": "restricted", "keeper": {"image": "r.example/rayjobs:0.1.0"}}],
    },
    "existing-namespace": _one(namespace="default", createNamespace=False),
    "several-clusters": {"clusters": [{}, {"name": "second", "namespace": "other"}]},
    "v1.6.2": {"kuberay": {"version": "v1.6.2"}},
    "v0.3.0": {
        "kuberay": {"version": "v0.3.0"},
        "clusters": [{"auth": "disabled", "readiness": "state", "autoscaling": {"enabled": False}}],
    },
}


# Options of the operator, which end in its overlay.
OPERATOR_CASES: dict[str, Config] = {
    "operator/image": {"image": "r.example:5000/team/operator:v1.7.0"},
    "operator/registry": {"imageRegistry": "registry.example.com/mirror"},
    "operator/metrics": {"metrics": True},
    "operator/args": {"args": ["--reconcile-concurrency=4", "--feature-gates=RayCronJob=true"]},
    "operator/resources": {"resources": {"cpu": 1, "memory": "1Gi", "requests": {"cpu": "100m", "memory": "512Mi"}}},
    "operator/pod": {
        "replicas": 2,
        "env": {"A_URL": "http://$(Z_HOST)", "KEY": {"secret": "operator", "key": "token"}, "Z_HOST": "h"},
        "labels": {"team": "platform"},
        "annotations": {"owner": "platform@example.com"},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]
                }
            }
        },
        "priorityClassName": "system-cluster-critical",
        "imagePullSecrets": ["pull"],
        "serviceAccount": {"annotations": {"example.com/identity": "operator"}},
        "podTemplate": {
            "spec": {
                "terminationGracePeriodSeconds": 30,
                "containers": [
                    {
                        "name": "kuberay-operator",
                        "livenessProbe": None,
                        "volumeMounts": [{"name": "ca", "mountPath": "/etc/ssl/certs"}],
                    }
                ],
                "tolerations": [{"key": "spot", "operator": "Exists"}],
                "volumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            }
        },
    },
    "operator/watched-namespaces": {"namespace": "operators", "watchNamespaces": ["team-a", "team-b"]},
    "operator/apiserver": {"version": "v0.3.0", "apiserver": True},
}


def settings(name: str) -> Settings:
    return parse(CASES[name])


def operator_settings(name: str) -> Settings:
    return parse({"kuberay": OPERATOR_CASES[name], "clusters": []})


def operator_overlay(wanted: Settings) -> list[dict[str, Any]]:
    """The overlay as kustomize reads it; its resources are named from the version's tree."""
    found = tree(wanted.kuberay.version)
    kustomization = overlay.operator_kustomization(wanted.kuberay, found, found)
    return [kustomization, *overlay.watch_roles(wanted.kuberay, found)]


def manifests(wanted: Settings) -> list[dict[str, Any]]:
    """Every plain object of a stack; skips where the version's manifests cannot be had."""
    outputs = contract(wanted, project="ray-on-kubernetes", stack="golden", context="test", cluster_uid="6d3c")
    return objects.all_objects(wanted, build_and_check(wanted, tree(wanted.kuberay.version)), outputs)
