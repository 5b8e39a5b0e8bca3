"""Rolling features, outlier episodes and a chart from the sensor records of a fleet.

    python examples/turbine_features.py
    python examples/turbine_features.py --input pumps.csv --output report --window 60
    python examples/turbine_features.py --seasonal

Reads a Parquet or CSV file with a time column, an optional asset column and numeric sensors. Without `--input` it
reads two years of ten-minute means from four real wind turbines (examples/data/la_haute_borne). It builds every
rolling feature of every asset in one lazy query, prints what it found, and writes to the output directory

    features.parquet   the input's rows with eleven features per sensor
    episodes.csv       every outlier episode of every sensor, strongest first
    chart.html, .png   the readings around one episode, with their rolling median and MAD band

With `--seasonal` it also looks for patterns that come back every day and every week, by the data's own clock, prints
how sure and how large they are for every sensor and asset, and writes

    seasonality.html, .png   the mean day of every asset, for the sensors with the surest daily patterns

How outliers are found. The window's own robust z (`{sensor}_rz`) cannot rank them: whenever more than half of a
window stands still its MAD is 0, and any departure reaches the clip. So a reading is an outlier if it lies outside
its window's band, median +- 3 * 1.4826 * MAD, *and* is at least `MIN_SCORE` away from the window's median, where

    score = |reading - rolling median| / overall MAD

and the overall MAD (raw, not times 1.4826) is the sensor's one ruler for all assets: the median distance of all its
readings from their asset's median over the whole record, or the mean distance where that is 0. Outliers in windows
of MAD 0 are counted apart ("flat") but kept: a sensor that froze before it failed is found only there.

Outliers on the same side of the median and at most half a window apart are one episode. A trailing median follows a
spell longer than half a window, so the good readings after it look like outliers too: such a return is not listed,
it ends the episode. Directions (0-360 degrees) are listed like other sensors, but medians of angles mislead: a step
from 359 to 1 degree counts as 358.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import acm_rs as acm
import altair as alt
import polars as pl
import polars.selectors as cs

DATA = Path(__file__).parent / "data" / "la_haute_borne" / "la_haute_borne_2014_2015.parquet"
LABELS = {
    "Ba_avg": "pitch angle (°)",
    "P_avg": "active power (kW)",
    "Ws_avg": "wind speed (m/s)",
    "Va_avg": "vane position (°)",
    "Ot_avg": "outdoor temperature (°C)",
    "Ya_avg": "nacelle angle (°)",
    "Wa_avg": "wind direction (°)",
}
BAND_NAME = "median ± 3 * 1.4826 MAD"
COLORS = {
    "reading": "#4a5568",
    "rolling median": "#2b6cb0",
    BAND_NAME: "#bee3f8",
    "outlier": "#e53e3e",
    "episode": "#fdebd0",
}
CLOCK = {"seconds": "%H:%M:%S", "minutes": "%H:%M", "hours": "%H:%M", "date": "%b %d", "month": "%b %Y"}
BAND = 3 * 1.4826  # three standard deviations of normal noise, in MADs
MIN_SCORE = 5.0  # an outlier's least distance from the rolling median, in overall MADs
LISTED = 3  # episodes printed per sensor
DAYS_DRAWN = 4  # sensors whose mean day is drawn
SURE = 0.1  # confidence from which a pattern would be taken out


class InputError(ValueError):
    """The input cannot be used; the message says why and what to do."""


class Columns(NamedTuple):
    """The roles of the input's columns."""

    time: str
    asset: str
    sensors: list[str]


# ------------------------------------------------------------------------------------------------------------- input


def read(path: Path) -> pl.LazyFrame:
    """Scan a Parquet or CSV file."""
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    match path.suffix.lower():
        case ".parquet" | ".pq":
            return pl.scan_parquet(path)
        case ".csv":
            return pl.scan_csv(path, try_parse_dates=True, infer_schema_length=10_000)
        case other:
            raise InputError(f"{path.name}: extension {other!r} is not supported; use .parquet or .csv")


