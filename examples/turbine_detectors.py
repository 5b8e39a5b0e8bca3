"""Six detectors on a fleet: fitted on a first period, scored on the rest in one lazy query, and what stands out.

    python examples/turbine_detectors.py
    python examples/turbine_detectors.py --input pumps.csv --until 2025-03-01 --output report

Reads a Parquet or CSV file with a time column, an optional asset column and numeric sensors. Without `--input` it
reads two years of ten-minute means from four real wind turbines (examples/data/la_haute_borne), learns each turbine's
usual behaviour from 2014 and scores 2015. It prints what was learnt and the strongest anomalies with the sensors that
contribute most, and writes to the output directory

    models/             the fitted models, a file for each detector
    scores.parquet      six scores for every row, and their mean
    anomalies.csv       every anomaly, strongest first
    detectors.html, .png   the six streams over the scored period

The scores of a detector have a unit of their own. So each is put on one scale: its distance from the median of the
asset's train scores in units of their usual spread (1.4826 MAD), at least 0 and at most 20. The anomaly score of a row
is the mean of the six. Rows above the limit that the train rows exceed at the stated false-alarm rate are anomalies;
those of an asset that lie at most `--gap` apart are one.

Directions (0-360 degrees) become points on the unit circle first, because means and medians of angles mislead, and
readings outside of `--limits` count as missing.
"""

from __future__ import annotations

import argparse
import io
import sys
from datetime import date, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import acm_rs as acm
import altair as alt
import polars as pl
from turbine_features import DATA, Columns, InputError, find_columns, print_table, read, stamp

STREAMS = {
    "ar1_z": "AR(1): jumps",
    "pca_spe": "PCA, SPE: broken correlations",
    "pca_t2": "PCA, T2: extreme but correlated",
    "isolation_forest_score": "isolation forest: rare states",
    "gmm_score": "Gaussian mixture: low density",
    "omr_score": "overall model residual",
}
HIGHEST = 20.0
LISTED = 10
# of the data of the repository: three of its sensors are directions, one reads -273 when it fails
DIRECTIONS = ("Va_avg", "Ya_avg", "Wa_avg")
LIMITS = {"Ot_avg": (-40.0, 60.0)}

# -------------------------------------------------------------------------------------------------------- detectors


def prepare(
    frame: pl.LazyFrame, columns: Columns, directions: list[str], limits: dict[str, tuple[float, float]]
) -> tuple[pl.LazyFrame, list[str]]:
    """Impossible readings become missing, directions become points; returns the names of the columns to learn from."""
    possible = [
        pl.when(~acm.out_of_range(sensor, *limits[sensor])).then(sensor).alias(sensor)
        for sensor in columns.sensors
        if sensor in limits
    ]
    frame = frame.with_columns(possible)
    if directions:
        frame = frame.with_columns(acm.to_xy(directions)).unnest("to_xy")
    points = [f"{sensor}_{axis}" for sensor in directions for axis in ("x", "y")]
    return frame, [sensor for sensor in columns.sensors if sensor not in directions] + points


def fit(train: pl.DataFrame, columns: Columns, sensors: list[str]) -> dict[str, acm.Model]:
    """Fit the five models of every asset."""
    by = columns.asset
    return {
        "ar1": acm.Ar1Model.fit(train, sensors, by=by),
        "pca": acm.PcaModel.fit(train, sensors, by=by),
        "isolation_forest": acm.IsolationForestModel.fit(train, sensors, by=by),
        "gmm": acm.GmmModel.fit(train, sensors, by=by),
        "omr": acm.OmrModel.fit(train, sensors, by=by),
    }


