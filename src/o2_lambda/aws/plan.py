"""Decide what attaching and detaching change in one function. Pure: a function and a wish in, a plan out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from o2_lambda.aws.errors import AwsError, Skipped
from o2_lambda.aws.limits import check_environment, check_layers, check_unzipped
from o2_lambda.aws.model import Function, Plan, shown
from o2_lambda.aws.names import WRAPPER, WRAPPER_VARIABLE, Layer, has_tracer, own_layer, tracing_variant
from o2_lambda.aws.record import VARIABLE as RECORD_VARIABLE
from o2_lambda.aws.record import Record, decode
from o2_lambda.layer.names import FULL

if TYPE_CHECKING:
    from collections.abc import Collection

OWN_PREFIX = "O2_"


@dataclass(frozen=True)
class Wish:
    """What a function shall get. `layer`: a version's ARN for its architecture; `unzipped_bytes`: 0 if unknown.

    A variable that is None shall not be there.
    """

    layer: str
    unzipped_bytes: int = 0
    variables: dict[str, str | None] = field(default_factory=dict)
    tracing: bool = False
    force: bool = False


def choose_layer(function: Function, *, tracing: bool, given: Collection[Layer] = ()) -> Layer:
    """The layer for the function: in the variant that can trace it if it is to be, else in the one that it has.

    `given`: those that the user named; where it is not to be traced, they decide.
    """
    if tracing or function.is_traced:
        return Layer(function.architecture, tracing_variant(function.runtime))
    layer = Layer(function.architecture, function.own_layers[0].layer.variant if function.own_layers else FULL)
    fitting = [each for each in given if each.architecture == layer.architecture]
    return layer if layer in fitting or not fitting else fitting[0]


def plan_attach(function: Function, wish: Wish) -> Plan:
    """Add or upgrade the layer and merge the variables; nothing else is touched, and nothing dropped.

    Raises Skipped for a function without layers, AwsError for what a user must decide or a limit that would be hit.
    """
    if function.is_image:
        raise Skipped("a container image takes no layers: copy the extension into it, see deploy/container")
    _require_readable(function)
    record = decode(function.variables.get(RECORD_VARIABLE, ""))
    layers, record = _put_layer(function, wish.layer, record)
    wanted = dict(wish.variables)
    notes = []
    if wish.tracing:
        if has_tracer(function.runtime):
            wanted[WRAPPER_VARIABLE] = WRAPPER
        else:
            notes.append(f"no tracer for {function.runtime}: for traces use an OpenTelemetry SDK in the function")
    variables, record = _put_variables(function.variables, wanted, record, force=wish.force)
    variables = _with_record(variables, record)
    check_layers(layers)
    check_environment(variables)
    others = [size for arn, size in function.layers if own_layer(arn) is None]
    check_unzipped(wish.unzipped_bytes, [*others, function.code_bytes])
    return Plan(function, layers, variables, tuple(notes))


def plan_detach(function: Function) -> Plan:
    """Undo what `attach` did, by its record.

    Raises AwsError when our layer is there but was put there by someone else: `plan_purge` is for that.
    """
    if function.is_image:
        raise Skipped("a container image has no layers")
    _require_readable(function)
    if RECORD_VARIABLE not in function.variables:
        if function.own_layers:
            raise AwsError(
                "the layer was not attached by this command, so what to undo is unknown: --purge removes it all"
            )
        raise Skipped("it is not attached")
    record = decode(function.variables[RECORD_VARIABLE])
    variables = {name: value for name, value in function.variables.items() if name != RECORD_VARIABLE}
    notes = []
    for name, before in record.variables.items():
        if name == WRAPPER_VARIABLE and variables.get(name) not in (None, WRAPPER):
            notes.append(f"{name} was changed since, to {variables[name]}: it stays")
        elif before is not None:
            variables[name] = before
        else:
            variables.pop(name, None)
    return Plan(function, _undo_layer(function, record), variables, tuple(notes))


def plan_purge(function: Function) -> Plan:
    """Remove every trace of ours, whoever left it: the layer, all O2_ variables, and the exec wrapper if it is ours."""
    if function.is_image:
        raise Skipped("a container image has no layers")
    _require_readable(function)
    layers = tuple(arn for arn in function.layer_arns if own_layer(arn) is None)
    variables = {
        name: value
        for name, value in function.variables.items()
        if not name.startswith(OWN_PREFIX) and (name, value) != (WRAPPER_VARIABLE, WRAPPER)
    }
    plan = Plan(function, layers, variables)
    if plan.is_empty:
        raise Skipped("it is not attached")
    return plan


def _require_readable(function: Function) -> None:
    """Writing an environment that could not be read would drop every variable in it."""
    if function.unreadable:
        raise AwsError(
            f"its environment variables cannot be read ({function.unreadable}): they would be lost; "
            "let these credentials use the function's KMS key"
        )


def _put_layer(function: Function, arn: str, record: Record) -> tuple[tuple[str, ...], Record]:
    ours = [layer.arn for layer in function.own_layers]
    if len(ours) > 1:
        raise AwsError(f"it has this layer twice ({', '.join(ours)}): remove one")
    if not ours:
        return (*function.layer_arns, arn), replace(record, layer="")
    if ours[0] != arn and record.layer is None:
        record = replace(record, layer=ours[0])
    return tuple(arn if each == ours[0] else each for each in function.layer_arns), record


def _undo_layer(function: Function, record: Record) -> tuple[str, ...]:
    if record.layer is None:
        return function.layer_arns
    before = (record.layer,) if record.layer else ()
    layers: tuple[str, ...] = ()
    for arn in function.layer_arns:
        if own_layer(arn) is None:
            layers += (arn,)
        else:
            layers, before = layers + before, ()  # once, even if it was put there twice
    return layers


def _put_variables(
    current: dict[str, str], wanted: dict[str, str | None], record: Record, *, force: bool
) -> tuple[dict[str, str], Record]:
    variables, remembered = dict(current), dict(record.variables)
    for name, value in wanted.items():
        before = current.get(name)
        if before == value:
            continue
        # A wrapper that is not ours was put there after an earlier attach: it is someone's, whatever the record says.
        foreign = before is not None and (name not in remembered or name == WRAPPER_VARIABLE)
        if foreign and not force:
            raise AwsError(
                f"{name} is set already, to {shown(name, before or '')}, and not by this command: "
                "--force replaces it (detach brings it back)"
            )
        if foreign or name not in remembered:
            remembered[name] = before
        if value is None:
            del variables[name]
        else:
            variables[name] = value
    return variables, replace(record, variables=remembered)


def _with_record(variables: dict[str, str], record: Record) -> dict[str, str]:
    text = record.encode()
    others = {name: value for name, value in variables.items() if name != RECORD_VARIABLE}
    return {**others, RECORD_VARIABLE: text} if text else others
