"""Races acm_rs against the strongest peers, in one run, on the same data and the same two cores.

    python benches/compare.py                 the whole race; figures count with a wheel: `pip install ".[dev]"`
    python benches/compare.py --only median   the entries whose names begin so (see --help for the names)
    python benches/compare.py --quick         tiny data, agreement only, no clock: what CI runs
    python benches/compare.py --write         the whole race, and the tables of README.md

Before anything is timed, every contender's result is compared with ours: medians and MADs to the bit, everything else
to 1e-9 of max(1, |value|). Contenders take turns, so that a slow spell of the machine hits all of them alike; the time
of a contender is the median of its runs, and a ratio is the peer's time / ours. Every contender gets its data in the
form that suits it best (Polars and pandas their own frames, the others contiguous arrays of sensors x rows), prepared
outside the clock, and is called as a user calls it, with its result materialised, in a process of its own: what others
leave in a heap decides whether it gives memory back after every call (bottleneck's results: 2.6 ms or 4.6 ms).
"""

# a script, not an interface: names speak, docstrings only where they do not
# ruff: noqa: D101, D102, D103
from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.util
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

# first: it tells the libraries how many threads they have, which they read when they load
from contenders import (
    FULL_SHAPE,
    MISSING_SHARE,
    QUICK_SHAPE,
    THREADS,
    Arrays,
    Contender,
    Data,
    Operation,
    Run,
    Workload,
    make_data,
    need,
)

# isort: split
import polars as pl
from acm_rs import _internal, fast_features
from races_detectors import WORKLOADS as DETECTOR_WORKLOADS
from races_features import OPERATIONS
from races_features import WORKLOADS as FEATURE_WORKLOADS
from races_regimes import WORKLOADS as REGIME_WORKLOADS

WORKLOADS = (*FEATURE_WORKLOADS, *DETECTOR_WORKLOADS, *REGIME_WORKLOADS)

README = Path(__file__).resolve().parent.parent / "README.md"
MARKERS = ("<!-- speed:start -->", "<!-- speed:end -->")
# settings for other processors than the one at hand, with which NumPy looks slower than it is
MISLEADING_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

MINIMUM_RUNS = 7
# idle threads of OpenMP and OpenBLAS spin for up to 26 ms: a rest, so that they do not take a core from whoever is next
REST_SECONDS = 0.03
# a turn: as many runs as fit into this time, two at least; the second half of them is timed
BURST_SECONDS = 0.1

TOLERANCE = 1e-9
EXACT = {"med": 0.0, "mad": 0.0}


# --- our own limits ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    label: str
    shape: tuple[int, int]
    prepare: Callable[[Data], Run]
    missing: float = 0.0


@dataclass(frozen=True)
class Limit:
    """One of our own runs against another: time per reading of `trial` / of `base` must stay below `ratio`."""

    name: str
    title: str
    base: Trial
    trial: Trial
    ratio: float
    same_result: bool = False


def eager_run(operation: Operation) -> Callable[[Data], Run]:
    return lambda data: lambda: data.frame.select(operation(data.columns))


def lazy_run(operation: Operation) -> Callable[[Data], Run]:
    return lambda data: lambda: data.frame.lazy().select(operation(data.columns)).collect()


def basic_features(data: Data) -> Run:
    return lambda: fast_features.compute_basic_features(data.frame, window=16)


def lazy_basic_features(data: Data) -> Run:
    return lambda: fast_features.compute_basic_features(data.frame.lazy(), window=16).collect()


