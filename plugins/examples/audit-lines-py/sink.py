"""The line sink of plugins/audit-lines, in Python: the same settings, answers and cases. One write for a batch."""

import json
from dataclasses import dataclass

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.audit_sink import Entry, WriteError_Rejected, WriteError_Retry
from wit_world.exports.settings import Problem
from wit_world.imports import lines, log


@dataclass
class Sink:
    """The sink, as configured."""

    output: str = "stdout"
    format: str = "journal"

    def line(self, entry: Entry) -> str:
        """The record as the journal has it, or within an object that repeats what identifies it."""
        if self.format == "journal":
            return entry.line
        # Hexadecimal digits need no escape.
        return f'{{"chain":"{entry.chain}","seq":{entry.seq},"hash":"{entry.hash}","record":{entry.line}}}'


# Set by `configure`.
sink = Sink()


class Settings(exports.Settings):
    def configure(self, text: str) -> None:
        global sink
        read, problems = Sink(), []
        for key, value in json.loads(text).items():
            if key not in ("output", "format"):
                path = "/" + key.replace("~", "~0").replace("/", "~1")
                problems.append(Problem(path, "no such setting"))
            setattr(read, key, value)
        if not isinstance(read.output, str) or not read.output:
            problems.append(Problem("/output", "must be the name of an output"))
        if read.format not in ("journal", "wrapped"):
            problems.append(Problem("/format", f"{read.format!r} is none of journal, wrapped"))
        if problems:
            # The error of the WIT; any other exception is a trap.
            raise Err(problems)
        sink = read


class AuditSink(exports.AuditSink):
    def write(self, batch: list[Entry]) -> None:
        left = [(entry.seq, sink.line(entry)) for entry in batch]
        rejected = []
        # Each turn ends the loop or takes one line out.
        while left:
            refused = refused_line([line for _, line in left])
            if refused is None:
                break
            index, why = refused
            seq, _ = left.pop(index)
            rejected.append((seq, why))
        if rejected:
            raise Err(WriteError_Rejected(rejected))


def refused_line(texts: list[str]) -> tuple[int, str] | None:
    """Writes the lines; the one that the output will never take, if there is one. Raises what asks for the batch again."""
    try:
        lines.write(sink.output, texts)
        return None
    except Err as error:
        match error.value:
            case lines.WriteError_Unavailable(why):
                raise retry(log.Level.WARN, f"output {sink.output!r} takes nothing now: {why}") from None
            case lines.WriteError_NotGranted(why):
                # Tried again like an output that is down: records must outlive a mistake in the configuration.
                message = f"output {sink.output!r} is not granted, so records wait: {why}"
                raise retry(log.Level.ERROR, message) from None
            case lines.WriteError_TooLong(index):
                found = index, "longer than the output takes"
            case lines.WriteError_Malformed(index):
                found = index, "holds a line feed or a NUL"
        if found[0] >= len(texts):
            message = f"output {sink.output!r} refuses line {found[0]}, which was not sent"
            raise retry(log.Level.ERROR, message) from None
        return found


def retry(level: log.Level, message: str) -> Err:
    log.emit(level, message, [])
    return Err(WriteError_Retry(None))
