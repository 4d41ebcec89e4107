"""Numbers, times and sizes as people read them."""

from datetime import UTC, datetime
from math import isfinite

from shardline.data.statistics.values import Kind

# Narrow and without a line break.
THOUSANDS = "\u202f"
# Years 1 to 9999, which is what datetime can write.
FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}".replace(",", THOUSANDS)


def short(number: float) -> str:
    """Four significant digits, plain where that is short."""
    if not isfinite(number):
        return str(number)
    if number == int(number) and abs(number) < 1e7:
        return count(int(number))
    if 1e-3 <= abs(number) < 1e7:
        return (
            f"{number:,.4g}".replace(",", THOUSANDS) if abs(number) < 1e4 else count(round(number))
        )
    return f"{number:.3g}"


def share(part: float, whole: float) -> str:
    """A percentage that is 0 or 100 only where it is that exactly."""
    if not whole or not part:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.3g} %"


def value(number: float, kind: Kind) -> str:
    """A value of a column of some kind: a time as a date, everything else as a number."""
    return when(number) if kind == "time" else short(number)


def when(unix_s: float) -> str:
    """A moment in UTC, without the time of day where that is midnight."""
    if not FIRST_S <= unix_s <= LAST_S:
        return f"{short(unix_s)} s"
    moment = datetime.fromtimestamp(unix_s, UTC)
    midnight = unix_s % 86_400 == 0
    return moment.strftime("%Y-%m-%d" if midnight else "%Y-%m-%d %H:%M:%S")
