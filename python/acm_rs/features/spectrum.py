"""Spectra of whole series: aggregates for `select` and ``group_by().agg()``."""

from __future__ import annotations

import polars as pl

from acm_rs import _checks
from acm_rs._plugin import IntoColumns, call, one_input
from acm_rs.features.rolling import Bands

__all__ = ["dominant_period", "power_spectrum", "spectral_energy"]


def spectral_energy(
    expr: IntoColumns, *, bands: Bands = None, sampling_hz: float = 1.0, min_samples: int | None = None
) -> pl.Expr:
    """Energy of the whole series in frequency bands.

    With ``y = x - mean(x)`` over all ``n`` rows, the frequencies ``f_k = k * sampling_hz / n`` for ``k = 0..n // 2``
    and the powers ``P_k = |sum_i y_i exp(-2 pi j k i / n)|^2`` (the unscaled periodogram, Schuster 1898), the
    energy of a band is the sum of the ``P_k`` with ``low <= f_k < high``.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    bands : sequence of pairs or None
        Bands ``(low, high)`` in Hz, ascending and without overlap, ``0 <= low < high <= sampling_hz / 2``; the upper
        edge is exclusive. Default None: ACM's three bands, up to 0.1, 0.3 and 1 times the Nyquist frequency
        ``sampling_hz / 2``.
    sampling_hz : float
        Rows per second, above 0; default 1, so that frequencies are counted per row where no rate is given.
    min_samples : int or None
        Readings that must be present, at least 2; default None: half of the rows and at least 2, because the spectrum
        of fewer says little.

    Returns
    -------
    Expr
        One row: struct named ``spectral_energy`` with the fields ``{column}_energy_0``, ``{column}_energy_1``, ... in
        the squared unit of the column, Float64. Null where fewer than `min_samples` readings are present, or where the
        energy is too large for a Float64.

    Notes
    -----
    An aggregate: for `select`, ``group_by().agg()`` and ``.over()``. Rows are taken in their order and must be at equal
    intervals; sort first, and fill gaps in the time stamps with empty rows.
    Null, NaN and infinity are missing: they are replaced by the mean, so that they add no energy.
    No window function is applied and one-sided powers are not doubled, as in `rolling_spectral_energy`: SciPy's
    ``periodogram(scaling="spectrum")`` is ``2 / n**2`` times this, but for frequency 0 and the Nyquist frequency.
    Frequency 0 holds nothing, and the Nyquist frequency lies in no band, because upper edges are exclusive. A frequency
    within a share of 1e-12 below an edge lies on it, so that the rounding of edges and rates moves none to another
    band.
    Cost: proportional to ``n log n``, for prime ``n`` too. Columns are spread over threads.
    Energies grow with the square of the number of rows: compare series of one length, or divide by ``n**2``.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [0.0, 1.0, 0.0, -1.0] * 4, "y": [1.0, -1.0] * 8})
    >>> energy = acm.spectral_energy(["x", "y"], bands=[(0.0, 0.2), (0.2, 0.3)])
    >>> df.select(energy).unnest("spectral_energy")
    shape: (1, 4)
    ┌────────────┬────────────┬────────────┬────────────┐
    │ x_energy_0 ┆ x_energy_1 ┆ y_energy_0 ┆ y_energy_1 │
    │ ---        ┆ ---        ┆ ---        ┆ ---        │
    │ f64        ┆ f64        ┆ f64        ┆ f64        │
    ╞════════════╪════════════╪════════════╪════════════╡
    │ 0.0        ┆ 64.0       ┆ 0.0        ┆ 0.0        │
    └────────────┴────────────┴────────────┴────────────┘
    """
    operation = "spectral_energy"
    sampling_hz = _checks.number(operation, "sampling_hz", sampling_hz, positive=True)
    return call(
        operation,
        [one_input(operation, expr, always_pack=True)],
        gives="one_row",
        bands=_checks.bands(operation, bands, sampling_hz),
        sampling_hz=sampling_hz,
        min_samples=_min_samples(operation, min_samples),
    )