# With more assets than this share of the rows, the column is no name of a machine.
MOST_ASSETS = 0.5


def find_columns(frame: pl.LazyFrame, time: str | None, asset: str | None) -> tuple[pl.LazyFrame, Columns]:
    """Tell time, asset and sensors apart by dtype; a file without an asset column is one asset."""
    schema = frame.collect_schema()
    names = ", ".join(schema)
    for wanted in (time, asset):
        if wanted is not None and wanted not in schema:
            raise InputError(f"no column {wanted!r} among: {names}")
    dated = [name for name, dtype in schema.items() if isinstance(dtype, pl.Date | pl.Datetime)]
    time = time or next(iter(dated), None)
    if time not in dated:
        found = f"none among: {names}" if time is None else f"{time!r} is {schema[time]}"
        raise InputError(f"a time column must be a date or datetime (in CSV: ISO 8601), {found}")
    if schema[time] == pl.Date:
        frame = frame.with_columns(pl.col(time).cast(pl.Datetime))

    text = (pl.String, pl.Categorical, pl.Enum)
    asset = asset or next((name for name, dtype in schema.items() if isinstance(dtype, text) or name == "asset"), None)
    if asset is None:
        asset = "asset"
        frame = frame.with_columns(pl.lit("all").alias(asset))
    sensors = [name for name, dtype in schema.items() if dtype.is_numeric() and name != asset]
    if not sensors:
        raise InputError(f"no numeric sensors among: {names}")

    facts = frame.select(pl.len(), pl.col(time).null_count().alias("untimed"), pl.col(asset).n_unique().alias("assets"))
    rows, untimed, assets = facts.collect().row(0)
    if rows == 0:
        raise InputError("no rows")
    if assets > MOST_ASSETS * rows:
        text = f"the asset column {asset!r} names {assets:,} assets in {rows:,} rows; name another one with --asset"
        raise InputError(f"{text}, or clean it if it is a sensor with text among its readings")
    if left_out := [name for name in schema if name not in (time, asset, *sensors)]:
        print(f"left out, because not numeric: {', '.join(f'{name} ({schema[name]})' for name in left_out)}")
    if untimed:
        raise InputError(f"{untimed:,} of {rows:,} rows have no value in the time column {time!r}")
    return frame, Columns(time, asset, sensors)


# ---------------------------------------------------------------------------------------------------------- features


def build_features(frame: pl.LazyFrame, columns: Columns, window: int) -> pl.LazyFrame:
    """Ask for all features of all sensors, per asset in the order of time: one query, nothing computed yet.

    The list makes one plugin call over all sensors; `over` keeps assets apart, `order_by` sorts within each. The
    struct is unnested as a column of the frame: the expression's own `struct.unnest()` is one expression per field,
    and where Polars does not see that all share one call (1.31 does not here), it would compute all of them anew.
    """
    features = acm.rolling_features(columns.sensors, window).over(columns.asset, order_by=columns.time)
    return frame.select(columns.asset, columns.time, *columns.sensors, features).unnest("rolling_features")


# ---------------------------------------------------------------------------------------------------------- episodes


def score_sensor(path: Path, columns: Columns, sensor: str) -> pl.DataFrame:
    """Score one sensor's readings against their rolling median and mark the outliers; in the order of time."""
    reading, distance = pl.col("reading"), (pl.col("reading") - pl.col("median")).abs()
    spread = (reading - reading.median().over("asset")).abs()
    overall_mad = pl.when(spread.median() > 0).then(spread.median()).otherwise(spread.mean())
    return (
        pl.scan_parquet(path)
        .select(
            asset=columns.asset,
            time=columns.time,
            reading=pl.col(sensor).cast(pl.Float64),
            median=pl.col(f"{sensor}_med").cast(pl.Float64),
            mad=pl.col(f"{sensor}_mad").cast(pl.Float64),
        )
        .sort("asset", "time", maintain_order=True)
        .with_row_index("row")
        .with_columns(pl.col("row").cast(pl.Int64), reading=pl.when(reading.is_finite()).then(reading))
        .with_columns(overall_mad=overall_mad)
        .with_columns(score=distance / pl.col("overall_mad"))
        .with_columns(outlier=((distance > BAND * pl.col("mad")) & (pl.col("score") >= MIN_SCORE)).fill_null(False))
        .collect()
    )


