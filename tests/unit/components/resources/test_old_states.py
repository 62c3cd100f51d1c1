"""States that the code before the move into folders wrote: its pickled providers load, and nothing is updated.

The real process is asked that the engine starts for dynamic resources.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime.proto import provider_pb2 as proto
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderStub

from components.resources.cluster_identity import _GuardProvider, _StateProvider
from components.resources.crds import _CrdProvider
from tests.support.api_server import UID, api_server
from tests.unit.components.recording import ROOT

# `__provider` of each dynamic resource, as the code of commit d445a80 wrote it.
OLD = json.loads((Path(__file__).parents[1] / "data" / "providers-d445a80.json").read_text())
NEW = {"CRDs": _CrdProvider(), "ClusterIdentity": _StateProvider(), "ClusterGuard": _GuardProvider()}
SECONDS = 60
IDENTITY = {"uid": UID, "context": "test", "kubeconfig": None, "state_id": "4f"}
CRDS = {"crds": {}, "version": "v1.7.0", "owner": "o", "context": "test", "kubeconfig": None, "clusterUid": UID}
PROPERTIES: dict[str, dict[str, Any]] = {"CRDs": CRDS, "ClusterIdentity": IDENTITY, "ClusterGuard": IDENTITY}


@pytest.fixture(scope="module")
def provider() -> Iterator[ResourceProviderStub]:
    command = [sys.executable, "-u", "-m", "pulumi.dynamic", "127.0.0.1:1"]
    with subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield ResourceProviderStub(channel)
        process.kill()


def struct(properties: dict[str, Any]) -> struct_pb2.Struct:
    message = struct_pb2.Struct()
    message.update(properties)
    return message


@pytest.mark.parametrize("name", OLD)
def test_another_module_of_a_provider_is_no_change(name: str, provider: ResourceProviderStub) -> None:
    new = serialize_provider(NEW[name])
    assert new != OLD[name]
    olds, news = (struct({**PROPERTIES[name], "__provider": pickled}) for pickled in (OLD[name], new))
    response = provider.Diff(proto.DiffRequest(id="x", olds=olds, news=news), timeout=SECONDS)
    assert response.changes == proto.DiffResponse.DIFF_NONE


@pytest.mark.parametrize("name", ["ClusterIdentity", "ClusterGuard"])
def test_an_old_state_is_refreshed_and_destroyed(name: str, provider: ResourceProviderStub, tmp_path: Path) -> None:
    with api_server(tmp_path) as kubeconfig:
        properties = struct({**IDENTITY, "kubeconfig": str(kubeconfig), "__provider": OLD[name]})
        read = provider.Read(proto.ReadRequest(id=UID, properties=properties), timeout=SECONDS)
        provider.Delete(proto.DeleteRequest(id=UID, properties=properties), timeout=SECONDS)
    assert (read.id, read.properties["uid"]) == (UID, UID)


def test_the_crds_of_an_old_state_are_refreshed_and_destroyed(provider: ResourceProviderStub, tmp_path: Path) -> None:
    with api_server(tmp_path) as kubeconfig:
        old = {**CRDS, "live": {"rayclusters.ray.io": "d"}, "kubeconfig": str(kubeconfig), "__provider": OLD["CRDs"]}
        read = provider.Read(proto.ReadRequest(id="kuberay-crds", properties=struct(old)), timeout=SECONDS)
        provider.Delete(proto.DeleteRequest(id="kuberay-crds", properties=struct(old)), timeout=SECONDS)
    assert read.id == ""  # none of them is on the cluster any more


def test_an_old_state_of_another_cluster_is_refused(provider: ResourceProviderStub, tmp_path: Path) -> None:
    with api_server(tmp_path) as kubeconfig:
        old = {**IDENTITY, "uid": "another", "kubeconfig": str(kubeconfig), "__provider": OLD["ClusterGuard"]}
        with pytest.raises(grpc.RpcError, match="leads to another cluster"):
            provider.Delete(proto.DeleteRequest(id="another", properties=struct(old)), timeout=SECONDS)
