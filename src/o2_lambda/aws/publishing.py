"""Publish to several regions at once, and choose what to delete."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from o2_lambda.aws import layers
from o2_lambda.aws.errors import explain
from o2_lambda.aws.fanout import for_each
from o2_lambda.aws.functions import list_functions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from o2_lambda.aws.layers import LayerVersion
    from o2_lambda.aws.names import Layer
    from o2_lambda.aws.package import Package
    from o2_lambda.aws.session import Account


@dataclass(frozen=True)
class Outcome:
    """What became of one layer in one region. `status`: published, unchanged, planned, deleted or failed."""

    region: str
    layer: str
    status: str
    arn: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Grant:
    """Who may use the layer beside the account itself: everybody, or one AWS organization."""

    organization: str | None = None

    @property
    def whom(self) -> str:
        """They, in words."""
        return f"organization {self.organization}" if self.organization else "every account"


def publish_all(
    account: Account,
    regions: Sequence[str],
    packages: Sequence[Package],
    *,
    project_version: str,
    grant: Grant | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> list[Outcome]:
    """Publish every package to every region; where the newest version holds the same bytes, that one is kept."""

    def publish(job: tuple[str, Package]) -> Outcome:
        region, package = job
        name = package.layer.name
        client = account.client("lambda", region)
        newest = next(iter(layers.list_versions(client, region, package.layer)), None)
        if newest and not force and layers.sha256_of(client, newest) == package.sha256:
            version, status = newest, "unchanged"
        elif dry_run:
            after = f"version {newest.version}" if newest else "nothing"
            permitted = f", permitted to {grant.whom}" if grant else ""
            return Outcome(region, name, "planned", detail=f"{len(package.content)} bytes, after {after}{permitted}")
        else:
            version, status = layers.publish(client, region, package, project_version), "published"
        if not grant:
            return Outcome(region, name, status, version.arn)
        if dry_run:
            return Outcome(region, name, status, version.arn, f"to be permitted to {grant.whom}")
        try:
            layers.permit(client, version, grant.organization)
        except Exception as error:  # noqa: BLE001 - whatever it is, the version stands and must be named
            return Outcome(region, name, "failed", version.arn, f"{status}, but not permitted: {explain(error)}")
        return Outcome(region, name, status, version.arn, f"permitted to {grant.whom}")

    jobs = [(region, package) for region in regions for package in packages]
    return [
        Outcome(done.item[0], done.item[1].layer.name, "failed", detail=explain(done.error))
        if done.error
        else done.result
        for done in for_each(jobs, publish, writes=True)
    ]


@dataclass(frozen=True)
class Inventory:
    """Published versions of the regions that answered, newest first, and what the others said."""

    versions: list[LayerVersion]
    failures: list[Outcome]


def take_inventory(account: Account, regions: Sequence[str], chosen: Sequence[Layer]) -> Inventory:
    """List the versions of the chosen layers in all regions."""

    def list_them(job: tuple[str, Layer]) -> list[LayerVersion]:
        region, layer = job
        return layers.list_versions(account.client("lambda", region), region, layer)

    versions: list[LayerVersion] = []
    failures = []
    for done in for_each([(region, layer) for region in regions for layer in chosen], list_them):
        if done.error:
            failures.append(Outcome(done.item[0], done.item[1].name, "failed", detail=explain(done.error)))
        else:
            versions += done.result
    return Inventory(versions, failures)


def surplus(versions: Iterable[LayerVersion], keep: int) -> list[LayerVersion]:
    """All but the newest `keep` versions of each layer in each region."""
    groups: dict[tuple[str, Layer], list[LayerVersion]] = defaultdict(list)
    for version in versions:
        groups[version.region, version.layer].append(version)
    return [
        version
        for group in groups.values()
        for version in sorted(group, key=lambda each: each.version, reverse=True)[keep:]
    ]


def count_users(account: Account, regions: Sequence[str]) -> dict[str, Counter[str]]:
    """How many functions have each version of our layers, by region and ARN; regions that do not answer are missing."""
    return {
        done.item: Counter(layer.arn for function in done.result for layer in function.own_layers)
        for done in for_each(regions, lambda region: list(list_functions(account.client("lambda", region))))
        if not done.error
    }


def delete_all(account: Account, versions: Sequence[LayerVersion]) -> list[Outcome]:
    """Delete the versions."""

    def delete(version: LayerVersion) -> None:
        layers.delete(account.client("lambda", version.region), version)

    return [
        Outcome(
            done.item.region,
            done.item.layer.name,
            "failed" if done.error else "deleted",
            done.item.arn,
            explain(done.error) if done.error else "",
        )
        for done in for_each(versions, delete, writes=True)
    ]
