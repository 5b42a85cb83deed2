"""What Python does otherwise here than elsewhere: the project of a query says which it is, the reason of the denial what came."""

import random
import time
import uuid

from wit_world import exports
from wit_world.exports.policy import Decision, Decision_Deny, Denial, Lookups, Query


def exception(query: Query) -> None:
    raise ValueError("the message")


def late_import(query: Query) -> object:
    import late

    return late


TRAPS = {
    "random": lambda query: random.random(),
    "uuid": lambda query: uuid.uuid4(),
    "clock": lambda query: time.time(),
    "time": lambda query: f"{type(query.time).__name__} {query.time}",
    "absent": lambda query: query.variables[0].key_version,
    "print": lambda query: print("printed"),
    "exception": exception,
    "import": late_import,
    "open": lambda query: open("/etc/passwd"),
}


class Settings(exports.Settings):
    def configure(self, text: str) -> None:
        pass


class Policy(exports.Policy):
    def needs(self) -> Lookups:
        return Lookups.VARIABLES

    def evaluate(self, query: Query) -> Decision:
        if query.project_id == "shape":
            return "deny"
        return Decision_Deny(Denial("seen", f"<{TRAPS[query.project_id or ''](query)}>"))
