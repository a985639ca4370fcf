"""URLs of the settings: what is read from them, what is refused, and where each signal goes."""

from __future__ import annotations

import pytest

from o2_lambda.extension.config import Config, load
from o2_lambda.extension.core.url import ConfigError, parse_url

REQUIRED = {"O2_ORGANIZATION_ID": "acme", "O2_AUTHORIZATION_HEADER": "Basic c2VjcmV0OnNlY3JldA=="}
SECRET = "hunter2secret"


def loaded(**environ: str) -> Config:
    return load({**REQUIRED, **environ})


def refused(**environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(**environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "origin", "path", "shown"),
    [
        ("https://a.example", ("https", "a.example", 443), "", "https://a.example"),
        ("https://a.example/", ("https", "a.example", 443), "", "https://a.example"),
        ("https://a.example///", ("https", "a.example", 443), "", "https://a.example"),
        ("HTTPS://A.Example:443/Base/", ("https", "a.example", 443), "/Base", "https://a.example/Base"),
        ("http://a:5080/o2/x", ("http", "a", 5080), "/o2/x", "http://a:5080/o2/x"),
        ("http://a:80", ("http", "a", 80), "", "http://a"),
        ("https://a:80", ("https", "a", 80), "", "https://a:80"),
        ("https://a:", ("https", "a", 443), "", "https://a"),
        ("https://[2001:DB8::1]", ("https", "2001:db8::1", 443), "", "https://[2001:db8::1]"),
        ("https://[::1]:8443/x", ("https", "::1", 8443), "/x", "https://[::1]:8443/x"),
        ("https://10.0.0.1:65535", ("https", "10.0.0.1", 65_535), "", "https://10.0.0.1:65535"),
    ],
)
def test_urls(text: str, origin: tuple[str, str, int], path: str, shown: str) -> None:
    """Host and scheme in lower case, the default port left out, no trailing slash."""
    url = parse_url("X", text)
    assert (url.origin, url.path, str(url), url.userinfo) == (origin, path, shown, "")


@pytest.mark.parametrize("userinfo", ["user:pass", "user", "user:p@ss", "user:p%2fss"])
def test_userinfo_is_kept_and_not_shown(userinfo: str) -> None:
    """A proxy may need it; a log line does not."""
    url = parse_url("X", f"http://{userinfo}@proxy:3128")
    assert (url.userinfo, url.origin) == (userinfo, ("http", "proxy", 3128))
    assert userinfo not in str(url)


BAD_URLS = [
    *("a.example", "//a.example", "ftp://a.example", "https:/a.example", "https:a.example", "https//a", "://a"),
    *("https://", "https:///path", "https://:443", "https://user@", "https://[]", "https://a.example?x=1"),
    *("https://a.example/p?x=1", "https://a.example/#f", "https://a:0", "https://a:65536", "https://a:-1"),
    *("https://a:x", "https://a:1:2x", "https://[::1]x:80", "https://a:123456", "https://a\tb", "https://日本"),
    *("https://a b", "https://a.example/a b", "https://[::1", "https://a\\b", "https://.example"),
]


@pytest.mark.parametrize("text", BAD_URLS)
def test_bad_urls_are_refused_by_name(text: str) -> None:
    """The line names the setting."""
    assert refused(O2_ENDPOINT=text).startswith("O2_ENDPOINT")


@pytest.mark.parametrize(
    "template",
    [
        *("{s}@proxy:3128", "ftp://u:{s}@proxy", "http://u:{s}@proxy?x", "http://u:{s}@", "http://u:{s}@proxy:x"),
        *("https://u:{s}@proxy:3128", "http://u:{s}/x@proxy:1", "u:{s}@proxy", "http://{s}é@proxy"),
    ],
)
@pytest.mark.parametrize("name", ["O2_PROXY", "O2_ENDPOINT"])
def test_password_in_a_url_is_never_shown(name: str, template: str) -> None:
    """Whatever else is wrong with it."""
    message = refused(**{name: template.format(s=SECRET)})
    assert message.startswith(name)
    assert SECRET not in message


def test_password_in_an_sdk_url_is_never_shown() -> None:
    """Warnings are printed too."""
    for text in (f"https://u:{SECRET}@a?x", f"u:{SECRET}@a", f"https://u:{SECRET}@a"):
        each = loaded(OTEL_EXPORTER_OTLP_ENDPOINT=text)
        assert SECRET not in " ".join(each.warnings) + " ".join(map(str, each.otlp_urls.values()))


def test_credentials_do_not_belong_into_the_endpoint() -> None:
    """They have a setting of their own."""
    assert "O2_AUTHORIZATION_HEADER" in refused(O2_ENDPOINT="https://user:pass@a.example")


def test_plain_http_warns() -> None:
    """It works, and is told once."""
    (warning,) = loaded(O2_ENDPOINT="http://a.example").warnings
    assert warning.startswith("O2_ENDPOINT http://a.example is not encrypted")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://a/api/acme", "https://a"),
        ("https://a/api/acme/", "https://a"),
        ("https://a/api", "https://a"),
        ("https://a/base/api/acme", "https://a/base"),
        ("https://a/base", "https://a/base"),
        ("https://a/api/other", "https://a/api/other"),
        ("https://a/myapi", "https://a/myapi"),
    ],
)
def test_pasted_ingestion_url_is_shortened(given: str, used: str) -> None:
    """The console shows longer URLs than the base that is meant."""
    each = loaded(O2_ENDPOINT=given)
    assert str(each.endpoint) == used
    assert bool(each.warnings) == (used != given)


