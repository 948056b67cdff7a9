"""Numbers as people read them: bytes, shares, times, speeds. Decimal units, as browsers and model pages use."""

from __future__ import annotations

_UNITS = ("bytes", "KB", "MB", "GB", "TB")


def bytes_text(nbytes: float) -> str:
    """98362432 → "98.4 MB"."""
    value, unit = float(max(nbytes, 0)), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {_UNITS[unit]}"


def percent(share: float) -> str:
    """0.756 → "76%". Never "100%" before it is."""
    whole = round(100 * share)
    return f"{99 if whole == 100 and share < 1 else whole}%"


def duration(seconds: float) -> str:
    """75 → "1 min 15 s"; 0.42 → "0.4 s"."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 59.5:
        return f"{round(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def speed(tokens_per_second: float) -> str:
    """31.26 → "31.3 tok/s"."""
    return f"{tokens_per_second:.0f} tok/s" if tokens_per_second >= 99.95 else f"{tokens_per_second:.1f} tok/s"
