"""What the operator wrote, read strictly: what is unknown, of a wrong type or contradictory is a problem that names its place."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from wit_world.exports.settings import Problem

from durations import parse_duration

# The actions of this version of the interface: a pattern that stands for none of them is misspelt.
ACTIONS = ["encrypt", "encrypt-all", "decrypt-value", "decrypt-all", "decrypt-dek", "generate-dek", "re-encrypt",
           "rotate-dek", "rewrap-dek", "rewrap-all", "disable-dek", "enable-dek", "destroy-dek"]

CHOICES = {"unknown": ["deny", "allow", "abstain", "warn"], "fresh": ["allow", "abstain"]}


def pattern(text: str) -> re.Pattern[str]:
    """`*` stands for any run of characters, every other character for itself."""
    return re.compile(".*".join(re.escape(piece) for piece in text.split("*")), re.DOTALL)


@dataclass
class Recency:
    """The policy, as configured."""

    max_age: int = 0
    skew: int = 60_000
    actions: list[re.Pattern[str]] = field(default_factory=lambda: [pattern("decrypt-all")])
    unknown: str = "deny"
    fresh: str = "allow"


def read_settings(text: str) -> tuple[Recency, list[Problem]]:
    read, problems = Recency(), []
    written: dict[str, Any] = json.loads(text)
    for key, value in written.items():
        path = "/" + key.replace("~", "~0").replace("/", "~1")
        if key in ("max_age", "skew"):
            ms = parse_duration(value) if isinstance(value, str) else None
            if ms is None:
                message = 'is not a duration: a whole number and ms, s, m, h or d, such as "24h"'
                problems.append(Problem(path, message))
            elif key == "max_age" and ms == 0:
                problems.append(Problem(path, "must be longer than 0: no deployment is that recent"))
            else:
                setattr(read, key, ms)
        elif key in CHOICES:
            if value not in CHOICES[key]:
                problems.append(Problem(path, f"{value!r} is none of {', '.join(CHOICES[key])}"))
            setattr(read, key, value)
        elif key == "actions":
            read.actions = read_actions(value, problems)
        else:
            problems.append(Problem(path, "no such setting"))
    if "max_age" not in written:
        problems.append(Problem("/max_age", "is required"))
    return read, problems


def read_actions(value: Any, problems: list[Problem]) -> list[re.Pattern[str]]:
    if not isinstance(value, list):
        problems.append(Problem("/actions", "must be an array"))
        return []
    if not value:
        problems.append(Problem("/actions", "is empty: the policy would never apply"))
    patterns = []
    for index, item in enumerate(value):
        compiled = pattern(item) if isinstance(item, str) else None
        if compiled is None or not any(map(compiled.fullmatch, ACTIONS)):
            message = f"{item!r} matches none of the actions {', '.join(ACTIONS)}"
            problems.append(Problem(f"/actions/{index}", message))
        else:
            patterns.append(compiled)
    return patterns