LIMITS = (
    Limit(
        "lazy_basic_features",
        "compute_basic_features, w = 16: lazy to eager",
        Trial("eager", FULL_SHAPE, basic_features),
        Trial("lazy", FULL_SHAPE, lazy_basic_features),
        ratio=1.3,
        same_result=True,
    ),
    Limit(
        "lazy_rolling_features",
        "rolling_features, w = 16: lazy to eager",
        Trial("eager", FULL_SHAPE, eager_run(OPERATIONS["features"])),
        Trial("lazy", FULL_SHAPE, lazy_run(OPERATIONS["features"])),
        ratio=1.3,
        same_result=True,
    ),
    *(
        Limit(
            f"missing_{name}",
            f"rolling_{name}: 5 % missing to none",
            Trial("none missing", FULL_SHAPE, eager_run(operation)),
            Trial("5 % missing", FULL_SHAPE, eager_run(operation), missing=MISSING_SHARE),
            ratio=2.0,
        )
        for name, operation in OPERATIONS.items()
    ),
    Limit(
        "rows_million",
        "rolling_features, w = 16, per reading: 1,000,000 x 10 to 10,000 x 50",
        Trial("10,000 x 50", FULL_SHAPE, eager_run(OPERATIONS["features"])),
        Trial("1,000,000 x 10", (1_000_000, 10), eager_run(OPERATIONS["features"])),
        ratio=1.6,
    ),
    Limit(
        "rows_ten_million",
        "rolling_features, w = 16, per reading: 10,000,000 x 1 to 1,000,000 x 1",
        Trial("1,000,000 x 1", (1_000_000, 1), eager_run(OPERATIONS["features"])),
        Trial("10,000,000 x 1", (10_000_000, 1), eager_run(OPERATIONS["features"])),
        ratio=1.2,  # "linear"
    ),
)


# --- memory --------------------------------------------------------------------------------------------------------

MEMORY_SHAPE = (1_000_000, 20)
MEMORY_ALLOWANCE_MIB = 64.0
MEMORY: dict[str, Operation] = {
    "memory_features": OPERATIONS["features"],
    "memory_median": OPERATIONS["median_16"],
}
MEMORY_RACES = {f"memory_{workload.name}": workload for workload in WORKLOADS if workload.memory is not None}
MEMORY_WARM_UP_ROWS = 500
PEAK_RESET = Path("/proc/self/clear_refs")
MIB = 2.0**20