def score(frame: pl.LazyFrame, columns: Columns, sensors: list[str], models: dict[str, acm.Model]) -> pl.LazyFrame:
    """Ask for the six scores of every row: one query, nothing computed yet."""
    asset, time = columns.asset, columns.time
    return (
        frame.sort(asset, time, maintain_order=True)
        .with_columns(
            # row 0 of an asset must not look at the last row of the one before
            acm.ar1_z(sensors, models["ar1"], fuse="mean").over(asset).alias("ar1_z"),
            acm.pca_spe(sensors, models["pca"]).alias("pca_spe"),
            acm.pca_t2(sensors, models["pca"]).alias("pca_t2"),
            acm.isolation_forest_score(sensors, models["isolation_forest"]).alias("isolation_forest_score"),
            acm.gmm_score(sensors, models["gmm"]).alias("gmm_score"),
            acm.omr_score(sensors, models["omr"]).alias("omr_score"),
        )
        .select(asset, time, *sensors, *STREAMS)
    )


def on_one_scale(scored: pl.DataFrame, columns: Columns, until: datetime) -> pl.DataFrame:
    """Put the streams on the scale of the asset's train scores, and add their mean."""
    train = scored.filter(pl.col(columns.time) < until)
    usual = train.group_by(columns.asset, maintain_order=True).agg(acm.robust_scale_fit(list(STREAMS)))
    scale = acm.robust_scale(list(STREAMS), usual, by=columns.asset).name.suffix_fields("_z")
    z = [f"{stream}_z" for stream in STREAMS]
    return (
        scored.with_columns(scale)
        .unnest("robust_scale")
        .with_columns(pl.col(z).clip(0.0, HIGHEST))
        .with_columns(anomaly=pl.mean_horizontal(z))
    )


# -------------------------------------------------------------------------------------------------------- anomalies


def find_anomalies(scored: pl.DataFrame, columns: Columns, until: datetime, rate: float, gap: str) -> pl.DataFrame:
    """Merge the rows above their asset's limit, strongest anomaly first."""
    asset, time = pl.col(columns.asset), pl.col(columns.time)
    limit = pl.col("anomaly").filter(time < until).quantile(1 - rate, "higher").over(columns.asset)
    above = scored.with_row_index("row").with_columns(limit=limit).filter(time >= until, pl.col("anomaly") > limit)
    begins = (time.diff() > pl.duration(nanoseconds=acm_nanoseconds(gap))) | asset.ne_missing(asset.shift())
    peak = pl.col("anomaly").arg_max()
    return (
        above.group_by(begins.fill_null(True).cum_sum().alias("group"), maintain_order=True)
        .agg(
            asset.first(),
            time.first().alias("start"),
            time.last().alias("end"),
            pl.len().alias("rows"),
            pl.col("anomaly").max().alias("peak"),
            pl.col("anomaly").mean().alias("mean"),
            pl.col("row").get(peak),
        )
        .drop("group")
        .sort("peak", descending=True, maintain_order=True)
    )


def acm_nanoseconds(duration: str) -> int:
    """Nanoseconds of a duration such as "2h", as Polars reads it."""
    start = datetime(2000, 1, 1)
    end = pl.select(pl.lit(start).dt.offset_by(duration)).item()
    return int((end - start).total_seconds() * 1e9)


def blame(rows: pl.DataFrame, sensors: list[str], model: acm.Model) -> list[str]:
    """Name the sensors that contribute most to the SPE of each row; the two coordinates of a direction count as one."""
    shares = rows.select(acm.pca_contributions(sensors, model)).unnest("pca_contributions")
    texts = []
    for row in shares.select(pl.col(f"{sensor}_spe") for sensor in sensors).iter_rows():
        total: dict[str, float] = {}
        for sensor, share in zip(sensors, row, strict=True):
            name = sensor[:-2] if sensor.endswith(("_x", "_y")) else sensor
            total[name] = total.get(name, 0.0) + (share or 0.0)
        whole = sum(total.values()) or 1.0
        ranked = sorted(total.items(), key=lambda item: -item[1])[:3]
        texts.append(", ".join(f"{name} {100 * share / whole:.0f} %" for name, share in ranked if share > 0))
    return texts


