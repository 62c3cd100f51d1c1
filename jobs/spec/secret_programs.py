"""Programs with options that carry a secret and do not say so: `curl -u`, `sshpass -p`, `mysql -p`. Facts alone.

Of each option: the word that the secret follows, the beginning of a word that the secret ends, and the value (regular
expressions; `NEVER` matches nothing).
"""

from __future__ import annotations

Option = tuple[str, str, str]

NEVER = r"(?!)"
_ANY = r".+"
# No URL, and no password from a variable.
_USER_AND_PASSWORD = r"(?![a-z][\w+.-]*://|[^:]*:\$(?:[A-Z_][A-Z0-9_]*|\{\w+\})$)[^:]*:.+"
_P_JOINED: tuple[Option, ...] = ((NEVER, r"-p", _ANY),)
_A: tuple[Option, ...] = ((r"-a|--auth", r"--auth=", _ANY),)

PROGRAMS: dict[str, tuple[Option, ...]] = {
    "curl": (
        (r"-[a-zA-Z#]*[uU]|--(?:proxy-)?user", r"-[sSfkLvgGiN#]*[uU]|--(?:proxy-)?user=", _USER_AND_PASSWORD),
        (r"-[a-zA-Z#]*b|--cookie", r"-b|--cookie=", r".*=.*"),
        (r"-E|--(?:proxy-)?cert", NEVER, _USER_AND_PASSWORD),
        (r"--oauth2-bearer", NEVER, _ANY),
    ),
    "http": _A,
    "https": _A,
    "xh": _A,
    "sshpass": ((r"-p", r"-p", _ANY),),
    "mysql": _P_JOINED,
    "mysqldump": _P_JOINED,
    "mysqladmin": _P_JOINED,
    "mariadb": _P_JOINED,
    "mongo": ((r"-p", NEVER, _ANY),),
    "mongosh": ((r"-p", NEVER, _ANY),),
    "mongodump": ((r"-p", NEVER, _ANY),),
    "sqlcmd": ((r"-P", r"-P", _ANY),),
    "redis-cli": ((r"-a|--pass", NEVER, _ANY),),
    "valkey-cli": ((r"-a|--pass", NEVER, _ANY),),
    "unzip": ((r"-[a-zA-Z]*P", NEVER, _ANY),),
    "zip": ((r"-[a-zA-Z]*P", NEVER, _ANY),),
    "7z": _P_JOINED,
    "7za": _P_JOINED,
    "7zz": _P_JOINED,
    "ldapsearch": ((r"-w", r"-w", _ANY),),
    "ldapmodify": ((r"-w", r"-w", _ANY),),
    # `docker login -p`, but not `docker run -p`.
    "login": ((r"-p", r"-p=", _ANY),),
    "openssl": ((r"-pass(?:in|out)?", NEVER, r"pass:.+"),),
}
# What a text must contain to start one of them: the name and what may follow a word.
_STARTS = tuple(name + after for name in PROGRAMS for after in " \t\"'\\")


def starts_one(text: str) -> bool:
    """Whether one of the programs may be started in the text."""
    return any(start in text for start in _STARTS)
