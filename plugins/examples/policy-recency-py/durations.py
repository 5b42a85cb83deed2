"""`duration = number unit` with the units ms, s, m, h and d (24 hours), in milliseconds that fit 64 bits."""

import re

# Largest first, as they are written out.
UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

# Python's own \d takes the digits of every script.
DURATION = re.compile("([0-9]+)(ms|[smhd])")


def parse_duration(text: str) -> int | None:
    found = DURATION.fullmatch(text)
    # 2^64 has 20 digits: nobody has to read more of them.
    if found is None or len(found[1]) > 20:
        return None
    ms = int(found[1]) * UNITS[found[2]]
    return ms if ms < 1 << 64 else None


def format_duration(ms: int) -> str:
    """Exact, in as few units as that takes: `1d 1ms`."""
    parts = []
    for unit, factor in UNITS.items():
        count, ms = divmod(ms, factor)
        if count > 0:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
