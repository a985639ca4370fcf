"""What the environment says of AWS: region, credentials, and where the services are."""

from __future__ import annotations

from o2_lambda.extension.core.sigv4 import Keys
from o2_lambda.extension.core.url import Url, parse_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SECRETS_MANAGER, SSM = "secretsmanager", "ssm"
_ENDPOINT_VARIABLES = {SECRETS_MANAGER: "AWS_ENDPOINT_URL_SECRETS_MANAGER", SSM: "AWS_ENDPOINT_URL_SSM"}
# Regions of other partitions than AWS's public one, by how their names begin.
_DOMAINS = (
    ("cn-", "amazonaws.com.cn"),
    ("eusc-", "amazonaws.eu"),
    ("us-iso-", "c2s.ic.gov"),
    ("us-isob-", "sc2s.sgov.gov"),
    ("us-isof-", "csp.hci.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk"),
)


class Access:
    """How AWS can be asked: with `keys`, or with those that `keys_url` gives out to who knows `keys_token`."""

    __slots__ = ("endpoints", "keys", "keys_token", "keys_url", "region")

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises ConfigError for a URL that cannot be used."""
        self.region = environ.get("AWS_REGION", "")
        self.keys: Keys | None = None
        if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
            token = environ.get("AWS_SESSION_TOKEN", "")
            self.keys = Keys(environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], token)
        # SnapStart: keys in the environment would be those of the moment when the snapshot was taken.
        self.keys_url = _url(environ, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
        self.keys_token = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        everywhere = _url(environ, "AWS_ENDPOINT_URL")
        self.endpoints = {service: _url(environ, name) or everywhere for service, name in _ENDPOINT_VARIABLES.items()}

    def endpoint(self, service: str, region: str) -> Url:
        """Where a service is asked."""
        named = self.endpoints[service]
        if named is not None:
            return named
        domain = next((domain for begin, domain in _DOMAINS if region.startswith(begin)), "amazonaws.com")
        return Url("https", f"{service}.{region}.{domain}", 443, "", "")

    def secrets(self) -> set[str]:
        """What must never be printed."""
        return {self.keys_token} | ({self.keys.secret, self.keys.token} if self.keys is not None else set())


def _url(environ: Mapping[str, str], name: str) -> Url | None:
    value = environ.get(name, "").strip()
    return parse_url(name, value) if value else None
