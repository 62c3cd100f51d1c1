"""Transforms and hooks: what acts on resources while the engine handles them. Nothing here declares a resource."""
