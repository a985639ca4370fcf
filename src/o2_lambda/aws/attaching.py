"""Attach to and detach from many functions in several regions, each for itself."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from o2_lambda.aws import layers
from o2_lambda.aws.errors import AwsError, Skipped, explain
from o2_lambda.aws.fanout import for_each
from o2_lambda.aws.functions import change, get_function, list_functions, tagged_functions
from o2_lambda.aws.model import secret_values
from o2_lambda.aws.names import LAYER_PREFIX, Layer, own_layer, split_function
from o2_lambda.aws.package import unzipped_bytes
from o2_lambda.aws.plan import Wish, choose_layer, plan_attach

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from o2_lambda.aws.functions import Patience
    from o2_lambda.aws.model import Function, Plan
    from o2_lambda.aws.session import Account


@dataclass(frozen=True)
class Selection:
    """Functions by name or ARN, by tags that must all match, or all. `only_ours`: those with something of ours."""

    names: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    everything: bool = False
    only_ours: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one function. `status`: changed, planned, unchanged, skipped or failed."""

    region: str
    function: str
    status: str
    detail: str = ""
    plan: Plan | None = None


@dataclass(frozen=True)
class Settings:
    """What every function shall get."""

    variables: Mapping[str, str | None]
    tracing: bool = False
    force: bool = False


def select(
    account: Account, regions: Sequence[str], selection: Selection
) -> tuple[list[tuple[str, str]], list[Outcome]]:
    """The (region, name) of every function chosen, and the regions that could not tell."""
    chosen: list[tuple[str, str]] = []
    for given in selection.names:
        region, name = split_function(given)
        chosen += [(each, name) for each in ([region] if region else regions)]
    failures = []
    if selection.tags or selection.everything:
        for done in for_each(regions, lambda region: _find(account, region, selection)):
            if done.error:
                failures.append(Outcome(done.item, "*", "failed", explain(done.error)))
            else:
                chosen += [(done.item, name) for name in done.result]
    return list(dict.fromkeys(chosen)), failures


def _find(account: Account, region: str, selection: Selection) -> list[str]:
    if selection.tags:
        return sorted(tagged_functions(account.client("resourcegroupstaggingapi", region), dict(selection.tags)))
    found = list_functions(account.client("lambda", region))
    return sorted(each.name for each in found if each.is_attached or not selection.only_ours)


class Catalogue:
    """The newest version of each layer in each region, asked for once."""

    def __init__(self, account: Account, regions: Collection[str], layer_arns: Sequence[str] = ()) -> None:
        """Fixed versions take precedence. Raises AwsError for an ARN that is none of our layers in the regions."""
        self._account = account
        self._lock = threading.Lock()
        self._found: dict[tuple[str, Layer], tuple[str, int]] = {}
        self._given: list[tuple[str, Layer]] = []
        for arn in layer_arns:
            read = own_layer(arn)
            if read is None:
                raise AwsError(f"{arn} is no version of a layer named {LAYER_PREFIX}[<variant>-]<architecture>")
            if read.region not in regions:
                raise AwsError(f"{arn} is in {read.region}, and no function in {', '.join(regions)} can have it")
            self._found[read.region, read.layer] = (arn, 0)
            self._given.append((read.region, read.layer))

    def given(self, region: str) -> list[Layer]:
        """The layers of which fixed versions were given for the region."""
        return [layer for where, layer in self._given if where == region]

    def newest(self, region: str, layer: Layer) -> tuple[str, int]:
        """(ARN, unzipped bytes or 0 if unknown). Raises AwsError when there is no layer, or it is someone else's."""
        with self._lock:
            key = (region, layer)
            if key not in self._found:
                versions = layers.list_versions(self._account.client("lambda", region), region, layer)
                if not versions:
                    raise AwsError(
                        f"there is no layer {layer.name} in {region}: "
                        f"run `o2-lambda deploy --region {region} {layer.options}`"
                    )
                arn, size = versions[0].arn, unzipped_bytes(versions[0].description)
                if not size:  # other extensions bear the same layer name, the one that this replaces among them
                    raise AwsError(
                        f"{arn}, the newest, was not published by `o2-lambda deploy`: deploy again, or name "
                        "the version to take by --layer-arn"
                    )
                self._found[key] = (arn, size)
            return self._found[key]


def attach_decider(
    catalogue: Catalogue, settings: Settings, check: Callable[[Mapping[str, str]], None]
) -> Callable[[Function], Plan]:
    """The decision for `run`. `check` gets the variables as they would be and raises AwsError if they cannot work."""

    def decide(function: Function) -> Plan:
        if function.is_image:  # decided before the layer is looked up: there may be none for its architecture
            return plan_attach(function, Wish(""))
        region = function.arn.split(":")[3]
        layer = choose_layer(function, tracing=settings.tracing, given=catalogue.given(region))
        arn, size = catalogue.newest(region, layer)
        wish = Wish(arn, size, dict(settings.variables), tracing=settings.tracing, force=settings.force)
        plan = plan_attach(function, wish)
        check(plan.variables)
        return plan

    return decide


def run(
    account: Account,
    chosen: Sequence[tuple[str, str]],
    decide: Callable[[Function], Plan],
    patience: Patience,
    *,
    dry_run: bool = False,
    secrets: Sequence[str] = (),
) -> list[Outcome]:
    """Carry the decision out on every function; with `dry_run` only read. `secrets` appear in no outcome."""

    def work(item: tuple[str, str]) -> Outcome:
        region, name = item
        client = account.client("lambda", region)
        hidden = list(secrets)

        def remembering(function: Function) -> Plan:
            hidden.extend(function.secrets())
            plan = decide(function)
            hidden.extend(secret_values(plan.variables))
            return plan

        try:
            plan = remembering(get_function(client, name)) if dry_run else change(client, name, remembering, patience)
        except Skipped as reason:
            return Outcome(region, name, "skipped", str(reason))
        except Exception as error:  # noqa: BLE001 - told per function, whatever it is: the others go on
            return Outcome(region, name, "failed", explain(error, hidden))
        status = "unchanged" if plan.is_empty else "planned" if dry_run else "changed"
        notes = list(plan.notes)
        if plan.function.runs_versions and not plan.is_empty:
            notes.append(f"{plan.function.runs_versions}: it takes effect in the next version that you publish")
        return Outcome(region, plan.function.name, status, "; ".join(notes), plan)

    return [
        Outcome(*done.item, "failed", explain(done.error)) if done.error else done.result
        for done in for_each(chosen, work, writes=True)
    ]
