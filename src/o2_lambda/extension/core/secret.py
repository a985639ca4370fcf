"""The credential that O2_AUTHORIZATION_SECRET names: fetched from Secrets Manager or SSM, kept, and fetched anew.

Sans-IO: says which request is due, reads its answer, and holds the header's value.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

from o2_lambda.extension.core.aws import SECRETS_MANAGER, SSM
from o2_lambda.extension.core.jsonscan import SCAN_ERRORS, Pairs, get, loads, quote
from o2_lambda.extension.core.masking import decoded, excerpt
from o2_lambda.extension.core.model import AWS, LOCAL, Request
from o2_lambda.extension.core.sigv4 import Keys, sign
from o2_lambda.extension.core.url import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from o2_lambda.extension.core.aws import Access
    from o2_lambda.extension.core.model import Outcome

AGE_MS_MAX = 3_600_000  # then it is fetched anew; what is held goes on being used meanwhile
REFRESH_PAUSE_MS = 60_000  # between two fetches that were caused by a refusal, or after one by age that failed
TIMEOUT_MS = 5000  # of one request to AWS
ACTIONS = {  # service -> X-Amz-Target, IAM action
    SECRETS_MANAGER: ("secretsmanager.GetSecretValue", "secretsmanager:GetSecretValue"),
    SSM: ("AmazonSSM.GetParameter", "ssm:GetParameter"),
}
_DENIED = ("AccessDeniedException", "AccessDenied")
_NOT_FOUND = ("ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound")
_PASSING = ("ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "InternalServiceError")
MESSAGE_LENGTH_MAX = 300  # of AWS's words in a line


class Reference:
    """Where a secret lies. `key`: of the member to take out of a JSON object, or empty."""

    __slots__ = ("key", "name", "region", "service")

    def __init__(self, setting: str, text: str) -> None:
        """Reads an ARN, `ssm:NAME` or a name in Secrets Manager, each with `#KEY` or without.

        Raises ConfigError, which does not repeat the text: it could be a credential in the wrong place.
        """
        name, _, self.key = text.partition("#")
        self.service, self.region, self.name = SECRETS_MANAGER, "", name
        if name.startswith("arn:"):
            _arn, _partition, self.service, self.region, *rest = [*name.split(":", 5), "", "", ""]
            kind = {SECRETS_MANAGER: "secret:", SSM: "parameter/"}.get(self.service)
            if kind is None or not self.region or not rest[1].startswith(kind):
                raise ConfigError(f"{setting} must be the ARN of a secret or of an SSM parameter; it is another one")
        elif name.startswith("ssm:"):
            self.service, self.name = SSM, name[4:]
        colons = ":" if self.service == SSM or self.region else ""  # of an ARN, or before a parameter's version
        allowed = "/_+=.@-!" + colons
        if not self.name or not all(char.isascii() and (char.isalnum() or char in allowed) for char in self.name):
            raise ConfigError(f"{setting} must be a secret's name or ARN, or ssm: and a parameter's name")
        if ":" in decoded(self.name):
            raise ConfigError(f"{setting} names a secret, and looks like a credential itself: that has a setting apart")

    def __str__(self) -> str:
        kind = "secret" if self.service == SECRETS_MANAGER else "SSM parameter"
        return f"{kind} {self.name}"


class Fault:
    """Why there is no credential. `lasting`: only a person can change it."""

    __slots__ = ("lasting", "text")

    def __init__(self, text: str, *, lasting: bool) -> None:
        self.text = text
        self.lasting = lasting


class Secret:
    """One credential: `header` is empty until it has been fetched.

    Times are ms since the epoch: that clock goes on while the sandbox is frozen.
    """

    def __init__(self, reference: Reference, access: Access) -> None:
        self.reference = reference
        self.header = ""
        self.is_refused = False  # the header at hand: by the server that should accept it
        self._access = access
        self._keys = access.keys
        self._fetched_ms = 0
        self._not_before_ms = 0  # of a further fetch, while there is a header
        self._confidential: set[str] = set()

    def is_due(self, wall_ms: int) -> bool:
        """Whether it is to be fetched before anything else is sent."""
        if not self.header:
            return True
        return wall_ms >= self._not_before_ms and (self.is_refused or wall_ms - self._fetched_ms >= AGE_MS_MAX)

    def refused(self, wall_ms: int) -> bool:
        """The server does not accept the header. True where another one is looked for at once."""
        self.is_refused = True
        return self.is_due(wall_ms)

    def forget(self) -> None:
        """A snapshot was restored: what was fetched for it may be long out of date."""
        self.header, self.is_refused, self._not_before_ms = "", False, 0

    def confidential(self) -> set[str]:
        """What has become known since the last call, and must never be printed."""
        taken, self._confidential = self._confidential, set()
        return taken

    def request(self, wall_ms: int) -> Request | Fault:
        """The next step: for AWS credentials where the environment has none, then for the secret itself."""
        access, service = self._access, self.reference.service
        region = self.reference.region or access.region
        if not region:
            return Fault("AWS_REGION is not set, so it is unknown where to ask for the secret", lasting=True)
        if self._keys is None:
            if access.keys_url is None:
                return Fault("there are no AWS credentials in the environment to fetch the secret with", lasting=True)
            headers = [("accept", "application/json"), ("authorization", access.keys_token)]
            return Request(None, access.keys_url, headers, TIMEOUT_MS, route=LOCAL)
        name = quote(self.reference.name)
        text = f'{{"SecretId":{name}}}' if service == SECRETS_MANAGER else f'{{"Name":{name},"WithDecryption":true}}'
        body, url = text.encode(), access.endpoint(service, region)
        headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", ACTIONS[service][0])]
        signed = sign(url, headers, body, self._keys, region=region, service=service, wall_ms=wall_ms)
        # One question an hour: the connection is not worth its memory.
        return Request(None, url, [*signed, ("connection", "close")], TIMEOUT_MS, body=body, route=AWS)

    def answered(self, outcome: Outcome, wall_ms: int) -> Fault | None:
        """Reads the answer to the last request. Without a fault there is a header now, or a further step is due."""
        if self._keys is None:
            return self._read_keys(outcome)
        self._keys = self._access.keys  # those of a sandbox are short-lived: asked for anew every time
        if self.header:
            self._not_before_ms = wall_ms + REFRESH_PAUSE_MS
        return self._read_secret(outcome, wall_ms)

    def _read_keys(self, outcome: Outcome) -> Fault | None:
        try:
            answer = loads(str(outcome.body, "utf-8")) if outcome.status == 200 else None  # noqa: PLR2004 - OK
        except SCAN_ERRORS:
            answer = None
        access, secret = get(answer, "AccessKeyId"), get(answer, "SecretAccessKey")
        if not (isinstance(access, str) and isinstance(secret, str)):
            reason = outcome.error or f"status {outcome.status}"
            return Fault(f"the sandbox gives out no AWS credentials ({reason})", lasting=False)
        self._keys = Keys(access, secret, str(get(answer, "Token") or ""))
        self._confidential |= {self._keys.secret, self._keys.token}
        return None

    def _read_secret(self, outcome: Outcome, wall_ms: int) -> Fault | None:
        if not outcome.status:
            advice = "in a VPC the function needs a route or an endpoint to AWS"
            return Fault(f"{self.reference} cannot be read: {outcome.error}; {advice}", lasting=False)
        try:
            answer = loads(str(outcome.body, "utf-8"))
        except SCAN_ERRORS:
            answer = None
        if outcome.status != 200:  # noqa: PLR2004 - OK
            return self._explain(outcome.status, answer)
        value = get(answer, "SecretString") or get(answer, "Parameter", "Value")
        if value is None and isinstance(binary := get(answer, "SecretBinary"), str):
            value = _text(binary)
        header, problem = header_of(value, self.reference.key)
        if problem:
            return Fault(f"{self.reference} {problem}", lasting=True)
        self._confidential.add(header)
        unchanged = self.is_refused and header == self.header
        self.header, self._fetched_ms, self.is_refused = header, wall_ms, unchanged
        if unchanged:
            return Fault(f"the server refuses the credentials that {self.reference} holds", lasting=True)
        return None

    def _explain(self, status: int, answer: object) -> Fault:
        code = str(get(answer, "__type") or get(answer, "code") or f"status {status}").rpartition("#")[2]
        text = f"{self.reference} cannot be read: {code}"
        if code in _DENIED or code in _NOT_FOUND:  # other messages can repeat what was signed, the token with it
            message = get(answer, "message") or get(answer, "Message")
            text += f": {excerpt(message, MESSAGE_LENGTH_MAX)}" if isinstance(message, str) else ""
        if code in _DENIED:
            text += f"; allow the function's role {ACTIONS[self.reference.service][1]} (and kms:Decrypt for its key)"
        passing = status >= 500 or status == 429 or code in _PASSING  # noqa: PLR2004 - server errors, too many requests
        return Fault(text, lasting=not passing)


def header_of(value: object, key: str) -> tuple[str, str]:
    """(the header's value, "") for what a secret holds, or ("", what is wrong with it), which never shows it.

    A secret holds the header's whole value, `user:password`, or the base64 of that; `key` picks a member of an object.
    """
    if not isinstance(value, str):
        return "", "holds no text"
    text = value.strip()
    if text.startswith("{"):
        try:
            holder = loads(text)
        except SCAN_ERRORS:
            holder = None
        if type(holder) is Pairs:
            member = get(holder, key) if key else None
            if not isinstance(member, str):
                return "", f"has no text under {quote(key)}" if key else "is a JSON object: name its member with #KEY"
            text = member.strip()
    elif key:
        return "", f"is no JSON object, so there is nothing under {quote(key)}"
    scheme, _, credential = text.partition(" ")
    if scheme not in ("Basic", "Bearer") or not credential.strip():
        if ":" in text:
            text = b2a_base64(text.encode(), newline=False).decode()
        text = f"Basic {text}"
    if text == "Basic " or not (text.isascii() and text.isprintable()) or " " in text.partition(" ")[2].strip():
        return "", "holds neither a header's value, nor user:password, nor the base64 of that"
    return text, ""


def _text(binary: str) -> str | None:
    try:
        return a2b_base64(binary).decode()
    except ValueError:
        return None
