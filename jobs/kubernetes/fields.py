"""The fields of a kubeconfig, as client-go reads them (`tools/clientcmd/api/v1`), and which of them exclude each other.

kubectl refuses a value of another type, and it ignores fields that it does not know. Here they are refused too: a field
with a spelling mistake could otherwise change who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import Refused

TEXT, FLAG, TEXTS = "a text", "true or false", "a list of texts"
MAPPING, MAPPINGS, TEXTS_BY_KEY = "a mapping", "a list of mappings", "a mapping of lists of texts"

CLUSTER = {
    "server": TEXT,
    "tls-server-name": TEXT,
    "insecure-skip-tls-verify": FLAG,
    "certificate-authority": TEXT,
    "certificate-authority-data": TEXT,
    "proxy-url": TEXT,
    "disable-compression": FLAG,
    "extensions": MAPPINGS,
    "api-version": TEXT,  # written by kubectl before 1.5; it has no effect
}
USER = {
    "client-certificate": TEXT,
    "client-certificate-data": TEXT,
    "client-key": TEXT,
    "client-key-data": TEXT,
    "token": TEXT,
    "tokenFile": TEXT,
    "as": TEXT,
    "as-uid": TEXT,
    "as-groups": TEXTS,
    "as-user-extra": TEXTS_BY_KEY,
    "username": TEXT,
    "password": TEXT,
    "auth-provider": MAPPING,
    "exec": MAPPING,
    "extensions": MAPPINGS,
}
EXEC = {
    "apiVersion": TEXT,
    "command": TEXT,
    "args": TEXTS,
    "env": MAPPINGS,
    "installHint": TEXT,
    "provideClusterInfo": FLAG,
    "interactiveMode": TEXT,
}
# Pairs of which kubectl accepts only one (client-go's `validation.go` and `transport.TLSConfigFor`).
_EXCLUSIVE = (
    ("certificate-authority", "certificate-authority-data"),
    ("client-certificate", "client-certificate-data"),
    ("client-key", "client-key-data"),
    ("insecure-skip-tls-verify", "certificate-authority"),
    ("insecure-skip-tls-verify", "certificate-authority-data"),
    ("token", "username"),
    ("token", "password"),
    ("exec", "auth-provider"),
)


def check_fields(subject: str, entry: Mapping[str, Any], fields: Mapping[str, str]) -> None:
    """Checks the fields of an entry. Values are never repeated: they may be secret.

    Args:
        subject: the entry in error messages.
        entry: the entry; null is as good as a missing field.
        fields: the fields that it may have, and their types.

    Raises:
        Refused: a field is not supported, has another type, or excludes another one.
    """
    if unknown := sorted(str(name)[:60] for name in entry if name not in fields):
        raise Refused(
            f"{subject} has {', '.join(unknown)}, which is not supported.",
            f"Correct its name, or remove it. Supported: {', '.join(fields)}.",
        )
    for name, value in entry.items():
        if value is not None and not _is_of_type(value, fields[name]):
            raise Refused(
                f"{subject}: {name} has to be {fields[name]}.",
                "Write it in quotes." if fields[name] == TEXT and isinstance(value, bool | int | float) else "",
            )
    for first, second in _EXCLUSIVE:
        if entry.get(first) and entry.get(second):
            raise Refused(f"{subject} has {first} and {second}.", "Keep one of the two: kubectl refuses both together.")


def _is_of_type(value: Any, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str)
    if kind == FLAG:
        return isinstance(value, bool)
    if kind == TEXTS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if kind == MAPPINGS:
        return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)
    if kind == TEXTS_BY_KEY:
        return isinstance(value, Mapping) and all(
            isinstance(key, str) and (texts is None or _is_of_type(texts, TEXTS)) for key, texts in value.items()
        )
    return isinstance(value, Mapping)
