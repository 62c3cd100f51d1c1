"""The destination of a stack, and everything that acts on all of its resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.checks import live_cluster
from components.cluster import operators
from components.cluster.context import KubernetesCluster, connect
from components.hooks import secret_env
from components.hooks.aliases import Aliases
from components.hooks.ownership import Ownership
from components.hooks.progress import ReadinessWatch
from components.hooks.raycluster import RayClusterHooks
from components.hooks.update_review import UpdateReview
from components.manifests.contract import contract
from components.manifests.raycluster import api_version
from components.resources.cluster_identity import ClusterGuard, ClusterIdentity
from components.resources.config import has_secure_env
from components.settings import Settings

RunningJobs = Callable[[Mapping[str, Any], str, str], list[str]]
"""Contract, namespace and name of a RayCluster to one line for each job that has not ended."""


class Stack:
    """The destination of a stack: a Kubernetes cluster, or files where `renderTo` is set.

    The constructor connects to the cluster and checks it. Then it registers what acts on all resources: first the
    transforms for aliases, the cluster's identity, the ownership of objects, the provider; last the encryption of
    environment values. Resources that go to the cluster are declared after it, with `options`.

    Args:
        settings: settings of the stack.
        tree: KubeRay's files of the pinned version.
        running_jobs: finds the running jobs of a RayCluster.

    Attributes:
        cluster: None: manifests are rendered to files.
        contract: the outputs contract.
        provider: the Kubernetes provider of the stack; the default provider is off in Pulumi.yaml.
        options: options with this provider.
        raycluster_hooks: hooks for RayClusters; None: manifests are rendered to files.

    Raises:
        StackError: the cluster cannot be reached, or it is not ready for the stack.
    """

    def __init__(self, settings: Settings, tree: Path, running_jobs: RunningJobs) -> None:
        self.settings = settings
        self.cluster = None if settings.render_to else connect(settings.kubeconfig, settings.kube_context)
        if self.cluster:
            self._check(self.cluster, tree)
        self.contract = contract(
            settings,
            project=pulumi.get_project(),
            stack=pulumi.get_stack(),
            context=self.cluster.context if self.cluster else "",
            cluster_uid=self.cluster.uid if self.cluster else None,
        )
        self._aliases = Aliases(settings.aliases)
        self.raycluster_hooks = None
        if self.cluster:
            self.provider = self._provider(self.cluster)
            self.raycluster_hooks = self._raycluster_hooks(self.cluster, running_jobs)
        else:
            # Without "" the SDK takes KUBECONFIG of the environment, which providers before 4.32 refuse here.
            self.provider = kubernetes.Provider("render", render_yaml_to_directory=settings.render_to, kubeconfig="")
        self.options = pulumi.ResourceOptions(provider=self.provider)
        if has_secure_env():
            secret_env.encrypt()

    def _check(self, cluster: KubernetesCluster, tree: Path) -> None:
        urn_prefix = f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::"
        preview = pulumi.runtime.is_dry_run()
        for line in live_cluster.check(cluster.api, self.settings, tree, urn_prefix, preview=preview):
            pulumi.log.warn(line)
        if cluster.context and self.settings.protect and not self.settings.kube_context:
            # Until its first `up` nothing else says which cluster a stack belongs to.
            pulumi.log.warn(
                "`protect` is set and `kubeContext` is not: this stack goes to the current context, "
                f"{cluster.context}. Set it: `pulumi config set kubeContext NAME`"
            )

    def _provider(self, cluster: KubernetesCluster) -> kubernetes.Provider:
        """Declares the provider for the cluster, whose identity is compared with the recorded one first."""
        identity = ClusterIdentity("cluster", cluster)
        Ownership(cluster.api, identity.state_id, _main_objects(self.settings), adopt=self.settings.adopt)
        return kubernetes.Provider(
            "cluster",
            # Empty: the usual rules. Without the argument the SDK would write this machine's KUBECONFIG into the state.
            kubeconfig=str(Path(cluster.kubeconfig).expanduser()) if cluster.kubeconfig else "",
            context=cluster.context or None,
            cluster_identifier=cluster.uid,
            upsert_existing_objects=True,  # Ownership decides which objects may be taken over
            enable_patch_force=self.settings.adopt or None,
            opts=pulumi.ResourceOptions(depends_on=[identity]),
        )

    def _raycluster_hooks(self, cluster: KubernetesCluster, running_jobs: RunningJobs) -> RayClusterHooks:
        review = UpdateReview(
            self.settings.protect, self.settings.confirm_restart, partial(running_jobs, self.contract)
        )
        return RayClusterHooks(ReadinessWatch(cluster.api, self.settings.kuberay.namespace), review)

    def guard(self, resources: Sequence[pulumi.Resource]) -> None:
        """Declares the cluster guard, which a `destroy` deletes first, and refuses aliases that match nothing.

        Args:
            resources: everything that needs the cluster.
        """
        if self.cluster:
            guard = ClusterGuard("cluster-guard", self.cluster, depends_on=resources)
            self._aliases.refuse_unused(guard)


def _main_objects(settings: Settings) -> list[dict[str, Any]]:
    """Namespaces, operator and RayClusters of the stack: kind and name only."""
    names = [("v1", "Namespace", {"name": name}) for name, create in settings.used_namespaces.items() if create]
    if settings.kuberay.operator == "own":
        names.append(("apps/v1", "Deployment", {"name": operators.NAME, "namespace": settings.kuberay.namespace}))
    version = api_version(settings.kuberay.version)
    names += [
        (version, "RayCluster", {"name": cluster.name, "namespace": cluster.namespace}) for cluster in settings.clusters
    ]
    return [{"apiVersion": version, "kind": kind, "metadata": metadata} for version, kind, metadata in names]
