"""Files that look like secrets, so that a person sees them before they are uploaded."""

from __future__ import annotations

import re

# Larger files are judged by their name alone: keys and credentials are small.
CONTENT_LIMIT = 256 * 1024

_NAMES = (
    (re.compile(r"^\.env($|\.(?!(example|sample|template|dist)$))"), "an environment file"),
    (re.compile(r"\.(pem|key|p12|pfx|jks|keystore|ppk|kdbx)$"), "a key or key store"),
    (re.compile(r"^id_(rsa|dsa|ecdsa|ed25519)(_sk)?$"), "an SSH private key"),
    (re.compile(r"^(\.netrc|_netrc|\.pgpass|\.pypirc|\.npmrc|\.git-credentials|\.htpasswd)$"), "a credentials file"),
    (re.compile(r"^(credentials|credentials\.(json|ya?ml|ini|toml)|secrets?\.(json|ya?ml|ini|toml|env))$"), "a secret"),
    (re.compile(r"^(kubeconfig|.*\.kubeconfig)$"), "a kubeconfig"),
    (re.compile(r"^auth_token$"), "a Ray token"),
)
_PATHS = ((re.compile(r"(^|/)\.kube/config$"), "a kubeconfig"), (re.compile(r"(^|/)\.docker/config\.json$"), "a login"))
# A plain substring before each expression: nearly every file is turned away by it, many times faster.
_CONTENTS = (
    (b"PRIVATE KEY-----", re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"), "contains a private key"),
    (b"AKIA", re.compile(rb"(?<![A-Z0-9])AKIA[A-Z0-9]{16}(?![A-Z0-9])"), "contains an AWS access key id"),
    (b"ASIA", re.compile(rb"(?<![A-Z0-9])ASIA[A-Z0-9]{16}(?![A-Z0-9])"), "contains an AWS access key id"),
    (b"service_account", re.compile(rb'"type"\s*:\s*"service_account"'), "is a Google service account key"),
    (b"ghp_", re.compile(rb"(?<![A-Za-z0-9_])ghp_[A-Za-z0-9]{36}"), "contains a GitHub token"),
    (b"github_pat_", re.compile(rb"(?<![A-Za-z0-9_])github_pat_[A-Za-z0-9_]{60,}"), "contains a GitHub token"),
    (b"hf_", re.compile(rb"(?<![A-Za-z0-9_])hf_[A-Za-z0-9]{34}(?![A-Za-z0-9])"), "contains a Hugging Face token"),
    (b"client-key-data", re.compile(rb"client-key-data:\s*[A-Za-z0-9+/=]{40,}"), "is a kubeconfig with a client key"),
)
# The forms that can stand inside a line of text.
_TOKENS = (
    re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"),
    re.compile(r"(?<![A-Za-z0-9_])(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{60,})"),
    re.compile(r"(?<![A-Za-z0-9_])hf_[A-Za-z0-9]{34}(?![A-Za-z0-9])"),
    re.compile(r"(?<![A-Za-z0-9_-])sk-[A-Za-z0-9_-]{20,}"),
    re.compile(r"(?i)(?<=bearer )[A-Za-z0-9._~+/-]{8,}=*"),
    re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)"),
)


def by_name(relpath: str) -> str | None:
    """Why the name suggests a secret, in words that follow "looks like"; None if it does not."""
    name = relpath.rpartition("/")[2].lower()
    for expression, why in _NAMES:
        if expression.search(name):
            return f"looks like {why}"
    for expression, why in _PATHS:
        if expression.search(relpath):
            return f"looks like {why}"
    return None


def by_content(content: bytes) -> str | None:
    """Which known form of secret the bytes contain; the secret itself is never returned."""
    if b"\0" in content[:1024]:
        return None  # These are texts.
    for literal, expression, why in _CONTENTS:
        if literal in content and expression.search(content):
            return why
    return None


def hide(text: str, instead: str) -> str:
    """The text with every known form of key or token in it replaced."""
    for expression in _TOKENS:
        text = expression.sub(instead, text)
    return text
