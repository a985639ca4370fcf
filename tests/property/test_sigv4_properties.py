"""Signature Version 4 against AWS's own signer, and the time stamp in it against the calendar."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch

import botocore.auth
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import example, given
from hypothesis import strategies as st

from o2_lambda.extension.core.sigv4 import Keys, sign
from o2_lambda.extension.core.timestamps import basic_time, epoch_us
from o2_lambda.extension.core.url import Url

VISIBLE = st.characters(min_codepoint=33, max_codepoint=126)
WORDS = st.text(VISIBLE, min_size=1, max_size=40)
VALUES = st.lists(WORDS, min_size=1, max_size=3).map("  ".join)
PATHS = st.lists(st.text("abzAZ09-._~!$&'()*+,;=:@ü %", min_size=1, max_size=8), max_size=3).map(
    lambda parts: "".join(f"/{part}" for part in parts if part.strip("."))
)
WALL_MS = st.integers(0, 4_102_444_800_000)


def signature_of_botocore(request: AWSRequest, keys: Keys, region: str, service: str, wall_ms: int) -> dict[str, str]:
    """What AWS's own library puts into the headers at that time."""
    now = datetime.fromtimestamp(wall_ms // 1000, UTC).replace(tzinfo=None)
    with patch.object(botocore.auth, "get_current_datetime", return_value=now):
        credentials = Credentials(keys.access, keys.secret, keys.token or None)
        SigV4Auth(credentials, service, region).add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


@given(
    st.sampled_from(["http", "https"]),
    st.sampled_from([80, 443, 5000]),
    PATHS,
    st.dictionaries(st.sampled_from(["content-type", "x-amz-target", "accept", "x-zz"]), VALUES),
    st.binary(max_size=200),
    st.tuples(WORDS, WORDS, st.just("") | WORDS),
    st.sampled_from(["us-east-1", "cn-north-1"]),
    st.sampled_from(["secretsmanager", "ssm"]),
    WALL_MS,
)
def test_signs_as_aws_does(
    scheme: str,
    port: int,
    path: str,
    headers: dict[str, str],
    body: bytes,
    keys: tuple[str, str, str],
    region: str,
    service: str,
    wall_ms: int,
) -> None:
    """Whatever is signed: the very headers that botocore would send."""
    url = Url(scheme, "aws.example", port, path, "")
    request = AWSRequest("POST", f"{scheme}://{url.authority}{path}", headers=dict(headers), data=body)
    expected = signature_of_botocore(request, Keys(*keys), region, service, wall_ms)
    signed = sign(url, list(headers.items()), body, Keys(*keys), region=region, service=service, wall_ms=wall_ms)
    assert dict(signed) == expected
    assert len(signed) == len(expected)


@given(WALL_MS)
@example(951_782_400_000)  # 29 February 2000
@example(1_735_689_599_999)  # the last millisecond of 2024
@example(4_107_542_400_000)  # 1 March 2100, which has no leap day
def test_time_stamps_are_the_calendars(wall_ms: int) -> None:
    """Every second up to 2100, and back again."""
    text = basic_time(wall_ms)
    assert text == datetime.fromtimestamp(wall_ms // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    spread = f"{text[:4]}-{text[4:6]}-{text[6:11]}:{text[11:13]}:{text[13:]}"
    assert epoch_us(spread) == wall_ms // 1000 * 1_000_000


def test_keys_do_not_tell_themselves() -> None:
    """What an exception or a debugger shows of them is no secret."""
    assert "hidden" not in repr(Keys("AKIAEXAMPLE", "hidden", "hidden too"))
