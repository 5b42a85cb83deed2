// Writes each audit record as a line of JSON to one of the operator's outputs.

import { write } from 'origan:codec/lines@0.1.0';
import { emit } from 'origan:codec/log@0.1.0';

// Set by `configure`: which of the operator's outputs to write to. It must be granted to this plugin.
let output = 'stdout';

export const settings = {
  // Reads the operator's settings, one JSON object. Names every key that is wrong, and every key that is not known: a misspelt setting
  // must not be a silent default. What is thrown is the answer; any other error is a trap, whose message is lost.
  configure(json) {
    const { output: wanted = 'stdout', ...unknown } = JSON.parse(json);
    const problems = Object.keys(unknown).map((key) => problem(key, 'is not a setting of this sink; output is the only one'));
    if (typeof wanted !== 'string' || wanted === '') problems.push(problem('output', 'wants the name of an output'));
    if (problems.length > 0) throw problems;
    output = wanted;
  },
};

export const auditSink = {
  // Writes the batch. A line that the output will never take is left out and reported; the rest still goes, in order.
  write(batch) {
    const left = [...batch];
    const rejected = [];
    while (left.length > 0) {
      const refused = refusedLine(left.map((entry) => entry.line));
      if (refused === undefined) break;
      const [{ seq }] = left.splice(refused.index, 1);
      rejected.push([seq, refused.why]);
    }
    if (rejected.length > 0) throw { tag: 'rejected', val: rejected };
  },
};

function refusedLine(lines) {
  try {
    write(output, lines);
    return undefined;
  } catch (error) {
    // What an import answers as its error is thrown, with the answer as `payload`.
    const { tag, val } = error.payload;
    const index = Number(val);
    if (tag === 'too-long' && index < lines.length) return { index, why: 'longer than the output takes' };
    if (tag === 'malformed' && index < lines.length) return { index, why: 'holds a line feed or a NUL' };
    emit('warn', `${output}: ${tag}: ${val}`, []);
    // The host sends the same batch again, later.
    throw { tag: 'retry', val: undefined };
  }
}

function problem(key, message) {
  return { path: `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`, message };
}
