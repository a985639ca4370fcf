"""A function as far as attaching matters, and a change planned for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from o2_lambda.aws.errors import MASK
from o2_lambda.aws.names import WRAPPER, WRAPPER_VARIABLE, own_layer
from o2_lambda.aws.record import VARIABLE as RECORD_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from o2_lambda.aws.names import LayerArn

_SECRET_WORDS = re.compile(r"ADDITIONAL_ENDPOINTS|AUTH|CREDENTIAL|HEADERS|KEY|PASS|PROXY|SECRET|TOKEN", re.IGNORECASE)
SECRET_VARIABLE = "O2_AUTHORIZATION_SECRET"  # noqa: S105 - the name of a variable
_NO_SECRETS = (SECRET_VARIABLE, "O2_SECRET_FAILURE")  # where it lies, and what to do without


def is_secret(name: str) -> bool:
    """Whether the variable of this name may hold a secret: its value is then never shown."""
    if name == RECORD_VARIABLE:
        return True  # it keeps values that were replaced
    return name not in _NO_SECRETS and _SECRET_WORDS.search(name) is not None


def shown(name: str, value: str) -> str:
    """The variable's value as it may be printed."""
    return MASK if is_secret(name) else value


@dataclass(frozen=True)
class Function:
    """What GetFunctionConfiguration tells. `layers`: (ARN, zipped bytes) in order; `unreadable`: why no `variables`.

    `runs_versions`: what makes published versions the ones that are run; "" if nothing does.
    """

    name: str
    arn: str
    runtime: str
    architecture: str
    is_image: bool
    layers: tuple[tuple[str, int], ...]
    variables: dict[str, str]
    unreadable: str
    code_bytes: int
    revision_id: str
    state: str
    update_status: str
    update_reason: str
    role: str = ""
    runs_versions: str = ""

    @property
    def layer_arns(self) -> tuple[str, ...]:
        """The layers' ARNs in order."""
        return tuple(arn for arn, _size in self.layers)

    @property
    def own_layers(self) -> list[LayerArn]:
        """Those of the layers that are ours."""
        return [found for arn in self.layer_arns if (found := own_layer(arn))]

    @property
    def is_attached(self) -> bool:
        """Whether it has our layer, or the record of an `attach` whose layer someone has taken off since."""
        return bool(self.own_layers) or RECORD_VARIABLE in self.variables

    @property
    def is_settled(self) -> bool:
        """Whether it can be changed now: neither being created nor being updated."""
        return self.state != "Pending" and self.update_status != "InProgress"

    @property
    def is_traced(self) -> bool:
        """Whether our exec wrapper starts its runtime."""
        return self.variables.get(WRAPPER_VARIABLE) == WRAPPER

    def secrets(self) -> list[str]:
        """Values that must appear in no message."""
        return secret_values(self.variables)


def secret_values(variables: Mapping[str, str | None]) -> list[str]:
    """The values of the variables that may hold secrets."""
    return [value for name, value in variables.items() if value is not None and is_secret(name)]


def read_function(answer: Mapping[str, Any]) -> Function:
    """The function of an answer of GetFunctionConfiguration or an item of ListFunctions."""
    environment = answer.get("Environment") or {}
    error = environment.get("Error") or {}
    return Function(
        name=answer["FunctionName"],
        arn=answer["FunctionArn"],
        runtime=answer.get("Runtime", ""),
        architecture=(answer.get("Architectures") or ["x86_64"])[0],
        is_image=answer.get("PackageType") == "Image",
        layers=tuple((layer["Arn"], layer.get("CodeSize", 0)) for layer in answer.get("Layers") or ()),
        variables=dict(environment.get("Variables") or {}),
        unreadable=error.get("Message") or error.get("ErrorCode") or "",
        code_bytes=answer.get("CodeSize", 0),
        revision_id=answer.get("RevisionId", ""),
        state=answer.get("State", ""),
        update_status=answer.get("LastUpdateStatus", ""),
        update_reason=answer.get("LastUpdateStatusReason", ""),
        role=answer.get("Role", ""),
        runs_versions=_runs_versions(answer),
    )


def _runs_versions(answer: Mapping[str, Any]) -> str:
    # Even its plain name means `$LATEST.PUBLISHED`:
    # https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-version-publishing.html
    if answer.get("CapacityProviderConfig"):
        return "managed instances"
    return "SnapStart" if (answer.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions" else ""


@dataclass(frozen=True)
class Change:
    """One entry of a diff. `kind`: layer or variable; no `before`: added; no `after`: removed. Secrets are masked."""

    kind: str
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Plan:
    """The function's layers and variables as they shall be, and remarks for the user."""

    function: Function
    layers: tuple[str, ...]
    variables: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return self.layers == self.function.layer_arns and self.variables == self.function.variables

    def request(self) -> dict[str, Any]:
        """The parameters of UpdateFunctionConfiguration: only what changes, guarded by the revision that was read."""
        request: dict[str, Any] = {"FunctionName": self.function.arn}
        if self.layers != self.function.layer_arns:
            request["Layers"] = list(self.layers)
        if self.variables != self.function.variables:
            request["Environment"] = {"Variables": self.variables}
        if self.function.revision_id:
            request["RevisionId"] = self.function.revision_id
        return request

    def changes(self) -> list[Change]:
        """The difference, layers first."""
        return [*self._layer_changes(), *self._variable_changes()]

    def _layer_changes(self) -> Iterable[Change]:
        before, after = self.function.layer_arns, self.layers
        gone = [arn for arn in before if arn not in after]
        come = [arn for arn in after if arn not in before]
        for index in range(max(len(gone), len(come))):
            before_it = gone[index] if index < len(gone) else None
            after_it = come[index] if index < len(come) else None
            yield Change("layer", "", before_it, after_it)

    def _variable_changes(self) -> Iterable[Change]:
        before, after = self.function.variables, self.variables
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                old, new = before.get(name), after.get(name)
                yield Change(
                    "variable",
                    name,
                    None if old is None else shown(name, old),
                    None if new is None else shown(name, new),
                )
