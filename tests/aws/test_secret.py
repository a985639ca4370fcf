"""attach --secret: the credentials by reference, and whether the function's role may read them."""

from __future__ import annotations

import pytest

from .conftest import CREDENTIALS, HEADER, Aws

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:o2-AbCdEf"
NAMED = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/o2-??????"
ORGANIZATION = ("--organization", "acme")


@pytest.mark.parametrize(
    ("secret", "action", "resource"),
    [
        (
            "prod/o2#key",
            "secretsmanager:GetSecretValue",
            "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/o2-??????",
        ),
        (ARN, "secretsmanager:GetSecretValue", ARN),
        ("ssm:/prod/o2", "ssm:GetParameter", "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/o2"),
    ],
)
@pytest.mark.parametrize("decision", ["allowed", "implicitDeny", None])
def test_says_whether_the_role_may_read_it(
    aws: Aws, secret: str, action: str, resource: str, decision: str | None
) -> None:
    """The variable is set in any case; the line names role, action and resource where somebody has to act."""
    aws.cloud.decisions = [decision] if decision else []
    aws.deploy()
    aws.function()
    text = aws.run("attach", "orders", *ORGANIZATION, "--secret", secret).text
    assert aws.variables()["O2_AUTHORIZATION_SECRET"] == secret
    assert "O2_AUTHORIZATION_HEADER" not in aws.variables()
    assert f"+ O2_AUTHORIZATION_SECRET={secret}" in text
    (asked,) = aws.cloud.simulated
    assert asked["ActionNames.member.1"] == [action]
    assert asked["ResourceArns.member.1"] == [resource]
    assert asked["PolicySourceArn"][0].endswith(":role/lambda")
    expected = {
        "allowed": "its role lambda may read the secret",
        "implicitDeny": f"its role lambda may NOT read the secret yet: allow it {action} on {resource}",
        None: f"make sure that its role lambda is allowed {action} on {resource} (IAM could not be asked",
    }[decision]
    assert expected in text


def test_the_header_gives_way_and_detach_undoes_it_all(aws: Aws) -> None:
    """Header and secret exclude each other: each option removes what the other has set, and nothing remains."""
    aws.cloud.decisions = ["allowed"]
    aws.deploy()
    aws.function()
    untouched = aws.state()
    aws.run("attach", "orders", *CREDENTIALS)
    aws.run("attach", "orders", "--secret", "prod/o2")
    assert "O2_AUTHORIZATION_HEADER" not in aws.variables()
    aws.run("attach", "orders", "--authorization", HEADER)
    assert "O2_AUTHORIZATION_SECRET" not in aws.variables()
    assert aws.variables()["O2_AUTHORIZATION_HEADER"] == HEADER
    aws.run("attach", "orders", "--secret", "prod/o2")
    aws.run("detach", "orders")
    assert aws.state() == untouched


def test_somebody_elses_header_comes_back(aws: Aws) -> None:
    """It is replaced with --force only, and never shown."""
    aws.cloud.decisions = ["allowed"]
    aws.deploy()
    aws.function(Environment={"Variables": {"O2_AUTHORIZATION_HEADER": HEADER}})
    untouched = aws.state()
    text = aws.run("attach", "orders", *ORGANIZATION, "--secret", "prod/o2", expect=1).text
    assert "O2_AUTHORIZATION_HEADER is set already, to ***" in text
    aws.run("attach", "orders", *ORGANIZATION, "--secret", "prod/o2", "--force")
    assert "O2_AUTHORIZATION_HEADER" not in aws.variables()
    aws.run("detach", "orders")
    assert aws.state() == untouched


def test_a_role_is_asked_about_once(aws: Aws) -> None:
    """Many functions share a role; --dry-run asks as well, and writes nothing."""
    aws.cloud.decisions = ["allowed"]
    aws.deploy()
    for name in ("one", "two", "three"):
        aws.function(name)
    outcomes = aws.run("attach", "--all", *ORGANIZATION, "--secret", "prod/o2", "--dry-run", "--json").document
    assert [each["detail"] for each in outcomes] == ["its role lambda may read the secret"] * 3
    assert len(aws.cloud.simulated) == 1


@pytest.mark.parametrize("secret", [HEADER, "arn:aws:s3:::bucket", "ssm:"])
def test_what_is_no_reference_is_refused(aws: Aws, secret: str) -> None:
    """A credential in the wrong option reaches no function, and no line."""
    aws.deploy()
    aws.function()
    text = aws.run("attach", "orders", *ORGANIZATION, "--secret", secret, expect=1).text
    assert "O2_AUTHORIZATION_SECRET must be" in text
    assert HEADER not in text
    assert aws.variables() == {}


def test_both_options_are_a_mistake(aws: Aws) -> None:
    """Which one is meant is not guessed."""
    text = aws.run("attach", "orders", *CREDENTIALS, "--secret", "prod/o2", expect=2).text
    assert "--authorization and --secret exclude each other" in text


def test_additional_destinations_are_not_shown(aws: Aws) -> None:
    """There may be credentials in O2_ADDITIONAL_ENDPOINTS."""
    aws.deploy()
    aws.function()
    value = f'[{{"endpoint":"https://dr.example","authorization":"{HEADER}"}}]'
    text = aws.run("attach", "orders", *CREDENTIALS, "--set", f"O2_ADDITIONAL_ENDPOINTS={value}").text
    assert "+ O2_ADDITIONAL_ENDPOINTS=***" in text
    assert HEADER not in text
