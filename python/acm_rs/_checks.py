"""Checks of the arguments of a call: each error names the operation, the parameter, the value and what is allowed."""

from __future__ import annotations

import math
import re
import reprlib
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from numbers import Integral, Real
from typing import Any, SupportsInt, TypeGuard

import polars as pl

LARGEST = 2**63 - 1  # what the library's 64-bit integers hold
LARGEST_SEED = 2**64 - 1
CELLS_MAX = 2**20  # bins of the table that all periods of a pattern share

# Only units of fixed length: a month or a quarter would make the number of nanoseconds depend on the date.
NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}
_TERM = re.compile(rf"([0-9]+)({'|'.join(NANOSECONDS)})")
_CALENDAR = re.compile(r"[0-9](mo|q|y|i)(?![a-z])")

# Edges of ACM's three default bands, as shares of the Nyquist frequency.
DEFAULT_BANDS = ((0.0, 0.1), (0.1, 0.3), (0.3, 1.0))


# How NumPy names those units; its months and years have no fixed length.
NUMPY_UNITS = {"ns": "ns", "us": "us", "ms": "ms", "s": "s", "m": "m", "h": "h", "D": "d", "W": "w"}

SHOWN = 80  # characters of a value that a message shows
_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = _REPR.maxfrozenset = _REPR.maxdeque = 20
_REPR.maxstring = _REPR.maxlong = _REPR.maxother = SHOWN


def shown(value: object) -> str:
    """Show a value on one line, shortened: a whole frame or a million numbers would bury the message."""
    text = f"{value.height} rows of {value.columns}" if isinstance(value, pl.DataFrame) else _REPR.repr(value)
    if "\n" in text:
        text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _message(operation: str, parameter: str, allowed: str, value: object) -> str:
    return f"acm.{operation}: `{parameter}` must be {allowed}, got {shown(value)}"


def invalid(operation: str, parameter: str, allowed: str, value: object) -> ValueError:
    """Build the error for a value outside the allowed range."""
    return ValueError(_message(operation, parameter, allowed, value))


def mistyped(operation: str, parameter: str, allowed: str, value: object) -> TypeError:
    """Build the error for a value of a wrong type."""
    return TypeError(f"{_message(operation, parameter, allowed, value)} ({type(value).__name__})")


def is_a(value: object, module: str, name: str) -> bool:
    """Whether `value` is of this class, without an import: its module must be there already if it is."""
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(value, getattr(loaded, name))


def is_integer(value: object) -> TypeGuard[SupportsInt]:
    """Whether `value` is an integer, NumPy's too, but no bool."""
    # NumPy counts its time differences among the integers
    return isinstance(value, Integral) and not isinstance(value, bool) and not is_a(value, "numpy", "timedelta64")


def integer(operation: str, parameter: str, value: object, least: int, most: int = LARGEST) -> int:
    """Accept an integer (NumPy's too, but no bool and no float) from `least` to `most`."""
    if not is_integer(value):
        raise mistyped(operation, parameter, f"an int >= {least}", value)
    number = int(value)
    if number < least:
        raise invalid(operation, parameter, f">= {least}", value)
    if number > most:
        raise invalid(operation, parameter, f"<= {most}", value)
    return number


def number(operation: str, parameter: str, value: object, *, positive: bool) -> float:
    """Accept a finite number (NumPy's too, but no bool), above 0 if `positive`, else at least 0."""
    allowed = "a finite number > 0" if positive else "a finite number >= 0"
    result = _finite(operation, parameter, value, allowed)
    if result < 0 or (positive and result == 0):
        raise invalid(operation, parameter, allowed, value)
    return result


def share(operation: str, parameter: str, value: object) -> float:
    """Accept a number above 0 and at most 1."""
    result = number(operation, parameter, value, positive=True)
    if result > 1:
        raise invalid(operation, parameter, "<= 1", value)
    return result


def finite(operation: str, parameter: str, value: object) -> float:
    """Accept a finite number of either sign."""
    return _finite(operation, parameter, value, "a finite number")


def _finite(operation: str, parameter: str, value: object, allowed: str) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or is_a(value, "numpy", "timedelta64"):
        raise mistyped(operation, parameter, allowed, value)
    try:
        result = float(value)
    except OverflowError:  # an int beyond the largest float
        result = math.inf
    if not math.isfinite(result):
        raise invalid(operation, parameter, allowed, value)
    return result


