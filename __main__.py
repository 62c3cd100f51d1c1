"""Ray on Kubernetes: settings, then resources, then outputs."""

from functools import partial

import pulumi

from components import errors
from components.checks import live_cluster as preflight
from components.checks import manifests as checks
from components.cluster.context import connect
from components.hooks import progress, secret_env
from components.hooks.aliases import Aliases
from components.hooks.ownership import Ownership
from components.hooks.update_review import Review
from components.kuberay import overlay, source
from components.manifests import contract as outputs
from components.manifests import quota as guards
from components.manifests import stack as objects
from components.resources.crds import KubeRayCRDs
from components.resources.namespace import Namespace
from components.resources.operator import KubeRayOperator
from components.resources.provider import guard, identity, provider, rendering
from components.resources.raycluster import RayCluster
from components.settings.load import has_secure_env, load
from ops import running_jobs

errors.end_without_a_traceback()
settings = load()
kuberay = settings.kuberay
tree = source.resolve(kuberay.version, kuberay.source)
manifests = checks.rayclusters(settings, tree)
crd_overlay, operator_overlay = overlay.write(kuberay, tree, pulumi.get_stack())
cluster = None if settings.render_to else connect(settings.kubeconfig, settings.kube_context)
if cluster:
    preflight.check(cluster.api, settings)
    preflight.warn_of_any_context(settings, cluster.context)
record = outputs.contract(settings, cluster)
aliases = Aliases(settings.aliases)

if cluster:
    compared = identity(settings, cluster)
    Ownership(cluster.api, compared.state_id, adopt=settings.adopt)
    kubernetes = provider(settings, cluster, compared)
else:
    kubernetes = rendering(settings)
if has_secure_env():
    secret_env.keep()
on_cluster = pulumi.ResourceOptions(provider=kubernetes)
namespaces: dict[str, pulumi.Resource] = {
    name: Namespace(
        name,
        create=create,
        labels=settings.guards(name).namespace_labels(),
        guards=guards.objects(settings, manifests, name),
        protect=settings.protect,
        opts=on_cluster,
    )
    for name, create in settings.used_namespaces.items()
}
system: list[pulumi.Resource] = [namespaces[name] for name in settings.operator_namespaces]
if kuberay.crds != "existing":
    system.append(
        KubeRayCRDs(
            "kuberay-crds",
            source=tree,
            overlay=crd_overlay,
            version=kuberay.version,
            uid=cluster.uid if cluster else None,
            context=cluster.context if cluster else "",
            kubeconfig=settings.kubeconfig or None,
            adopt=settings.adopt or kuberay.crds == "adopt",
            retain=kuberay.retain_crds,
            depends_on=[kubernetes],
            opts=on_cluster,
        )
    )
if kuberay.operator == "own":
    system.append(
        KubeRayOperator(
            "kuberay-operator", overlay=operator_overlay, version=kuberay.version, depends_on=system, opts=on_cluster
        )
    )
review = Review(settings.protect, settings.confirm_restart, partial(running_jobs.on, record)) if cluster else None
rayclusters: list[pulumi.Resource] = []
for ray, manifest in zip(settings.clusters, manifests, strict=True):
    made = RayCluster(
        f"{ray.namespace}/{ray.name}",
        manifest=manifest,
        before=objects.before(ray, kuberay),
        after=objects.after(ray),
        ready_timeout_seconds=ray.ready_timeout_seconds,
        delete_timeout_seconds=ray.delete_timeout_seconds,
        depends_on=[*system, namespaces[ray.namespace]],
        protect=settings.protect,
        review=review,
        opts=on_cluster,
    )
    rayclusters.append(made)
    if cluster and review:
        restarts = partial(review.restarts, ray.namespace, ray.name)
        progress.watch(cluster.api, manifest, kuberay.namespace, made, restarts)
if cluster:
    aliases.expect_used(guard(settings, cluster, after=[*system, *rayclusters]))

for name, value in {"contract": record, **outputs.flat(record)}.items():
    pulumi.export(name, value)
