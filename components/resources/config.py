"""The settings of the running Pulumi program, from Pulumi's configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime.config import CONFIG, is_config_secret

from components.errors import refuse
from components.settings import Settings, parse
from components.settings.settings import PROJECT, own_keys, typed_keys
from jobs.yaml_file import NotYaml, parse_yaml

PREFIX = f"{PROJECT}:"


def load_settings() -> Settings:
    """Reads the settings of the stack. Keys that the program does not know are errors too.

    Raises:
        StackError: the configuration cannot be used; the message lists all problems, one a line.
    """
    raw = own_keys(CONFIG.get())
    text = "holds a secure value, which would be plain text in the state; allowed: only in `env` of a cluster's pods"
    secure = [key for key in sorted(raw) if key != "clusters" and is_config_secret(PREFIX + key)]
    refuse("The stack's configuration cannot be used:", [f"{key}: {text}" for key in secure])
    settings = parse({key: _value(key, value) for key, value in raw.items()}, _typed_keys())
    for line in settings.warnings():
        pulumi.log.warn(line)
    return settings


def _typed_keys() -> dict[str, Any]:
    """The settings as they were typed. The engine does not say which file `--config-file` names: then the stack's own
    file counts, and what it does not show must be in quotes."""
    try:
        return typed_keys(Path(f"Pulumi.{pulumi.get_stack()}.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, NotYaml):
        return {}


def has_secure_env() -> bool:
    """Returns whether some value in `clusters` is secure. The engine marks only the whole key."""
    return is_config_secret(f"{PREFIX}clusters")


def _value(key: str, text: str) -> Any:
    """Converts the engine's text: text settings stay as they are, all others are JSON, or YAML in a text."""
    field = next((field for field in Settings.model_fields.values() if field.alias == key), None)
    if field is None or field.annotation is str:
        return text
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return parse_yaml(text)
    except NotYaml:
        return text
