"""Operating regimes of a fleet: found in a first period, predicted for the rest in one lazy query, told and drawn.

    python examples/turbine_regimes.py
    python examples/turbine_regimes.py --input pumps.csv --sensors flow speed --until 2025-03-01 --output report

Reads a Parquet or CSV file with a time column, an optional asset column and numeric sensors. Without `--input` it
reads two years of ten-minute means from four real wind turbines (examples/data/la_haute_borne), finds each turbine's
regimes in wind speed, power and pitch of 2014 and gives the rows of 2015 their labels. It prints how the regimes were
found, their centres, dwell times and transitions and the share of rows in none of them, and writes to the output
directory

    regimes.acm        the fitted models, with the same numbers for all assets
    labels.parquet     label, confidence, novelty and smoothed label of every row that was predicted
    regimes.html, .png   the sensors against the first one, coloured by regime, a column for each asset

Without `--sensors` other files are searched for columns whose names speak of operation (`acm.operating_columns`);
without any such name all numeric columns are taken. The labels of all assets are aligned with those of the first one,
so that a number means the same everywhere. Directions (0-360 degrees) become points on the unit circle.

How the regimes of the turbines are found. `method="auto"` takes HDBSCAN here, and rightly so by its measure: blades
that wait stand at 45 or at 90 degrees, and these are clusters with nothing in between. But it makes one regime of the
whole power curve, because the wind blows at every speed, so that the curve has no gap to part it at, and two of waiting
for wind, because cups that stand still read 0. A mixture of normal distributions parts the curve where it bends, which
is where the control of a turbine changes, too: at the least rotor speed the pitch moves towards its best angle, then
power rises with the cube of the wind at that angle, then the pitch limits power. The number of components is given,
because more of them always fit a bent curve better (the least BIC is at the upper end of any range). With six all
turbines have the same regimes, whatever the seed; with more the curve is cut into more pieces, at another place in each
turbine. What the picture does not show as novel: a wide regime takes in states that it has never seen. R80790 stands at
84 degrees for 309 rows of 2015, and most of them count as starting and stopping.
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
from turbine_detectors import border, prepare
from turbine_features import DATA, LABELS, Columns, InputError, find_columns, print_table, read

# Pitch is an angle, yet no direction: blades turn from -1 to 93 degrees and back, never across the seam, and their
# means are means. As points on a circle it would be two columns that depend on each other along an arc, which no normal
# distribution fits, and the readings of -121 and 262 degrees, which are faults, would look like blades at rest. Power
# stays as it is: its cube root would be straight against wind, but magnifies the few watts of a turbine that stands.
WIND, POWER, PITCH = "Ws_avg", "P_avg", "Ba_avg"
# The curve bends, so that rows on both its edges lie in the tails of a normal distribution, and 2015 has more of them
# than 2014. Limits that 99.5 percent of the train rows keep to are a compromise: with 99 nearly twice as many rows are
# novel, most of them on the curve; with 99.9 most rows at which R80721 was held at 1,165 kW on 2 January are not.
TURBINE = {"method": "gmm", "k_range": (6, 6), "max_fit_rows": 100_000, "distance_percentile": 99.5}

UNSURE = 0.8  # a confidence below which two regimes are both likely
DRAWN = 300  # rows of each asset and regime, and novel ones of each asset
ASSETS_DRAWN = 4
SENSORS_DRAWN = 3
COLORS = ("#9aa5b1", "#5b4b8a", "#d69e2e", "#63b3ed", "#2b6cb0", "#38a169", "#d53f8c", "#8c564b", "#17becf", "#bcbd22")
NOVEL = "novel"

# ---------------------------------------------------------------------------------------------------------- regimes


def fit(train: pl.LazyFrame, columns: Columns, sensors: list[str], parameters: dict[str, Any]) -> pl.DataFrame:
    """Find the regimes of every asset: a row each, with its model as data and the numbers of the first asset."""
    key = columns.asset
    model = acm.regime_fit(sensors, strict=False, **parameters)  # an asset without data must not stop the others
    models = train.sort(key, columns.time).group_by(key, maintain_order=True).agg(model).collect()
    first = pl.col("regime_fit").drop_nulls().first()
    # an asset with a sensor that never changes has a model without it, which cannot be compared: it keeps its numbers
    alike = pl.col("regime_fit").struct.field("columns") == first.struct.field("columns")
    aligned = acm.align_labels("regime_fit", pl.when(alike).then(first)).struct.field("model").alias("regime_fit")
    return models.with_columns(aligned)


def predict(
    frame: pl.LazyFrame, columns: Columns, sensors: list[str], models: pl.DataFrame, window: str, dwell: str
) -> pl.LazyFrame:
    """Ask for label, confidence, novelty and smoothed label of every row: one query, nothing computed yet."""
    asset, time = columns.asset, columns.time
    return (
        frame.sort(asset, time, maintain_order=True)
        .select(asset, time, *sensors, acm.regime_predict(sensors, models, by=asset))
        .unnest("regime_predict")
        # labels depend on the rows around them: each asset by itself
        .with_columns(acm.smooth_labels("label", window, by=time).over(asset).alias("regime"))
        .with_columns(acm.smooth_transitions("regime", dwell, by=time).over(asset))
    )


def name_regimes(centers: pl.DataFrame, asset: str, rated: float) -> dict[tuple[str, int], str]:
    """Say what each regime of a turbine is, from the centre of its power and pitch; an empty name where unclear."""
    share, pitch = pl.col(POWER) / rated, pl.col(PITCH)
    name = (
        pl.when(share < 0.002, pitch > 70)
        .then(pl.lit("stopped, blades feathered"))
        .when(share < 0.002, pitch > 30)
        .then(pl.lit("waiting for wind"))
        .when(share < 0.05, pitch > 5)
        .then(pl.lit("starting and stopping"))
        .when(share.is_between(0.002, 0.1), pitch < 5)
        .then(pl.lit("low part load"))
        .when(share.is_between(0.1, 0.5), pitch < 5)
        .then(pl.lit("part load"))
        .when(share > 0.5)
        .then(pl.lit("full load"))
        .otherwise(pl.lit(""))
    )
    named = centers.select(pl.col(asset).cast(pl.String), "label", name)
    return {(machine, label): text for machine, label, text in named.iter_rows()}


# ------------------------------------------------------------------------------------------------------------- told


def short(value: Any) -> str:
    """Write a number or a missing one."""
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def number(machine: str, label: int, names: dict[tuple[str, int], str]) -> str:
    """Write a regime with its name."""
    return f"{label} {names.get((machine, label), '')}".strip()


def tell(
    found: pl.DataFrame, columns: Columns, sensors: list[str], model: acm.RegimeModel, names: dict[tuple[str, int], str]
) -> None:
    """Print the regimes of each asset: centres and sizes of the fit; time, visits and transitions of the rest."""
    key, text = columns.asset, pl.col(columns.asset).cast(pl.String)
    statistics = acm.regime_statistics(found, "regime", by=columns.time, over=key)
    rows = {(row[key], row["regime"]): row for row in statistics.with_columns(text).iter_rows(named=True)}
    centers = model.centers.with_columns(text).partition_by(key, as_dict=True)
    ones = found.group_by(text).agg(
        pl.len(),
        pl.col("label").null_count().alias("missing"),
        pl.col("is_novel").mean().alias("novel"),
        (pl.col("confidence") < UNSURE).mean().alias("unsure"),
        (pl.col("label") != pl.col("regime")).mean().alias("smoothed"),
    )
    counts = {row[key]: row for row in ones.iter_rows(named=True)}
    for machine, reason in zip(model.data[key].cast(pl.String), model.reason, strict=True):
        if reason is None:
            print(f"\n{machine}: no regimes, too few rows or readings that never change")
            continue
        print(f"\n{machine}: {reason}")
        lines = []
        for center in centers[(machine,)].sort(sensors[min(1, len(sensors) - 1)], sensors[0]).iter_rows(named=True):
            label = center["label"]
            line = [number(machine, label, names), f"{center['size']:,}", *(short(center[name]) for name in sensors)]
            seen = rows.get((machine, label))
            if seen is None:
                lines.append([*line, "-", "-", "-", ""])
                continue
            most = sorted(seen["transitions"], key=lambda to: -to["count"])[:2]
            ways = ", ".join(f"{to['count']:,} to {to['to']}" for to in most)
            dwell = seen["avg_dwell"].total_seconds() / 3600
            lines.append([*line, f"{seen['dwell_fraction']:.1%}", f"{seen['segments']:,}", f"{dwell:.1f} h", ways])
        head = ["regime", "rows fitted", *sensors, "time", "visits", "mean visit", "left for"]
        print_table(head, lines, texts=1)
        seen = counts.get(machine)
        if seen is None:
            print("  no rows to predict")
            continue
        novel, unsure, smoothed = (seen[name] or 0.0 for name in ("novel", "unsure", "smoothed"))
        print(f"  {novel:.1%} of {seen['len']:,} rows are novel, {seen['missing']:,} have too few readings;", end=" ")
        print(f"{unsure:.1%} have a confidence below {UNSURE:g}; smoothing changed {smoothed:.1%} of the labels")
    known = set(model.data[key].cast(pl.String))
    if late := [machine or "no name" for machine in found[key].cast(pl.String).unique().sort() if machine not in known]:
        print(f"\nWithout rows to learn from, so that they have no labels: {', '.join(late)}")


# ------------------------------------------------------------------------------------------------------------ chart


def thin(frame: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Keep so many rows of each key, spread evenly over time."""
    step = (pl.len() / DRAWN).ceil().cast(pl.Int64).over(keys)
    return frame.filter(pl.int_range(pl.len()).over(keys) % step == 0)


