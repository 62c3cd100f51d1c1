"""Which proxy leads to an API server: the rules of Go's httpproxy, which kubectl uses."""

from __future__ import annotations

import pytest

from jobs.errors import Refused
from jobs.kubernetes.proxies import proxy_for

PROXY = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("no_proxy", "server", "proxied"),
    [
        ("fd00::/8", "https://[fd00::1]:6443", False),
        ("fd00::/8", "https://[2001:db8::1]:6443", True),
        ("fd00::/8", "https://10.0.0.1:6443", True),
        ("[fd00::1]", "https://[fd00::1]:6443", True),
        ("[fd00::1]:6443", "https://[fd00::1]:6443", False),
        ("[fd00::1]:443", "https://[fd00::1]:6443", True),
        ("fd00::1", "https://[fd00:0::1]:6443", False),
        ("10.0.0.0/8", "https://10.1.2.3", False),
        ("10.0.0.0/8", "https://[::ffff:10.1.2.3]", False),
        ("10.1.2.3", "https://10.1.2.3", False),
        ("10.1.2.3:443", "https://10.1.2.3", False),
        ("10.1.2.3:6443", "https://10.1.2.3", True),
        ("*", "https://k8s.example.com", False),
        ("*:443", "https://k8s.example.com", True),
        ("example.com:", "https://k8s.example.com", False),
        ("example.com:6443", "https://k8s.example.com:6443", False),
        ("example.com other.com", "https://k8s.example.com", True),
        ("example.com.", "https://k8s.example.com", True),
        ("example.com", "https://k8s.example.com", False),
        ("example.com", "https://example.com", False),
        ("example.com", "https://badexample.com", True),
        (".example.com", "https://k8s.example.com", False),
        (".example.com", "https://example.com", True),
        ("*.example.com", "https://k8s.example.com", False),
        ("EXAMPLE.com", "https://k8s.Example.Com", False),
        (" a , example.com ,", "https://k8s.example.com", False),
        ("http://example.com", "https://k8s.example.com", True),
        ("[::1", "https://k8s.example.com", True),
        ("a:b:c", "https://k8s.example.com", True),
        ("999.0.0.0/99,", "https://k8s.example.com", True),
        ("", "https://localhost:6443", False),
        ("", "https://127.0.0.1:6443", False),
        ("", "https://[::1]:6443", False),
        ("", "https://k8s.example.com", True),
    ],
)
def test_no_proxy_is_read_as_kubectl_reads_it(no_proxy: str, server: str, proxied: bool) -> None:
    expected = PROXY if proxied else None
    assert proxy_for(server, environ={"HTTPS_PROXY": PROXY, "NO_PROXY": no_proxy}) == expected
    assert proxy_for(server, environ={"https_proxy": PROXY, "no_proxy": no_proxy}) == expected


@pytest.mark.parametrize(
    ("server", "environ", "proxy"),
    [
        ("https://k", {"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ("https://k", {"HTTP_PROXY": PROXY}, None),
        ("http://k", {"HTTP_PROXY": PROXY}, PROXY),
        ("https://k", {"ALL_PROXY": "socks5://localhost:1080"}, "socks5://localhost:1080"),
        ("https://k", {"HTTPS_PROXY": PROXY, "ALL_PROXY": "socks5://localhost:1080"}, PROXY),
        ("https://k", {"HTTPS_PROXY": " ", "https_proxy": PROXY}, PROXY),
        ("https://k", {}, None),
    ],
)
def test_the_variable_of_the_scheme_comes_before_all_proxy(
    server: str, environ: dict[str, str], proxy: str | None
) -> None:
    assert proxy_for(server, environ=environ) == proxy


def test_the_proxy_of_the_kubeconfig_comes_first_and_no_proxy_does_not_apply_to_it() -> None:
    environ = {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}
    assert proxy_for("https://k", "socks5://localhost:1080", environ) == "socks5://localhost:1080"


@pytest.mark.parametrize(
    "value", ["ftp://user:hunter2@p", "socks4://p:1", "http://p:hunter2", "http://", "http://[::1"]
)
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "proxy-url"])
def test_a_proxy_that_cannot_be_used_is_refused_by_the_name_of_its_setting(name: str, value: str) -> None:
    with pytest.raises(Refused) as refused:
        proxy_for("https://k", value) if name == "proxy-url" else proxy_for("https://k", environ={name: value})
    assert refused.value.message.startswith(name)
    assert "socks5" in refused.value.remedy
    assert "hunter2" not in f"{refused.value.message}{refused.value.remedy}"
