"""Whether functions' roles may read the secret that they are given."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from o2_lambda.aws.errors import code_of
from o2_lambda.aws.model import SECRET_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from o2_lambda.aws.attaching import Outcome
    from o2_lambda.aws.session import Account

ALLOWED = "allowed"
Question = tuple[str, str]  # action, ARN of the resource


def tell_permissions(
    account: Account, outcomes: Sequence[Outcome], question_of: Callable[[str, str], Question]
) -> list[Outcome]:
    """The outcomes, each with a secret now also saying whether the function's role may read it, if IAM tells.

    `question_of` gets the variable's value and the function's ARN.
    """
    known: dict[tuple[str, Question], str] = {}
    told = []
    for outcome in outcomes:
        secret = outcome.plan.variables.get(SECRET_VARIABLE) if outcome.plan else None
        if outcome.plan is None or not secret or outcome.status == "failed":
            told.append(outcome)
            continue
        function = outcome.plan.function
        asked = (function.role, question_of(secret, function.arn))
        if asked not in known:
            known[asked] = _tell(account, outcome.region, *asked)
        told.append(replace(outcome, detail="; ".join(filter(None, (outcome.detail, known[asked])))))
    return told


def _tell(account: Account, region: str, role: str, question: Question) -> str:
    action, resource = question
    name = role.rpartition("/")[2] or "of the function"
    try:
        answer = account.client("iam", region).simulate_principal_policy(
            PolicySourceArn=role, ActionNames=[action], ResourceArns=[resource]
        )
        decision = answer["EvaluationResults"][0]["EvalDecision"]
    except (BotoCoreError, ClientError) as error:
        why = code_of(error) or type(error).__name__
        return f"make sure that its role {name} is allowed {action} on {resource} (IAM could not be asked: {why})"
    if decision == ALLOWED:
        return f"its role {name} may read the secret"
    return f"its role {name} may NOT read the secret yet: allow it {action} on {resource}"
