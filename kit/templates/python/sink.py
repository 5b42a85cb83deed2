"""Writes each audit record as a line of JSON to one of the operator's outputs."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.audit_sink import Entry, WriteError_Rejected, WriteError_Retry
from wit_world.exports.settings import Problem
from wit_world.imports import lines, log

# Set by `configure`: which of the operator's outputs to write to. It must be granted to this plugin.
output = "stdout"


class Settings(exports.Settings):
    def configure(self, text: str) -> None:
        """Reads the operator's settings, one JSON object.

        Names every key that is wrong, and every key that is not known: a misspelt setting must not be a silent default. What is raised
        as `Err` is the answer; any other exception is a trap, whose message is lost.
        """
        global output
        problems = []
        for key, value in json.loads(text).items():
            if key != "output":
                problems.append(problem(key, "is not a setting of this sink; output is the only one"))
            elif isinstance(value, str) and value:
                output = value
            else:
                problems.append(problem(key, "wants the name of an output"))
        if problems:
            raise Err(problems)


class AuditSink(exports.AuditSink):
    def write(self, batch: list[Entry]) -> None:
        """Writes the batch. A line that the output will never take is left out and reported; the rest still goes, in order."""
        left = list(batch)
        rejected = []
        while left:
            refused = refused_line([entry.line for entry in left])
            if refused is None:
                break
            index, why = refused
            rejected.append((left.pop(index).seq, why))
        if rejected:
            raise Err(WriteError_Rejected(rejected))


def refused_line(texts: list[str]) -> tuple[int, str] | None:
    try:
        lines.write(output, texts)
    except Err as error:
        match error.value:
            case lines.WriteError_TooLong(index) if index < len(texts):
                return index, "longer than the output takes"
            case lines.WriteError_Malformed(index) if index < len(texts):
                return index, "holds a line feed or a NUL"
        log.emit(log.Level.WARN, f"{output}: {error.value}", [])
        # The host sends the same batch again, later.
        raise Err(WriteError_Retry(None)) from None
    return None


def problem(key: str, message: str) -> Problem:
    return Problem("/" + key.replace("~", "~0").replace("/", "~1"), message)
