"""Others change the same function at the same time: nothing of theirs is lost, nothing of ours forgotten."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from o2_lambda.aws.errors import AwsError
from o2_lambda.aws.functions import Patience, get_settled

from .cloud import Fault
from .conftest import CREDENTIALS, REGION
from .test_attach import own

if TYPE_CHECKING:
    from .conftest import Aws


def colleague(aws: Aws, **changes: object) -> None:
    """Another client's complete update: written and settled."""
    aws.client().update_function_configuration(FunctionName="orders", **changes)
    aws.client().get_function_configuration(FunctionName="orders")


def test_a_change_between_reading_and_writing_is_merged(aws: Aws) -> None:
    """The revision no longer matches: the function is read again, and the colleague's variable and layer stay."""
    aws.deploy()
    aws.function(Environment={"Variables": {"TABLE": "orders"}})
    theirs = aws.layer("theirs")
    aws.cloud.before_update.append(
        lambda: _directly(aws, Layers=[theirs], Environment={"Variables": {"TABLE": "orders", "NEW": "1"}})
    )
    aws.run("attach", "orders", *CREDENTIALS)
    assert aws.layers() == [theirs, own()]
    assert aws.variables()["NEW"] == "1"
    updates = [each.body for each in aws.cloud.requests if each.method == "PUT"]
    assert len(updates) == 2
    assert [body["RevisionId"] for body in updates] == ["0", "1"]


def _directly(aws: Aws, **changes: object) -> None:
    """A colleague's update while the cloud is answering a request: past its lock, straight into its state."""
    from moto.backends import get_backend
    from moto.core import DEFAULT_ACCOUNT_ID

    backend = get_backend("lambda")[DEFAULT_ACCOUNT_ID][REGION]
    backend.get_function("orders").update_configuration(changes)
    aws.cloud._revisions[f"{REGION}/orders"] = aws.cloud._revisions.get(f"{REGION}/orders", 0) + 1


def test_ten_changes_in_a_row_are_outlasted(aws: Aws) -> None:
    """As long as there is time left it is tried again."""
    aws.deploy()
    aws.function()
    mismatch = Fault("PUT", "/configuration", 412, "PreconditionFailedException", "no match", times=10)
    aws.cloud.faults.append(mismatch)
    aws.run("attach", "orders", *CREDENTIALS)
    assert mismatch.times == 0
    assert aws.layers() == [own()]


def test_endless_changes_end_in_one_line(aws: Aws) -> None:
    """When the time is over, the function is given up and nothing was written."""
    aws.deploy()
    aws.function()
    aws.cloud.faults.append(Fault("PUT", "/configuration", 412, "PreconditionFailedException", "no match", times=10**6))
    assert "others keep changing it" in aws.run("attach", "orders", *CREDENTIALS, "--wait", "0.05", expect=1).text
    assert aws.layers() == []


def test_an_update_in_progress_is_waited_for(aws: Aws) -> None:
    """Neither is written into a running update, nor is it read as if it were done."""
    aws.deploy()
    aws.function()
    aws.cloud.busy_reads[f"{REGION}/orders"] = 5
    aws.cloud.requests.clear()
    aws.run("attach", "orders", *CREDENTIALS)
    kinds = [each.method for each in aws.cloud.requests if each.path.endswith("/configuration")]
    assert kinds[:6] == ["GET"] * 6
    assert kinds.count("PUT") == 1
    assert aws.layers() == [own()]


def test_an_update_that_started_unseen_is_waited_for(aws: Aws) -> None:
    """ResourceConflictException on writing: wait, read again, write again."""
    aws.deploy()
    aws.function()
    aws.cloud.before_update.append(lambda: aws.cloud.busy_reads.update({f"{REGION}/orders": 3}))
    aws.run("attach", "orders", *CREDENTIALS)
    assert aws.layers() == [own()]


def test_an_update_that_never_ends_is_given_up(aws: Aws) -> None:
    """After --wait one line says so; a dry run does not wait at all."""
    aws.deploy()
    aws.function()
    aws.cloud.busy_reads[f"{REGION}/orders"] = 10**6
    text = aws.run("attach", "orders", *CREDENTIALS, "--wait", "0.05", expect=1).text
    assert "Lambda is still updating it after 0.05 s" in text
    assert aws.run("attach", "orders", *CREDENTIALS, "--dry-run").text.startswith("planned")


def test_a_change_that_lambda_cannot_apply_is_a_failure(aws: Aws) -> None:
    """An accepted update may still fail; Lambda's reason is passed on."""
    aws.deploy()
    aws.function()
    aws.cloud.settles_as[f"{REGION}/orders"] = ("Failed", "The role cannot be assumed.")
    text = aws.run("attach", "orders", *CREDENTIALS, expect=1).text
    assert "Lambda could not apply the change: The role cannot be assumed" in text