def merge_outliers(scored: pl.DataFrame, gap: int) -> pl.DataFrame:
    """Merge outliers on one side of the median and at most `gap` rows apart; in the order of time."""
    row, asset = pl.col("row"), pl.col("asset")
    side = (pl.col("reading") - pl.col("median")).sign()
    begins = (row.diff() > gap) | (side.diff() != 0) | asset.ne_missing(asset.shift())
    peak = pl.col("score").arg_max()
    return (
        scored.filter("outlier")
        .group_by(begins.fill_null(True).cum_sum().alias("group"), maintain_order=True)
        .agg(
            asset.first(),
            row.first().alias("first"),
            row.last().alias("last"),
            pl.col("reading").get(peak).alias("extreme"),
            pl.col("median").get(peak),
            pl.col("score").max(),
            (pl.col("mad") == 0).sum().alias("flat"),
        )
        .drop("group")
    )


def is_return(found: dict[str, Any], spell: dict[str, Any], readings: pl.Series) -> bool:
    """Whether an episode is only the way back from a spell: from its level, at which every reading since has stayed."""

    def at_spell(value: Any) -> Any:
        return abs(value - spell["extreme"]) < abs(value - spell["median"])

    if found["asset"] != spell["asset"] or at_spell(found["extreme"]) or not at_spell(found["median"]):
        return False
    return bool(at_spell(readings[spell["last"] + 1 : found["first"]]).all())


