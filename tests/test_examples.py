"""The example as a user runs it: on the data of the repository, on other files, and on files it cannot use."""

import importlib.util
import os
import re
import struct
import subprocess
import sys
import zlib
from datetime import datetime, timedelta
from pathlib import Path

import acm_rs as acm
import polars as pl
import pytest
from backends import rust_only, within
from polars.testing import assert_frame_equal

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPT = EXAMPLES / "turbine_features.py"
DATA = EXAMPLES / "data" / "la_haute_borne" / "la_haute_borne_2014_2015.parquet"
SENSORS = ["Ba_avg", "P_avg", "Ws_avg", "Va_avg", "Ot_avg", "Ya_avg", "Wa_avg"]
DETECTORS = EXAMPLES / "turbine_detectors.py"
REGIMES = EXAMPLES / "turbine_regimes.py"
FEATURES = ["med", "mad", "mean", "std", "slope", "skew", "kurt", "energy_0", "energy_1", "energy_2", "rz"]


def run(*arguments, script=SCRIPT, **environment):
    """Run a script in a process of its own."""
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)],
        capture_output=True,
        env=os.environ | environment,
        check=False,
        timeout=300,
    )


# of the last Polars 1.x; every asset has a pattern
whatever_becomes_of_empty_lists = pytest.mark.filterwarnings(
    "ignore:In Polars 2.0, the default behavior for `empty_as_null`:DeprecationWarning"
)


