"""Kubernetes objects and outputs built from the settings. Pure: no Pulumi, no cluster, no files."""
