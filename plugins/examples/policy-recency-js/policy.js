// The recency policy of plugins/policy-recency, in JavaScript: the same settings, decisions and cases.
//
// `time - created <= max_age` and `created - time <= skew`, both exact to the millisecond. Times are u64, which are BigInt here.

import { emit } from 'origan:codec/log@0.1.0';
import { formatDuration } from './duration.js';
import { readSettings } from './settings.js';

// Set by `configure`, and part of every instance from then on: the host keeps a picture of the memory.
let recency;

export const settings = {
  // What is thrown is the error of the WIT, here a list of problems; any other error is a trap.
  configure(json) {
    recency = readSettings(json);
  },
};

export const policy = {
  needs() {
    return { deployment: true };
  },

  evaluate({ action, time, deployment }) {
    if (recency === undefined) return deny('not-configured', 'the policy was asked before it was configured');
    if (!recency.actions.some((pattern) => pattern.test(action))) return { tag: 'abstain' };
    switch (deployment.tag) {
      case 'known':
        return decideKnown(deployment.val, time);
      case 'unknown':
        return decideUnknown(deployment.val);
      default:
        return deny('deployment-required', `${action} needs a deployment, and the call names none`);
    }
  },
};

function decideUnknown(id) {
  const what = `the platform does not know deployment ${JSON.stringify(id)}`;
  switch (recency.unknown) {
    case 'deny':
      return deny('deployment-unknown', what);
    case 'abstain':
      return { tag: 'abstain' };
    case 'warn':
      emit('warn', `allowed, although ${what}`, []);
  }
  return { tag: 'allow' };
}

function decideKnown({ id, created }, time) {
  const age = time - created;
  const which = `deployment ${JSON.stringify(id)}`;
  if (age > recency.maxAge) {
    const limit = formatDuration(recency.maxAge);
    return deny('deployment-too-old', `${which} is ${formatDuration(age)} old; max_age is ${limit}`);
  }
  if (-age > recency.skew) {
    const limit = formatDuration(recency.skew);
    return deny('deployment-in-future', `${which} was created ${formatDuration(-age)} in the future; skew is ${limit}`);
  }
  return { tag: recency.fresh };
}

function deny(code, reason) {
  return { tag: 'deny', val: { code, reason } };
}