def draw(
    found: pl.DataFrame, columns: Columns, sensors: list[str], names: dict[tuple[str, int], str], output: Path
) -> None:
    """Draw the sensors against the first one, coloured by regime, novel rows as crosses; HTML works offline."""
    asset = pl.col(columns.asset).cast(pl.String).alias("asset")
    rows = found.filter(pl.col("regime").is_not_null()).with_columns(asset)
    assets = rows["asset"].unique().sort().to_list()
    rows = rows.filter(pl.col("asset").is_in(assets[:ASSETS_DRAWN]))
    # regimes in the order of their second sensor, power, so that colours go from standstill to full load
    drawn = sensors[:SENSORS_DRAWN] if len(sensors) > 1 else [columns.time, *sensors]
    order = rows.group_by("regime").agg(pl.col(drawn[1]).mean()).sort(drawn[1], "regime")["regime"].to_list()
    titles = {label: number(assets[0] if assets else "", label, names) for label in order}
    rows = rows.with_columns(name=pl.col("regime").replace_strict(titles, return_dtype=pl.String))
    plain = thin(rows.filter(~pl.col("is_novel")), ["asset", "regime"]).sample(fraction=1, shuffle=True, seed=1)
    novel = thin(rows.filter("is_novel"), ["asset"]).with_columns(name=pl.lit(NOVEL))
    scale = alt.Scale(
        domain=[*titles.values(), NOVEL],
        range=[*(COLORS[i % len(COLORS)] for i in range(len(titles))), "#000000"],
    )
    legend = alt.Legend(title=None, orient="top", symbolType="square", symbolOpacity=1, columns=4, labelLimit=240)
    color = alt.Color("name:N", scale=scale, legend=legend)

    def axis(name: str) -> dict[str, Any]:
        # nearly all rows, so that a single false reading does not squeeze the others
        low, high = rows.select(low=pl.col(name).quantile(0.0001), high=pl.col(name).quantile(0.9999)).row(0)
        if isinstance(low, datetime) or low is None:
            return {"title": LABELS.get(name, name)}
        margin = 0.08 * (high - low) or 1.0
        limits = alt.Scale(domain=[low - margin, high + margin], nice=False, zero=False)
        return {"title": LABELS.get(name, name), "scale": limits}

    def panel(machine: str, sensor: str) -> alt.LayerChart:
        x = alt.X("x:Q" if len(sensors) > 1 else "x:T", **axis(drawn[0]))
        y = alt.Y("y:Q", **axis(sensor))

        def layer(data: pl.DataFrame) -> alt.Chart:
            of_one = data.filter(asset=machine).select("name", x=drawn[0], y=sensor)
            numbers = pl.col(pl.Float32, pl.Float64).cast(pl.Float64).round(3)
            return alt.Chart(of_one.with_columns(numbers))

        return alt.layer(
            layer(plain).mark_circle(clip=True, size=9, opacity=0.7).encode(x, y, color),
            layer(novel).mark_point(clip=True, shape="cross", filled=True, size=18, opacity=0.7).encode(x, y, color),
        ).properties(width=290, height=250, title=machine)

    first = LABELS.get(drawn[0], drawn[0])
    title = alt.TitleParams(
        f"Operating regimes against {first}",
        subtitle=f"at most {DRAWN} rows of each asset and regime, spread over time, and as many novel ones; "
        "rows beyond the axes are not drawn",
        anchor="start",
        fontSize=16,
    )
    lines = [alt.hconcat(*(panel(machine, sensor) for machine in assets[:ASSETS_DRAWN])) for sensor in drawn[1:]]
    chart = alt.vconcat(*lines).properties(title=title)
    chart.save(output / "regimes.html", inline=True)
    chart.save(output / "regimes.png", scale_factor=1.5)


