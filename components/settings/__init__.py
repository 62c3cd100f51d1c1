"""The settings of a stack file, typed and checked. Pure: nothing here may ask Pulumi, a cluster or KubeRay's files."""

from components.settings.settings import Settings, from_config, from_stack_file, parse

__all__ = ["Settings", "from_config", "from_stack_file", "parse"]
