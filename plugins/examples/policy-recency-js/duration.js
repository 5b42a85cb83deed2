// `duration = number unit` with the units ms, s, m, h and d (24 hours), in milliseconds that fit 64 bits.

const MAX = 2n ** 64n - 1n;

// Largest first, as they are written out.
const UNITS = [['d', 86_400_000n], ['h', 3_600_000n], ['m', 60_000n], ['s', 1_000n], ['ms', 1n]];

// None if `text` is no duration.
export function parseDuration(text) {
  const found = /^([0-9]+)(ms|[smhd])$/.exec(text);
  if (found === null) return undefined;
  const [, factor] = UNITS.find(([unit]) => unit === found[2]);
  const ms = BigInt(found[1]) * factor;
  return ms <= MAX ? ms : undefined;
}

// Exact, in as few units as that takes: `1d 1ms`.
export function formatDuration(ms) {
  const parts = [];
  for (const [unit, factor] of UNITS) {
    if (ms >= factor) parts.push(`${ms / factor}${unit}`);
    ms %= factor;
  }
  return parts.join(' ') || '0s';
}