# ------------------------------------------------------------------------------------------------------------- main


def choose_sensors(wanted: list[str] | None, columns: Columns) -> list[str]:
    """Return the sensors that say how the machines are run: as given, or by their names."""
    if absent := [name for name in wanted or [] if name not in columns.sensors]:
        raise InputError(f"no sensors {', '.join(absent)} among: {', '.join(columns.sensors)}")
    return list(dict.fromkeys(wanted or acm.operating_columns(columns.sensors) or columns.sensors))


def run(options: argparse.Namespace) -> None:
    """Find, predict, smooth, tell and draw."""
    frame, columns = find_columns(read(options.input), options.time, options.asset)
    columns = columns._replace(sensors=choose_sensors(options.sensors, columns))
    if absent := [name for name in options.directions if name not in columns.sensors]:
        raise InputError(f"no sensors {', '.join(absent)} among: {', '.join(columns.sensors)}")
    options.output.mkdir(parents=True, exist_ok=True)
    until = border(frame, columns, options.until)
    frame, sensors = prepare(frame, columns, options.directions, {})
    time = pl.col(columns.time)

    started = perf_counter()
    models = fit(frame.filter(time < until), columns, sensors, options.parameters)
    fitted = perf_counter()
    model = acm.RegimeModel(models, by=columns.asset)
    if model.data[model.kind].null_count() == models.height:
        raise InputError(f"no regimes in {', '.join(sensors)} until {until}: too few rows, or they never change")
    found = predict(frame.filter(time >= until), columns, sensors, models, options.window, options.dwell).collect()
    done = perf_counter()

    model.save(options.output / "regimes.acm")
    found.write_parquet(options.output / "labels.parquet")
    print(f"{options.input.name}: regimes in {', '.join(sensors)}, fitted until {until}")
    print(f"a model of every {columns.asset} in {fitted - started:.2f} seconds, reading included")
    print(f"{found.height:,} rows predicted and smoothed in {done - fitted:.2f} seconds, reading included")
    names: dict[tuple[str, int], str] = {}
    if sensors == [WIND, POWER, PITCH]:
        rated = frame.select(pl.col(POWER).max()).collect().item()
        names = name_regimes(model.centers, columns.asset, rated)
    tell(found, columns, sensors, model, names)
    draw(found, columns, sensors, names, options.output)
    print(f"\nRegimes: {options.output / 'regimes.html'} and regimes.png; labels of all rows: labels.parquet")


