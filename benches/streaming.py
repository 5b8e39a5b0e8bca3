"""Scores more rows than memory should have to hold, from `scan_parquet` to `sink_parquet` in one lazy query.

    python benches/streaming.py                50 million rows x 8 Float32 columns
    python benches/streaming.py --rows 2000000 --folder somewhere

Writes the rows in pieces, fits PCA, an isolation forest, a Gaussian mixture and the overall model residual on the first
10,000 of them, and scores all rows with the four in a process of its own. Prints rows per second and the peak of
resident memory, which must not grow with the number of rows. The files are removed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import acm_rs as acm
import numpy as np
import polars as pl
from compare import memory_now_and_peak

COLUMNS = [f"s{index}" for index in range(8)]
PIECE = 1_000_000
TRAIN = 10_000
LIMIT_MIB = 1024.0


def piece(index: int, rows: int) -> pl.DataFrame:
    """Draw sensors that follow three common causes."""
    random = np.random.default_rng([20240229, index])
    causes = random.standard_normal((rows, 3), dtype=np.float32)
    mixing = np.random.default_rng(20240229).standard_normal((3, len(COLUMNS)), dtype=np.float32)
    readings = causes @ mixing + 0.3 * random.standard_normal((rows, len(COLUMNS)), dtype=np.float32)
    return pl.DataFrame({name: readings[:, j] for j, name in enumerate(COLUMNS)})


def score(folder: Path) -> None:
    """Fit on the first rows, score all of them, print what it took; runs in a process of its own."""
    rows = pl.scan_parquet(folder / "*.parquet")
    train = rows.head(TRAIN).collect()
    fits = (acm.pca_fit, acm.isolation_forest_fit, acm.gmm_fit, acm.omr_fit)
    pca, forest, mixture, residual = (train.select(fit(COLUMNS)) for fit in fits)
    scores = rows.select(
        acm.pca_spe(COLUMNS, pca),
        acm.pca_t2(COLUMNS, pca),
        acm.isolation_forest_score(COLUMNS, forest),
        acm.gmm_score(COLUMNS, mixture),
        acm.omr_score(COLUMNS, residual),
    )
    start = time.perf_counter()
    scores.sink_parquet(folder / "scores.parquet")
    seconds = time.perf_counter() - start
    count = pl.scan_parquet(folder / "scores.parquet").select(pl.len()).collect().item()
    print(json.dumps({"rows": count, "seconds": seconds, "peak_mib": memory_now_and_peak()[1]}))


def main() -> int:
    """Write the rows, have them scored, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--folder", type=Path, help="where the files are written for the time being")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.score is not None:
        score(options.score)
        return 0
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        for index, start in enumerate(range(0, options.rows, PIECE)):
            piece(index, min(PIECE, options.rows - start)).write_parquet(folder / f"{index:05}.parquet")
        command = [sys.executable, __file__, "--score", str(folder)]
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    finally:
        shutil.rmtree(folder)
    assert found["rows"] == options.rows
    speed = found["rows"] / found["seconds"]
    print(
        f"{found['rows']:,} rows x {len(COLUMNS)} Float32 columns, five scores: {found['seconds']:.1f} s, "
        f"{speed:,.0f} rows/s, peak {found['peak_mib']:,.0f} MiB (limit {LIMIT_MIB:,.0f}); {acm.backend()}"
    )
    return 0 if found["peak_mib"] < LIMIT_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