def numbers(operation: str, parameter: str, value: Any) -> tuple[list[float], tuple[int, ...]]:
    """Accept finite numbers in nested lists, an array or a Series; return them flat, with their shape."""
    nested = value.tolist() if hasattr(value, "tolist") else value.to_list() if hasattr(value, "to_list") else value
    shape: list[int] = []
    flat: list[Any] = list(nested) if isinstance(nested, (list, tuple)) else [nested]
    shape.append(len(flat))
    while flat and all(isinstance(v, (list, tuple)) for v in flat):
        lengths = {len(v) for v in flat}
        if len(lengths) != 1:
            raise invalid(operation, parameter, "rows of one length", value)
        shape.append(lengths.pop())
        flat = [v for row in flat for v in row]
    return [finite(operation, parameter, v) for v in flat], tuple(shape)


def choice(operation: str, parameter: str, value: object, choices: Sequence[str]) -> str:
    """Accept one of a few words."""
    if not isinstance(value, str) or value not in choices:
        *most, last = (f'"{word}"' for word in choices)
        raise invalid(operation, parameter, f"{', '.join(most)} or {last}", value)
    return value


def flag(operation: str, parameter: str, value: object) -> bool:
    """Accept a plain bool."""
    if not isinstance(value, bool):
        raise mistyped(operation, parameter, "True or False", value)
    return value


def window(operation: str, window_size: object, by: object, *, least: int = 1) -> int:
    """Return the window in rows or, if `by` is given, in nanoseconds."""
    return rows_or_time(operation, "window_size", window_size, by, least=least)


def rows_only(operation: str, parameter: str, value: object, *, least: int = 1) -> int:
    """Return a window in rows, where there is no way to give one in time."""
    if not is_integer(value):
        raise mistyped(operation, parameter, f"an int >= {least} (rows)", value)
    return integer(operation, parameter, value, least)


def rows_or_time(operation: str, parameter: str, value: object, by: object, *, least: int = 1) -> int:
    """Return a length in rows or, if `by` is given, in nanoseconds."""
    if is_duration(value):
        if by is None:
            raise invalid(operation, parameter, f"an int >= {least} (rows) unless `by` names a time column", value)
        return duration(operation, parameter, value)
    if by is not None and is_integer(value):
        raise invalid(operation, parameter, 'a duration such as "2h" or a timedelta when `by` is given', value)
    if not is_integer(value):
        allowed = f'an int >= {least} (rows), or with `by` a duration such as "2h" or a timedelta'
        raise mistyped(operation, parameter, allowed, value)
    return integer(operation, parameter, value, least)


def is_duration(value: object) -> bool:
    """Whether a value is written as a duration: text, a timedelta, or NumPy's."""
    return isinstance(value, (str, timedelta)) or is_a(value, "numpy", "timedelta64")


def duration(operation: str, parameter: str, value: Any) -> int:
    """Nanoseconds of a positive duration of fixed length."""
    if isinstance(value, timedelta):
        seconds = value.days * 86_400 + value.seconds
        # pandas.Timedelta is a timedelta with nanoseconds
        total = (seconds * 1_000_000 + value.microseconds) * 1_000 + int(getattr(value, "nanoseconds", 0))
    elif is_a(value, "numpy", "timedelta64"):
        unit, step = sys.modules["numpy"].datetime_data(value.dtype)
        if unit not in NUMPY_UNITS or value != value:  # not a time
            allowed = f"a positive duration of fixed length, in {', '.join(NUMPY_UNITS)}"
            raise invalid(operation, parameter, allowed, value)
        total = int(value.astype("int64")) * step * NANOSECONDS[NUMPY_UNITS[unit]]
    elif isinstance(value, str):
        if calendar := _CALENDAR.search(value):
            allowed = f"of fixed length, in {', '.join(NANOSECONDS)} (not in the unit {calendar[1]!r})"
            raise invalid(operation, parameter, allowed, value)
        if not re.fullmatch(f"({_TERM.pattern})+", value):
            allowed = f'a positive duration such as "2h" or "1d12h", in {", ".join(NANOSECONDS)}'
            raise invalid(operation, parameter, allowed, value)
        total = sum(int(count) * NANOSECONDS[unit] for count, unit in _TERM.findall(value))
    else:
        raise mistyped(operation, parameter, 'a duration such as "2h" or a timedelta', value)
    if not 0 < total <= LARGEST:
        raise invalid(operation, parameter, "a duration above 0 and below 2**63 nanoseconds (292 years)", value)
    return total