def main() -> None:
    """Read the options; an input that cannot be used ends with a message and exit code 2."""
    parser = argparse.ArgumentParser(description="Operating regimes of a fleet, fitted on a first period.")
    parser.add_argument("--input", type=Path, default=DATA, help="Parquet or CSV file (default: four wind turbines)")
    parser.add_argument("--output", type=Path, default=Path("out"), help="directory for the results (default: out)")
    parser.add_argument("--time", help="time column (default: the first date or datetime)")
    parser.add_argument("--asset", help="asset column (default: the first text; none: the file is one asset)")
    parser.add_argument("--until", type=date.fromisoformat, help="end of the train period (default: the middle)")
    parser.add_argument("--sensors", nargs="+", metavar="SENSOR", help="what says how a machine is run, best first")
    parser.add_argument("--directions", nargs="*", default=[], metavar="SENSOR", help="sensors in degrees, 0 to 360")
    parser.add_argument("--method", choices=["auto", "hdbscan", "gmm", "kmeans"], help="as of regime_fit")
    parser.add_argument("--regimes", nargs=2, type=int, metavar=("LEAST", "MOST"), help="how many (default: 2 6)")
    parser.add_argument("--window", default="30m", help="window of the smoothed labels (default: 30m)")
    parser.add_argument("--dwell", default="20m", help="least time from the first to the last row of a visit (20m)")
    options = parser.parse_args()
    own = options.input == DATA
    options.parameters = dict(TURBINE) if own and options.sensors is None else {}
    if own:
        options.sensors = options.sensors or [WIND, POWER, PITCH]
        options.until = options.until or date(2015, 1, 1)
    if options.method is not None:
        options.parameters["method"] = options.method
    if options.regimes is not None:
        options.parameters["k_range"] = tuple(options.regimes)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # names from the data may not fit the console's encoding
    try:
        run(options)
    except (InputError, OSError, ValueError, pl.exceptions.PolarsError) as error:
        parser.error(f"{options.input}: {error}")


if __name__ == "__main__":
    main()
