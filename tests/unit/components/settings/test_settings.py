"""Stack configuration: defaults, and errors that name key, value and what is allowed."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest
import yaml

from components.checks.rayclusters import build_and_check
from components.errors import StackError
from components.kuberay import source
from components.manifests import access
from components.settings import from_stack_file, parse
from tests.support.trees import tree

INGRESS = {"host": "ray.example.com", "tlsSecret": "tls", "controllerNamespace": "ingress"}
SHARED: dict[str, Any] = {
    "redis": {"address": "redis.example.com:6379", "password": {"secret": "s", "key": "k"}},
    "storageNamespace": "one",
}
PEER = {"podSelector": {}}


def problems(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(StackError) as caught:
        parse(raw)
    return str(caught.value).splitlines()[1:]


def cluster_problem(**cluster: Any) -> str:
    found = problems({"clusters": [cluster]})
    assert len(found) == 1, found
    return found[0]


def test_nothing_said_is_one_cluster_with_every_default() -> None:
    settings = parse({})
    (cluster,) = settings.clusters
    assert (cluster.name, cluster.namespace) == ("raycluster-autoscaler", "ray-cluster")
    assert (cluster.image, cluster.ray_version) == ("rayproject/ray:2.60.0", "2.60.0")
    assert (settings.kuberay.version, settings.kuberay.namespace) == ("v1.7.0", "ray-system")
    assert settings.used_namespaces == {"ray-cluster": True, "ray-system": True}


def test_all_errors_are_told_at_once_each_with_its_key() -> None:
    found = problems(
        {
            "clustrs": [],
            "protect": "yes",
            "kuberay": {"version": "1.7", "opertor": "own"},
            "clusters": [{"name": "9x", "workerGroups": {"a": {"cpu": "fast"}, "b": {"min": 7, "max": 5}}}],
        }
    )
    keys = [line.strip("- ").split(": ")[0].strip() for line in found]
    assert keys == [
        "clusters[0].name",
        "clusters[0].workerGroups.a.cpu",
        "clusters[0].workerGroups.b.min",
        "clustrs",
        "kuberay.opertor",
        "kuberay.version",
        "protect",
    ]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"protect": "yes"}, ["protect", '"yes"', "boolean"]),
        ({"confirmRestart": True}, ["confirmRestart", "`protect` is false"]),
        ({"clusters": {"name": "a"}}, ["clusters", "an object"]),
        ({"kuberay": {"opertor": 1}}, ["kuberay.opertor: unknown key; did you mean operator? allowed: "]),
        ({"kuberay": {"operator": "theirs"}}, ["kuberay.operator", '"theirs"', "own or existing"]),
        ({"kuberay": {"version": "1.7"}}, ["kuberay.version", '"1.7"', "v1.7.0"]),
        ({"kuberay": {"apiserver": True}}, ["kuberay.apiserver", "v1.7.0", "before v1.1"]),
        ({"kuberay": {"operator": "existing", "image": "x:1"}}, ["kuberay.image", "operator: own"]),
        ({"kuberay": {"image": "r/operator:nightly"}}, ["kuberay.image", "its tag moves"]),
        ({"kuberay": {"args": ["--watch-namespace=a"]}}, ["kuberay.args[0]", "watchNamespaces"]),
        ({"kuberay": {"args": ["--config=/x"]}}, ["kuberay.args[0]", "ignores all other flags"]),
        ({"kuberay": {"image": "Quay.io/KubeRay/Operator:v1.7.0"}}, ["kuberay.image", "not an image reference"]),
        (
            {"kuberay": {"watchNamespaces": ["ray-cluster", "ray-cluster"]}},
            ["kuberay.watchNamespaces", '"ray-cluster"', "once"],
        ),
        ({"kuberay": {"namespace": "kube-system"}}, ["kuberay.createNamespace", "kube-system", "allowed: false"]),
        ({"kuberay": {"operator": "existing", "retainCrds": True}}, ["kuberay.retainCrds", "crds: own"]),
        ({"clusters": None}, ["clusters: null: allowed: a list"]),
        ({"namespaces": {"ray-cluster": {"quota": {}}}}, ["namespaces.ray-cluster.quota: empty"]),
        ({"namespaces": {"ray-cluster": {"quota": {"pods": 0}}}}, ["namespaces.ray-cluster.quota.pods: 0"]),
        ({"namespaces": {"ray-cluster": {"limits": {}}}}, ["namespaces.ray-cluster.limits: empty"]),
        (
            {"namespaces": {"ray-cluster": {"limits": {"default": {"cpu": 9}, "max": {"cpu": 8}}}}},
            ["limits.default.cpu", '"9"', "above `max`; allowed: up to 8"],
        ),
        (
            {"namespaces": {"ray-cluster": {"limits": {"defaultRequest": {"cpu": 2}, "default": {"cpu": 1}}}}},
            ["limits.defaultRequest.cpu", '"2"', "above `default`; allowed: up to 1"],
        ),
        (
            {"namespaces": {"ray-cluster": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}},
            ["namespaces.ray-cluster.labels", "`podSecurity`"],
        ),
        ({"namespaces": {"ray-cluster": {"labels": {"a": "b c"}}}}, ["labels.a", '"b c"', "not a label value"]),
        ({"clusters": [{}, {}]}, ["clusters[0].name", "twice"]),
        ({"clusters": [{}, {"name": "b", "createNamespace": False}]}, ["createNamespace", "the same in both"]),
        ({"namespaces": {"elsewhere": {}}}, ["namespaces.elsewhere", "ray-cluster, ray-system"]),
        ({"namespaces": {"ray-cluster": {"quota": "some"}}}, ["namespaces.ray-cluster.quota", "fit, or an object"]),
        ({"namespaces": {"ray-cluster": {"podSecurity": "restricted"}}}, ["clusters[0].podSecurity", "restricted"]),
        (
            {"namespaces": {"a": {"labels": {"x": "y"}}}, "clusters": [{"namespace": "a", "createNamespace": False}]},
            ["namespaces.a", "does not create this namespace"],
        ),
        (
            {"clusters": [{"faultTolerance": SHARED}, {"name": "second", "faultTolerance": SHARED}]},
            ["clusters[1].faultTolerance.storageNamespace", "raycluster-autoscaler"],
        ),
        ({"kuberay": {"watchNamespaces": ["team-a"]}}, ["clusters[0].namespace", "ray-cluster", "team-a"]),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(raw: dict[str, Any], words: list[str]) -> None:
    text = "\n".join(problems(raw))
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    "cluster",
    [
        {
            "loadBalancer": {
                "sourceRanges": ["10.0.0.0/8", "11.1.0.0/16", "192.168.0.0/16", "192.169.0.0/16", "fd00::/8"]
            }
        },
        {"loadBalancer": {"sourceRanges": ["0.0.0.0/0"]}, "allow": ["open-network"]},
        {"networkPolicy": {"allowFrom": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}},
        {"networkPolicy": {"allowFrom": [{"namespaceSelector": {}}]}},
        {"networkPolicy": {"enabled": False}},
        {"networkPolicy": {"enabled": False}, "auth": "disabled", "allow": ["open-network"]},
        {"networkPolicy": {"allowFrom": [{"podSelector": {}}]}, "auth": "disabled"},
        {"networkPolicy": {"allowFrom": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]}, "auth": "disabled"},
    ],
)
def test_networks_whose_people_are_known_are_accepted(cluster: dict[str, Any]) -> None:
    parse({"clusters": [cluster]})


@pytest.mark.parametrize(
    ("first", "second", "reached"),
    [
        ([], [], []),
        (["a"], ["a"], []),
        (["a"], ["b"], [0, 1]),
        (["a"], [], [1]),
        (["a", "b"], ["b"], [1]),
    ],
)
def test_job_users_of_one_cluster_reach_the_other_of_its_namespace_only_in_writing(
    first: list[str], second: list[str], reached: list[int]
) -> None:
    def stack(namespace: str, *allow: str) -> dict[str, Any]:
        users = [[{"kind": "User", "name": name} for name in names] for names in (first, second)]
        more = {"name": "second", "namespace": namespace, "jobUsers": users[1], "allow": allow}
        return {"clusters": [{"jobUsers": users[0], "allow": allow}, more]}

    if reached:
        lines = problems(stack("ray-cluster"))
        assert [index for index in (0, 1) if any(f"clusters[{index}].jobUsers: " in line for line in lines)] == reached
        assert all("allow: [shared-namespace]" in line for line in lines)
    else:
        parse(stack("ray-cluster"))
    parse(stack("elsewhere"))
    parse(stack("ray-cluster", "shared-namespace"))


def test_the_image_of_the_trials_redis_is_one_version() -> None:
    (cluster,) = parse({"clusters": [{"faultTolerance": {"redis": {"inCluster": True}}}]}).clusters
    assert cluster.fault_tolerance is not None
    assert re.fullmatch(r"redis:\d+\.\d+\.\d+", cluster.fault_tolerance.redis.image)


def test_the_right_to_exec_counts_as_a_different_job_user() -> None:
    user = {"kind": "User", "name": "a"}
    text = "\n".join(
        problems({"clusters": [{"jobUsers": [{**user, "exec": True}]}, {"name": "b", "jobUsers": [user]}]})
    )
    assert "User a (exec): a job user of another cluster" in text


def test_the_accounts_of_a_namespace_and_one_account_by_its_user_name_can_be_job_users() -> None:
    group = {"kind": "Group", "name": "system:serviceaccounts:ci"}
    user = {"kind": "User", "name": "system:serviceaccount:ci:default"}
    parse({"clusters": [{"jobUsers": [group, user]}]})


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"name": "Ray_1"}, ["clusters[0].name", "Ray_1", "53"]),
        ({"name": "r" * 54}, ["clusters[0].name", "53"]),
        ({"rayVersion": 2.6}, ["clusters[0].rayVersion", "2.6", "text"]),
        ({"rayVersion": "2.60"}, ["clusters[0].rayVersion", "2.60", "2.60.0"]),
        ({"image": "team/app:2.1.0", "auth": "disabled"}, ["rayVersion", "2.1.0: older", "is not Ray's version, set"]),
        ({"image": "r/ray:2026.04.14"}, ["image", '"r/ray:2026.04.14"', "set `rayVersion` too"]),
        ({"image": "r.example.com/ray:1.4.2"}, ["image", "set `rayVersion` too"]),
        ({"image": "r/ray:2.060.0"}, ["image", "set `rayVersion` too"]),
        ({"image": "host:5000/ray@sha256:0"}, ["image", "rayVersion"]),
        ({"image": "r/ray:cuda"}, ["image", "rayVersion"]),
        ({"auth": "open"}, ["clusters[0].auth", '"open"', "token or disabled"]),
        ({"rayVersion": "2.40.0", "allow": ["old-ray"]}, ["clusters[0].auth", "2.52.0", "2.40.0"]),
        ({"rayVersion": "2.53.0"}, ["clusters[0].rayVersion", "2.53.0", "2.54.0", "allow: [old-ray]"]),
        ({"image": "r/ray:nightly", "rayVersion": "2.60.0"}, ["clusters[0].image", "allow: [moving-tag]"]),
        ({"auth": {"mode": "disabled", "secretName": "s"}}, ["clusters[0].auth.secretName"]),
        ({"workerGroups": {"a": {"min": 5, "max": 3}}}, ["workerGroups.a.min", "5", "0 to 3"]),
        ({"workerGroups": {"a": {"replicas": 2}}}, ["workerGroups.a.replicas", "autoscaler"]),
        ({"workerGroups": {"a": {"memory": "512"}}}, ["workerGroups.a.memory", "unit"]),
        ({"workerGroups": {"a": {"cpu": 0}}}, ["workerGroups.a.cpu", "above zero"]),
        ({"workerGroups": {"a": {"requests": {"memory": "512Mi"}}}}, ["workerGroups.a.requests.memory", "1Gi"]),
        ({"workerGroups": {"a": {"requests": {"cpu": 2}}}}, ["workerGroups.a.requests.cpu", "up to 1"]),
        ({"workerGroups": {}}, ["clusters[0].workerGroups", "empty"]),
        ({"workerGroups": [{"min": 1}]}, ["clusters[0].workerGroups", "`name`"]),
        ({"workerGroups": [{"name": "a"}, {"name": "a"}]}, ["clusters[0].workerGroups", "twice: a"]),
        ({"workerGroups": {"a": {"priority": 1}}, "rayVersion": "2.55.0"}, ["workerGroups.a.priority", "2.56.0"]),
        ({"head": {"rayStartParams": {"labels": "a=b"}}}, ["head.rayStartParams.labels", "rayLabels"]),
        ({"head": {"rayResources": {"CPU": 1}, "rayStartParams": {"num-cpus": 1}}}, ["head.rayStartParams.num-cpus"]),
        ({"head": {"volumeMounts": [{"name": "x", "mountPath": "/x"}]}}, ["head.volumeMounts", '"x"']),
        ({"ingress": INGRESS, "auth": "disabled"}, ["clusters[0].ingress", "auth: token"]),
        ({"ingress": {"host": "ray.example.com"}}, ["clusters[0].ingress.tlsSecret", "missing"]),
        ({"ingress": {**INGRESS, "controllerNamespace": None}}, ["ingress.controllerNamespace", "allowFrom"]),
        ({"loadBalancer": {"sourceRanges": ["0.0.0.0/0"]}, "auth": "disabled"}, ["clusters[0].loadBalancer"]),
        ({"loadBalancer": {"sourceRanges": []}}, ["clusters[0].loadBalancer.sourceRanges"]),
        ({"loadBalancer": {"sourceRanges": ["10.0.0.0/8"]}, "ingress": INGRESS}, ["clusters[0].loadBalancer"]),
        ({"networkPolicy": {"allowFrom": [{}]}}, ["clusters[0].networkPolicy.allowFrom", "namespaceSelector"]),
        ({"networkPolicy": {"allowFrom": [{"cidr": "10.0.0.0/8"}]}}, ["networkPolicy.allowFrom", "ipBlock"]),
        ({"networkPolicy": {"enabled": False, "allowFrom": [PEER]}}, ["networkPolicy.allowFrom", "enabled"]),
        ({"serviceAccount": {"create": False, "annotations": {"a": "b"}}}, ["serviceAccount.annotations"]),
        ({"jobUsers": [{"kind": "ServiceAccount", "name": "ci"}]}, ["clusters[0].jobUsers[0].namespace"]),
        *[
            ({"jobUsers": [{"kind": kind, "name": name}]}, ["clusters[0].jobUsers[0].name", f'"{name}"', "everybody"])
            for kind, name in (
                ("User", "system:anonymous"),
                ("Group", "system:unauthenticated"),
                ("Group", "system:authenticated"),
                ("Group", "system:serviceaccounts"),
                ("Group", "system:masters"),
                ("Group", "system:nodes"),
                ("User", "system:serviceaccounts:ci"),
                ("Group", "system:serviceaccount:ci:default"),
            )
        ],
        *[
            ({"loadBalancer": {"sourceRanges": ranges}}, ["loadBalancer.sourceRanges", shown, "allow: [open-network]"])
            for ranges, shown in (
                (["0.0.0.0/0"], '"0.0.0.0/0"'),
                (["10.0.0.0/8", "::/0"], '"::/0"'),
                (["0.0.0.0/1", "128.0.0.0/1"], '"0.0.0.0/0"'),
                (["203.0.0.0/8"], '"203.0.0.0/8"'),
                (["::ffff:0:0/96"], '"0.0.0.0/0"'),
            )
        ],
        *[
            ({"networkPolicy": {"allowFrom": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}, "auth": auth}, words)
            for words in [["networkPolicy.allowFrom", '"0.0.0.0/0"', "allow: [open-network]"]]
            for auth in ("token", "disabled")
        ],
        *[
            ({"networkPolicy": policy, "auth": "disabled"}, [key, "every pod", "auth: token", "open-network"])
            for policy, key in (
                ({"enabled": False}, "clusters[0].networkPolicy.enabled"),
                ({"allowFrom": [{"namespaceSelector": {}}]}, "clusters[0].networkPolicy.allowFrom"),
                ({"allowFrom": [{"namespaceSelector": {"matchLabels": {}}, "podSelector": {}}]}, "allowFrom"),
            )
        ],
        (
            {"faultTolerance": {"redis": {"inCluster": True}}, "networkPolicy": {"enabled": False}},
            ["clusters[0].faultTolerance.redis.password", "secret, key", "networkPolicy.enabled"],
        ),
        ({"podSecurity": "privileged"}, ["clusters[0].podSecurity", "restricted"]),
        ({"faultTolerance": {"redis": {}}}, ["faultTolerance.redis.address", "exactly one"]),
        ({"faultTolerance": {"redis": {"address": "redis:6379"}}}, ["faultTolerance.redis.password", "secret, key"]),
        ({"faultTolerance": {"redis": {"address": "redis"}}}, ["faultTolerance.redis.address", '"redis"']),
        (
            {"faultTolerance": {"redis": {"inCluster": True}, "deletionTimeoutSeconds": 600}},
            ["faultTolerance.deletionTimeoutSeconds", "below 600"],
        ),
        ({"faultTolerance": {"redis": {"inCluster": True, "image": "redis"}}}, ["faultTolerance.redis.image", "moves"]),
        ({"image": "r/ray:py311-latest", "rayVersion": "2.60.0"}, ["clusters[0].image", "allow: [moving-tag]"]),
        ({"spec": {"authOptions": {"mode": "disabled"}}}, ["clusters[0].spec.authOptions.mode", "`auth`"]),
        ({"spec": {"rayVersion": "2.0.0"}}, ["clusters[0].spec.rayVersion", "`rayVersion`"]),
        ({"spec": {"suspend": True}}, ["clusters[0].spec.suspend", "`suspend`"]),
        (
            {"spec": {"enableInTreeAutoscaling": False}},
            ["clusters[0].spec.enableInTreeAutoscaling", "autoscaling.enabled"],
        ),
        ({"spec": {"upgradeStrategy": {"type": "None"}}}, ["clusters[0].spec.upgradeStrategy", "`upgradeStrategy`"]),
        ({"spec": {"gcsFaultToleranceOptions": {"redisAddress": "r:1"}}}, ["redisAddress", "`faultTolerance.redis`"]),
        ({"image": "rayproject/ray:2.60.0 "}, ["clusters[0].image", "not an image reference"]),
        ({"namespace": "default"}, ["clusters[0].createNamespace", "default", "allowed: false"]),
        ({"annotations": {"a b": "x"}}, ["clusters[0].annotations.a b", "not a key"]),
        ({"head": {"labels": {"a b": "x"}}}, ["clusters[0].head.labels.a b", "example.com/team"]),
        ({"head": {"nodeSelector": {"pool": "a,b"}}}, ["clusters[0].head.nodeSelector.pool", '"a,b"']),
        ({"head": {"rayLabels": {"tier": "x" * 64}}}, ["clusters[0].head.rayLabels.tier", "63 characters"]),
        ({"head": {"env": {"1 A": "x"}}}, ["clusters[0].head.env.1 A", "no digit first"]),
        ({"head": {"gpuResource": "gpu"}}, ["clusters[0].head.gpuResource", '"gpu"', "nvidia.com/gpu"]),
        ({"head": {"cpu": "4Gi"}}, ["clusters[0].head.cpu", '"4Gi"', "500m or 2"]),
        ({"head": {"memory": "8Gi\n"}}, ["clusters[0].head.memory", "512Mi or 4Gi"]),
        ({"head": {"volumes": [{"name": "a"}, {"name": "a"}]}}, ["head.volumes", '"a"', "once"]),
        (
            {
                "head": {
                    "volumes": [{"name": "a"}],
                    "volumeMounts": [{"name": "a", "mountPath": "/a"}, {"name": "a", "mountPath": "/a"}],
                }
            },
            ["head.volumeMounts", '"/a"', "once"],
        ),
        ({"workerGroups": {"a": {"max": 2**31}}}, ["workerGroups.a.max", "2147483647"]),
        ({"workerGroups": {"a": {"priority": -(2**31) - 1}}}, ["workerGroups.a.priority", "-2147483648"]),
        ({"workerGroups": {"GPU": {}}}, ["clusters[0].workerGroups.GPU: ", "not a valid name"]),
        ({"autoscaling": {"enabled": False, "idleTimeoutSeconds": 5}}, ["autoscaling.idleTimeoutSeconds", "enabled"]),
        ({"ingress": {**INGRESS, "host": "a..b"}}, ["clusters[0].ingress.host", '"a..b"', "ray.example.com"]),
        ({"loadBalancer": {"sourceRanges": ["999.0.0.0/99"]}}, ["loadBalancer.sourceRanges[0]", "10.0.0.0/8"]),
        ({"loadBalancer": {"sourceRanges": ["10.0.0.1/8"]}}, ["loadBalancer.sourceRanges[0]", "host bits"]),
        ({"loadBalancer": {"sourceRanges": ["10.0.0.0"]}}, ["loadBalancer.sourceRanges[0]", "not a network"]),
        ({"networkPolicy": {"allowFrom": [{"namespaceSelector": {"matchLabel": {}}}]}}, ["allowFrom", "matchLabels"]),
        ({"networkPolicy": {"allowFrom": [{"podSelector": None}]}}, ["allowFrom", "podSelector: allowed: an object"]),
        ({"networkPolicy": {"allowFrom": [{"podSelector": {"matchLabels": "a"}}]}}, ["podSelector.matchLabels"]),
        ({"networkPolicy": {"allowFrom": [{"ipBlock": {"cidr": "x"}}]}}, ["allowFrom", "not a network"]),
        (
            {"networkPolicy": {"allowFrom": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1"]}}]}},
            ["allowFrom", "not a network"],
        ),
        (
            {"networkPolicy": {"allowFrom": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}},
            ["allowFrom", "ipBlock: allowed: cidr and except"],
        ),
        ({"faultTolerance": {"redis": {**SHARED["redis"], "address": "r:0"}}}, ["redis.address", "host:port"]),
        ({"faultTolerance": {"redis": {**SHARED["redis"], "address": "r:99999"}}}, ["redis.address", "host:port"]),
        ({"readyTimeoutSeconds": 1}, ["clusters[0].readyTimeoutSeconds", "1"]),
        (
            {"faultTolerance": {"redis": {"address": "10.0.0.3:6379"}}},
            ["faultTolerance.redis.password", "{secret, key}", "allow: [redis-without-password]"],
        ),
        (
            {"workerGroups": {"a": {"memory": "4Gi", "requests": {"memory": "2Gi"}}}},
            ["workerGroups.a.requests.memory", '"2Gi"', "allowed: 4Gi", "podTemplate.spec.containers[ray-worker]"],
        ),
        ({"ingress": {"host": "r.example.com", "controllerNamespace": "i"}}, ["ingress.tlsSecret", "certificate-arn"]),
    ],
)
def test_a_wrong_cluster_setting_is_named_with_what_is_allowed(cluster: dict[str, Any], words: list[str]) -> None:
    text = cluster_problem(**cluster)
    assert all(word in text for word in words), text


def test_removing_a_part_of_the_spec_that_has_settings_is_refused_naming_them() -> None:
    found = "\n".join(problems({"clusters": [{"spec": {"authOptions": None}, "ingress": INGRESS}]}))
    assert "spec.authOptions.mode: this field has its own setting; allowed: `auth`" in found


@pytest.mark.parametrize(
    "cluster",
    [
        {"head": {"env": {"PASSWORD": ["hunter2"]}}},
        {"faultTolerance": {"redis": {"address": "r:6379", "password": "hunter2"}}},
        {"faultTolerance": {"redis": {"address": "rediss://:hunter2@r:6379", "password": {"secret": "s", "key": "k"}}}},
        {"faultTolerance": {"redis": "rediss://:hunter2"}},
    ],
)
def test_what_may_be_a_secret_is_never_shown(cluster: dict[str, Any]) -> None:
    text = cluster_problem(**cluster)
    assert "value not shown" in text
    assert "hunter2" not in text


def test_an_unknown_key_in_an_environment_variable_is_told_with_those_there_are() -> None:
    assert "head.env.A.configMap: unknown key; allowed: key, secret" in "\n".join(
        problems({"clusters": [{"head": {"env": {"A": {"configMap": "c"}}}}]})
    )


def test_a_date_in_a_stack_file_is_the_text_that_it_looks_like() -> None:
    (cluster,) = parse({"clusters": [{"labels": {"since": datetime.date(2026, 1, 2)}}]}).clusters
    assert cluster.labels == {"since": "2026-01-02"}


@pytest.mark.parametrize(
    ("image", "version"),
    [("r.example:5000/ray:2.58.1-py311-gpu", "2.58.1"), ("rayproject/ray:2.60.0", "2.60.0"), (None, "2.60.0")],
)
def test_the_ray_version_follows_the_image_tag(image: str | None, version: str) -> None:
    (cluster,) = parse({"clusters": [{"image": image} if image else {}]}).clusters
    assert cluster.ray_version == version


@pytest.mark.parametrize(
    ("image", "warned"),
    [
        ("r.example.com/ray:1.4.2", False),
        ("r.example.com/ray:2026.04.14", False),
        ("team/ray:cuda", False),
        ("team/ray:2.56.0-cu12", False),
        ("team/ray:2.40.0", True),
        ("rayproject/ray:2.55.0", True),
        ("rayproject/ray:2.56.0-py311-gpu", False),
        ("r.example.com:5000/ray:nightly-2.55.0", False),
        ("r:5000/ray", False),
        (f"r:5000/ray@sha256:{'0' * 64}", False),
        (f"r:5000/ray:2.40.0@sha256:{'0' * 64}", True),
        ("r:5000/ray:latest", False),
    ],
)
def test_a_stated_ray_version_wins_over_the_tag(image: str, warned: bool) -> None:
    settings = parse({"clusters": [{"image": image, "rayVersion": "2.56.0", "allow": ["moving-tag"]}]})
    (manifest,) = build_and_check(settings, tree("v1.7.0"))
    assert manifest["spec"]["rayVersion"] == "2.56.0"
    assert [f'clusters[0].image: "{image}"' in line for line in settings.warnings()] == [True] * warned


REDIS_ADDRESSES = {
    "10.0.0.3:6379": True,
    "redis.example.com:6379": True,
    "redis://r:6379": True,
    "rediss://r:6380": True,
    "[fd00::1]:6379": True,
    "rediss://[fd00::1]:6379": True,
    "fd00::1:6379": False,
    "[fd00::zz]:6379": False,
    "[]:6379": False,
    "http://r:6379": False,
    "r": False,
}


@pytest.mark.parametrize(("address", "allowed"), REDIS_ADDRESSES.items())
def test_the_address_of_a_redis_is_one_that_ray_reads(address: str, allowed: bool) -> None:
    redis = {"address": address, "password": {"secret": "s", "key": "k"}}
    if not allowed:
        assert "redis.address" in cluster_problem(faultTolerance={"redis": redis})
        return
    (cluster,) = parse({"clusters": [{"faultTolerance": {"redis": redis}}]}).clusters
    assert cluster.fault_tolerance is not None
    assert cluster.fault_tolerance.redis.address == address
    services: Any = pytest.importorskip("ray._private.services")
    host, port, tls = services.get_address(address)
    assert (host, int(port), tls) == (
        re.sub(r"^\w+://|:\d+$|[\[\]]", "", address),
        int(address.rpartition(":")[2]),
        address.startswith("rediss"),
    )


def test_one_redis_with_two_spellings_is_one_redis() -> None:
    password = {"secret": "s", "key": "k"}
    clusters = [
        {"name": name, "faultTolerance": {"storageNamespace": "x", "redis": {"address": address, "password": password}}}
        for name, address in (("a", "r:6379"), ("b", "redis://r:6379"))
    ]
    (text,) = problems({"clusters": clusters})
    assert "clusters[1].faultTolerance.storageNamespace" in text


def test_a_redis_without_a_password_is_allowed_where_the_stack_file_says_so() -> None:
    redis = {"redis": {"address": "10.0.0.3:6379"}}
    (cluster,) = parse({"clusters": [{"faultTolerance": redis, "allow": ["redis-without-password"]}]}).clusters
    assert cluster.fault_tolerance is not None
    assert cluster.fault_tolerance.redis.password is None


CERTIFICATES = [
    ({"alb.ingress.kubernetes.io/certificate-arn": "arn:aws:acm:eu-west-1:1:certificate/a"}, True),
    ({"alb.ingress.kubernetes.io/listen-ports": '[{"HTTP": 80}, {"HTTPS": 443}]'}, True),
    ({"networking.gke.io/managed-certificates": "cert"}, True),
    ({"ingress.gcp.kubernetes.io/pre-shared-cert": "cert"}, True),
    ({"appgw.ingress.kubernetes.io/appgw-ssl-certificate": "cert"}, True),
    ({"alb.ingress.kubernetes.io/certificate-arn": ""}, False),
    (
        {
            "alb.ingress.kubernetes.io/certificate-arn": "arn:aws:acm:eu-west-1:1:certificate/a",
            "alb.ingress.kubernetes.io/listen-ports": '[{"HTTP": 80}]',
        },
        False,
    ),
    ({"cert-manager.io/cluster-issuer": "letsencrypt"}, False),  # it fills `tlsSecret`
]


@pytest.mark.parametrize(("annotations", "allowed"), CERTIFICATES)
def test_a_certificate_of_the_clouds_load_balancer_needs_no_secret(annotations: dict[str, str], allowed: bool) -> None:
    peers = [{"ipBlock": {"cidr": "10.0.0.0/16"}}]
    ingress = {"host": "ray.example.com", "annotations": annotations}
    raw = {"ingress": ingress, "networkPolicy": {"allowFrom": peers}}
    if not allowed:
        assert "clusters[0].ingress.tlsSecret: is missing" in cluster_problem(**raw)
        return
    (cluster,) = parse({"clusters": [raw]}).clusters
    manifest = access.ingress(cluster)
    assert manifest is not None
    assert "tls" not in manifest["spec"]


def test_a_memory_request_below_the_limit_is_possible_in_the_pod_template() -> None:
    container = {"name": "ray-worker", "resources": {"requests": {"memory": "2Gi"}}}
    groups = {"a": {"memory": "4Gi", "podTemplate": {"spec": {"containers": [container]}}}}
    (manifest,) = build_and_check(parse({"clusters": [{"workerGroups": groups}]}), tree("v1.7.0"))
    (built,) = manifest["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    assert (built["resources"]["limits"]["memory"], built["resources"]["requests"]["memory"]) == ("4Gi", "2Gi")


def test_the_default_image_follows_the_ray_version() -> None:
    (cluster,) = parse({"clusters": [{"rayVersion": "2.59.0"}]}).clusters
    assert cluster.image == "rayproject/ray:2.59.0"


def test_worker_groups_as_a_list_are_the_same_as_a_mapping() -> None:
    listed = parse({"clusters": [{"workerGroups": [{"name": "a", "max": 3}]}]})
    assert listed == parse({"clusters": [{"workerGroups": {"a": {"max": 3}}}]})


def test_an_existing_operator_brings_its_own_crds_and_namespace() -> None:
    settings = parse({"kuberay": {"operator": "existing"}})
    assert settings.kuberay.crds == "existing"
    assert settings.used_namespaces == {"ray-cluster": True}


@pytest.mark.parametrize("path", sorted(source.ROOT.glob("Pulumi.*.yaml")), ids=lambda path: path.name)
def test_the_repositorys_stack_files_are_accepted(path: Any) -> None:
    settings = from_stack_file(path)
    assert settings.clusters
    assert build_and_check(settings, tree(settings.kuberay.version))


def test_every_top_level_setting_is_declared_in_pulumi_yaml_with_type_and_description() -> None:
    declared = yaml.safe_load((source.ROOT / "Pulumi.yaml").read_text())["config"]
    own = {key: value for key, value in declared.items() if ":" not in key}
    assert sorted(own) == sorted(str(field.alias) for field in type(parse({})).model_fields.values())
    assert all({"type", "description", "default"} <= set(value) for value in own.values())
    assert parse({key: value["default"] for key, value in own.items()}) == parse({})


def test_only_the_stacks_own_provider_exists() -> None:
    declared = yaml.safe_load((source.ROOT / "Pulumi.yaml").read_text())["config"]
    assert declared["pulumi:disable-default-providers"]["value"] == ["kubernetes"]
