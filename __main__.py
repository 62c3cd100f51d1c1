"""Ray on Kubernetes: the resources of one stack, in the order of their creation."""

import pulumi

from components import KubeRayCRDs, KubeRayOperator, Monitoring, Namespace, RayCluster
from components.checks.rayclusters import build_and_check
from components.grafana.dashboards import build_dashboards
from components.kuberay import overlay, source
from components.manifests import quota
from components.manifests.contract import flat_outputs
from components.resources.config import load_settings
from components.resources.readable_errors import readable_errors
from components.resources.short_stacks import short_stacks
from components.resources.stack import Stack
from ops import running_jobs


@readable_errors()
@short_stacks()
def main() -> None:
    settings = load_settings()
    kuberay, protect = settings.kuberay, settings.protect
    tree = source.resolve(kuberay.version, kuberay.source)
    manifests = build_and_check(settings, tree)
    dashboards = build_dashboards(settings)
    crds_overlay, operator_overlay = overlay.write(kuberay, tree, pulumi.get_stack())
    # Connects to the cluster, checks it, and declares the provider.
    stack = Stack(settings, tree, running_jobs.list_on_cluster)
    options = stack.options

    namespaces: dict[str, pulumi.Resource] = {
        name: Namespace(
            name,
            settings.namespace_settings(name),
            create=create,
            limits=quota.objects(settings, manifests, name),
            protect=protect,
            retain=name in settings.retained_namespaces,
            opts=options,
        )
        for name, create in settings.used_namespaces.items()
    }

    prerequisites = [namespaces[name] for name in settings.operator_namespaces]
    if kuberay.crds != "existing":
        crds = KubeRayCRDs(
            "kuberay-crds",
            kuberay,
            source=tree,
            overlay=crds_overlay,
            cluster=stack.cluster,
            adopt=settings.adopt,
            depends_on=[stack.provider],
            opts=options,
        )
        prerequisites.append(crds)
    if kuberay.operator == "own":
        operator = KubeRayOperator(
            "kuberay-operator", kuberay, overlay=operator_overlay, depends_on=prerequisites, opts=options
        )
        prerequisites.append(operator)

    rayclusters = [
        RayCluster(
            f"{cluster.namespace}/{cluster.name}",
            cluster,
            kuberay,
            manifest=manifest,
            monitoring=settings.monitoring,
            outputs=stack.contract,
            namespace=namespaces[cluster.namespace],
            depends_on=prerequisites,
            protect=protect,
            hooks=stack.raycluster_hooks,
            opts=options,
        )
        for cluster, manifest in zip(settings.clusters, manifests, strict=True)
    ]
    parts = [*prerequisites, *rayclusters]
    if settings.monitoring.has_objects:
        monitoring = Monitoring(
            "monitoring",
            settings,
            dashboards=dashboards,
            cluster=stack.cluster,
            depends_on=[stack.provider, *namespaces.values()],
            opts=options,
        )
        parts.append(monitoring)
    stack.guard(parts)

    for name, value in {"contract": stack.contract, **flat_outputs(stack.contract)}.items():
        pulumi.export(name, value)


main()
