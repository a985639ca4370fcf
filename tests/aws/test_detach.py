"""`o2-lambda detach`: afterwards a function is as it was before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import CREDENTIALS, HEADER, REGION
from .test_attach import OTHER_HEADER, own

if TYPE_CHECKING:
    from .conftest import Aws

BEFORE: dict[str, dict[str, Any]] = {
    "bare": {},
    "variables": {"Environment": {"Variables": {"B": "2", "A": "1", "EMPTY": "", "ODD": 'ü "quoted" = % \\ \n x'}}},
    "own setting": {"Environment": {"Variables": {"O2_STREAM": "theirs", "LOG_LEVEL": "DEBUG"}}},
    "wrapper": {"Environment": {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/other wrapper=%20"}}},
    "empty wrapper": {"Environment": {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": ""}}},
    "secret": {"Environment": {"Variables": {"O2_AUTHORIZATION_HEADER": "Basic old=="}}},
}


@pytest.mark.parametrize(("before", "with_layers"), [("bare", False), *((name, True) for name in BEFORE)])
def test_the_configuration_is_byte_for_byte_as_before(aws: Aws, before: str, with_layers: bool) -> None:
    """Attach, change of settings, upgrade, change of credentials, detach: nothing of it is left."""
    aws.deploy()
    options = dict(BEFORE[before])
    if with_layers:
        options["Layers"] = [aws.layer("one"), aws.layer("two")]
    aws.function(**options)
    untouched = json.dumps(aws.state())
    aws.run("attach", "orders", *CREDENTIALS, "--tracing", "--set", "O2_STREAM=ours", "--force")
    aws.run("attach", "orders", "--set", "O2_ENV=prod", "--set", "O2_STREAM=other")
    aws.build("two")
    aws.deploy()
    aws.run("attach", "orders", "--authorization", OTHER_HEADER)
    assert json.dumps(aws.state()) != untouched
    aws.run("detach", "orders")
    assert json.dumps(aws.state()) == untouched


def test_the_layer_of_someone_else_s_hand_comes_back(aws: Aws) -> None:
    """A version that was there before attach upgraded it returns at its place."""
    aws.deploy()
    aws.build("two")
    aws.deploy()
    aws.function(Layers=[own(version=1), aws.layer("after")])
    untouched = aws.state()
    aws.run("attach", "orders", *CREDENTIALS)
    assert aws.layers()[0] == own(version=2)
    aws.run("detach", "orders")
    assert aws.state() == untouched


def test_what_others_did_in_between_stays(aws: Aws) -> None:
    """Layers and variables that came after attach are no business of detach."""
    aws.deploy()
    aws.function(Environment={"Variables": {"TABLE": "orders"}})
    aws.run("attach", "orders", *CREDENTIALS, "--tracing")
    variables = aws.variables() | {"TABLE": "changed", "NEW": "1", "AWS_LAMBDA_EXEC_WRAPPER": "/opt/later"}
    later = aws.layer("later")
    aws.client().update_function_configuration(
        FunctionName="orders", Layers=[later, *aws.layers()], Environment={"Variables": variables}
    )
    aws.client().get_function_configuration(FunctionName="orders")
    text = aws.run("detach", "orders").text
    assert "AWS_LAMBDA_EXEC_WRAPPER was changed since, to /opt/later: it stays" in text
    assert aws.layers() == [later]
    assert aws.variables() == {"TABLE": "changed", "NEW": "1", "AWS_LAMBDA_EXEC_WRAPPER": "/opt/later"}


def test_detach_of_what_is_not_attached(aws: Aws) -> None:
    """Nothing to do is said and no failure."""
    aws.function()
    assert "skipped   eu-west-1  orders  it is not attached" in aws.run("detach", "orders").text


def test_a_layer_attached_by_other_means_needs_purge(aws: Aws) -> None:
    """Without a record there is nothing to undo; --purge removes all that is recognisable, and only that."""
    aws.deploy()
    theirs = aws.layer("theirs")
    variables = {"O2_STREAM": "x", "O2_AUTHORIZATION_HEADER": HEADER, "TABLE": "t"}
    wrapper = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/otel-instrument"}
    aws.function(Layers=[own(), theirs], Environment={"Variables": variables | wrapper})
    assert "--purge removes it all" in aws.run("detach", "orders", expect=1).text
    assert aws.layers() == [own(), theirs]
    aws.run("detach", "orders", "--purge")
    assert aws.layers() == [theirs]
    assert aws.variables() == {"TABLE": "t"}
    assert "it is not attached" in aws.run("detach", "orders", "--purge").text


def test_detach_all_takes_only_functions_with_the_layer(aws: Aws) -> None:
    """--all does not list the functions that were never attached, but those whose layer alone someone has taken off."""
    aws.deploy()
    for name in ("one", "two", "three"):
        aws.function(name)
    aws.run("attach", "one", "three", *CREDENTIALS)
    aws.client().update_function_configuration(FunctionName="three", Layers=[])
    aws.client().get_function_configuration(FunctionName="three")
    outcomes = aws.run("detach", "--all", "--json").document
    assert [(each["function"], each["status"]) for each in outcomes] == [("one", "changed"), ("three", "changed")]
    assert aws.variables("three") == {}


def test_dry_run_of_detach_writes_nothing(aws: Aws) -> None:
    """The diff shows what goes; AWS is only read."""
    aws.deploy()
    aws.function()
    aws.run("attach", "orders", *CREDENTIALS)
    aws.cloud.requests.clear()
    text = aws.run("detach", "orders", "--dry-run").text
    assert f"    - layer {own()}" in text
    assert "    - O2_AUTHORIZATION_HEADER=***" in text
    assert aws.cloud.writes() == []


def test_a_function_that_is_busy_or_unreadable_is_left_alone(aws: Aws) -> None:
    """Detach refuses to write an environment that it could not read."""
    aws.deploy()
    aws.function()
    aws.run("attach", "orders", *CREDENTIALS)
    aws.cloud.patches[f"{REGION}/orders"] = {"Environment": {"Error": {"ErrorCode": "AccessDeniedException"}}}
    aws.cloud.requests.clear()
    assert "cannot be read (AccessDeniedException)" in aws.run("detach", "orders", expect=1).text
    assert aws.cloud.writes() == []
