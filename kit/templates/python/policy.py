"""Refuses every action on a frozen project, and leaves all others to the other policies."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.policy import Decision, Decision_Abstain, Decision_Deny, Denial, Lookups, Query
from wit_world.exports.settings import Problem

# Set by `configure`. The host then keeps a picture of the memory, and every decision begins from that.
frozen_projects: list[str] = []


class Settings(exports.Settings):
    def configure(self, text: str) -> None:
        """Reads the operator's settings, one JSON object.

        Names every key that is wrong, and every key that is not known: a misspelt setting must not be a silent default. What is raised
        as `Err` is the answer; any other exception is a trap, whose message is lost.
        """
        global frozen_projects
        problems = []
        for key, value in json.loads(text).items():
            if key != "frozen_projects":
                problems.append(problem(key, "is not a setting of this policy; frozen_projects is the only one"))
            elif isinstance(value, list) and all(isinstance(project, str) for project in value):
                frozen_projects = value
            else:
                problems.append(problem(key, "wants a list of project ids"))
        if problems:
            raise Err(problems)


class Policy(exports.Policy):
    def needs(self) -> Lookups:
        """What the host should look up for each query: nothing. Lookups.DEPLOYMENT | Lookups.VARIABLES would be all there is."""
        return Lookups(0)

    def evaluate(self, query: Query) -> Decision:
        """Decides. Everything that it may depend on is in the query, the time included."""
        if query.project_id not in frozen_projects:
            return Decision_Abstain()
        reason = f"{query.action} on {query.project_id}, which frozen_projects lists"
        return Decision_Deny(Denial("project-frozen", reason))


def problem(key: str, message: str) -> Problem:
    return Problem("/" + key.replace("~", "~0").replace("/", "~1"), message)
