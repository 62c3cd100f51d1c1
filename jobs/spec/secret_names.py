"""Which names announce a secret: HF_TOKEN, --api-key, AccountKey, X-Api-Key.

The lists of words are facts. Those of detect-secrets (`plugins/keyword.py`) and of gitleaks (`generic-api-key`) are in
them; both read source files line by line and would withhold `--key name` and `--max-tokens 5`.
"""

from __future__ import annotations

import re
from enum import IntEnum

WITHHELD = "(withheld)"


class Strength(IntEnum):
    """How sure a name is: `WEAK` names (`--key`, `--pass`, `--auth`) need a value that looks like a secret."""

    NONE = 0
    WEAK = 1
    SURE = 2


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Any word of a name.
_SURE = _set(
    "secret secrets password passwords passwd passphrase passcode apikey apikeys credential credentials cred "
    "creds bearer cookie cookies authorization jwt kubeconfig dockerconfigjson netrc mnemonic connectionstring connstr "
    "userpass"
)
# The end of a word that is written together: PGPASSWORD, hftoken, aws_secretkey.
_SURE_ENDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "accountkey",
    "authkey",
    "privkey",
    "sshkey",
)
# The last word of a name.
_LAST = _set("pat pw pwd pswd psk sas otp oauth")
_WEAK = _set("key keys pass auth signature sig dsn")
_PAIRS = {("connection", "string"), ("conn", "str"), ("conn", "string"), ("seed", "phrase"), ("access", "signature")}
# The word before `key`, and before `pass`.
_KEYS = _set(
    "api access secret private auth encryption signing license account service ssh deploy master shared storage "
    "session hmac jwt client subscription admin webhook wandb openai anthropic azure gcp gpg"
)
_PASSES = _set(
    "db database user smtp mail email login admin root ssh sudo ftp http proxy redis mysql postgres pg mongo "
    "basic auth key cert keystore truststore git docker registry service account client api ldap vault "
    "store become in out"
)
_SORT_KEYS = _set("sort primary partition group foreign cache public join index")
# `token` and `tokens` are words of language models too.
_TEXT_TOKENS = _set(
    "pad bos eos eot unk mask sep cls special stop image video audio start end new next first last prompt max min "
    "num n per sub single multi output input placeholder initializer separator delimiter newline blank space bad "
    "class word"
)
_OWNERS = _set(
    "api access auth refresh session bearer hf hub huggingface github gh gitlab slack bot wandb openai user "
    "client service deploy ci npm pypi secret security personal private admin root registry vault"
)
# The last word, where the value is about a secret and is none.
_ABOUT = _set(
    "name names id ids file files path paths dir url uri endpoint type types length len limit count size max min "
    "num ttl expiry expires expiration timeout env var column columns field format version policy provider scope "
    "mode method algorithm index idx level embedding embeddings dropout loss position weight ratio budget rate "
    "enabled required disabled parallelism arn ref manager store backend stdin prompt command cmd jar user "
    "username host port dim header help classification pull"
)
# Words that may follow the word that counts: HF_TOKEN_RW, SSH_KEY_BASE64, DOCKER_AUTH_CONFIG.
_VARIANTS = _set(
    "rw ro read write b64 base64 json yaml config data value old new prod production staging dev default primary "
    "secondary backup raw text string encoded str"
)
# A mapping's keys are names of secrets by these too. A withheld variable can be given again by `rerun`.
_LAST_OF_KEYS = _set("token cookie credential credentials key auth pass pwd dsn signature bearer authorization")
_ANY_OF_KEYS = _set("password secret apikey")

# Between `hfToken`'s and `HFToken`'s words.
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_NO_WORD = re.compile(r"[^a-z0-9]+")

# What a text must contain to name a secret, in small letters: most texts need no closer look. Each name above contains
# one. Not one group and not IGNORECASE: `re` searches this ten times faster.
_STEM = re.compile(
    r"token|secret|pass|pswd|pwd|psk|key|auth|cred|bearer|cookie|jwt|kubeconfig|netrc|dockerconfigjson|mnemonic|conn|"
    r"phrase|signature|pat(?![a-z])|pw(?![a-z])|sas(?![a-z])|sig(?![a-z])|dsn(?![a-z])|otp(?![a-z])"
)


class Stems:
    """Finds what may be a part of a secret's name in one text."""

    def __init__(self, text: str) -> None:
        # The one letter whose small form is two letters.
        self._text = text.replace("\u0130", "I").lower()

    def search(self, at: int = 0) -> re.Match[str] | None:
        return _STEM.search(self._text, at)


def _words(name: str) -> list[str]:
    words = _NO_WORD.split(_CAMEL.sub("_", name).lower())
    # TOKEN1 and KEY2 are a token and a key; the digits of b64 belong to it.
    return [word if word in _VARIANTS else word.rstrip("0123456789") or word for word in words if word]


def strength(name: str) -> Strength:
    """How sure it is that the value of an option or a variable of this name, in a text, is a secret."""
    words = _words(name)
    variants = 0
    while len(words) > 1 and words[-1] in _VARIANTS and tuple(words[-2:]) not in _PAIRS:
        words.pop()
        variants += 1
    if words[-2:] == ["secret", "id"] and "client" not in words:  # Half of a login to Vault.
        return Strength.SURE
    if not words or words[-1] in _ABOUT or (words[-1] == "kubeconfig" and not variants):
        return Strength.NONE
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if words == ["pw"] and not name.startswith("-"):  # Two letters that any two bytes of a log may be.
        return Strength.NONE
    if any(map(_is_sure, words, ["", *words])) or last in _LAST or (before, last) in _PAIRS:
        return Strength.SURE
    if last == "pass" and before in _PASSES:
        return Strength.SURE
    if last in ("key", "keys") and before in _SORT_KEYS:
        return Strength.NONE
    return Strength.WEAK if last in _WEAK else Strength.NONE


def _is_sure(word: str, before: str) -> bool:
    if word.endswith("token"):
        return (word[:-5] or before) not in _TEXT_TOKENS
    if word == "tokens":
        return before in _OWNERS
    if word in ("key", "keys"):
        return before in _KEYS
    if word.endswith("pass") and word[:-4] in _PASSES:
        return True
    return word in _SURE or word.endswith(_SURE_ENDS)


def names_a_secret(name: str) -> bool:
    """Whether a variable or another key of a mapping holds a secret, by its name."""
    words = _words(name)
    return bool(words) and (
        words[-1] in _LAST_OF_KEYS or not _ANY_OF_KEYS.isdisjoint(words) or strength(name) > Strength.NONE
    )
