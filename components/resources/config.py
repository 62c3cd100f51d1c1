"""The settings of the running Pulumi program, from Pulumi's configuration."""

from __future__ import annotations

from typing import Any

import pulumi
import yaml
from pulumi.runtime.config import CONFIG, is_config_secret

from components.errors import refuse
from components.settings import Settings, parse
from components.settings.settings import PROJECT

PREFIX = f"{PROJECT}:"


def load_settings() -> Settings:
    """Reads the settings of the stack. Keys that the program does not know are errors too.

    Raises:
        StackError: the configuration cannot be used; the message lists all problems, one a line.
    """
    raw = {key.removeprefix(PREFIX): value for key, value in CONFIG.get().items() if key.startswith(PREFIX)}
    text = "holds a secure value, which would be plain text in the state; allowed: only in `env` of a cluster's pods"
    secure = [key for key in sorted(raw) if key != "clusters" and is_config_secret(PREFIX + key)]
    refuse("The stack's configuration cannot be used:", [f"{key}: {text}" for key in secure])
    settings = parse({key: _typed(key, value) for key, value in raw.items()})
    for line in settings.warnings():
        pulumi.log.warn(line)
    return settings


def has_secure_env() -> bool:
    """Returns whether some value in `clusters` is secure. The engine marks only the whole key."""
    return is_config_secret(f"{PREFIX}clusters")


def _typed(key: str, value: str) -> Any:
    """Converts the engine's text: text settings stay as they are, all others are JSON."""
    field = next((field for field in Settings.model_fields.values() if field.alias == key), None)
    if field is None or field.annotation is str:
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value