def find_episodes(scored: pl.DataFrame, sensor: str, window: int) -> pl.DataFrame:
    """Find the outlier episodes of one sensor, strongest first; `rows` counts all rows from start to end."""
    merged = merge_outliers(scored, gap=window // 2)
    episodes: list[dict[str, Any]] = []
    for episode in merged.iter_rows(named=True):
        if episodes and is_return(episode, episodes[-1], scored["reading"]):
            episodes[-1]["last"] = max(episodes[-1]["last"], episode["first"] - 1)
        else:
            episodes.append(episode)
    found = pl.DataFrame(episodes, schema=merged.schema)
    return found.select(
        pl.lit(sensor).alias("sensor"),
        "asset",
        scored["time"].gather(found["first"]).alias("start"),
        scored["time"].gather(found["last"]).alias("end"),
        (pl.col("last") - pl.col("first") + 1).alias("rows"),
        *("extreme", "median", "score", "flat", "first", "last"),
    ).sort("score", descending=True, maintain_order=True)


# ------------------------------------------------------------------------------------------------------------- chart


def most_singular(episodes: pl.DataFrame) -> dict[str, Any] | None:
    """Choose the episode that towers highest over the next one of its own sensor: the one worth a picture."""
    runner_up = pl.col("score").slice(1).first().fill_null(MIN_SCORE)
    first_of_each = episodes.group_by("sensor", maintain_order=True).agg(pl.all().first(), runner_up.alias("runner_up"))
    ranked = first_of_each.sort(pl.col("score") / pl.col("runner_up"), descending=True, maintain_order=True)
    return next(ranked.with_columns(stamp("start"), stamp("end")).iter_rows(named=True), None)


def excerpt(scored: pl.DataFrame, episode: dict[str, Any] | None, window: int) -> pl.DataFrame:
    """Cut out the rows to draw: an episode with what lies before and after it; without one, the newest readings."""
    if episode is None:
        asset, first, last = scored["asset"][-1], scored.height - 500, scored.height
    else:
        margin = min(max(3 * window, episode["rows"]), 500)
        asset, first = episode["asset"], episode["first"] - margin
        last = min(episode["last"], episode["first"] + 2000) + margin
    half_band = BAND * pl.col("mad")
    return scored.filter(pl.col("row").is_between(first, last), pl.col("asset").eq_missing(asset)).with_columns(
        # Vega takes a time without a zone for the browser's; milliseconds by the data's own clock leave no doubt.
        pl.col("time").dt.replace_time_zone(None).dt.epoch("ms"),
        low=pl.col("median") - half_band,
        high=pl.col("median") + half_band,
    )


def limits(values: pl.DataFrame) -> list[float]:
    """Find axis limits that hold all values, with a small margin."""
    present = [value for row in (values.min().row(0), values.max().row(0)) for value in row if value is not None]
    low, high = min(present, default=0.0), max(present, default=0.0)
    margin = 0.05 * (high - low) or 1.0
    return [low - margin, high + margin]


def draw_panel(shown: pl.DataFrame, spell: pl.DataFrame, title: str, clock: str, limits: list[float]) -> alt.LayerChart:
    """Draw readings, rolling median, MAD band and outliers within the limits, and shade the episode's span."""
    x = alt.X("time:T", title=clock, axis=alt.Axis(grid=False, format=CLOCK, labelFlush=False)).scale(type="utc")
    scale = alt.Scale(domain=limits, nice=False, zero=False)
    colors = alt.Color("layer:N", legend=alt.Legend(title=None, orient="top", symbolType="square", symbolOpacity=1))
    colors = colors.scale(domain=list(COLORS), range=list(COLORS.values()))

    def layer(name: str, data: pl.DataFrame) -> alt.Chart:
        return alt.Chart(data).transform_calculate(layer=f"'{name}'").encode(x, color=colors)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=title, scale=scale)

    median = shown.select("time", "median", "low", "high")
    reading = shown.select("time", "reading")
    outlier = shown.filter("outlier").select("time", "reading")
    span = spell.select(pl.col("time").min(), end=pl.col("time").max())
    return alt.layer(
        layer("episode", span).mark_rect().encode(x2="end:T"),
        layer(BAND_NAME, median).mark_area(clip=True).encode(y("low"), y2="high:Q"),
        layer("rolling median", median).mark_line(clip=True, strokeWidth=2.5).encode(y("median")),
        layer("reading", reading).mark_line(clip=True, strokeWidth=1, point={"size": 12}).encode(y("reading")),
        layer("outlier", outlier).mark_point(clip=True, filled=True, size=50, opacity=1).encode(y("reading")),
    ).properties(width=900, height=260)


def write_chart(scored: pl.DataFrame, sensor: str, episode: dict[str, Any] | None, window: int, output: Path) -> None:
    """Draw one episode as HTML (self-contained, works offline) and PNG; with a close-up where it dwarfs the rest."""
    shown = excerpt(scored, episode, window)
    in_episode = pl.col("row").is_between(episode["first"], episode["last"]) if episode else pl.lit(False)
    usual = shown.filter(~in_episode, ~pl.col("outlier"))
    spell = shown.filter(in_episode)
    zone = scored.schema["time"].time_zone
    clock = f"time ({zone})" if zone else "time"
    label = LABELS.get(sensor, sensor)

    whole, near = limits(shown.select("reading", "median")), limits(usual.select("reading"))
    panels = [draw_panel(shown, spell, label, clock, whole)]
    if usual.height and whole[1] - whole[0] > 4 * (near[1] - near[0]):
        panels.append(draw_panel(shown, spell, f"close-up: {label}", clock, near))

    subtitle = ["the newest readings, without outliers" if episode is None else ""]
    if episode:
        subtitle = [
            f"{episode['rows']} rows from {episode['start']} to {episode['end']}: {episode['extreme']:.6g} "
            f"against a rolling median of {episode['median']:.6g} ({window} rows)"
        ]
        if episode["rows"] > window // 2:
            subtitle.append("The median follows a long spell; until it is back, good readings stand out, too.")
    title = alt.TitleParams(f"{shown['asset'][0]} {sensor}", subtitle=subtitle, anchor="start", fontSize=16)
    chart = alt.vconcat(*panels).resolve_scale(color="shared").properties(title=title)
    chart.save(output / "chart.html", inline=True)
    chart.save(output / "chart.png", scale_factor=2)