def power_spectrum(expr: IntoColumns, *, sampling_hz: float = 1.0, min_samples: int | None = None) -> pl.Expr:
    """Power of the whole series at every frequency.

    ``P_k = |sum_i y_i exp(-2 pi j k i / n)|^2`` with ``y = x - mean(x)`` over all ``n`` rows, at the frequencies
    ``f_k = k * sampling_hz / n`` for ``k = 0..n // 2`` (the unscaled periodogram, Schuster 1898): the squared modulus
    of NumPy's ``rfft(x - x.mean())``.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns; always one call over all of them.
    sampling_hz : float
        Rows per second, above 0; default 1, so that frequencies are counted per row where no rate is given.
    min_samples : int or None
        Readings that must be present, at least 2; default None: half of the rows and at least 2, because the spectrum
        of fewer says little.

    Returns
    -------
    Expr
        One row: struct named ``power_spectrum`` of lists of Float64, all of length ``n // 2 + 1`` (0 without rows):
        ``frequency`` in Hz, then ``{column}_power`` in the squared unit of the column. A list holds nulls where fewer
        than `min_samples` readings are present; a power too large for a Float64 is null.

    Notes
    -----
    An aggregate: for `select`, ``group_by().agg()`` and ``.over()``. ``unnest``, then ``explode`` make a table with a
    row per frequency. Rows are taken in their order and must be at equal intervals; sort first, and fill gaps in
    the time stamps with empty rows.
    Null, NaN and infinity are missing: they are replaced by the mean, so that they add no power.
    No window function is applied and one-sided powers are not doubled: SciPy's ``periodogram(scaling="density")`` is
    ``2 / (n * sampling_hz)`` times this, but for frequency 0 and the Nyquist frequency.
    Cost: proportional to ``n log n``, for prime ``n`` too. Columns are spread over threads.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [0.0, 1.0, 0.0, -1.0] * 2})
    >>> df.select(acm.power_spectrum("x")).unnest("power_spectrum").explode(pl.all())
    shape: (5, 2)
    ┌───────────┬─────────┐
    │ frequency ┆ x_power │
    │ ---       ┆ ---     │
    │ f64       ┆ f64     │
    ╞═══════════╪═════════╡
    │ 0.0       ┆ 0.0     │
    │ 0.125     ┆ 0.0     │
    │ 0.25      ┆ 16.0    │
    │ 0.375     ┆ 0.0     │
    │ 0.5       ┆ 0.0     │
    └───────────┴─────────┘
    """
    operation = "power_spectrum"
    return call(
        operation,
        [one_input(operation, expr, always_pack=True)],
        gives="one_row",
        sampling_hz=_checks.number(operation, "sampling_hz", sampling_hz, positive=True),
        min_samples=_min_samples(operation, min_samples),
    )


def dominant_period(
    expr: IntoColumns, *, sampling_hz: float = 1.0, min_samples: int | None = None, min_cycles: int = 2
) -> pl.Expr:
    """Period of the strongest frequency of the whole series.

    The inverse of the frequency at which `power_spectrum` is largest, among those that complete at least `min_cycles`
    cycles within the series.

    Parameters
    ----------
    expr : str, Expr, list, tuple or selector
        Numeric column or columns. A name or expression works column by column; a list, tuple or selector makes one
        call.
    sampling_hz : float
        Rows per second, above 0; default 1, so that the period is counted in rows where no rate is given.
    min_samples : int or None
        Readings that must be present, at least 2; default None: half of the rows and at least 2, because the spectrum
        of fewer says little.
    min_cycles : int
        Cycles that the series must hold, at least 1; default 2: what is seen once only, as a drift, is no period.

    Returns
    -------
    Expr
        One row: the period in seconds (rows, if `sampling_hz` is 1), Float64, under the name of the column; a struct
        named ``dominant_period`` for a list, tuple or selector. Null where fewer than `min_samples` readings are
        present, or where no frequency has any power, as in a constant series.

    Notes
    -----
    An aggregate: for `select`, ``group_by().agg()`` and ``.over()``. Rows are taken in their order and must be at equal
    intervals; sort first, and fill gaps in the time stamps with empty rows.
    Null, NaN and infinity are missing: they are replaced by the mean, so that they add no power.
    Periods are those of the transform, ``n / k`` rows: a true period between two of them shows as the nearer. Of equal
    powers the longer period is given. There is a strongest frequency in noise, too; `seasonality` says how sure a
    period is. A strong drift leaks into the lowest frequencies: take it out first, for example with `rolling_mean`.
    Cost: proportional to ``n log n``, for prime ``n`` too. Columns of a list are spread over threads.

    Examples
    --------
    >>> import acm_rs as acm
    >>> import polars as pl
    >>> df = pl.DataFrame({"x": [0.0, 1.0, 0.0, -1.0] * 4, "still": 20.0})
    >>> df.select(acm.dominant_period(pl.col("x", "still")))
    shape: (1, 2)
    ┌─────┬───────┐
    │ x   ┆ still │
    │ --- ┆ ---   │
    │ f64 ┆ f64   │
    ╞═════╪═══════╡
    │ 4.0 ┆ null  │
    └─────┴───────┘
    """
    operation = "dominant_period"
    return call(
        operation,
        [one_input(operation, expr, always_pack=False)],
        gives="one_row",
        sampling_hz=_checks.number(operation, "sampling_hz", sampling_hz, positive=True),
        min_samples=_min_samples(operation, min_samples),
        min_cycles=_checks.integer(operation, "min_cycles", min_cycles, 1),
    )


def _min_samples(operation: str, value: int | None) -> int | None:
    return None if value is None else _checks.integer(operation, "min_samples", value, 2)
