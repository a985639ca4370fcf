"""The health check: a ladder of steps, each with what it found, how long it took, and what to do where it failed.

Steps follow OpenObserve's server: `/healthz` needs no credentials, `/_license` takes any ingestion credential and has
no side effect, and only the last step writes: one clearly marked entry, unless it is left out. Reading comes before any
POST, because a root user's POST would silently create a mistyped organization. TLS is always verified.
"""

from __future__ import annotations

from time import monotonic, time_ns

from o2_lambda import __version__
from o2_lambda.extension.config import check_files
from o2_lambda.extension.core import verdict
from o2_lambda.extension.core.batch import LOGS, OpenBatch
from o2_lambda.extension.core.jsonscan import quote
from o2_lambda.extension.core.masking import shapes
from o2_lambda.extension.core.model import Request
from o2_lambda.extension.core.url import ConfigError, Url
from o2_lambda.extension.io import log
from o2_lambda.extension.io.uplink import Uplink
from o2_lambda.extension.settings import SETTINGS
from o2_lambda.extension.target import ADDITIONAL, OpenObserve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from o2_lambda.extension.config import Config
    from o2_lambda.extension.core.model import Outcome

GREEN, RED, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[0m"
TIMEOUT_MS_MAX = 10_000  # a person waits


class StepError(Exception):
    """A step that failed: what was found, and what to do."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(found, advice)
        self.found = found
        self.advice = advice


def check(config: Config, *, test_entry: bool, out: TextIO) -> bool:
    """Climbs the ladder, prints each step, and stops at the first that fails. True where all is well."""
    log.configure(config.log_level, config.secrets())
    colour = out.isatty()
    out.write(f"o2-lambda-extension {__version__} health check\n\n")
    out.writelines(f"  {log.mask(line)}\n" for line in shown_settings(config))
    out.write("\n")
    for name, step in steps_of(config, test_entry=test_entry):
        started = monotonic()
        try:
            found, advice, passed = step(), "", True
        except StepError as error:
            found, advice, passed = error.found, error.advice, False
        took_ms = (monotonic() - started) * 1000
        mark = ("✓" if passed else "✗") if not colour else f"{GREEN}✓{PLAIN}" if passed else f"{RED}✗{PLAIN}"
        out.write(log.mask(f"{mark} {name:<12} {took_ms:7.1f} ms  {found}\n"))
        if not passed:
            out.write(log.mask(f"  what to do: {advice}\n"))
            return False
    return True


def steps_of(config: Config, *, test_entry: bool) -> list[tuple[str, Callable[[], str]]]:
    """The steps in order; those of additional destinations carry their number."""
    ladder = Ladder(config, config.openobserve)
    steps = [("Settings", ladder.settings), *ladder.reach("")]
    if test_entry:
        steps.append(("Test entry", ladder.test_entry))
    for number, target in enumerate(config.targets, 1):
        if isinstance(target, OpenObserve) and target.is_additional:
            steps += Ladder(config, target).reach(f" {number}")
    return steps


def shown_settings(config: Config) -> list[str]:
    """Every setting with its value in force, secrets masked."""
    lines = []
    for setting in SETTINGS:
        value = getattr(config, setting.name[3:].lower())
        if isinstance(value, frozenset):
            value = ",".join(word for word in setting.choices if word in value) or "none"
        shown = "***" if setting.secret and value else str(value) if value not in (None, "") else "-"
        lines.append(f"{setting.name:<26} {shown}")
    return lines


class Ladder:
    """The steps for one destination. Each returns what it found or raises StepError."""

    def __init__(self, config: Config, target: OpenObserve) -> None:
        self._config = config
        self._target = target
        self._uplink = Uplink(config, __version__, lambda: None)
        self._header = target.authorization
        self._place = ADDITIONAL if target.is_additional else "O2_ENDPOINT"
        own = "O2_AUTHORIZATION_HEADER" if target.secret is None else "O2_AUTHORIZATION_SECRET"
        self._credential = ADDITIONAL if target.is_additional else own

    def reach(self, suffix: str) -> list[tuple[str, Callable[[], str]]]:
        """The steps up to accepted credentials."""
        steps = [(f"Connection{suffix}", self.connection), (f"Credentials{suffix}", self.credentials)]
        return [(f"Secret{suffix}", self.secret), *steps] if self._target.secret is not None else steps

    def settings(self) -> str:
        """Everything that needs no network."""
        try:
            check_files(self._config)
        except ConfigError as error:
            raise StepError(str(error), "correct O2_CA_CERT") from None
        return "; ".join(["all settings can be used", *self._config.warnings])

    def secret(self) -> str:
        """The credentials can be fetched."""
        from o2_lambda.extension.core.secret import Secret  # noqa: PLC0415 - only for who names one

        if self._target.secret is None or self._config.aws is None:
            raise AssertionError("there is no secret to fetch")
        secret = Secret(self._target.secret, self._config.aws)
        while not secret.header:
            request = secret.request(time_ns() // 1_000_000)
            fault = request if not isinstance(request, Request) else None
            if isinstance(request, Request):
                fault = secret.answered(self._uplink.exchange(request), time_ns() // 1_000_000)
                log.hide(shapes(secret.confidential()))
            if fault is not None:
                raise StepError(
                    fault.text,
                    f"check {self._credential}, and the permissions of the function's role",
                )
        self._header = secret.header
        return f"credentials read from {secret.reference}"

    def connection(self) -> str:
        """The server can be reached and its certificate is good."""
        outcome = self._get("/healthz")
        if not outcome.status:
            raise StepError(outcome.error, _network_advice(outcome.error))
        if outcome.status != 200:  # noqa: PLR2004 - OK
            raise StepError(
                f"{self._target.endpoint}/healthz answers {outcome.status}",
                f"check {self._place}: it is the base URL of OpenObserve, with its base path if one is set",
            )
        return f"{self._target.endpoint} is up"

    def credentials(self) -> str:
        """The organization exists and the credentials may write to it."""
        organization = self._target.organization
        outcome = self._get(f"/api/{organization}/_license", authorized=True)
        if not outcome.status:
            raise StepError(outcome.error, _network_advice(outcome.error))
        if outcome.status in (401, 403):
            raise StepError(
                f"OpenObserve request failed with status {outcome.status}",
                f"check {self._credential} (Basic and base64 of user:token) and O2_ORGANIZATION_ID",
            )
        if outcome.status != 200:  # noqa: PLR2004 - OK
            raise StepError(f"OpenObserve request failed with status {outcome.status}", "check O2_ORGANIZATION_ID")
        return f"accepted for organization {organization}"

    def test_entry(self) -> str:
        """One entry is taken in and stored."""
        stamp = time_ns() // 1000
        entry = (
            f'{{"_timestamp":{stamp},"type":"health_check",'
            f'"message":"o2-lambda-extension health check: a test entry, please ignore",'
            f'"service_name":{quote(self._config.service or "o2-lambda-extension")}}}'
        )
        batch = OpenBatch(LOGS)
        batch.add(entry.encode(), 1)
        sealed = batch.seal()
        url = self._target.urls["logs"]
        headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip"), self._authorization()]
        outcome = self._uplink.exchange(Request(sealed, url, headers, self._timeout_ms()))
        if not outcome.status:
            raise StepError(outcome.error, _network_advice(outcome.error))
        ruling = verdict.judge(LOGS, 1, outcome.status, outcome.body, None, 0)
        if ruling.kind != verdict.DELIVERED or ruling.rejected:
            reason = ruling.reason if ruling.rejected else f"status {outcome.status}: {ruling.detail}"
            raise StepError(f"the entry was not stored ({reason})", "check O2_STREAM and the rights of the credentials")
        return f"stored in stream {self._config.stream} (type = health_check)"

    def _get(self, path: str, *, authorized: bool = False) -> Outcome:
        headers = [self._authorization()] if authorized else []
        return self._uplink.exchange(Request(None, self._url(path), headers, self._timeout_ms()))

    def _authorization(self) -> tuple[str, str]:
        return "Authorization", self._header

    def _url(self, path: str) -> Url:
        endpoint = self._target.endpoint
        return Url(*endpoint.origin, endpoint.path + path, "")

    def _timeout_ms(self) -> int:
        return min(self._config.request_timeout_ms, TIMEOUT_MS_MAX)


def _network_advice(error: str) -> str:
    if "certificate" in error:
        return "set O2_CA_CERT to the CA that signed the server's certificate, or correct the host in O2_ENDPOINT"
    if "no TLS connection" in error:
        return "check the port in O2_ENDPOINT, and that the server speaks TLS there; if it does not, use http://"
    if "resolved" in error:
        return "check the host name in O2_ENDPOINT; in a VPC the function needs a route to DNS and to the server"
    if "O2_PROXY" in error:
        return "check O2_PROXY"
    return "check O2_ENDPOINT, and that the function's network (VPC, security group, O2_PROXY) lets it out"
