// The line sink of plugins/audit-lines, in JavaScript: the same settings, answers and cases. One write for a batch.

import { write } from 'origan:codec/lines@0.1.0';
import { emit } from 'origan:codec/log@0.1.0';

// Set by `configure`.
let sink;

export const settings = {
  // What is thrown is the error of the WIT, here a list of problems; any other error is a trap.
  configure(json) {
    const read = { output: 'stdout', format: 'journal' };
    const problems = [];
    for (const [key, value] of Object.entries(JSON.parse(json))) {
      const path = `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
      if (!Object.hasOwn(read, key)) problems.push({ path, message: 'no such setting' });
      read[key] = value;
    }
    if (typeof read.output !== 'string' || read.output === '') {
      problems.push({ path: '/output', message: 'must be the name of an output' });
    }
    if (read.format !== 'journal' && read.format !== 'wrapped') {
      problems.push({ path: '/format', message: `${JSON.stringify(read.format)} is none of "journal", "wrapped"` });
    }
    if (problems.length > 0) throw problems;
    sink = read;
  },
};

export const auditSink = {
  write(batch) {
    const rejected = [];
    const left = batch.map((entry) => ({ seq: entry.seq, line: lineOf(entry) }));
    // Each turn ends the loop or takes one line out.
    while (left.length > 0) {
      const refused = refusedLine(left.map(({ line }) => line));
      if (refused === undefined) break;
      const [{ seq }] = left.splice(refused.index, 1);
      rejected.push([seq, refused.why]);
    }
    if (rejected.length > 0) throw { tag: 'rejected', val: rejected };
  },
};

// The record as the journal has it, or within an object that repeats what identifies it.
function lineOf({ chain, seq, hash, line }) {
  // Hexadecimal digits need no escape.
  return sink.format === 'journal' ? line : `{"chain":"${chain}","seq":${seq},"hash":"${hash}","record":${line}}`;
}

// Writes `lines`; the one that the output will never take, if there is one. Throws what asks for the batch again.
function refusedLine(lines) {
  try {
    write(sink.output, lines);
    return undefined;
  } catch (error) {
    // What an import answers as its error is thrown, with the answer as `payload`.
    const { tag, val } = error.payload;
    const output = JSON.stringify(sink.output);
    switch (tag) {
      case 'unavailable':
        return retry('warn', `output ${output} takes nothing now: ${val}`);
      case 'not-granted':
        // Tried again like an output that is down: records must outlive a mistake in the configuration.
        return retry('error', `output ${output} is not granted, so records wait: ${val}`);
    }
    const index = Number(val);
    if (index >= lines.length) return retry('error', `output ${output} refuses line ${val}, which was not sent`);
    return { index, why: tag === 'too-long' ? 'longer than the output takes' : 'holds a line feed or a NUL' };
  }
}

function retry(level, message) {
  emit(level, message, []);
  throw { tag: 'retry', val: undefined };
}