def otlp_urls(**environ: str) -> list[str]:
    each = loaded(**environ)
    return [str(each.otlp_urls[signal]) for signal in ("traces", "metrics", "otlp_logs")]


def under(base: str) -> list[str]:
    return [f"{base}/v1/{word}" for word in ("traces", "metrics", "logs")]


def test_otlp_goes_to_openobserve_by_default() -> None:
    """Under the organization's path."""
    assert otlp_urls(O2_ENDPOINT="https://a/base") == under("https://a/base/api/acme")


def test_otlp_goes_where_the_sdk_was_told() -> None:
    """Users set the SDK's own variable to OpenObserve: that means the upstream."""
    assert otlp_urls(OTEL_EXPORTER_OTLP_ENDPOINT="https://b:8080/api/acme/") == under("https://b:8080/api/acme")


def test_one_signal_may_go_elsewhere() -> None:
    """The variable of a signal is a whole URL."""
    urls = otlp_urls(O2_ENDPOINT="https://a", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="https://b/custom/")
    assert urls == ["https://b/custom", *under("https://a/api/acme")[1:]]


LOCAL = ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "0.0.0.0", "sandbox", "sandbox.localdomain"]


@pytest.mark.parametrize("host", LOCAL)
@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
def test_extension_never_posts_to_itself(host: str, name: str) -> None:
    """A local address in the SDK's variables is this very receiver."""
    assert otlp_urls(O2_ENDPOINT="https://a", **{name: f"http://{host}:4318/v1/traces"}) == under("https://a/api/acme")


@pytest.mark.parametrize("host", LOCAL)
def test_own_receiver_is_no_openobserve(host: str) -> None:
    """Neither is it accepted as the endpoint, whatever port it was given."""
    assert refused(O2_ENDPOINT=f"http://{host}:4318").startswith("O2_ENDPOINT")
    assert refused(O2_ENDPOINT=f"http://{host}:9999/x", O2_OTLP_PORT="9999").startswith("O2_ENDPOINT")
    assert loaded(O2_ENDPOINT=f"http://{host}:5080").endpoint.port == 5080
    assert loaded(O2_ENDPOINT=f"http://{host}:4318", O2_OTLP_PORT="0").endpoint.port == 4318


@pytest.mark.parametrize("text", ["nonsense", "http://a?x", "grpc://a:4317", "https://a:x"])
def test_unusable_sdk_endpoint_is_ignored_with_a_warning(text: str) -> None:
    """It is the SDK's setting: telemetry goes on without it."""
    each = loaded(OTEL_EXPORTER_OTLP_ENDPOINT=text)
    assert any("OTEL_EXPORTER_OTLP_ENDPOINT" in warning for warning in each.warnings)
    assert str(each.otlp_urls["traces"]).startswith("https://api.openobserve.ai/")


UPSTREAM = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://b"}


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("", {}),
        ("Authorization=Basic%20abc%3D%3D", {"authorization": "Basic abc=="}),
        ("Authorization=Basic abc==", {"authorization": "Basic abc=="}),
        ("a=1,b=2", {"a": "1", "b": "2"}),
        (" a = 1 , stream-name = s ", {"a": "1", "stream-name": "s"}),
        ("novalue,=x,a=", {"a": ""}),
        ("organization=other,Host=x,Content-Length=5,Transfer-Encoding=chunked,connection=close", {}),
        ("a=1\r\nb: 2", {}),
        ("a\r\nb=2", {}),
    ],
)
def test_headers_of_the_sdk_go_with_its_endpoint(text: str, headers: dict[str, str]) -> None:
    """Percent-encoded as OpenTelemetry says; those of the connection itself, and any that would inject, stay behind."""
    assert loaded(**UPSTREAM, OTEL_EXPORTER_OTLP_HEADERS=text).otlp_headers == headers


@pytest.mark.parametrize("text", ["a=x%0d%0ab", "a=x%0Ab: c", "a=x%00", "a%0d%0ab=c", "a=%", "a=%zz", "a=%C3%A9"])
def test_no_header_of_the_sdk_injects_another(text: str) -> None:
    """Whatever is encoded in it, a value stays one printable line."""
    headers = loaded(**UPSTREAM, OTEL_EXPORTER_OTLP_HEADERS=text).otlp_headers
    assert all((key + value).isascii() and (key + value).isprintable() for key, value in headers.items())


def test_headers_of_a_local_collector_stay_local() -> None:
    """Without an upstream of its own the SDK's headers are not for OpenObserve."""
    for endpoint in ("", "http://localhost:4318"):
        each = loaded(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_HEADERS="a=1")
        assert each.otlp_headers == {}


@pytest.mark.parametrize("text", ["https://proxy:3128", "ftp://proxy", "proxy:3128"])
def test_proxy_is_spoken_to_in_http(text: str) -> None:
    """The tunnel inside is encrypted all the same."""
    assert refused(O2_PROXY=text).startswith("O2_PROXY")


def test_proxy_with_credentials() -> None:
    """Given as a URL."""
    proxy = loaded(O2_PROXY="http://user:pw@proxy:3128/").proxy
    assert proxy is not None
    assert (proxy.origin, proxy.userinfo) == (("http", "proxy", 3128), "user:pw")
