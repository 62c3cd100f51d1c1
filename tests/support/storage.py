"""A StorageClass with volumes of local folders, for a cluster without a provisioner, such as the single node."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.cluster import Cluster

DEFAULT = "storageclass.kubernetes.io/is-default-class"


@contextmanager
def storage_class(cluster: Cluster, name: str, folders: Sequence[Path], size: str = "2Gi") -> Iterator[str]:
    """The name of a StorageClass while the block runs: of a new one with a volume in each folder on the single node,
    elsewhere of the cluster's default class."""
    if cluster.kind != "native":
        listed = json.loads(cluster.kubectl("get", "storageclasses", "-o", "json"))["items"]
        yield next(
            each["metadata"]["name"]
            for each in listed
            if (each["metadata"].get("annotations") or {}).get(DEFAULT) == "true"
        )
        return
    made = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    volumes = [_volume(cluster, f"{name}-{index}", name, folder, size) for index, folder in enumerate(folders)]
    cluster.apply([made, *volumes])
    try:
        yield name
    finally:
        names = [f"pv/{volume['metadata']['name']}" for volume in volumes]
        cluster.kubectl("delete", f"storageclass/{name}", *names, "--wait=false", "--ignore-not-found")


def _volume(cluster: Cluster, name: str, of_class: str, folder: Path, size: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    node = cluster.kubectl("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
    own_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": of_class,
            # Not a hostPath, whose owner Kubernetes does not set to the group of the pod.
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [own_node]}]}},
        },
    }