# ---------------------------------------------------------------------------------------------------------- seasons


def find_patterns(path: Path, columns: Columns) -> pl.DataFrame:
    """Find the daily and weekly patterns of every sensor and asset: one row for each, with its profile."""
    model = acm.seasonality(columns.sensors, columns.time)
    fitted = pl.scan_parquet(path).group_by(pl.col(columns.asset).alias("asset"), maintain_order=True).agg(model)
    return fitted.collect().unnest("seasonality").explode("patterns").unnest("patterns")


def rank_sensors(patterns: pl.DataFrame) -> list[str]:
    """Order the sensors by the confidence of their daily patterns, the surest first."""
    daily = patterns.filter(pl.col("period") == pl.duration(days=1)).group_by("column", maintain_order=True)
    confidence = daily.agg(pl.col("confidence").mean().fill_null(0))
    return confidence.sort("confidence", descending=True, maintain_order=True)["column"].to_list()


def pattern_line(pattern: dict[str, Any]) -> list[str]:
    """Write a line of the table of patterns."""
    texts = [pattern["column"], str(pattern["asset"])]
    numbers = [pattern[f"{name}_{period}"] for period in ("day", "week") for name in ("confidence", "amplitude")]
    cells = [
        "-" if number is None else f"{number:{'.3f' if i % 2 == 0 else '.4g'}}" for i, number in enumerate(numbers)
    ]
    return [*texts, *cells[:2], pattern["peak"] or "-", *cells[2:]]


def report_patterns(patterns: pl.DataFrame, ranked: list[str]) -> None:
    """Print confidence and amplitude of every pattern, sensor by sensor."""
    day = pl.col("period") == pl.duration(days=1)
    hour = pl.format("{}:00", (pl.col("peak").dt.total_hours()).cast(pl.String).str.zfill(2))
    table = (
        patterns.group_by("column", "asset", maintain_order=True)
        .agg(
            pl.col("confidence", "amplitude").filter(day).first().name.suffix("_day"),
            pl.col("confidence", "amplitude").filter(~day).first().name.suffix("_week"),
            hour.filter(day).first().alias("peak"),
        )
        .sort(pl.col("column").replace_strict(ranked, range(len(ranked))), "asset", maintain_order=True)
    )
    print("\nSeasonal patterns. Confidence: the share of the variance within a day (a week) that the hour of day (of")
    print(
        f"week) explains, corrected for the number of hours; below {SURE:g} there is no pattern to speak of. Amplitude:"
    )
    print("half of the range of the mean day or week, in the sensor's unit; the week is what the day does not explain.")
    header = ["sensor", "asset", "day: confidence", "amplitude", "peak", "week: confidence", "amplitude"]
    print_table(header, [pattern_line(row) for row in table.iter_rows(named=True)], texts=2)


def write_days(patterns: pl.DataFrame, sensors: list[str], zone: str | None, output: Path) -> None:
    """Draw the mean day of every asset, a panel for each sensor, as HTML (works offline) and PNG."""
    days = (
        patterns.filter(pl.col("period") == pl.duration(days=1), pl.col("profile").is_not_null())
        .with_columns(pl.col("asset").cast(pl.String), hour=pl.int_ranges(pl.col("profile").list.len()))
        .explode("profile", "hour")
        .select("column", "asset", "hour", "profile")
    )
    clock = f"hour of day ({zone})" if zone else "hour of day"
    x = alt.X(
        "hour:Q", title=clock, scale=alt.Scale(domain=[0, 23], nice=False), axis=alt.Axis(tickCount=12, grid=False)
    )
    color = alt.Color("asset:N", legend=alt.Legend(title=None, orient="top", symbolStrokeWidth=3))

    def panel(sensor: str) -> alt.LayerChart:
        y = alt.Y("profile:Q", title=LABELS.get(sensor, sensor))
        lines = alt.Chart(days.filter(pl.col("column") == sensor)).mark_line(strokeWidth=2.5, point={"size": 20})
        mean = alt.Chart(pl.DataFrame({"profile": [0.0]})).mark_rule(strokeDash=[4, 4], color="#718096").encode(y=y)
        layers = alt.layer(mean, lines.encode(x, y, color))
        return layers.properties(width=420, height=220, title=sensor)

    subtitle = "mean reading of each hour of day, above or below the mean of the hours; the surest patterns first"
    title = alt.TitleParams("Mean day of every asset", subtitle=subtitle, anchor="start", fontSize=16)
    chart = alt.concat(*map(panel, sensors), columns=2).properties(title=title)
    chart.save(output / "seasonality.html", inline=True)
    chart.save(output / "seasonality.png", scale_factor=2)


