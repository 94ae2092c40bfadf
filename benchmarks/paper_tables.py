"""Run the rows of the paper's Tables 1, 2 and 3, and write them beside the paper's numbers.

Run `python -m benchmarks.paper_tables --table 3`: without ``--data`` at small size on a virtual
Europe, with ``--data DIR`` on a GeoLifeCLEF 2024 folder as downloaded, at the paper's size. What is
finished is not done again when the command is repeated; rows that tables share are trained once.
"""

import argparse
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.paper_markdown import as_frame, as_markdown
from benchmarks.paper_rows import PO_LISTS, SIZES, TABLES, TITLES, Row
from benchmarks.paper_runs import Study, train_all, virtual_folder
from benchmarks.paper_scores import Scorer, differences
from tighnari_graph.files import written_whole

DEFAULTS = {"small": {"folds": 3, "seeds": 3}, "paper": {"folds": 1, "seeds": 1}}
VIRTUAL_SURVEYS = 1000


def run(
    study: Study, table: int, jobs: int = 1, only: Sequence[str] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train, score and write a table; returns its figures, and what each row added.

    Args:
        study: size, data and folder.
        table: 1, 2 or 3.
        jobs: models that are trained at a time.
        only: names of rows to run; by default all.
    """
    names = [row.name for row in TABLES[table]]
    unknown = sorted(set(only or ()) - set(names))
    if unknown:
        raise ValueError(f"table {table} has no row {unknown}; it has {names}")
    study.claim()
    scorer = Scorer(study)
    rows = tuple(row for row in TABLES[table] if only is None or row.name in only)
    if scorer.presence_only is None and any(row.step == PO_LISTS for row in rows):
        print("no presence-only surveys: rows that correct the output with them are left out")
        rows = tuple(row for row in rows if row.step != PO_LISTS)
    print(f"{len(scorer.groups):,} surveys are held out", flush=True)  # too few end it here
    begin = time.perf_counter()
    train_all(study, rows, jobs)
    print(f"trained or found trained: {(time.perf_counter() - begin) / 60:.1f} min", flush=True)
    out = study.out / f"table_{table}"
    figures, f1 = {}, {}
    for row in rows:
        figures[row.name], f1[row.name] = scorer.result(row, out / _folder_name(row))
        score = figures[row.name]
        print(f"{row.name:<46} {score['val score']:.4f} ({score['from']:.4f}–{score['to']:.4f})")
    frame, gains = as_frame(rows, figures), differences(rows, f1, scorer.blocks)
    with written_whole(out / "results.csv") as part:
        frame.to_csv(part)
    with written_whole(out / "differences.csv") as part:
        gains.to_csv(part)
    with written_whole(out / "results.md") as part:
        part.write_text(as_markdown(TITLES[table], frame, gains, notes(scorer, rows)))
    return frame, gains


def _folder_name(row: Row) -> str:
    return re.sub(r"[^a-z0-9]+", "_", row.name.lower()).strip("_")


def notes(scorer: Scorer, rows: tuple[Row, ...]) -> list[str]:
    """How the figures came about, a sentence each."""
    study = scorer.study
    size, data = study.settings, study.with_gfv
    preset, surveys = size.preset, data.surveys
    image_size = preset.model.get("image_size", 224)
    said = [
        f"{len(surveys):,} surveys, {len(data.species_ids):,} species, images of {image_size} "
        f"pixels; {study.folds} block fold{'s' * (study.folds > 1)} held out, {study.seeds} "
        f"seed{'s' * (study.seeds > 1)}, {preset.max_epochs} epochs.",
        "Scores and validation losses are of held-out surveys, which chose neither epoch nor K; "
        "K and θ were chosen on the other "
        f"{'folds' if study.folds > 1 else 'parts of the fold'}.",
    ]
    if any(row.fused for row in rows):
        said.append(
            f"Cross-fusion averages {preset.folds} models, the later ones fine-tuned "
            f"{preset.fine_tune_epochs} epochs from the first. Its surveys are the same as those "
            "of the other rows, and no fold model saw them: the paper's own scores of these rows "
            "are of surveys that nine of ten models learned from."
        )
    if any(row.step == PO_LISTS for row in rows):
        said.append(
            f"The PO lists of output correction name {scorer.lists.nnz:,} species of "
            f"{(np.diff(scorer.lists.indptr) > 0).sum():,} held-out surveys."
        )
    said.append("Training losses are with mixup. Public and private scores are for the user.")
    if study.size == "small":
        for kind, names in (("image", size.image), ("temporal", size.temporal)):
            used = sorted({getattr(row, kind) for row in rows})
            pairs = ", ".join(f"{name}: `{names[name]}`" for name in used)
            said.append(f"Networks that stand for the paper's {kind} encoders: {pairs}.")
    return said


def parse() -> tuple[Study, dict[str, object]]:
    """The study that the command line asks for, and the other arguments of `run`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=int, choices=sorted(TABLES), required=True)
    parser.add_argument("--data", type=Path, help="a GeoLifeCLEF 2024 folder")
    parser.add_argument("--out", type=Path, default=Path("out/paper_tables"))
    parser.add_argument("--size", choices=sorted(SIZES), help="small without --data, else paper")
    parser.add_argument("--folds", type=int, help="block folds held out in turn; 1 is one of ten")
    parser.add_argument("--seeds", type=int, help="how often each model is trained")
    parser.add_argument("--limit", type=int, help="surveys to use, of whole blocks")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="names of rows to run")
    parser.add_argument("--epochs", type=int, help="of models that start from scratch")
    parser.add_argument("--members", type=int, help="models of a cross-fusion")
    parser.add_argument("--no-pretrained", action="store_true", help="start from random weights")
    parser.add_argument("--jobs", type=int, help="models at a time; as many as cores, on a GPU 1")
    given = parser.parse_args()
    size = given.size or ("small" if given.data is None else "paper")
    out, limit, data = given.out / size, given.limit, given.data
    if data is None:
        data, limit = virtual_folder(given.out, limit or VIRTUAL_SURVEYS), None
    study = Study(
        data, out, size, given.folds or DEFAULTS[size]["folds"],
        given.seeds or DEFAULTS[size]["seeds"], limit, given.epochs, given.members,
        pretrained=False if given.no_pretrained else None,
    )  # fmt: skip
    jobs = 1 if torch.cuda.is_available() else os.cpu_count() or 1
    return study, {"table": given.table, "jobs": given.jobs or jobs, "only": given.only}


def main() -> None:
    """Run the table, and print its Markdown."""
    begin = time.perf_counter()
    study, asked = parse()
    run(study, **asked)
    text = (study.out / f"table_{asked['table']}" / "results.md").read_text()
    print(f"\n{text}\n{(time.perf_counter() - begin) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