@pytest.fixture(scope="module")
def example():
    specification = importlib.util.spec_from_file_location("turbine_features", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def call(example, monkeypatch, capsys):
    """Run the script in this process, which is quicker; gives exit code, output and error text."""

    def run_here(*arguments):
        monkeypatch.setattr(sys, "argv", ["turbine_features.py", *map(str, arguments)])
        try:
            example.main()
            code = 0
        except SystemExit as end:
            code = end.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_here


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """One run on the repository's data: its printed text and its directory."""
    folder = tmp_path_factory.mktemp("real")
    result = run("--output", folder)
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout.decode("ascii"), folder


def image_size(path):
    """Width and height of a PNG whose chunks are all sound and whose pixels are many-coloured."""
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    position, header, pixels, kind = 8, b"", b"", b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", content[position : position + 8])
        body = content[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack(">I", content[position + 8 + length : position + 12 + length])
        assert zlib.crc32(kind + body) == checksum
        header, pixels = header or body, pixels + (body if kind == b"IDAT" else b"")
        position += 12 + length
    assert len(set(zlib.decompress(pixels))) > 100  # a blank picture has two or three
    return struct.unpack(">II", header[:8])


# ----------------------------------------------------------------------------------------------------- the real data


def test_lists_the_failed_thermometer(real):
    text, folder = real
    line = next(line for line in text.splitlines() if line.startswith("  Ot_avg  R80721"))
    assert "2014-06-08 20:40:00  2014-06-09 02:00:00    33   -273.2     32.2" in line
    spell = pl.read_csv(folder / "episodes.csv", try_parse_dates=True).filter(sensor="Ot_avg").row(0, named=True)
    assert spell["asset"] == "R80721"
    assert spell["extreme"] == -273.2
    assert (spell["rows"], spell["flat"]) == (33, 7)  # it froze first: its windows have MAD 0


def test_prints_rows_features_seconds_and_every_sensor(real):
    text, _ = real
    assert "420,480 rows, 7 sensors, turbine x 4" in text
    assert re.search(r"77 features x 420,480 rows in \d+\.\d\d seconds", text)
    assert "Va_avg, Ya_avg, Wa_avg cover 360 degrees" in text
    for sensor in SENSORS:
        assert len(re.findall(rf"^  {sensor} .* R807\d\d ", text, re.MULTILINE)) == (1 if sensor == "Ot_avg" else 3)


def test_counts_windows_of_mad_0_apart(real):
    text, _ = real
    counts = dict(re.findall(r"^  (\w+_avg) +[\d.]+ +2,569 +([\d,]+ +[\d,]+) +[\d,]+$", text, re.MULTILINE))
    assert list(counts) == SENSORS
    assert counts["Ot_avg"].split() == ["0", "14"]
    assert "151,035 readings tie at |rz| = 100" in text


def test_writes_the_rows_it_read_with_their_features(real):
    _, folder = real
    written = pl.scan_parquet(folder / "features.parquet")
    features = [f"{sensor}_{feature}" for sensor in SENSORS for feature in FEATURES]
    schema = written.collect_schema()
    assert schema.names() == ["turbine", "time", *SENSORS, *features]
    assert {schema[name] for name in features} == {pl.Float32}
    assert_frame_equal(written.select("turbine", "time", *SENSORS).collect(), pl.read_parquet(DATA))


def test_features_keep_turbines_apart(real):
    _, folder = real
    native = pl.col("Ot_avg").rolling_median(16, min_samples=1).over("turbine", order_by="time").alias("Ot_avg_med")
    assert_frame_equal(
        pl.scan_parquet(folder / "features.parquet").select("Ot_avg_med").collect(),
        pl.scan_parquet(DATA).select(native).collect(),
        **within(rel=1e-6),
    )


def test_draws_the_failed_thermometer(real):
    text, folder = real
    assert "Chart of Ot_avg" in text
    width, height = image_size(folder / "chart.png")
    assert 1500 < width < 3000
    assert 1000 < height < 2000
    page = (folder / "chart.html").read_text(encoding="utf-8")
    assert "R80721 Ot_avg" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)  # opens without a network


@whatever_becomes_of_empty_lists
def test_shows_the_daily_patterns(real, call, tmp_path):
    code, text, error = call("--output", tmp_path, "--seasonal")
    assert (code, error) == (0, "")
    table = text[text.index("Seasonal patterns") :]
    lines = {tuple(line.split()[:2]): line.split()[2:] for line in table.splitlines() if " R807" in line}
    assert len(lines) == 4 * len(SENSORS)
    for turbine in ("R80711", "R80721", "R80736", "R80790"):
        confidence, amplitude, peak, week, _ = lines["Ot_avg", turbine]
        # the temperature follows the sun, with noon at about 11:40 UTC; it knows no weekends
        if turbine == "R80721":  # five hours of -273.2 degrees are most of the variance within days
            assert 0.05 < float(confidence) < 0.15
        else:
            assert 0.4 < float(confidence) < 0.6
        assert 2.2 < float(amplitude) < 2.8
        assert peak in ("12:00", "13:00", "14:00")
        assert float(week) < 0.05
        assert all(float(lines[sensor, turbine][0]) < 0.1 for sensor in SENSORS if sensor != "Ot_avg")
    assert next(iter(lines))[0] == "Ot_avg"  # the surest first
    assert "56 patterns in" in table
    width, height = image_size(tmp_path / "seasonality.png")
    assert 1500 < width < 3000
    assert 900 < height < 2000
    page = (tmp_path / "seasonality.html").read_text(encoding="utf-8")
    assert "hour of day (UTC)" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)
    assert "Seasonal patterns" not in real[0]


@whatever_becomes_of_empty_lists
def test_a_record_too_short_for_a_pattern(call, tmp_path):
    wave().write_csv(tmp_path / "in.csv")
    code, text, error = call("--input", tmp_path / "in.csv", "--output", tmp_path, "--seasonal")
    assert (code, error) == (0, "")
    assert re.search(r"^  flow +all +- +- +- +- +-$", text, re.MULTILINE)
    assert "No chart: the record spans no period three times." in text
    assert not (tmp_path / "seasonality.png").exists()


# ------------------------------------------------------------------------------------------------------- other files


def wave(rows=300):
    """Readings between 0 and 1, one a minute, with a spike of 50 in row 200."""
    times = [datetime(2026, 1, 1) + timedelta(minutes=i) for i in range(rows)]
    values = [(i * 7919 % 101) / 100 + 50 * (i == 200) for i in range(rows)]
    return pl.DataFrame({"when": times, "flow": values})