# ------------------------------------------------------------------------------------------------------------ chart


def draw(scored: pl.DataFrame, columns: Columns, until: datetime, strongest: pl.DataFrame, output: Path) -> None:
    """Draw the six streams, what 5 % of each day lie above, a line for each asset; HTML works offline."""
    z = {f"{stream}_z": title for stream, title in STREAMS.items()}
    days = (
        scored.filter(pl.col(columns.time) >= until)
        .group_by(pl.col(columns.asset).cast(pl.String).alias("asset"), pl.col(columns.time).dt.date().alias("day"))
        .agg(pl.col(list(z)).quantile(0.95))
        .sort("asset", "day")
    )
    marks = strongest.head(LISTED).select(
        pl.col(columns.asset).cast(pl.String).alias("asset"), pl.col("start").dt.date().alias("day")
    )
    x = alt.X("day:T", title=None, axis=alt.Axis(grid=False))
    color = alt.Color("asset:N", legend=alt.Legend(title=None, orient="top", symbolStrokeWidth=3))

    def panel(name: str, title: str) -> alt.LayerChart:
        y = alt.Y(f"{name}:Q", title="usual spreads", scale=alt.Scale(domain=[0, HIGHEST]))
        lines = alt.Chart(days.select("asset", "day", name)).mark_line(strokeWidth=1.2).encode(x, y, color)
        rules = alt.Chart(marks).mark_rule(strokeDash=[2, 3], opacity=0.6).encode(x, color=color)
        return alt.layer(rules, lines).properties(width=900, height=120, title=title)

    title = alt.TitleParams(
        "Six detectors: the score that 5 % of each day lie above",
        subtitle=f"distance from the asset's median train score in usual spreads, at most {HIGHEST:g}; "
        f"dashed: the {min(LISTED, marks.height)} strongest anomalies",
        anchor="start",
        fontSize=16,
    )
    chart = alt.vconcat(*(panel(name, title) for name, title in z.items())).properties(title=title)
    chart.save(output / "detectors.html", inline=True)
    chart.save(output / "detectors.png", scale_factor=2)


# ------------------------------------------------------------------------------------------------------------- main


def border(frame: pl.LazyFrame, columns: Columns, until: date | None) -> datetime:
    """Return the end of the train period: as given, or the middle of the record."""
    first, last = frame.select(first=pl.col(columns.time).min(), last=pl.col(columns.time).max()).collect().row(0)
    middle = datetime(until.year, until.month, until.day, tzinfo=first.tzinfo) if until else first + (last - first) / 2
    if not first < middle <= last:
        raise InputError(f"the train period must end within the record, {first} to {last}, got --until {middle}")
    return middle