def min_samples(
    operation: str,
    value: object,
    window_size: int,
    by: object,
    *,
    name: str = "min_samples",
    window_name: str = "window_size",
) -> int:
    """Accept an int of at least 1 and, where the window is counted in rows, at most the window."""
    result = integer(operation, name, value, 1)
    if by is None and result > window_size:
        raise invalid(operation, name, f"<= `{window_name}` ({window_size})", value)
    return result


def bands(operation: str, value: object, sampling_hz: float) -> list[list[float]]:
    """Accept bands [low, high) in Hz: ascending, without overlap, up to the Nyquist frequency; None: ACM's three."""
    nyquist = sampling_hz / 2
    if value is None:
        return [[low * nyquist, high * nyquist] for low, high in DEFAULT_BANDS]
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, dict)):
        raise mistyped(operation, "bands", "a sequence of pairs (low, high) in Hz", value)
    result: list[list[float]] = []
    for index, band in enumerate(value):
        parameter = f"bands[{index}]"
        edges = list(band) if isinstance(band, Iterable) and not isinstance(band, (str, bytes, dict)) else []
        if len(edges) != 2:
            raise mistyped(operation, parameter, "a pair (low, high) in Hz", band)
        low, high = (number(operation, parameter, edge, positive=False) for edge in edges)
        if low >= high:
            raise invalid(operation, parameter, "a pair with low < high", band)
        if high > nyquist:
            raise invalid(operation, parameter, f"at most the Nyquist frequency sampling_hz / 2 = {nyquist:g} Hz", band)
        if result and low < result[-1][1]:
            allowed = f"ascending and without overlap, so start at {result[-1][1]:g} Hz or above"
            raise invalid(operation, parameter, allowed, band)
        result.append([low, high])
    if not result:
        raise invalid(operation, "bands", "at least one pair (low, high) in Hz, or None", value)
    return result


def periods(operation: str, value: object, every: int) -> list[int]:
    """Accept ascending durations, each a multiple of the bin `every` and longer than it; return nanoseconds."""
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes, dict)):
        raise mistyped(operation, "periods", 'a sequence of durations such as ("1d", "7d")', value)
    result: list[int] = []
    for index, period in enumerate(value):
        parameter = f"periods[{index}]"
        length = duration(operation, parameter, period)
        if length <= every or length % every:
            raise invalid(
                operation, parameter, f"a multiple of `every` ({timedelta_text(every)}), at least twice", period
            )
        if result and length <= result[-1]:
            raise invalid(
                operation, parameter, f"longer than the period before it ({timedelta_text(result[-1])})", period
            )
        result.append(length)
    if not result:
        raise invalid(operation, "periods", "at least one duration", value)
    cells = math.lcm(*(length // every for length in result))
    if cells > CELLS_MAX:
        allowed = f"durations whose least common multiple is at most {CELLS_MAX:,} times `every`, not {cells:,} times"
        raise invalid(operation, "periods", allowed, value)
    return result


def timedelta_text(nanoseconds: int) -> str:
    """Write a duration in the largest unit up to days that holds it whole."""
    unit = max((u for u in NANOSECONDS if u != "w" and nanoseconds % NANOSECONDS[u] == 0), key=NANOSECONDS.__getitem__)
    return f"{nanoseconds // NANOSECONDS[unit]}{unit}"


def time_column(operation: str, by: object) -> pl.Expr | None:
    """Return the expression of the time column, if there is one."""
    if by is None or isinstance(by, pl.Expr):
        return by
    if isinstance(by, str):
        return pl.col(by)
    raise mistyped(operation, "by", "a column name, an expression or None", by)


def apart(operation: str, parameter: str, names: Iterable[str], results: Collection[str]) -> None:
    """Refuse columns that are named like those of the table that comes out."""
    for name in names:
        if name in results:
            raise invalid(operation, parameter, "named otherwise than the columns of the table, rename it", name)


def names(operation: str, parameter: str, value: object) -> list[str]:
    """Accept one column name or a sequence of them."""
    result = [value] if isinstance(value, str) else value
    if not isinstance(result, Sequence) or not all(isinstance(name, str) for name in result):
        raise mistyped(operation, parameter, "a column name or a list of column names", value)
    if not result:
        raise invalid(operation, parameter, "at least one column name, or None", value)
    return list(result)
