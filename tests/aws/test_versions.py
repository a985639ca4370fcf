"""`o2-lambda list`, `delete` and `status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .cloud import Fault
from .conftest import CREDENTIALS, OTHER, REGION
from .test_attach import own

if TYPE_CHECKING:
    from .conftest import Aws

BOTH = ("--region", REGION, "--region", OTHER)


@pytest.fixture
def five(aws: Aws) -> Aws:
    """Five versions of the arm64 layer, over three pages, and one of the other."""
    for _ in range(4):
        aws.layer("openobserve-extension-arm64")
    aws.deploy()
    return aws


def numbers(aws: Aws, architecture: str = "arm64", region: str = REGION) -> list[int]:
    versions = aws.run("list", "--json", "--region", region).document["versions"]
    return [each["version"] for each in versions if each["architecture"] == architecture]


def test_list_shows_every_version_newest_first(five: Aws) -> None:
    """All pages are read; the description tells the project's version and the size."""
    assert numbers(five) == [5, 4, 3, 2, 1]
    text = five.run("list").text
    assert own("arm64", 5) in text
    assert "o2-lambda " in text
    assert "unzipped " in text


def test_list_of_nothing_names_the_next_step(aws: Aws) -> None:
    """No layer is no failure."""
    assert aws.run("list").text == "no layer in eu-west-1: `o2-lambda deploy` publishes it\n"


def test_list_goes_on_without_a_region_that_is_down(five: Aws) -> None:
    """The region that answers is listed; the other is named; exit status 1."""
    five.cloud.down = {OTHER}
    document = five.run("list", "--json", *BOTH, expect=1).document
    assert len(document["versions"]) == 6
    assert {each["region"] for each in document["failures"]} == {OTHER}


def test_delete_keeps_the_newest(five: Aws) -> None:
    """--keep counts per layer; the confirmation is asked for and heeded."""
    text = five.run("delete", "--keep", "2", stdin="n\n", expect=1).text
    assert "Delete these 3 versions? [y/N]" in text
    assert numbers(five) == [5, 4, 3, 2, 1]
    five.run("delete", "--keep", "2", stdin="y\n")
    assert numbers(five) == [5, 4]
    assert numbers(five, "x86_64") == [1]


def test_delete_without_keep_deletes_all_of_the_architecture(five: Aws) -> None:
    """--arch limits what is deleted, --yes asks nothing."""
    five.run("delete", "--arch", "arm64", "--yes")
    assert numbers(five) == []
    assert numbers(five, "x86_64") == [1]
    assert five.run("delete", "--arch", "arm64", "--yes").text == "nothing to delete\n"


def test_delete_tells_how_many_functions_have_a_version(five: Aws) -> None:
    """Before the question one sees who uses what."""
    for name in ("one", "two", "three"):
        five.function(name, Layers=[own("arm64", 2)])
    text = five.run("delete", "--keep", "3", "--dry-run").text
    rows = [line.split() for line in text.splitlines() if line.startswith(REGION)]
    assert [(row[2], row[3]) for row in rows] == [("2", "3"), ("1", "0")]
    five.cloud.faults.append(Fault("GET", "/functions/?$", 403, "AccessDeniedException", "not yours"))
    text = five.run("delete", "--keep", "3", "--dry-run").text
    assert [line.split()[3] for line in text.splitlines() if line.startswith(REGION)] == ["?", "?"]


def test_delete_dry_run_and_json_never_ask(five: Aws) -> None:
    """A program gets no question; without --yes it gets an error."""
    assert five.run("delete", "--json", expect=2).code == 2
    five.cloud.requests.clear()
    outcomes = five.run("delete", "--json", "--dry-run", "--keep", "4").document
    assert [(each["status"], each["arn"]) for each in outcomes] == [("planned", own("arm64", 1))]
    assert five.cloud.writes() == []


def test_a_version_that_cannot_be_deleted_holds_up_no_other(five: Aws) -> None:
    """One refusal: the rest is deleted, exit status 1."""
    five.cloud.faults.append(Fault("DELETE", "/versions/2$", 403, "AccessDeniedException", "not yours"))
    text = five.run("delete", "--arch", "arm64", "--yes", expect=1).text
    assert "4 deleted, 1 failed" in text
    assert "DeleteLayerVersion failed, AccessDeniedException: not yours" in text
    assert numbers(five) == [2]


def test_status_tells_versions_and_what_to_look_at(five: Aws) -> None:
    """Which functions have which version, whether there is a newer one, and whether it is the right build."""
    five.function("plain")
    five.function("old", Architectures=["arm64"], Layers=[own("arm64", 3)])
    five.function("wrong", Architectures=["arm64"], Layers=[own("x86_64", 1)])
    five.function("byhand", Layers=[own("x86_64", 1)])
    five.function("image", PackageType="Image")
    five.function("traced")
    five.run("attach", "traced", *CREDENTIALS, "--tracing")
    found = {each["function"]: each for each in five.run("status", "--json", "--all").document["functions"]}
    assert len(found) == 6
    assert (found["old"]["version"], found["old"]["newest"]) == (3, 5)
    assert "newer version available" in found["old"]["remark"]
    assert found["wrong"]["remark"] == "layer is for x86_64: attach again"
    assert found["byhand"]["remark"] == "attached by other means"
    assert "container image" in found["image"]["remark"]
    assert (found["traced"]["tracing"], found["traced"]["remark"]) == (True, "")
    assert found["plain"]["version"] == 0
    text = five.run("status").text
    assert "4 of 6 functions have the layer" in text
    assert "plain" not in text


def test_status_goes_on_without_a_region_that_is_down(five: Aws) -> None:
    """The region that answers is told; exit status 1 for the other."""
    five.function("orders", Layers=[own("x86_64", 1)])
    five.cloud.down = {OTHER}
    document = five.run("status", "--json", *BOTH, expect=1).document
    assert [each["function"] for each in document["functions"]] == ["orders"]
    assert list(document["failures"]) == [OTHER]
    assert "1 of 1 functions" in five.run("status", *BOTH, expect=1).text
    five.cloud.down = {REGION, OTHER}
    assert "functions have" not in five.run("status", *BOTH, expect=1).text


def test_status_does_not_advise_what_attach_refuses(five: Aws) -> None:
    """A newer version that another extension has published under the same layer name is none to attach."""
    five.function("orders", Layers=[own("arm64", 5)], Architectures=["arm64"])
    five.layer("openobserve-extension-arm64", description="somebody else's")
    (found,) = five.run("status", "--json").document["functions"]
    assert found["remark"] == "attached by other means"
