"""Graphs of millions of generated surveys on one machine: time, memory, disk, and how they grow.

    python -m benchmarks.distributed --surveys 1_250_000 2_500_000 5_000_000 20_000_000 --folder DIR

Surveys lie evenly over parts of the Earth, so many that one has about eight neighbours; most groups
of a year and region are small, some have 1.2 million surveys and are cut into tiles.
"""

import argparse
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import description
from tighnari_graph import SurveyGraph, SurveyTable
from tighnari_graph.distributed import DistributedGraph, build
from tighnari_graph.geodesy import EARTH_RADIUS_KM

GROUPS = (20_000, 50_000, 100_000, 1_200_000)  # surveys of a year and region, in turn
NEIGHBORS = 8.0
SPECIES = 10_000
RADIUS_KM = 10.0
_ROWS = 1_000_000
_SECONDS = 0.5  # between looks at memory


def write_surveys(num: int, folder: Path, seed: int = 0) -> int:
    """``num`` surveys of one to five species in ``year=…/region=…/`` folders; returns the rows."""
    rng = np.random.default_rng(seed)
    sizes = np.resize(GROUPS, 2 * num // min(GROUPS) + len(GROUPS))
    sizes = np.diff(np.minimum(np.cumsum(sizes), num), prepend=0)
    first = rows = 0
    common = np.cumsum(1 / (np.arange(SPECIES) + 10.0))
    for group, size in enumerate(sizes[sizes > 0].tolist()):
        path = folder / f"year={2000 + group % 25}" / f"region=R{group // 25:02d}"
        path.mkdir(parents=True)
        lat, lon = _evenly(size, rng)
        count = rng.integers(1, 6, size)
        species = common.searchsorted(rng.random(int(count.sum())) * common[-1])
        table = pa.table(
            {
                "surveyId": np.repeat(np.arange(first, first + size), count),
                "lat": np.repeat(lat, count),
                "lon": np.repeat(lon, count),
                "speciesId": species.astype(np.int32),
            }
        )
        pq.write_table(table, path / "0.parquet", row_group_size=_ROWS, compression="zstd")
        first, rows = first + size, rows + len(table)
    return rows


def _evenly(num: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Places in a box of latitude and longitude, as many to an area everywhere."""
    area = num / NEIGHBORS * np.pi * (RADIUS_KM / EARTH_RADIUS_KM) ** 2
    wide = min(1.3 * np.sqrt(area), 6.0)
    high = area / wide
    south, west = rng.uniform(-0.95, 0.95 - high), rng.uniform(-180, 180)
    lat = np.degrees(np.arcsin(south + high * rng.random(num)))
    lon = (west + np.degrees(wide) * rng.random(num) + 180) % 360 - 180
    return lat.round(6), lon.round(6)


@dataclass
class Watch:
    """The most memory and disk seen so far.

    Attributes:
        rss: bytes of all processes together; shared pages count in each.
        disk: bytes of the surveys, and of all that was made of them.
    """

    rss: int = 0
    disk: int = 0
    stop: threading.Event = field(default_factory=threading.Event)


@contextmanager
def watched(folder: Path) -> Iterator[Watch]:
    """Look at memory twice a second and at the folder now and then."""
    watch = Watch()

    def look() -> None:
        me, looks = psutil.Process(), 0
        while not watch.stop.wait(_SECONDS):
            total = 0
            for process in (me, *me.children(recursive=True)):
                with suppress(psutil.Error):
                    total += process.memory_info().rss
            watch.rss = max(watch.rss, total)
            looks += 1
            if looks % 10 == 0:
                watch.disk = max(watch.disk, size_of(folder))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        watch.stop.set()
        thread.join()
        watch.disk = max(watch.disk, size_of(folder))


def size_of(folder: Path) -> int:
    """Bytes of all files; one that goes while they are counted counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def same_as_at_once(graph: DistributedGraph, source: Path) -> int:
    """Build the smallest year and region at once and compare edge for edge; returns its edges."""
    key = ["year", "region"]
    year, region = graph.partitions.groupby(key)["surveys"].sum().idxmin()
    frame = pd.read_parquet(source / f"year={year}" / f"region={region}" / "0.parquet")
    table = SurveyTable.from_long(frame.assign(year=year, region=region))
    expected = SurveyGraph.from_surveys(table, RADIUS_KM)
    numbers = np.flatnonzero((graph.partitions[key] == [year, region]).all(axis=1))
    files = [graph.out / "edges" / f"part-{number:06d}.parquet" for number in numbers]
    found = pd.concat([pd.read_parquet(file) for file in files])
    found = found.sort_values(["target", "source"], ignore_index=True)
    source_id, target_id = table.survey_id[expected.edge_index.numpy()]
    at_once = pd.DataFrame(
        {
            "source": source_id,
            "target": target_id,
            "distance_km": expected.edge_distance_km.numpy(),
        }
    ).sort_values(["target", "source"], ignore_index=True)
    pd.testing.assert_frame_equal(found, at_once, check_exact=True)
    return len(at_once)


def measured(num: int, folder: Path, max_surveys: int) -> dict[str, object]:
    """Generate in a new folder, build and check; one row of the table."""
    folder.mkdir(parents=True)
    source, out = folder / "surveys", folder / "graph"
    rows = write_surveys(num, source)
    with watched(folder) as watch:
        start = time.perf_counter()
        graph = build(source, out, radius_km=RADIUS_KM, max_surveys=max_surveys)
        seconds = time.perf_counter() - start
    checked = same_as_at_once(graph, source)
    edges = int(graph.partitions["edges"].sum())
    return {
        "surveys": num,
        "rows": rows,
        "edges": edges,
        "mean degree": round(edges / num, 2),
        "tiles": len(graph),
        "halo": int(graph.partitions["halo"].sum()),
        "minutes": round(seconds / 60, 2),
        "us a survey": round(seconds / num * 1e6, 1),
        "GB of memory": round(watch.rss / 1e9, 2),
        "GB on disk": round(watch.disk / 1e9, 2),
        "GB of results": round(size_of(out) / 1e9, 2),
        "edges compared": checked,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--surveys", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--folder", type=Path, default=Path("out/distributed"))
    parser.add_argument("--max-surveys", type=int, default=500_000)
    parser.add_argument("--keep", action="store_true", help="leave the files")
    given = parser.parse_args()
    print({k: v for k, v in description().items() if k != "versions"}, flush=True)
    table = []
    for num in given.surveys:
        folder = given.folder / f"{num}_surveys"
        table.append(measured(num, folder, given.max_surveys))
        print(pd.DataFrame(table, dtype=object).T.to_string(header=False), flush=True)
        if not given.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