def memory_now_and_peak() -> tuple[float, float]:
    """Resident memory of this process and the most it ever was, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # not ru_maxrss, which on Linux begins with what the parent process had
        kib = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return float(kib["VmRSS"].split()[0]) / 1024, float(kib["VmHWM"].split()[0]) / 1024
    if sys.platform == "win32":
        info = need("psutil").Process().memory_info()
        return info.rss / MIB, info.peak_wset / MIB
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)
    now = subprocess.run(["ps", "-o", "rss=", "-p", str(os.getpid())], capture_output=True, text=True, check=True)
    return float(now.stdout) / 1024, peak


def measure_memory(name: str) -> None:
    """Print what an operation needs at the worst moment, beside the interpreter; runs in a process of its own."""

    def run(rows: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        frame = make_data(rows, MEMORY_SHAPE[1]).frame
        return frame, frame.select(MEMORY[name](frame.columns))

    run(100)  # loads everything and starts the threads
    before, _ = memory_now_and_peak()
    frame, result = run(MEMORY_SHAPE[0])
    _, peak = memory_now_and_peak()
    assert frame.n_chunks() == 1
    sizes = {"input": frame.estimated_size() / MIB, "output": result.estimated_size() / MIB, "needed": peak - before}
    print(json.dumps(sizes))


def measure_memory_of_contender(workload: Workload, index: int) -> None:
    """Print what a contender needs at the worst moment, beside data and models; runs in a process of its own."""
    contender = workload.contenders[index]
    rows, sensors = workload.shape or FULL_SHAPE
    contender.prepare(make_data(MEMORY_WARM_UP_ROWS, sensors))()  # loads everything and starts the threads
    run = contender.prepare(make_data(rows, sensors, workload.missing))
    gc.collect()
    PEAK_RESET.write_text("5")  # what the fit took
    before, _ = memory_now_and_peak()
    result = run()
    _, peak = memory_now_and_peak()
    del result
    print(json.dumps({"needed": peak - before}))


# --- agreement -----------------------------------------------------------------------------------------------------


def disagreements(workload: Workload, data: Data, contender: Contender, reference: Arrays, found: Arrays) -> list[str]:
    np = need("numpy")
    lines = []
    for output, theirs in found.items():
        expected = reference[output][: len(theirs), -theirs.shape[1] :]
        tolerance = (EXACT | dict(contender.tolerance)).get(output, TOLERANCE)
        with np.errstate(invalid="ignore"):
            error = np.abs(theirs - expected) / np.maximum(1.0, np.abs(expected))
        error[(theirs == expected) | (np.isnan(theirs) & np.isnan(expected))] = 0.0
        error[np.isnan(error)] = np.inf  # one has a value, the other none
        bad = error > tolerance
        if not bad.any():
            continue
        sensor, column = np.unravel_index(np.argmax(error), error.shape)
        row = int(column) + reference[output].shape[1] - theirs.shape[1]
        values = data.frame.to_series(int(sensor)).head(row + 1).tail(workload.window)
        lines.append(
            f"  DISAGREES: {contender.name}, {output}: {int(bad.sum())} of {bad.size} values differ by more than "
            f"{tolerance:g}; the worst, sensor {sensor}, row {row}: theirs {float(theirs[sensor, column])!r}, "
            f"ours {float(expected[sensor, column])!r}\n    window: {values.to_list()[-32:]}"
        )
    return lines


# --- timing and reporting ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timing:
    seconds: tuple[float, ...]
    scale: float = 1.0

    @property
    def ms(self) -> float:
        return median(self.seconds) * self.scale * 1e3

    def __str__(self) -> str:
        low, high = min(self.seconds) * self.scale * 1e3, max(self.seconds) * self.scale * 1e3
        return f"{self.ms:10.2f} ms   ({low:.2f} to {high:.2f})"


def burst(run: Run) -> float:
    """Median of the second half of a burst of runs.

    The first are not timed: threads that sleep and memory that an allocator gave back while the others had their turns
    (2 microseconds per page) would be timed with them.
    """
    seconds: list[float] = []
    while len(seconds) < 2 or sum(seconds) < BURST_SECONDS:
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
        del result
    return median(seconds[len(seconds) // 2 :])


def contender_of(workload: Workload, index: int, full: bool) -> Contender:
    contender = workload.contenders[index]
    return replace(contender, sensors=None) if full else contender


def entrant(name: str, index: int, full: bool) -> Run:
    """Prepare contender `index` of a workload, or base or trial of a limit."""
    if limit := next((limit for limit in LIMITS if limit.name == name), None):
        trial = (limit.base, limit.trial)[index]
        return trial.prepare(make_data(*trial.shape, trial.missing))
    workload = next(workload for workload in WORKLOADS if workload.name == name)
    contender = contender_of(workload, index, full)
    return contender.prepare(contender.data(make_data(*(workload.shape or FULL_SHAPE), workload.missing)))


def take_part(turns: Connection, name: str, index: int, full: bool) -> None:
    """Run a burst whenever it is this contender's turn; the whole life of its process."""
    run = entrant(name, index, full)
    run()  # compiles and loads what is needed
    gc.collect()
    gc.disable()
    turns.send(None)
    with contextlib.suppress(EOFError):
        while True:
            turns.recv()
            turns.send(burst(run))


def take_turns(name: str, entrants: Sequence[int], options: argparse.Namespace) -> list[tuple[float, ...]]:
    """Seconds of each turn of each entrant; one turn of all after the other."""
    spawn = multiprocessing.get_context("spawn")
    seconds: list[list[float]] = [[] for _ in entrants]
    with contextlib.ExitStack() as ends:  # closed, they end the processes
        turns: list[Connection] = []
        for index in entrants:
            here, there = spawn.Pipe()
            turns.append(ends.enter_context(here))
            with there:  # its process alone keeps that end, so that its death is noticed here
                spawn.Process(target=take_part, args=(there, name, index, options.full)).start()
        for turn in turns:
            turn.recv()
        for _ in range(options.runs):
            for turn, times in zip(turns, seconds, strict=True):
                time.sleep(REST_SECONDS)
                turn.send(None)
                times.append(turn.recv())
    return [tuple(times) for times in seconds]


