"""The one table of a benchmark run, as Markdown and as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from benchmarks.case import Row

_COLUMNS = (
    "case", "size", "ours (s)", "peer", "peer (s)", "ratio (peer / ours)", "aim", "limit (s)",
    "share of the limit", "peak memory (MB)",
)  # fmt: skip


def header() -> str:
    """The first two lines."""
    return _line(_COLUMNS) + "\n" + "|" + "---|" * len(_COLUMNS)


def line(row: Row) -> str:
    """One row of the table.

    Example:
        >>> line(Row("sum", "9 numbers", 0.002, peer="loop", note="extrapolated"))
        '| sum | 9 numbers | 0.00200 | loop | extrapolated |  |  |  |  |  |'
    """
    peer = [_seconds(row.peer_seconds), row.note]
    limit = "" if row.limit_seconds is None else f"{_seconds(row.limit_seconds)}: {row.limit}"
    return _line(
        (
            row.case, row.size, _seconds(row.seconds), row.peer,
            ", ".join(part for part in peer if part), _times(row.ratio), row.aim, limit,
            "" if row.share_of_limit is None else f"{row.share_of_limit:.2%}",
            "" if row.peak_mb is None else f"{row.peak_mb:,.0f}",
        )
    )  # fmt: skip


def markdown(rows: Sequence[Row], about: Mapping[str, str]) -> str:
    """The whole table below what it was measured on."""
    facts = "\n".join(f"- {name}: {value}" for name, value in about.items())
    return "\n".join([facts, "", header(), *map(line, rows)]) + "\n"


def to_json(rows: Sequence[Row], about: Mapping[str, str]) -> str:
    """The same as JSON, ratios included."""
    listed = [
        {**asdict(row), "ratio": row.ratio, "share_of_limit": row.share_of_limit} for row in rows
    ]
    return json.dumps({"about": dict(about), "rows": listed}, indent=1, ensure_ascii=False) + "\n"


def write(folder: Path, name: str, rows: Sequence[Row], about: Mapping[str, str]) -> None:
    """Both forms, as ``name``.json and ``name``.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(to_json(rows, about), encoding="utf-8")
    (folder / f"{name}.md").write_text(markdown(rows, about), encoding="utf-8")


def read_rows(path: str | Path) -> list[Row]:
    """The rows that `to_json` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds no table.
    """
    names = {item.name for item in fields(Row)}
    try:
        listed = json.loads(Path(path).read_text(encoding="utf-8"))["rows"]
        return [Row(**{key: row[key] for key in names & row.keys()}) for row in listed]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: holds no table of a benchmark run ({error!r})") from error


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _seconds(value: float | None) -> str:
    """Three digits that count.

    Example:
        >>> [_seconds(value) for value in (None, 123.4, 1.234, 0.01234, 0.0000123)]
        ['', '123', '1.23', '0.0123', '0.0000123']
    """
    if value is None:
        return ""
    digits = 2
    while abs(value) < 10 ** (2 - digits) and digits < 9:
        digits += 1
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 10 else digits}f}"


def _times(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}×" if value >= 100 else f"{value:.3g}×"