def tell_seasons(path: Path, columns: Columns, zone: str | None, output: Path) -> None:
    """Find, print and draw the patterns."""
    started = perf_counter()
    patterns = find_patterns(path, columns)
    seconds = perf_counter() - started
    ranked = rank_sensors(patterns)
    report_patterns(patterns, ranked)
    print(f"  {patterns.height} patterns in {seconds:.2f} seconds, reading included")
    if patterns["profile"].null_count() == patterns.height:
        print("  No chart: the record spans no period three times.")
        return
    write_days(patterns, ranked[:DAYS_DRAWN], zone, output)
    print(f"  Mean days of {', '.join(ranked[:DAYS_DRAWN])}: {output / 'seasonality.html'} and seasonality.png")


# ------------------------------------------------------------------------------------------------------------ report


def stamp(name: str) -> pl.Expr:
    """Write a time column as text, by the data's own clock."""
    # As Python objects, times with a zone would need the package tzdata on Windows.
    return pl.col(name).dt.to_string("%Y-%m-%d %H:%M:%S")


def print_table(header: list[str], rows: list[list[str]], texts: int) -> None:
    """Print columns side by side: the first few, which are texts, flush left, the numbers flush right."""
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [f"{cell:{'<' if i < texts else '>'}{widths[i]}}" for i, cell in enumerate(row)]
        print("  " + "  ".join(cells).rstrip())


def sensor_line(scored: pl.DataFrame, sensor: str, episodes: int) -> list[str]:
    """Write a sensor's line of the first table."""
    flat = scored.filter(pl.col("outlier") & (pl.col("mad") == 0)).height
    outliers, missing = scored["outlier"].sum() - flat, scored["reading"].null_count()
    ruler = scored["overall_mad"][0]
    return [sensor, "-" if ruler is None else f"{ruler:.4g}", *(f"{n:,}" for n in (missing, outliers, flat, episodes))]


def episode_line(episode: dict[str, Any]) -> list[str]:
    """Write an episode's line of the second table."""
    texts = [str(episode[name]) for name in ("sensor", "asset", "start", "end")]
    values = [f"{episode[name]:.6g}" for name in ("extreme", "median")]
    return [*texts, f"{episode['rows']:,}", *values, f"{episode['score']:,.1f}", f"{episode['flat']:,}"]


def spans_circle(scored: pl.DataFrame) -> bool:
    """Whether a sensor may be a direction: its readings cover 360 degrees and no more."""
    low, high = scored["reading"].min(), scored["reading"].max()
    return low is not None and high is not None and 355 < high - low <= 360


# -------------------------------------------------------------------------------------------------------------- main