@dataclass
class Report:
    races: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    disagreements: int = 0

    def markdown(self) -> str:
        races = [
            "| workload, 10,000 rows x 50 sensors | fastest peer | its time | ours, one call "
            "| ours, lazy | ours, expanded | ratio | target | reached |",
            "|---|---|--:|--:|--:|--:|--:|--:|---|",
            *self.races,
        ]
        limits = [
            "| our own limits | from | to | ratio | limit | kept |",
            "|---|--:|--:|--:|--:|---|",
            *self.limits,
        ]
        return "\n".join([*(races if self.races else []), "", *(limits if self.limits else [])]).strip()


def verdict(reached: bool) -> str:
    return "yes" if reached else "**no**"


def milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 10 else f"{value:.2f} ms"


def run_workload(workload: Workload, options: argparse.Namespace, report: Report) -> None:
    print(f"\n{workload.title}  [{workload.name}]")
    shape = QUICK_SHAPE if options.quick else workload.shape or FULL_SHAPE
    data = make_data(*shape, workload.missing)
    reference: Arrays = {}
    entries: list[int] = []
    agree = True
    for index in range(len(workload.contenders)):
        contender = contender_of(workload, index, options.full)
        if options.quick and (absent := [m for m in contender.needs if importlib.util.find_spec(m) is None]):
            print(f"  {contender.name}: not compared, {', '.join(absent)} is not installed")
            continue
        entries.append(index)
        if contender.arrays is None:
            continue
        own_data = contender.data(data)
        found = contender.arrays(own_data, contender.prepare(own_data)())
        reference = reference or found
        lines = disagreements(workload, data, contender, reference, found)
        agree = agree and not lines
        report.disagreements += len(lines)
        print("".join(f"{line}\n" for line in lines), end="")
    if not agree:
        print("  not timed, because the results differ")
    elif options.quick or not workload.goals:
        print(f"  {len(entries)} contenders agree")
    else:
        seconds = take_turns(workload.name, entries, options)
        contenders = [contender_of(workload, index, options.full) for index in entries]
        timings = [Timing(times, c.scale(data)) for c, times in zip(contenders, seconds, strict=True)]
        report_race(workload, list(zip(contenders, timings, strict=True)), report)


def report_race(workload: Workload, timings: Sequence[tuple[Contender, Timing]], report: Report) -> None:
    own = {contender.name: timing.ms for contender, timing in timings if contender.ours}
    for contender, timing in timings:
        name = f"{'ours, ' * contender.ours}{contender.name}{contender.part and f' [{contender.part}]'}"
        scaled = f"   scaled up from {contender.sensors} sensors" if timing.scale != 1.0 else ""
        note = f"   another statistic: {contender.note}" if contender.note else ""
        print(f"  {name:42}{timing}{scaled}{note}")
    for goal in workload.goals:
        peers = [
            (contender, timing.ms)
            for contender, timing in timings
            if not contender.ours
            and (contender.name in goal.peers if goal.peers else not contender.note)
            and (goal.tuned or not contender.tuned)
        ]
        parts = list(dict.fromkeys(contender.part for contender, _ in peers))
        fastest = [min((p for p in peers if p[0].part == name), key=lambda p: p[1]) for name in parts]
        if goal.ratio is None and not any(contender.tuned for contender, _ in fastest):
            continue  # the row with the target says the same
        total = sum(ms for _, ms in fastest)
        label = " + ".join(f"{c.name} {ms:.1f} ({c.part})" if c.part else c.name for c, ms in fastest)
        if notes := {contender.note for contender, _ in fastest if contender.note}:
            label += f" (another statistic: {', '.join(sorted(notes))})"
        form, best = min(own.items(), key=lambda item: item[1])
        ratio = total / best
        target = "" if goal.ratio is None else f"{goal.ratio:g}"
        reached = "" if goal.ratio is None else verdict(ratio >= goal.ratio)
        print(f"  => {ratio:.2f} x {label} ({form})" + (f", target {target}, reached: {reached}" if target else ""))
        times = [milliseconds(own[form]) if form in own else "" for form in ("one call", "lazy", "expanded")]
        cells = [workload.title, label, milliseconds(total), *times, f"{ratio:.1f}", target, reached]
        report.races.append(f"| {' | '.join(cells)} |")