def run(options: argparse.Namespace) -> None:
    """Fit, score, find, draw, and tell."""
    frame, columns = find_columns(read(options.input), options.time, options.asset)
    if absent := sorted({*options.directions, *options.limits} - set(columns.sensors)):
        raise InputError(f"no sensors {', '.join(absent)} among: {', '.join(columns.sensors)}")
    options.output.mkdir(parents=True, exist_ok=True)
    until = border(frame, columns, options.until)
    frame, sensors = prepare(frame, columns, options.directions, options.limits)

    started = perf_counter()
    train = frame.filter(pl.col(columns.time) < until).collect()
    models = fit(train, columns, sensors)
    fitted = perf_counter()
    scored = on_one_scale(score(frame, columns, sensors, models).collect(), columns, until)
    done = perf_counter()

    folder = options.output / "models"
    folder.mkdir(exist_ok=True)
    for name, model in models.items():
        model.save(folder / f"{name}.acm")
    scored.drop(sensors).write_parquet(options.output / "scores.parquet")
    print(f"{options.input.name}: {scored.height:,} rows, {len(sensors)} columns, fitted until {until}")
    print(f"five models of every {columns.asset} in {fitted - started:.2f} seconds, reading included")
    print(f"six scores of every row in {done - fitted:.2f} seconds, reading included")
    for model in models.values():
        print(model)
    scoreless = scored.filter(pl.col("pca_spe").is_null()).height
    print(f"{scoreless:,} rows have too few readings for the detectors of many columns: their scores are null")

    anomalies = find_anomalies(scored, columns, until, options.false_alarm_rate, options.gap)
    strongest = anomalies.head(LISTED)
    blamed = blame(scored[strongest["row"].to_list()], sensors, models["pca"]) if strongest.height else []
    anomalies.drop("row").write_csv(options.output / "anomalies.csv")
    print(f"\nThe {strongest.height} strongest of {anomalies.height:,} anomalies at a false-alarm rate of", end=" ")
    print(f"{options.false_alarm_rate:g}: peak and mean of the six scores, each")
    print(f"at most {HIGHEST:g}; the sensors with their shares of the squared prediction error at the peak.")
    lines = [
        [str(row[columns.asset]), row["start"], row["end"], text, f"{row['rows']:,}", *peak_and_mean(row)]
        for row, text in zip(
            strongest.with_columns(stamp("start"), stamp("end")).iter_rows(named=True), blamed, strict=True
        )
    ]
    print_table([columns.asset, "start", "end", "sensors", "rows", "peak", "mean"], lines, texts=4)
    draw(scored, columns, until, strongest, options.output)
    print(f"\nStreams: {options.output / 'detectors.html'} and detectors.png; all anomalies: anomalies.csv")


def peak_and_mean(anomaly: dict[str, Any]) -> list[str]:
    """Write the two scores of an anomaly."""
    return [f"{anomaly['peak']:.1f}", f"{anomaly['mean']:.1f}"]


def parse_limits(text: str) -> tuple[str, tuple[float, float]]:
    """Read SENSOR=LOW:HIGH."""
    sensor, _, numbers = text.rpartition("=")
    low, _, high = numbers.partition(":")
    try:
        return sensor, (float(low), float(high))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected SENSOR=LOW:HIGH, got {text!r}") from None


def main() -> None:
    """Read the options; an input that cannot be used ends with a message and exit code 2."""
    parser = argparse.ArgumentParser(description="Six detectors on a fleet, fitted on a first period.")
    parser.add_argument("--input", type=Path, default=DATA, help="Parquet or CSV file (default: four wind turbines)")
    parser.add_argument("--output", type=Path, default=Path("out"), help="directory for the results (default: out)")
    parser.add_argument("--time", help="time column (default: the first date or datetime)")
    parser.add_argument("--asset", help="asset column (default: the first text; none: the file is one asset)")
    parser.add_argument("--until", type=date.fromisoformat, help="end of the train period (default: the middle)")
    parser.add_argument("--directions", nargs="*", metavar="SENSOR", help="sensors in degrees, 0 to 360")
    parser.add_argument("--limits", nargs="*", type=parse_limits, metavar="SENSOR=LOW:HIGH", help="possible readings")
    parser.add_argument("--false-alarm-rate", type=float, default=0.001, help="of train rows (default: 0.001)")
    parser.add_argument("--gap", default="2h", help="longest gap within one anomaly (default: 2h)")
    options = parser.parse_args()
    own = options.input == DATA
    options.directions = options.directions if options.directions is not None else list(DIRECTIONS) if own else []
    options.limits = dict(options.limits) if options.limits is not None else LIMITS if own else {}
    if own and options.until is None:
        options.until = date(2015, 1, 1)
    if not 0 < options.false_alarm_rate < 1:
        parser.error(f"--false-alarm-rate must be above 0 and below 1, got {options.false_alarm_rate}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names from the data may not fit the console's encoding
    try:
        run(options)
    except (InputError, OSError, pl.exceptions.PolarsError) as error:
        parser.error(f"{options.input}: {error}")


if __name__ == "__main__":
    main()
