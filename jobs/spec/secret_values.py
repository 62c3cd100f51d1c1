"""Whether the value under a name that announces a secret is one: `$HF_TOKEN`, `None` and `<pad>` are not."""

from __future__ import annotations

import re

from .secret_names import WITHHELD, Strength, strength

_CLOSERS = ",;)]\\}"
_NO_SECRET = re.compile(
    r"(?:none|null|nil|true|false|undefined|str|bytes|string|bool|int|float|any|secretstr|bearer|basic|\.\.\.|…|\*+|"
    r"(?:optional|callable|dict|list|tuple|mapping|sequence)(?:\[.*)?)?\s*",
    re.IGNORECASE | re.DOTALL,
)
# A variable of the shell, a field of a template or an f-string, the environment in Python.
_REFERENCE = re.compile(
    r"\$(?:[A-Z_][A-Z0-9_]*|\{[A-Za-z_]\w*(?::?-\$\{?[A-Z_]\w*\}?)?\}|[0-9@*])|\{\{?\s*[A-Za-z_][\w.]*(?:\(\)|\[\w+\])?\s*\}?\}|"
    r"(?:os\.)?(?:environ[.\[]|getenv\().*",
    re.DOTALL,
)
_SUBSTITUTION = re.compile(r"(?:\$\(|`)(?!\s*(?:echo|printf)\b)")
SPECIAL_TOKEN = re.compile(r"<[|/]{0,2}[A-Za-z][\w-]*\|?>|\[[A-Z]+\]")
# A file that holds a secret. Keys in base64 may begin with a slash too, but have no dot.
_PATH = re.compile(
    r"(?:~|\.{0,2})/[\w./-]*\.(?:pem|key|crt|pub|json|ya?ml|txt|conf|cfg|ini|env|toml)|(?:/var)?/run/secrets/[\w./-]+|"
    r"~/\.[\w./-]+|/[\w./-]*/\.(?:ssh|kube|aws)/[\w./-]+"
)
_IDENTIFIER = re.compile(r"[a-z_]{1,20}")
_NUMBER = re.compile(r"[\d.,]*")
_NO_PATH = re.compile(r"[\w+/=-]+")
_CHUNK = re.compile(r"[A-Za-z0-9+/]+")
_PASSWORD = re.compile(r"(?=[^\d]*\d)(?!\d+[.e]\S*$)(?=[^A-Za-z]*[A-Za-z])[^/=]*")
_BASE64 = re.compile(r"(?=[^A-Z]*[A-Z])(?=[^a-z]*[a-z])[A-Za-z0-9+/]{8,}={0,2}")
_USER_AND_PASSWORD = re.compile(r"[^\s:/]+:[^\s:/]\S*")
# An option, and no value. A secret may begin with a dash too.
FLAG = re.compile(r"--[A-Za-z][\w.-]*(?:=\S*)?|-[A-Za-z]{1,3}|-[a-z][a-z-]+")
IDS = re.compile(r"\d+:\d+")


def is_secret(name: str, value: str, *, literal: bool = False) -> bool:
    """Whether the value of an option, a variable or a field of this name is to be withheld.

    Args:
        literal: In single quotes, where `$HF_TOKEN` is no variable.
    """
    sure = strength(name)
    if not sure or is_withheld(value) or _NO_SECRET.fullmatch(value.rstrip(_CLOSERS)):
        return False
    if not literal and is_reference(value):
        return False
    lower = name.lower()
    if "token" in lower and SPECIAL_TOKEN.fullmatch(value):
        return False
    if _PATH.fullmatch(value):
        return False
    if name in ("PWD", "OLDPWD") and value.startswith("/"):
        return False
    if sure is Strength.SURE:
        return True
    if name.isupper() and "_" in name:  # A variable: REDIS_AUTH, but also TEXT_KEY=text.
        return not _NUMBER.fullmatch(value) and not ("key" in lower and _IDENTIFIER.fullmatch(value))
    return looks_secret(lower, value)


def is_reference(value: str) -> bool:
    return bool(_REFERENCE.fullmatch(value.rstrip(_CLOSERS[:-1])) or _SUBSTITUTION.match(value))


def is_withheld(value: str) -> bool:
    return value.startswith(WITHHELD) and not value[len(WITHHELD) :].strip(_CLOSERS)


def trimmed(value: str) -> str:
    """A value that no quotes enclose, without what closes the list or the call that it ends."""
    return value.rstrip(_CLOSERS) or value


def looks_secret(name: str, value: str) -> bool:
    if name.endswith("pass"):
        return bool(_PASSWORD.fullmatch(value))
    if name.endswith("auth") and (_BASE64.fullmatch(value) or _USER_AND_PASSWORD.fullmatch(value)):
        return not IDS.fullmatch(value)
    # Digits among letters, as in no column's name.
    return bool(_NO_PATH.fullmatch(value)) and any(
        len(chunk) >= 16 and not chunk.isdigit() and not chunk.isalpha() for chunk in _CHUNK.findall(value)
    )