def run_limit(limit: Limit, options: argparse.Namespace, report: Report) -> None:
    if options.quick and not limit.same_result:
        return
    print(f"\n{limit.title}  [{limit.name}]")
    trials = (limit.base, limit.trial)
    shapes = [QUICK_SHAPE if options.quick else trial.shape for trial in trials]
    if limit.same_result:
        first, second = (t.prepare(make_data(*s, t.missing))() for t, s in zip(trials, shapes, strict=True))
        if not first.equals(second):
            report.disagreements += 1
            print(f"  DISAGREES: {limit.base.label} and {limit.trial.label} differ")
            return
        print("  results agree")
    if options.quick:
        return
    timings = [Timing(times) for times in take_turns(limit.name, range(len(trials)), options)]
    for trial, timing in zip(trials, timings, strict=True):
        print(f"  {trial.label:42}{timing}")
    cells = [rows * sensors for rows, sensors in shapes]
    ratio = (timings[1].ms / cells[1]) / (timings[0].ms / cells[0])
    print(f"  => {ratio:.2f} x, limit {limit.ratio:g}, kept: {verdict(ratio <= limit.ratio)}")
    base, other = (milliseconds(timing.ms) for timing in timings)
    report.limits.append(
        f"| {limit.title} | {base} | {other} | {ratio:.2f} | {limit.ratio:g} | {verdict(ratio <= limit.ratio)} |"
    )


def measured_apart(name: str, *contender: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure-memory", name, *contender]
    sizes: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    return sizes


def run_memory_race(name: str, report: Report) -> None:
    workload = MEMORY_RACES[name]
    title = f"peak memory of {workload.title}"
    print(f"\n{title}  [{name}]")
    if not PEAK_RESET.exists():
        print("  skipped: this system does not forget what a process needed before")
        return
    needed: dict[bool, list[tuple[float, str]]] = {True: [], False: []}
    for index, contender in enumerate(workload.contenders):
        mib = measured_apart(name, str(index))["needed"]
        needed[contender.ours].append((mib, contender.name))
        print(f"  {'ours, ' * contender.ours + contender.name:42}{mib:10.1f} MiB beside data and models")
    (own, form), (least, peer) = max(needed[True]), min(needed[False])
    ratio = own / least
    kept = verdict(ratio <= workload.memory)
    print(f"  => {ratio:.2f} x {peer} ({form}), limit {workload.memory:g}, kept: {kept}")
    report.limits.append(
        f"| {title}, beside data and models: {peer} to ours | {least:.1f} MiB | {own:.1f} MiB | {ratio:.2f} "
        f"| {workload.memory:g} | {kept} |"
    )


def run_memory(name: str, report: Report) -> None:
    rows, sensors = MEMORY_SHAPE
    title = f"peak memory of rolling_{name.removeprefix('memory_')}, w = 16, {rows:,} x {sensors}, eager"
    print(f"\n{title}  [{name}]")
    if sys.platform == "win32" and importlib.util.find_spec("psutil") is None:
        print("  skipped: needs psutil on Windows")
        return
    sizes = measured_apart(name)
    frames = sizes["input"] + sizes["output"]
    extra = sizes["needed"] - frames
    kept = verdict(extra <= MEMORY_ALLOWANCE_MIB)
    print(f"  input {sizes['input']:.0f} MiB, output {sizes['output']:.0f} MiB, at the peak {extra:.1f} MiB more")
    print(f"  => limit {MEMORY_ALLOWANCE_MIB:g} MiB more, kept: {kept}")
    report.limits.append(
        f"| {title}: peak to input + output | {frames:,.0f} MiB | {sizes['needed']:,.0f} MiB "
        f"| {extra:+.1f} MiB | +{MEMORY_ALLOWANCE_MIB:g} MiB | {kept} |"
    )


def processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def machine_and_versions() -> str:
    packages = {"polars": "Polars", "numpy": "NumPy", "pandas": "pandas", "scipy": "SciPy", "numba": "numba"}
    found = []
    for package, name in (packages | {"bottleneck": "bottleneck"}).items():
        try:
            found.append(f"{name} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return (
        f"{processor()}, {os.cpu_count()} cores, {THREADS} threads for everybody, {platform.system()}; "
        f"acm_rs {_internal.__version__} (profile {_internal.__profile__}, {_internal.simd_level()}), "
        f"Python {platform.python_version()}, {', '.join(found)}"
    )


def write_readme(report: Report, runs: int) -> None:
    text = README.read_text(encoding="utf-8")
    start, end = MARKERS
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"README.md must hold {start} and {end} once each")
    head, rest = text.split(start)
    tail = rest.split(end)[1]
    legend = (
        f"Written by `python benches/compare.py --write`: medians of {runs} alternating turns on the same data, each "
        "the median of the second half of a burst of runs, every contender in a process of its own. A ratio is the "
        "peer's time / that of our fastest form. Rows with a target race what libraries offer and numba code that "
        "takes each window by itself; rows without one race also numba kernels tuned for this comparison (a sorted "
        "window, sums that are carried along). "
    )
    README.write_text(
        f"{head}{start}\n\n{report.markdown()}\n\n{legend}{machine_and_versions()}.\n\n{end}{tail}", encoding="utf-8"
    )
    print("\nREADME.md: the tables are written")


