"""What of a spec may be kept on disk: everything but the values that look like secrets.

A rerun needs the spec, so it is kept whole where it can be. A value is withheld if the name it stands under says
secret (`HF_TOKEN`, `--password`), or if it has the form of one (a key's prefix, a URL with a password in it).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from . import secret_patterns as secret_scan

WITHHELD = "(withheld)"
_WORDS = {"token", "secret", "secrets", "password", "passwd", "pwd", "pass", "passphrase", "apikey", "key", "auth"}
_WORDS |= {"credential", "credentials", "dsn", "cookie", "authorization", "signature", "bearer"}
# In a command line fewer words count: `--key name`, `--pass 2` and `--pad-token '<pad>'` are no secrets, and a job
# whose entrypoint had to be withheld cannot be run again.
_SURE = {"token", "secret", "password", "passwd", "passphrase", "apikey", "credential", "credentials", "bearer"}
_KEYS = {"api", "access", "secret", "private", "auth", "encryption", "signing", "license", "account", "service"}
_TEXT_TOKENS = {"pad", "bos", "eos", "unk", "mask", "sep", "cls", "special", "stop", "image", "start", "end"}
# name=value, name: value and --name value, as they stand in a command line.
_IN_TEXT = re.compile(r"""(?<![\w-])(-{0,2}[A-Za-z][\w.-]*)(=|:\s*|\s+)("[^"]*"|'[^']*'|[^\s'"]+)""")
_USERINFO = re.compile(r"(?<=://)[^/\s@'\"]+@")
_QUERY = re.compile(r"(?i)(?<=[?&])([\w-]*(?:signature|token|credential|sig|key)[\w-]*)=[^&\s'\"]+")


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()) if word]


def names_a_secret(name: str) -> bool:
    """Whether a variable or metadata key of this name holds a secret: by its last words."""
    words = _words(name)
    return bool(words) and (words[-1] in _WORDS or bool({"password", "secret", "apikey"} & set(words)))


def _option_names_a_secret(name: str) -> bool:
    words = _words(name)
    before = words[-2] if len(words) > 1 else ""
    if not words or before in _TEXT_TOKENS:
        return False
    return words[-1] in _SURE or (words[-1] == "key" and before in _KEYS)


def text(value: str) -> str:
    """The text with what looks like a secret replaced. An entrypoint, a URL, a message."""
    value = _USERINFO.sub(f"{WITHHELD}@", value)
    value = _QUERY.sub(rf"\1={WITHHELD}", value)
    value = _IN_TEXT.sub(_hide, value)
    return secret_scan.hide(value, WITHHELD)


def _hide(match: re.Match[str]) -> str:
    name, between, found = match.groups()
    # Two words beside each other are a name and its value only where the first one is an option.
    if found == WITHHELD or not _option_names_a_secret(name) or (between.isspace() and not name.startswith("-")):
        if found[0] in "\"'":  # a command of its own, as in `sh -c "TOKEN=... run"`
            return f"{name}{between}{found[0]}{_IN_TEXT.sub(_hide, found[1:-1])}{found[-1]}"
        return match.group()
    return f"{name}{between}{WITHHELD}"


def metadata(value: Mapping[str, str]) -> dict[str, str]:
    """Metadata without the values whose names say secret, and without what looks like one elsewhere."""
    return {name: WITHHELD if names_a_secret(name) else text(found) for name, found in value.items()}


def leaves(value: Any) -> Any:
    """`value` with every text in it as by `text`, whatever it stands under."""
    if isinstance(value, Mapping):
        return {key: leaves(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [leaves(inner) for inner in value]
    return text(value) if isinstance(value, str) else value


def spec(value: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The spec without its secrets, and the dotted paths of what was withheld, for `restore`."""
    withheld: list[str] = []

    def walk(found: Any, path: str, named: bool) -> Any:
        if isinstance(found, Mapping):
            return {
                key: walk(inner, f"{path}.{key}", named or names_a_secret(str(key))) for key, inner in found.items()
            }
        if isinstance(found, list | tuple):
            return [walk(inner, f"{path}.{i}", named) for i, inner in enumerate(found)]
        if not isinstance(found, str) or not found:
            return found
        kept = WITHHELD if named else text(found)
        if kept != found:
            withheld.append(path)
        return kept

    # Only where names are the user's own do they say what a value is.
    kept: dict[str, Any] = {}
    for key, inner in value.items():
        if key in ("runtime_env", "metadata") and isinstance(inner, Mapping):
            kept[key] = {name: walk(found, f"{key}.{name}", names_a_secret(name)) for name, found in inner.items()}
        else:
            kept[key] = walk(inner, key, False)
    return kept, withheld


def restore(
    kept: Mapping[str, Any], withheld: list[str], environ: Mapping[str, str] = os.environ
) -> tuple[dict[str, Any], list[str]]:
    """The spec with withheld `runtime_env.env_vars` taken from the environment, and the paths still missing."""
    whole = dict(kept)
    missing = []
    environment = dict(whole.get("runtime_env") or {})
    variables = dict(environment.get("env_vars") or {})
    for path in withheld:
        name = path.removeprefix("runtime_env.env_vars.")
        if name != path and name in environ:
            variables[name] = environ[name]
        else:
            missing.append(path)
    if variables:
        whole["runtime_env"] = {**environment, "env_vars": variables}
    return whole, missing
