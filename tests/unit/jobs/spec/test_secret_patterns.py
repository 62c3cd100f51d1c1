"""Which files look like secrets before they are uploaded, by their names and by what is in them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jobs.spec import secret_patterns
from jobs.upload import plan as package

AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzzzz"

KUBECONFIG = """apiVersion: v1
kind: Config
current-context: c
users:
- name: u
  user:
    token: eyJhbGciOiJSUzI1NiJ9abcdef
"""

CONTENTS = {
    "OpenAI": "client = OpenAI(api_key='sk-" + "a1B2" * 12 + "')",
    "Anthropic": "key: sk-ant-api03-" + "a1_B-" * 12,
    "GitHub": "x = 'ghp_" + "a1B2" * 9 + "'",
    "GitHub OAuth": "x = 'gho_" + "a1B2" * 9 + "'",
    "GitLab": "glpat-" + "x1Y2" * 5,
    "Slack": "xoxb-1234567890-1234567890123-" + "aB3" * 8,
    "AWS credentials": f"[default]\naws_secret_access_key = {AWS_SECRET}\n",
    "AWS variable": f'export AWS_SECRET_ACCESS_KEY="{AWS_SECRET}"',
    "AWS answer": f'{{"SecretAccessKey": "{AWS_SECRET}"}}',
    "Azure": "AccountKey=" + "aB3/" * 21 + "aa==;EndpointSuffix=core.windows.net",
    "kubeconfig with a token": KUBECONFIG,
    "kubeconfig as JSON": '{"current-context": "c",\n "users":\n[{"user": {\n"token": "abcdefghijkl"}}]}',
    "kubeconfig with a client key": "users:\n- user:\n    client-key-data: " + "QUJD" * 20,
    "private key": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
    "PGP key": "-----BEGIN PGP PRIVATE KEY BLOCK-----\nabc",
    "PuTTY key": "PuTTY-User-Key-File-3: ssh-ed25519",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "Google": '{"type": "service_account"}',
    "Google API": "key=AIza" + "Sy1" * 11 + "ab",
    "Stripe": "sk_live_" + "4eC3" * 6,
    "npm": "//registry.npmjs.org/:_authToken=npm_" + "a1B2" * 9,
    "PyPI": "password = pypi-AgEIcHlwaS5vcmc" + "a1B2" * 20,
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_secret_in_a_file_is_found_and_not_repeated(content: str, encoding: str) -> None:
    why = secret_patterns.by_content(f"first line\n{content}\nlast line\n".encode(encoding))
    assert why is not None
    assert why.startswith(("contains a", "is a"))
    assert not any(word in content for word in why.split() if len(word) > 12)


@pytest.mark.parametrize(
    "content",
    [
        ".sk-spinner-chasing-dot-before { } .sk-cube-grid-delay-animation { }",
        "task-" + "a1B2" * 10,
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nusers:\n- user: {exec: {command: aws}}\n",
        "aws_secret_access_key = os.environ['AWS_SECRET_ACCESS_KEY']",
        "AWS_SECRET_ACCESS_KEY=$(vault read -field=secret aws)",
        "the prefix ghp_ and AKIA and hf_ and sk- are known",
        "token = 5\npassword = getpass()\n",
    ],
)
def test_a_file_that_only_speaks_of_secrets_is_not_one(content: str) -> None:
    assert secret_patterns.by_content(content.encode()) is None


@pytest.mark.parametrize("before", [0, 300_000, 1_048_570, 2_000_000])
@pytest.mark.parametrize("after", [0, 300_000])
def test_a_large_file_is_scanned_at_its_beginning_and_its_end(before: int, after: int, tmp_path: Path) -> None:
    secret = "ghp_" + "a1B2" * 9
    (tmp_path / "notes.txt").write_text("word " * (before // 5) + f"\n{secret}\n" + "word " * (after // 5))
    plan = package.plan(tmp_path, index_path=tmp_path.parent / "index")
    assert [noted.why for noted in plan.secrets] == ([] if before and after else ["contains a GitHub token"])


def test_a_file_that_is_no_text_is_not_read() -> None:
    assert secret_patterns.by_content(b"\0" * 8 + CONTENTS["GitHub"].encode()) is None


@pytest.mark.parametrize(
    "path",
    [
        ".env", ".envrc", "a/.env.local", "a/.envrc.prod", "id_ed25519_sk", "server.pem", ".netrc", ".my.cnf", ".boto",
        "a/.docker/config.json", ".dockercfg", "a/.kube/config", "dev.kubeconfig", "kaggle.json", ".vault-token",
        ".cache/huggingface/token", ".huggingface/token", ".config/gh/hosts.yml", "secrets.toml", ".databrickscfg",
    ],
)  # fmt: skip
def test_a_file_is_known_by_its_name(path: str) -> None:
    assert (secret_patterns.by_name(path) or "").startswith("looks like ")


@pytest.mark.parametrize(
    "path",
    [".env.example", ".envrc.template", "environment.py", "config.json", "hosts.yml", "token", "keys.py", "monkey.py"],
)
def test_a_file_with_an_ordinary_name_is_not_known(path: str) -> None:
    assert secret_patterns.by_name(path) is None


@pytest.mark.parametrize(
    "hostile",
    ["sk-", "sk-a", "eyJ", "eyJa-", "xoxb-1-", "ghp_", "-----BEGIN A", "current-context\ntoken: ", "AccountKey=", "Q~"],
)
def test_the_time_of_a_scan_grows_with_the_file_and_no_faster(hostile: str) -> None:
    def seconds(content: bytes) -> float:
        best = 9e9
        for _ in range(5):
            started = time.process_time()
            secret_patterns.by_content(content)
            best = min(best, time.process_time() - started)
        return best

    assert seconds(hostile.encode() * 20000) < 9 * seconds(hostile.encode() * 5000) + 0.005


def test_what_is_hidden_is_the_token_and_no_more() -> None:
    token = "ghp_" + "a1B2" * 9
    assert secret_patterns.hide(f"clone with {token}, then run", "(x)") == "clone with (x), then run"