# --- command line --------------------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    names = [*(entry.name for entry in WORKLOADS), *(entry.name for entry in LIMITS), *MEMORY, *MEMORY_RACES]
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0], epilog="names: " + ", ".join(names))
    parser.add_argument("--quick", action="store_true", help="tiny data, agreement only; exit code 1 where any differ")
    parser.add_argument("--write", action="store_true", help="write the tables into README.md")
    parser.add_argument("--only", metavar="NAME", help="only the entries whose names begin with NAME")
    parser.add_argument("--full", action="store_true", help="pandas' apply on all sensors too (8 s a run)")
    parser.add_argument("--runs", type=int, default=9, help="runs of each contender, at least 7 (default 9)")
    parser.add_argument("--measure-memory", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.names = [name for name in names if name.startswith(options.only or "")]
    if not options.names:
        parser.error(f"--only {options.only}: nothing begins so; names: {', '.join(names)}")
    if options.runs < MINIMUM_RUNS:
        parser.error(f"--runs {options.runs}: at least {MINIMUM_RUNS}")
    if options.write and (options.quick or options.only):
        parser.error("--write takes the whole race, without --quick and --only")
    return options


def start_again_without_misleading_settings() -> None:
    if not any(setting in os.environ for setting in MISLEADING_SETTINGS):
        return
    environment = {name: value for name, value in os.environ.items() if name not in MISLEADING_SETTINGS}
    command = [sys.executable, *sys.orig_argv[1:]]
    if os.name == "posix":
        os.execve(command[0], command, environment)  # in place, so that whoever stops this process stops the race
    raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)


def main() -> int:
    options = parse()
    start_again_without_misleading_settings()
    if options.measure_memory:
        name, *contender = options.measure_memory
        if contender:
            measure_memory_of_contender(MEMORY_RACES[name], int(contender[0]))
        else:
            measure_memory(name)
        return 0
    profile = _internal.__profile__
    if not options.quick and profile in ("debug", "dev", "test"):
        raise SystemExit(f"this acm_rs is a {profile} build: its speed says nothing; build it with --release")
    if options.write and profile != "release":
        raise SystemExit(f"the README shows figures of the release profile, this acm_rs is a {profile} build")
    print(machine_and_versions())
    report = Report()
    for workload in WORKLOADS:
        if workload.name in options.names:
            run_workload(workload, options, report)
    make_data.cache_clear()
    for limit in LIMITS:
        if limit.name in options.names:
            run_limit(limit, options, report)
            make_data.cache_clear()
    for name in MEMORY:
        if name in options.names and not options.quick:
            run_memory(name, report)
    for name in MEMORY_RACES:
        if name in options.names and not options.quick:
            run_memory_race(name, report)
    if report.markdown():
        print(f"\n{report.markdown()}")
    if report.disagreements:
        print(f"\n{report.disagreements} disagreements", file=sys.stderr)
        return 1
    if options.write:
        write_readme(report, options.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
