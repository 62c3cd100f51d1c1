"""The old home of the CRDs' dynamic provider.

States from before the move into folders (November 2026) hold it as `components.crds._CrdProvider`. A `refresh` or
`destroy` over such a state loads it by this name. An `up` writes the new name: components/resources/crds.py.
"""

from components.resources.crds import _CrdProvider

__all__ = ["_CrdProvider"]