def test_csv_without_an_asset_column(call, tmp_path):
    wave().write_csv(tmp_path / "pump.csv")
    code, text, error = call("--input", tmp_path / "pump.csv", "--output", tmp_path / "new" / "out", "--window", 20)
    assert (code, error) == (0, "")
    assert "300 rows, 1 sensors, asset x 1" in text
    assert re.search(r"^  flow +all +2026-01-01 03:20:00  2026-01-01 03:20:00 +1 +50\.", text, re.MULTILINE)
    written = pl.read_parquet(tmp_path / "new" / "out" / "features.parquet")
    assert written.columns == ["asset", "when", "flow", *(f"flow_{feature}" for feature in FEATURES)]
    image_size(tmp_path / "new" / "out" / "chart.png")


def test_columns_that_are_left_out_are_named(call, tmp_path):
    frame = wave().with_columns(pump=pl.lit("a"), note=pl.lit("ok"))
    frame.write_parquet(tmp_path / "in.parquet")
    code, text, _ = call("--input", tmp_path / "in.parquet", "--output", tmp_path, "--asset", "pump")
    assert code == 0
    assert "left out, because not numeric: note (String)" in text


def test_unsorted_rows_give_the_same(call, tmp_path):
    june = pl.scan_parquet(DATA).filter(pl.col("time").dt.month() == 6, pl.col("turbine") < "R8073").collect()
    june.write_parquet(tmp_path / "sorted.parquet")
    june.sample(fraction=1, shuffle=True, seed=1).write_parquet(tmp_path / "shuffled.parquet")
    texts, frames = [], []
    for name in ("sorted", "shuffled"):
        code, text, _ = call("--input", tmp_path / f"{name}.parquet", "--output", tmp_path / name)
        assert code == 0
        texts.append(text[text.index("Outliers:") :].replace(str(tmp_path / name), ""))
        frames.append(pl.read_parquet(tmp_path / name / "features.parquet").sort("turbine", "time"))
    assert texts[0] == texts[1]
    assert "-273.2" in texts[0]
    assert_frame_equal(frames[0], frames[1], **within(rel=0, abs=0))


