"""Ray on Kubernetes: the resources of one stack, in the order of their creation."""

import pulumi

from components import KubeRayCRDs, KubeRayOperator, Namespace, RayCluster
from components.checks.manifests import build_and_check
from components.kuberay import overlay, source
from components.manifests import quota
from components.manifests.contract import flat_outputs
from components.resources.config import load_settings
from components.resources.program import readable_errors
from components.resources.stack import Stack
from ops import running_jobs


@readable_errors()
def main() -> None:
    settings = load_settings()
    kuberay, protect = settings.kuberay, settings.protect
    tree = source.resolve(kuberay.version, kuberay.source)
    manifests = build_and_check(settings, tree)
    crds_overlay, operator_overlay = overlay.write(kuberay, tree, pulumi.get_stack())
    stack = Stack(settings, tree, running_jobs.on)
    cluster, options = stack.cluster, stack.options

    namespaces: dict[str, pulumi.Resource] = {}
    for name, create in settings.used_namespaces.items():
        labels, limits = settings.namespace_settings(name), quota.objects(settings, manifests, name)
        namespaces[name] = Namespace(name, labels, create=create, limits=limits, protect=protect, opts=options)

    operator = [namespaces[name] for name in settings.operator_namespaces]
    if kuberay.crds != "existing":
        crds = KubeRayCRDs(
            "kuberay-crds",
            kuberay,
            source=tree,
            overlay=crds_overlay,
            cluster=cluster,
            adopt=settings.adopt,
            depends_on=[stack.provider],
            opts=options,
        )
        operator.append(crds)
    if kuberay.operator == "own":
        name = "kuberay-operator"
        operator.append(KubeRayOperator(name, kuberay, overlay=operator_overlay, depends_on=operator, opts=options))

    rayclusters = [
        RayCluster(
            f"{ray.namespace}/{ray.name}",
            ray,
            kuberay,
            manifest=manifest,
            depends_on=[*operator, namespaces[ray.namespace]],
            protect=protect,
            hooks=stack.raycluster_hooks,
            opts=options,
        )
        for ray, manifest in zip(settings.clusters, manifests, strict=True)
    ]
    stack.guard([*operator, *rayclusters])

    for output, value in {"contract": stack.contract, **flat_outputs(stack.contract)}.items():
        pulumi.export(output, value)


main()