def test_a_change_that_is_not_seen_to_the_end_is_told_as_written(aws: Aws) -> None:
    """Whoever does not wait, or cannot read the function afterwards, learns that it is changed all the same."""
    aws.deploy()
    aws.function("quick")
    aws.function("denied")
    text = aws.run("attach", "quick", *CREDENTIALS, "--wait", "0", expect=1).text
    assert "the change is written, but not confirmed: Lambda is still updating it after 0 s" in text
    denied = Fault("GET", "/denied/configuration", 403, "AccessDeniedException", "no more")
    aws.cloud.before_update.append(lambda: aws.cloud.faults.append(denied))
    text = aws.run("attach", "denied", *CREDENTIALS, expect=1).text
    assert "the change is written, but not confirmed: GetFunctionConfiguration failed, AccessDeniedException" in text
    assert aws.layers("quick") == aws.layers("denied") == [own()]


@pytest.mark.parametrize("busy_from", [0, 3])
def test_ctrl_c_ends_at_once_and_tells_what_was_done(aws: Aws, busy_from: int) -> None:
    """Functions that are waited for are let go, those not begun stay as they are, those done are reported."""
    aws.deploy()
    names = [f"f{number:02}" for number in range(12)]
    for name in names:
        aws.function(name)
    for name in names[busy_from:]:
        aws.cloud.busy_reads[f"{REGION}/{name}"] = 10**6
    aws.cloud.requests.clear()
    heard = ("env", "--default-signal=INT")  # whoever runs us in the background lets it be ignored
    command = [*heard, Path(sys.executable).with_name("o2-lambda"), "attach", "--all", *CREDENTIALS, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while (
            len({each.path[-17:] for each in aws.cloud.requests if each.path.endswith("/configuration")})
            < busy_from + 8
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        try:
            text, _ = process.communicate(timeout=15)
        finally:
            process.kill()
    assert process.returncode == 1
    outcomes = json.loads(text)
    assert [(each["function"], each["status"]) for each in outcomes] == [
        (name, "changed" if name in names[:busy_from] else "failed") for name in names
    ]
    assert {each["detail"] for each in outcomes[busy_from:]} == {"interrupted", "interrupted before it was begun"}
    assert [name for name in names if aws.layers(name)] == names[:busy_from]


def test_ctrl_c_does_not_wait_for_an_aws_that_is_silent() -> None:
    """A network that is gone holds a request for minutes: whoever only reads gets the prompt back at once."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing")
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**os.environ, **keys, "AWS_ENDPOINT_URL": address, "AWS_REGION": REGION}
        command = ["env", "--default-signal=INT", Path(sys.executable).with_name("o2-lambda"), "status"]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                connection, _address = silent.accept()
                process.send_signal(signal.SIGINT)
                _, text = process.communicate(timeout=20)
            finally:
                process.kill()
            connection.close()
    assert (process.returncode, text.split()) == (1, ["Aborted!"])


def test_throttled_writes_are_repeated(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Throttling is outlasted by the client's retries, without a second reading."""
    aws.deploy()
    aws.function()
    monkeypatch.delenv("AWS_MAX_ATTEMPTS")
    aws.cloud.faults.append(Fault("PUT", "/configuration", 429, "TooManyRequestsException", "Rate exceeded"))
    aws.run("attach", "orders", *CREDENTIALS)
    assert aws.layers() == [own()]


def test_two_attaches_at_once_end_as_one(aws: Aws) -> None:
    """Two of our own commands racing for one function leave one layer and one record."""
    from concurrent.futures import ThreadPoolExecutor

    from o2_lambda.aws.attaching import Catalogue, Settings, attach_decider, run
    from o2_lambda.aws.session import Account

    aws.deploy()
    aws.function()

    def attach(stream: str) -> str:
        account = Account()
        settings = Settings({"O2_ORGANIZATION_ID": "acme", f"O2_{stream}": "x"})
        decide = attach_decider(Catalogue(account, [REGION]), settings, lambda _variables: None)
        return run(account, [(REGION, "orders")], decide, _patience())[0].status

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(attach, ("A", "B", "C", "D"))) == ["changed"] * 4
    assert aws.layers() == [own()]
    assert aws.variables()["O2_LAMBDA_ATTACHED"] == ":layer O2_A O2_B O2_C O2_D O2_ORGANIZATION_ID"


def _patience() -> Patience:
    return Patience(20, time.monotonic, time.sleep)


def test_patience_goes_by_its_own_clock(aws: Aws) -> None:
    """Five minutes of waiting are over when the clock says so, and every pause is one of its sleeps."""
    aws.function()
    aws.cloud.busy_reads[f"{REGION}/orders"] = 10**6
    slept = []
    clock = iter(range(0, 1000, 100))
    with pytest.raises(AwsError, match="300 s"):
        get_settled(aws.client(), "orders", Patience(300, lambda: next(clock), slept.append))
    assert len(slept) == 2