def test_columns_can_be_named(call, tmp_path):
    frame = wave().with_columns(made=pl.date(2026, 1, 1), unit=pl.int_range(pl.len()) // 150, site=pl.lit("north"))
    frame = frame.select("made", "site", "when", "unit", "flow", level=pl.col("flow") * 2)
    frame.write_parquet(tmp_path / "in.parquet")
    options = ["--time", "when", "--asset", "unit", "--sensor", "level"]
    code, text, error = call("--input", tmp_path / "in.parquet", "--output", tmp_path, *options)
    assert (code, error) == (0, "")
    assert "300 rows, 2 sensors, unit x 2" in text
    assert "Chart of level" in text
    assert list(pl.read_parquet_schema(tmp_path / "features.parquet"))[:4] == ["unit", "when", "flow", "level"]


@pytest.mark.parametrize("window", [1, 16, 10_000])
def test_nothing_to_find(call, tmp_path, window):
    frame = wave(100).with_columns(still=1.0, absent=pl.lit(None, pl.Float64), broken=float("nan"))
    frame.write_parquet(tmp_path / "in.parquet")
    code, text, error = call("--input", tmp_path / "in.parquet", "--output", tmp_path, "--window", window)
    assert (code, error) == (0, "")
    assert re.search(r"^  absent +- +100 +0 +0 +0$", text, re.MULTILINE)
    assert re.search(r"^  still +0 +0 +0 +0 +0$", text, re.MULTILINE)
    image_size(tmp_path / "chart.png")


def test_names_that_the_console_cannot_show(tmp_path):
    wave().rename({"flow": "температура"}).write_csv(tmp_path / "in.csv")
    result = run("--input", tmp_path / "in.csv", "--output", tmp_path, PYTHONIOENCODING="cp1252")
    assert result.returncode == 0, result.stderr
    assert b"???????????  all" in result.stdout


# -------------------------------------------------------------------------------------------------------- bad inputs


@pytest.mark.parametrize(
    ("name", "frame", "options", "message"),
    [
        ("in.csv", None, [], "no such file"),
        ("in.xlsx", wave(), [], "extension '.xlsx' is not supported; use .parquet or .csv"),
        ("in.csv", wave().drop("when"), [], "a time column must be a date or datetime"),
        ("in.csv", wave().select("when", note=pl.lit("ok")), [], "no numeric sensors among: when, note"),
        ("in.csv", wave().clear(), [], "a time column must be a date or datetime"),
        ("in.parquet", wave().clear(), [], "no rows"),
        ("in.csv", wave(), ["--window", "0"], "--window must be at least 1, got 0"),
        ("in.csv", wave(), ["--window", "2.5"], "invalid int value: '2.5'"),
        ("in.csv", wave(), ["--time", "flow"], "'flow' is Float64"),
        ("in.csv", wave(), ["--time", "date"], "no column 'date' among: when, flow"),
        ("in.csv", wave(), ["--asset", "pump"], "no column 'pump' among: when, flow"),
        ("in.csv", wave(), ["--sensor", "speed"], "no sensor 'speed' among: flow"),
        ("in.parquet", wave().with_columns(pl.col("when").shift()), [], "1 of 300 rows have no value in the time"),
        ("in.parquet", wave().with_columns(flow_med=1.0), [], "flow_med"),
        ("in.parquet", wave().with_columns(vib=pl.int_range(pl.len()).cast(pl.String)), [], "names 300 assets in 300"),
    ],
)
def test_bad_input_is_said_and_ends_with_code_2(call, tmp_path, name, frame, options, message):
    path = tmp_path / name
    if frame is not None:
        frame.write_parquet(path) if name.endswith("parquet") else frame.write_csv(path)
    code, text, error = call("--input", path, "--output", tmp_path / "out", *options)
    assert code == 2
    assert text == ""
    assert message in error
    assert "Traceback" not in error


def test_a_damaged_file_is_said(call, tmp_path):
    (tmp_path / "in.parquet").write_bytes(DATA.read_bytes()[:1000])
    code, _, error = call("--input", tmp_path / "in.parquet", "--output", tmp_path)
    assert code == 2
    assert "in.parquet" in error


def test_an_output_that_is_a_file_is_said(call, tmp_path):
    wave().write_csv(tmp_path / "in.csv")
    code, _, error = call("--input", tmp_path / "in.csv", "--output", tmp_path / "in.csv")
    assert code == 2
    assert "in.csv" in error


# --- detectors -------------------------------------------------------------------------------------------------------


@rust_only
def test_detectors_of_the_turbines(tmp_path):
    done = run("--output", tmp_path, script=DETECTORS)
    told = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert "2,569 rows have too few readings" in told  # a turbine without data must not look healthy
    scores = pl.read_parquet(tmp_path / "scores.parquet")
    streams = ["ar1_z", "pca_spe", "pca_t2", "isolation_forest_score", "gmm_score", "omr_score"]
    assert scores.height == 420_480
    assert [scores[stream].null_count() for stream in streams[1:]] == [2_569] * 5
    anomalies = pl.read_csv(tmp_path / "anomalies.csv", try_parse_dates=True)
    assert 0 < anomalies.height < 1_000
    assert anomalies["peak"].is_sorted(descending=True)
    assert anomalies["start"].dt.year().unique().to_list() == [2015]
    assert (tmp_path / "detectors.png").read_bytes().startswith(b"\x89PNG")
    assert "vega" in (tmp_path / "detectors.html").read_text(encoding="utf-8")
    model = acm.load_model(tmp_path / "models" / "pca.acm")
    assert (model.by, model.data.height, len(model.columns)) == ("turbine", 4, 10)


@rust_only
def test_detectors_of_another_file(tmp_path):
    rows = pl.int_range(600)
    start = datetime(2025, 1, 1)
    frame = pl.select(
        time=pl.lit(start) + pl.duration(minutes=rows),
        a=(rows / 7).sin(),
        b=(rows / 7).sin() * 2 + (rows * 37 % 11) / 50,
        heading=(rows * 5) % 360,
    ).with_columns(pl.when(pl.col("time") == start + timedelta(minutes=500)).then(9.0).otherwise("b").alias("b"))
    frame.write_csv(tmp_path / "pumps.csv")
    options = ["--input", tmp_path / "pumps.csv", "--output", tmp_path, "--directions", "heading", "--limits", "a=-2:2"]
    done = run(*options, script=DETECTORS)
    assert done.returncode == 0, done.stderr.decode()
    strongest = pl.read_csv(tmp_path / "anomalies.csv", try_parse_dates=True).row(0, named=True)
    assert strongest["start"] <= start + timedelta(minutes=500) <= strongest["end"]
    for wrong, text in (
        (["--until", "2026-01-01"], "the train period must end within the record"),
        (["--limits", "a=low:high"], "expected SENSOR=LOW:HIGH"),
        (["--directions", "nowhere"], "no sensors nowhere among"),
        (["--false-alarm-rate", "2"], "--false-alarm-rate must be above 0 and below 1"),
    ):
        refused = run(*options, *wrong, script=DETECTORS)
        assert refused.returncode == 2
        assert text in refused.stderr.decode()


# --- regimes ---------------------------------------------------------------------------------------------------------


@rust_only
def test_regimes_of_the_turbines(tmp_path):
    done = run("--output", tmp_path, script=REGIMES)
    told = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    labels = pl.read_parquet(tmp_path / "labels.parquet")
    assert labels.height == 210_240
    assert labels["label"].null_count() == 2_074 == labels["Ws_avg"].null_count()
    names = ("waiting for wind", "stopped, blades feathered", "starting and stopping", "low part load", "part load")
    for name in (*names, "full load"):
        found = re.findall(rf"^  (\d) {name}  .*%", told, re.MULTILINE)
        assert len(found) == 4
        assert len(set(found)) == 1  # aligned: a name has the same number everywhere
    label = {name: int(re.search(rf"^  (\d) {name}  ", told, re.MULTILINE)[1]) for name in (*names, "full load")}
    usual = labels.filter(~pl.col("is_novel"))
    full = usual.filter(label=label["full load"])
    assert 1_400 < full["P_avg"].median() < 1_800
    assert full["P_avg"].quantile(0.01) > 900
    assert usual.filter(label=label["waiting for wind"])["P_avg"].max() < 20
    feathered = usual.filter(label=label["stopped, blades feathered"])
    assert feathered["Ba_avg"].quantile(0.01) > 60
    # power rises with the cube of the wind: the ratio of both hardly depends on the wind
    part = usual.filter(label=label["part load"]).select(
        pl.col("Ws_avg"), ratio=pl.col("P_avg") / pl.col("Ws_avg") ** 3
    )
    slow, fast = (part.filter(pl.col("Ws_avg").is_between(v, v + 1))["ratio"].median() for v in (6, 8))
    assert 0.85 < fast / slow < 1.15
    assert 0.01 < labels["is_novel"].mean() < 0.02
    curtailed = pl.col("P_avg").is_between(1_150, 1_180) & (pl.col("Ws_avg") > 10.3) & (pl.col("turbine") == "R80721")
    at_rest_in_wind = (pl.col("P_avg") < 20) & (pl.col("Ws_avg") > 10)
    assert labels.filter(curtailed)["is_novel"].mean() > 0.7
    assert labels.filter(at_rest_in_wind)["is_novel"].mean() > 0.8
    visits = labels.group_by("turbine", maintain_order=True).agg(pl.col("label", "regime").drop_nulls().rle().len())
    assert (visits["regime"] < 0.6 * visits["label"]).all()
    width, height = image_size(tmp_path / "regimes.png")
    assert width > 1_500
    assert height > 700
    page = (tmp_path / "regimes.html").read_text(encoding="utf-8")
    assert len(page) < 3_000_000
    assert not re.search(r"<(script|link)[^>]+(src|href)=", page)
    model = acm.load_model(tmp_path / "regimes.acm")
    assert (model.by, model.data.height, model.columns) == ("turbine", 4, ["Ws_avg", "P_avg", "Ba_avg"])


def pumps(rows=1_200):
    """Two pumps at three operating points, one without readings, one without a sensor, and one that comes late."""
    row = pl.int_range(rows)
    point = (row // 100) % 3
    noise = (row * 7919 % 101) / 101 + (row * 104_729 % 97) / 97
    one = pl.select(
        time=pl.lit(datetime(2025, 1, 1)) + pl.duration(minutes=row),
        pump=pl.lit("a"),
        flow=40 * point + noise,
        speed=(500 * point + 20 * (row * 31 % 89) / 89).cast(pl.Int64),
        bearing_temp=(row / 30).sin(),
    )
    flowless = one.with_columns(pl.lit("e").alias("pump"), pl.lit(None, pl.Float64).alias("flow"))
    silent = flowless.with_columns(pl.lit("c").alias("pump"), pl.lit(None, pl.Int64).alias("speed"))
    late = one.tail(rows // 3).with_columns(pump=pl.lit("d"))
    return pl.concat([one, one.with_columns(pump=pl.lit("b")), silent, late, flowless])


@rust_only
def test_regimes_of_another_file(tmp_path):
    pumps().write_csv(tmp_path / "pumps.csv")
    options = ["--input", tmp_path / "pumps.csv", "--output", tmp_path]
    done = run(*options, "--method", "kmeans", script=REGIMES)
    told = done.stdout.decode()
    assert done.returncode == 0, done.stderr.decode()
    assert "regimes in flow, speed, fitted until 2025-01-01 09:59:30" in told
    assert told.count("kmeans has its largest silhouette at 3 of 2 to 6 clusters") == 3
    assert "c: no regimes" in told
    assert "Without rows to learn from, so that they have no labels: d" in told
    labels = pl.read_parquet(tmp_path / "labels.parquet")
    assert labels.filter(pl.col("pump").is_in(["c", "d"]))["label"].null_count() == 1_000
    points = labels.filter(pump="a").group_by("regime").agg(pl.col("flow").min(), high=pl.col("flow").max())
    assert points.height == 3
    assert ((points["high"] - points["flow"]) < 2).all()
    image_size(tmp_path / "regimes.png")


@rust_only
@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (["--until", "2026-01-01"], "the train period must end within the record"),
        (["--sensors", "flow", "nowhere"], "no sensors nowhere among: flow, speed, bearing_temp"),
        (["--directions", "bearing_temp"], "no sensors bearing_temp among: flow, speed"),
        (["--window", "4"], "`window_size` must be a positive duration"),
        (["--regimes", "5", "2"], "`k_range` must be ascending"),
    ],
)
def test_wrong_options_of_regimes(tmp_path, wrong, text):
    pumps(300).write_csv(tmp_path / "pumps.csv")
    refused = run("--input", tmp_path / "pumps.csv", "--output", tmp_path, *wrong, script=REGIMES)
    assert refused.returncode == 2
    assert text in refused.stderr.decode()


@rust_only
def test_regimes_of_one_sensor_of_one_asset(tmp_path):
    one = pumps().filter(pump="a").select("time", "flow")
    one.write_parquet(tmp_path / "in.parquet")
    done = run("--input", tmp_path / "in.parquet", "--output", tmp_path, "--method", "kmeans", script=REGIMES)
    assert done.returncode == 0, done.stderr.decode()
    assert "all: kmeans has its largest silhouette at 3" in done.stdout.decode()
    image_size(tmp_path / "regimes.png")
    one.with_columns(flow=1.0).write_parquet(tmp_path / "in.parquet")
    refused = run("--input", tmp_path / "in.parquet", "--output", tmp_path, script=REGIMES)
    assert refused.returncode == 2
    assert "no regimes in flow" in refused.stderr.decode()
