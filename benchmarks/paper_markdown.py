"""Write a table of the paper's experiments as Markdown and CSV, the paper's own numbers beside."""

import numpy as np
import pandas as pd

from benchmarks.paper_rows import Row

# What the paper prints, in the order of `Row.paper`, and how many decimals to print.
COLUMNS = {
    "val score": 4,
    "public score": 5,
    "private score": 5,
    "val loss": 5,
    "training loss": 5,
    "seconds per epoch": 1,
}


def as_frame(rows: tuple[Row, ...], figures: dict[str, dict[str, object]]) -> pd.DataFrame:
    """A line per row: our figures, and the paper's in columns of their own.

    Public and private scores are empty: only the competition can give them.
    """
    lines = []
    for row in rows:
        ours = {"public score": None, "private score": None, **figures[row.name]}
        paper = {f"paper {name}": value for name, value in zip(COLUMNS, row.paper, strict=True)}
        lines.append({**ours, **paper})
    frame = pd.DataFrame(lines).set_index("row")
    first = [name for pair in ((c, f"paper {c}") for c in COLUMNS) for name in pair]
    return frame[[*first, *(name for name in frame if name not in first)]]


def as_markdown(title: str, frame: pd.DataFrame, gains: pd.DataFrame, notes: list[str]) -> str:
    """The section for `benchmarks/README.md`: figures, what each step added, and how it was done.

    Args:
        title: heading.
        frame: from `as_frame`.
        gains: from `differences`.
        notes: how it was measured, a sentence each.
    """
    truth = frame["test score"].notna().any()
    heads = ["", "val score (95 %)", "paper", *(["true test labels"] if truth else []), "K, θ"]
    for name in list(COLUMNS)[1:]:
        heads += [name, "paper"]
    lines = [
        f"### {title}",
        "",
        *(f"- {note}" for note in notes),
        "",
        _line(heads),
        _line(["---"] * len(heads)),
    ]
    for name, row in frame.iterrows():
        score = (
            f"{_number(row['val score'], 4)} ({_number(row['from'], 3)}–{_number(row['to'], 3)})"
        )
        cells = [str(name), score, _number(row["paper val score"], 5)]
        cells += [_number(row["test score"], 4)] if truth else []
        cells += [f"{row['K']}, {row['θ']:.2f}" if row["θ"] else f"{row['K']}"]
        for column, digits in list(COLUMNS.items())[1:]:
            decimals = 0 if column.startswith("seconds") else 5
            cells += [_number(row[column], digits), _number(row[f"paper {column}"], decimals)]
        lines.append(_line(cells))
    if len(gains):
        lines += ["", _line(["step", "compared with", "difference", "95 %", "as measured"])]
        lines.append(_line(["---"] * 5))
    for name, row in gains.iterrows():
        spread = f"{row['from']:+.4f} to {row['to']:+.4f}"
        cells = [str(name), row["against"], f"{row['difference']:+.4f}", spread]
        lines.append(_line([*cells, row["as measured"]]))
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: object, digits: int) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.{digits}f}"  # type: ignore[call-overload]