def run(options: argparse.Namespace) -> None:
    """Build the features, find the episodes, draw the chart, and tell."""
    frame, columns = find_columns(read(options.input), options.time, options.asset)
    if options.sensor not in (None, *columns.sensors):
        raise InputError(f"no sensor {options.sensor!r} among: {', '.join(columns.sensors)}")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "features.parquet"

    # Collected, then written: sink_parquet takes as long in all and 25 MB less (of 440 MB at the peak, on the
    # turbines), but would not tell how much of the time the features took.
    started = perf_counter()
    features = build_features(frame, columns, options.window).collect()
    built = perf_counter()
    features.write_parquet(path)
    written = perf_counter()

    width, height = 11 * len(columns.sensors), features.height
    moments = features.select(first=pl.col(columns.time).min(), last=pl.col(columns.time).max())
    first, last = moments.select(stamp("first"), stamp("last")).row(0)
    zone = features.schema[columns.time].time_zone
    assets = features[columns.asset].n_unique()
    ties = sum((features[f"{sensor}_rz"].abs() == 100).sum() for sensor in columns.sensors)
    del features
    print(f"{options.input.name}: {height:,} rows, {len(columns.sensors)} sensors, {columns.asset} x {assets}")
    print(f"{first} to {last} ({zone or 'no time zone'})")
    print(f"{width} features x {height:,} rows in {built - started:.2f} seconds, reading included")
    print(f"written to {path} in {written - built:.2f} seconds, {path.stat().st_size / 1e6:.1f} MB")

    found, lines, circles = [], [], []
    for sensor in columns.sensors:
        scored = score_sensor(path, columns, sensor)
        found.append(find_episodes(scored, sensor, options.window))
        lines.append(sensor_line(scored, sensor, found[-1].height))
        circles += [sensor] if spans_circle(scored) else []
    episodes = pl.concat(found)
    episodes.drop("first", "last").with_columns(cs.float().round_sig_figs(7)).write_csv(options.output / "episodes.csv")

    print(f"\nOutliers: outside the band of their window and at least {MIN_SCORE:g} overall MADs from its median.")
    print("Those in windows of MAD 0 are counted apart, as flat. Robust z, by the window's own MAD, cannot rank")
    print(f"outliers: {ties:,} readings tie at |rz| = 100.")
    print_table(["sensor", "overall MAD", "missing", "outliers", "flat", "episodes"], lines, texts=1)
    if circles:
        print(f"  {', '.join(circles)} cover 360 degrees: medians of directions mislead where they wrap.")

    print(f"\nThe {LISTED} strongest episodes of each sensor; score = |reading - rolling median| / overall MAD.")
    strongest = episodes.group_by("sensor", maintain_order=True).head(LISTED).with_columns(stamp("start"), stamp("end"))
    header = ["sensor", columns.asset, "start", "end", "rows", "extreme", "median", "score", "flat"]
    print_table(header, [episode_line(episode) for episode in strongest.iter_rows(named=True)], texts=4)
    print(f"  all {episodes.height:,}: {options.output / 'episodes.csv'}")

    drawn = most_singular(episodes.filter(pl.col("sensor") == options.sensor) if options.sensor else episodes)
    sensor = drawn["sensor"] if drawn else options.sensor or columns.sensors[0]
    write_chart(score_sensor(path, columns, sensor), sensor, drawn, options.window, options.output)
    print(f"\nChart of {sensor}: {options.output / 'chart.html'} and chart.png")
    if options.seasonal:
        tell_seasons(path, columns, zone, options.output)


def main() -> None:
    """Read the options; an input that cannot be used ends with a message and exit code 2."""
    parser = argparse.ArgumentParser(description="Rolling features, outlier episodes and a chart from sensor records.")
    parser.add_argument("--input", type=Path, default=DATA, help="Parquet or CSV file (default: four wind turbines)")
    parser.add_argument("--output", type=Path, default=Path("out"), help="directory for the results (default: out)")
    parser.add_argument("--window", type=int, default=16, help="rows per window (default: 16)")
    parser.add_argument("--time", help="time column (default: the first date or datetime)")
    parser.add_argument("--asset", help="asset column (default: the first text; none: the file is one asset)")
    parser.add_argument("--sensor", help="sensor to draw (default: the one with the most singular episode)")
    parser.add_argument("--seasonal", action="store_true", help="daily and weekly patterns, too")
    options = parser.parse_args()
    if options.window < 1:
        parser.error(f"--window must be at least 1, got {options.window}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names from the data may not fit the console's encoding
    try:
        run(options)
    except (InputError, OSError, pl.exceptions.PolarsError) as error:
        parser.error(f"{options.input}: {error}")


if __name__ == "__main__":
    main()
