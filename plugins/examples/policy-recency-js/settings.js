// What the operator wrote, read strictly: what is unknown, of a wrong type or contradictory is a problem that names its place.

import { parseDuration } from './duration.js';

// The actions of this version of the interface: a pattern that stands for none of them is misspelt.
const ACTIONS = ['encrypt', 'encrypt-all', 'decrypt-value', 'decrypt-all', 'decrypt-dek', 'generate-dek', 're-encrypt',
  'rotate-dek', 'rewrap-dek', 'rewrap-all', 'disable-dek', 'enable-dek', 'destroy-dek'];

const NOT_A_DURATION = 'is not a duration: a whole number and ms, s, m, h or d, such as "24h"';

// The settings; throws all that is wrong with them, as `configure` does.
export function readSettings(json) {
  const read = { skew: 60_000n, actions: [pattern('decrypt-all')], unknown: 'deny', fresh: 'allow' };
  const problems = [];
  const complain = (path, message) => void problems.push({ path, message });
  const written = JSON.parse(json);
  for (const [key, value] of Object.entries(written)) {
    const path = `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
    switch (key) {
      case 'max_age':
        read.maxAge = duration(value);
        if (read.maxAge === undefined) complain(path, NOT_A_DURATION);
        if (read.maxAge === 0n) complain(path, 'must be longer than 0: no deployment is that recent');
        break;
      case 'skew':
        read.skew = duration(value);
        if (read.skew === undefined) complain(path, NOT_A_DURATION);
        break;
      case 'actions':
        read.actions = actions(value, complain);
        break;
      case 'unknown':
        read.unknown = choice(value, ['deny', 'allow', 'abstain', 'warn'], path, complain);
        break;
      case 'fresh':
        read.fresh = choice(value, ['allow', 'abstain'], path, complain);
        break;
      default:
        complain(path, 'no such setting');
    }
  }
  if (!Object.hasOwn(written, 'max_age')) complain('/max_age', 'is required');
  if (problems.length > 0) throw problems;
  return read;
}

function duration(value) {
  return typeof value === 'string' ? parseDuration(value) : undefined;
}

function choice(value, choices, path, complain) {
  if (!choices.includes(value)) complain(path, `${JSON.stringify(value)} is none of ${choices.join(', ')}`);
  return value;
}

function actions(value, complain) {
  if (!Array.isArray(value)) {
    complain('/actions', 'must be an array');
    return [];
  }
  if (value.length === 0) complain('/actions', 'is empty: the policy would never apply');
  return value.map((item, index) => {
    const compiled = pattern(String(item));
    if (typeof item !== 'string' || !ACTIONS.some((action) => compiled.test(action))) {
      complain(`/actions/${index}`, `${JSON.stringify(item)} matches none of the actions ${ACTIONS.join(', ')}`);
    }
    return compiled;
  });
}

// `*` stands for any run of characters, every other character for itself.
function pattern(text) {
  const pieces = text.split('*').map((piece) => piece.replace(/[\\^$.|?+()[\]{}]/g, '\\$&'));
  return new RegExp(`^${pieces.join('.*')}$`, 's');
}
