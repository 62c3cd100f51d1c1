"""The old home of the dynamic providers for the cluster's identity; see components/crds.py."""

from components.resources.cluster_identity import _GuardProvider, _StateProvider

__all__ = ["_GuardProvider", "_StateProvider"]
