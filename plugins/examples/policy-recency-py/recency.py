"""The recency policy of plugins/policy-recency, in Python: the same settings, decisions and cases.

`time - created <= max_age` and `created - time <= skew`, both exact to the millisecond.
"""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.policy import (
    Decision,
    Decision_Abstain,
    Decision_Allow,
    Decision_Deny,
    Denial,
    Lookups,
    Query,
)
from wit_world.imports import log
from wit_world.imports.facts import Deployment_Known, Deployment_Unknown, KnownDeployment

from durations import format_duration
from settings import Recency, read_settings

# Set by `configure`, and part of every instance from then on: the host keeps a picture of the memory.
recency: Recency | None = None


class Settings(exports.Settings):
    def configure(self, text: str) -> None:
        global recency
        read, problems = read_settings(text)
        if problems:
            # The error of the WIT; any other exception is a trap.
            raise Err(problems)
        recency = read


class Policy(exports.Policy):
    def needs(self) -> Lookups:
        return Lookups.DEPLOYMENT

    def evaluate(self, query: Query) -> Decision:
        if recency is None:
            return deny("not-configured", "the policy was asked before it was configured")
        if not any(pattern.fullmatch(query.action) for pattern in recency.actions):
            return Decision_Abstain()
        match query.deployment:
            case Deployment_Known(known):
                return decide_known(recency, known, query.time)
            case Deployment_Unknown(deployment_id):
                return decide_unknown(recency, deployment_id)
        return deny("deployment-required", f"{query.action} needs a deployment, and the call names none")


def decide_unknown(recency: Recency, deployment_id: str) -> Decision:
    what = f"the platform does not know deployment {json.dumps(deployment_id)}"
    if recency.unknown == "deny":
        return deny("deployment-unknown", what)
    if recency.unknown == "abstain":
        return Decision_Abstain()
    if recency.unknown == "warn":
        log.emit(log.Level.WARN, f"allowed, although {what}", [])
    return Decision_Allow()


def decide_known(recency: Recency, known: KnownDeployment, time: int) -> Decision:
    age = time - known.created
    which = f"deployment {json.dumps(known.id)}"
    if age > recency.max_age:
        limit = format_duration(recency.max_age)
        return deny("deployment-too-old", f"{which} is {format_duration(age)} old; max_age is {limit}")
    if -age > recency.skew:
        ahead, limit = format_duration(-age), format_duration(recency.skew)
        return deny("deployment-in-future", f"{which} was created {ahead} in the future; skew is {limit}")
    return Decision_Allow() if recency.fresh == "allow" else Decision_Abstain()


def deny(code: str, reason: str) -> Decision:
    return Decision_Deny(Denial(code, reason))
