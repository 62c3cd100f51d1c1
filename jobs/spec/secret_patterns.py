"""What secrets look like: in a text, and in files, so that a person sees them before they are uploaded.

The shapes are facts from detect-secrets' plugins and gitleaks' rules, compared on 2026-11-27. detect-secrets is no
dependency: it costs 100 ms to import (`jobs status` takes 200 ms) and reads source files, not command lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache

# A larger file is scanned at its beginning and its end only: keys and credentials are small.
CONTENT_LIMIT = 256 * 1024
_SAMPLE = 64 * 1024

# The last part of a path in small letters, and the path. Compiled at use: most commands read no names.
_NAMES = (
    (r"^\.env(rc)?($|\.(?!(example|sample|template|dist)$))", "an environment file"),
    (r"\.(pem|key|p12|pfx|jks|keystore|ppk|kdbx)$", "a key or key store"),
    (r"^id_(rsa|dsa|ecdsa|ed25519)(_sk)?$", "an SSH private key"),
    (
        r"^(\.netrc|_netrc|\.pgpass|\.my\.cnf|\.pypirc|\.npmrc|\.git-credentials|\.htpasswd|\.dockercfg|\.boto|\.s3cfg|"
        r"\.databrickscfg|\.vault-token|kaggle\.json)$",
        "a credentials file",
    ),
    (r"^(credentials|credentials\.(json|ya?ml|ini|toml)|secrets?\.(json|ya?ml|ini|toml|env))$", "a secret"),
    (r"^(kubeconfig|.*\.kubeconfig)$", "a kubeconfig"),
    (r"^auth_token$", "a Ray token"),
)
_PATHS = (
    (r"(^|/)\.kube/config$", "a kubeconfig"),
    (r"(^|/)\.docker/config\.json$", "a login"),
    (r"(^|/)(\.?huggingface/token|gh/hosts\.yml)$", "a login"),
)

# A token: the letters it begins with, the expression of what follows them, whose it is. Every expression stops at the
# first letter that does not fit, so that a search takes no longer than the text.
_TOKENS = (
    ("AKIA", r"[A-Z0-9]{16}(?![A-Z0-9])", "an AWS access key id"),
    ("ASIA", r"[A-Z0-9]{16}(?![A-Z0-9])", "an AWS access key id"),
    ("ABIA", r"[A-Z2-7]{16}(?![A-Z0-9])", "an AWS access key id"),
    ("ABSK", r"[A-Za-z0-9+/]{109,269}={0,2}", "an AWS Bedrock key"),
    ("gh", r"[opusr]_\w{36,}", "a GitHub token"),
    ("github_pat_", r"\w{60,}", "a GitHub token"),
    ("glpat-", r"[\w.-]{20,}", "a GitLab token"),
    ("gl", r"(?:dt|ft|rt|ptt|cbt|agent|oas|soat)-[\w.-]{20,}", "a GitLab token"),
    ("hf_", r"[A-Za-z0-9]{34}(?![A-Za-z0-9])", "a Hugging Face token"),
    ("api_org_", r"[A-Za-z0-9]{34}(?![A-Za-z0-9])", "a Hugging Face token"),
    ("sk-", r"(?=[a-zA-Z_-]{0,60}\d)[\w-]{20,}", "an OpenAI or Anthropic key"),
    ("gsk_", r"[A-Za-z0-9]{40,}", "a Groq key"),
    ("r8_", r"[A-Za-z0-9]{37,}", "a Replicate token"),
    ("pplx-", r"[A-Za-z0-9]{40,}", "a Perplexity key"),
    ("nvapi-", r"[\w-]{40,}", "an NVIDIA key"),
    ("AIza", r"[\w-]{35}", "a Google API key"),
    ("ya29.", r"[\w.-]{30,}", "a Google access token"),
    ("GOCSPX-", r"[\w-]{28}", "a Google client secret"),
    ("xox", r"[a-z][.-][\w.-]{16,}", "a Slack token"),
    ("xapp-", r"[\w-]{20,}", "a Slack token"),
    ("hooks.slack.com/", r"[a-z]+/[\w/+]{20,}", "a Slack webhook"),
    ("sk_live_", r"\w{10,}", "a Stripe key"),
    ("sk_test_", r"\w{10,}", "a Stripe key"),
    ("rk_live_", r"\w{10,}", "a Stripe key"),
    ("rk_test_", r"\w{10,}", "a Stripe key"),
    ("npm_", r"[A-Za-z0-9]{36}", "an npm token"),
    ("pypi-", r"[\w-]{50,}", "a PyPI token"),
    ("rubygems_", r"[a-f0-9]{48}", "a RubyGems token"),
    ("dop_v1_", r"[a-f0-9]{64}", "a DigitalOcean token"),
    ("doo_v1_", r"[a-f0-9]{64}", "a DigitalOcean token"),
    ("dapi", r"[a-f0-9]{32}(?:-\d)?", "a Databricks token"),
    ("pul-", r"[a-f0-9]{40}", "a Pulumi token"),
    ("SG.", r"[\w-]{16,}\.[\w-]{16,}", "a SendGrid key"),
    ("hvs.", r"[\w-]{20,}", "a Vault token"),
    ("hvb.", r"[\w-]{20,}", "a Vault token"),
    ("AGE-SECRET-KEY-1", r"[A-Z0-9]{58}", "an age key"),
    ("glsa_", r"\w{32,}", "a Grafana token"),
    ("glc_", r"[A-Za-z0-9+/]{32,}={0,3}", "a Grafana token"),
    ("lin_api_", r"[A-Za-z0-9]{40}", "a Linear key"),
    ("ntn_", r"[A-Za-z0-9]{40,}", "a Notion token"),
    ("ops_eyJ", r"[\w+/-]{200,}={0,3}", "a 1Password token"),
    ("sha256~", r"[\w-]{43}", "an OpenShift token"),
    ("pscale_", r"[a-z]+_[\w=.-]{32,}", "a PlanetScale secret"),
    ("sntrys_", r"[\w+/=-]{40,}", "a Sentry token"),
    ("shpat_", r"[a-fA-F0-9]{32}", "a Shopify token"),
    ("PMAK-", r"[a-f0-9]{24}-[a-f0-9]{34}", "a Postman key"),
    ("tskey-", r"[\w-]{20,}", "a Tailscale key"),
)
# Those that files are scanned for: each takes 0.15 ms for 256 KiB.
_IN_FILES = frozenset(
    [
        "AKIA",
        "ASIA",
        "gh",
        "github_pat_",
        "glpat-",
        "hf_",
        "sk-",
        "AIza",
        "xox",
        "hooks.slack.com/",
        "sk_live_",
        "rk_live_",
        "npm_",
        "pypi-",
        "hvs.",
        "dop_v1_",
        "AGE-SECRET-KEY-1",
    ]
)
# What cannot be said by its beginning: a literal that must be there, the expression, what it is.
_IN_TEXT = (
    ("eyJ", r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?", "a JSON Web Token"),
    ("Q~", r"(?<![\w~.-])[\w.~-]{3}\dQ~[\w.~-]{31,34}", "an Azure client secret"),
    (
        "PRIVATE KEY",
        r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
        r"[\s\S]*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
        "a private key",
    ),
)
_BEARER = r"(?i)(?<=bearer )(?!auth|token\b)[A-Za-z0-9._~+/-]{8,}=*"

_AWS_SECRET_NAMES = ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "SecretAccessKey")
_AWS_SECRET = r"""['"]?[ \t]*[=:][ \t]*['"]?[\w/+]{40}(?![\w/+])"""
# In files, in this order. A plain substring before each expression: nearly every file is turned away by it, many times
# faster. Where it is the beginning of a file's format, not of a token, the expression says all of it.
_CONTENTS = (
    ("PRIVATE KEY", r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----", "contains a private key"),
    ("PuTTY-User-Key-File-", r"(?m)^PuTTY-User-Key-File-\d", "contains a private key"),
    ("service_account", r'"type"\s*:\s*"service_account"', "is a Google service account key"),
    ("client-key-data", r'client-key-data"?:\s*"?[A-Za-z0-9+/=]{40,}', "is a kubeconfig with a client key"),
    ("current-context", r'(?m)^[ \t{,-]*"?(?:token|password)"?:[ \t]*"?[\w.~+/=-]{8,}', "is a kubeconfig with a token"),
    *((name, name + _AWS_SECRET, "contains an AWS secret key") for name in _AWS_SECRET_NAMES),
    ("AccountKey=", r"AccountKey=[A-Za-z0-9+/=]{40,}", "contains an Azure storage key"),
)


def by_name(relpath: str) -> str | None:
    """Why the name suggests a secret, in words that follow "looks like"; None if it does not."""
    name = relpath.rpartition("/")[2].lower()
    names, paths = _path_expressions()
    for expression, why in names:
        if expression.search(name):
            return f"looks like {why}"
    for expression, why in paths:
        if expression.search(relpath):
            return f"looks like {why}"
    return None


def by_content(content: bytes, end: bytes = b"") -> str | None:
    """Which known form of secret a file contains; the secret itself is never returned.

    Args:
        content: The file, or the beginning of a large one.
        end: The last bytes of a large file. It is scanned with the same bound.
    """
    if end or len(content) > CONTENT_LIMIT:
        content = content[:_SAMPLE] + b"\n" + (end or content)[-_SAMPLE:]
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = content.decode("utf-16", "ignore").encode()
    if b"\0" in content[:1024]:
        return None  # These are texts.
    for literal, expression, why in _content_forms():
        if literal in content and _bytes_expression(expression).search(content):
            return why
    return None


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the known forms of keys and tokens stand in `text`. Takes time in proportion to the text."""
    for literal, expression, _ in _TOKENS:
        if literal in text:
            for match in re.finditer(_bounded(literal, expression), text, re.ASCII):
                yield match.span()
    for literal, expression, _ in _IN_TEXT:
        if literal in text:
            for match in re.finditer(expression, text):
                yield match.span()
    if "earer " in text or "EARER " in text:
        for match in re.finditer(_BEARER, text):
            yield match.span()


def hide(text: str, instead: str) -> str:
    """The text with every known form of key or token in it replaced."""
    return replace(text, spans(text), instead)


def replace(text: str, places: Iterable[tuple[int, int]], instead: str) -> str:
    """The text with `instead` at each of `places`, which may overlap and be in any order."""
    parts = []
    at, last = 0, -1
    for start, end in sorted(places):
        if start > last:
            parts += [text[at:start], instead]
        at = last = max(last, end)
    return "".join([*parts, text[at:]])


def _bounded(literal: str, expression: str) -> str:
    # The literal first: `re` looks for it before it tries the expression.
    prefix = re.escape(literal)
    return f"{prefix}(?<![A-Za-z0-9]{prefix}){expression}"


Expressions = list[tuple[re.Pattern[str], str]]


@cache
def _path_expressions() -> tuple[Expressions, Expressions]:
    return [(re.compile(name), why) for name, why in _NAMES], [(re.compile(path), why) for path, why in _PATHS]


@cache
def _content_forms() -> list[tuple[bytes, str, str]]:
    tokens = [
        (literal, _bounded(literal, expression), f"contains {whose}")
        for literal, expression, whose in _TOKENS
        if literal in _IN_FILES
    ]
    others = [(literal, expression, f"contains {what}") for literal, expression, what in _IN_TEXT[:1]]
    return [(literal.encode(), expression, why) for literal, expression, why in (*_CONTENTS, *tokens, *others)]


@cache
def _bytes_expression(expression: str) -> re.Pattern[bytes]:
    return re.compile(expression.encode())
