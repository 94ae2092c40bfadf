"""One HTML file that opens without a network: tables, and figures inside it as pictures."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tighnari_graph.files import written_whole

_PIXELS_PER_INCH = 110  # of a figure as it is shown
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #8884; text-align: right; }
th:first-child, td:first-child { text-align: left; }
td { white-space: nowrap; }
.pairs td { white-space: normal; overflow-wrap: break-word; text-align: left; }
figure { margin: 1rem 0; } img { max-width: 100%; background: white; border-radius: 4px; }
figcaption, .note { color: #767676; font-size: .9rem; }
"""


class Report:
    """Sections in the order in which they are added.

    Example:
        >>> report = Report("Surveys", "a first look")
        >>> report.add("Sizes", "What was read.", table=pd.DataFrame({"surveys": [3]}))
        >>> "<h2>Sizes</h2>" in report.to_html()
        True
    """

    def __init__(self, title: str, subtitle: str) -> None:
        self.title, self.subtitle = title, subtitle
        self._parts: list[str] = []

    def add(
        self,
        heading: str,
        text: str = "",
        table: pd.DataFrame | None = None,
        figure: Figure | Axes | None = None,
        index: bool = False,
    ) -> None:
        """Add a section: a heading, and under it a text, a table, and a figure, as given."""
        self._parts.append(f"<h2>{html.escape(heading)}</h2>")
        if text:
            self._parts.append(f"<p>{html.escape(text)}</p>")
        if table is not None:
            pairs = "pairs" if table.shape[1] == 2 and not index else None
            markup = table.to_html(
                index=index, border=0, na_rep="", float_format="%.4g", classes=pairs
            )
            self._parts.append(f'<div class="scroll">{markup}</div>')
        if figure is not None:
            self._parts.append(f"<figure>{_image(figure, heading)}</figure>")

    def to_html(self) -> str:
        """The whole page."""
        title = html.escape(self.title)
        return "\n".join(
            [
                "<!doctype html>",
                '<html lang="en"><head><meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{title}</title><style>{_STYLE}</style></head><body>",
                f'<h1>{title}</h1><p class="note">{html.escape(self.subtitle)}</p>',
                *self._parts,
                "</body></html>",
            ]
        )

    def write(self, path: str | Path) -> Path:
        """Write the page, whole or not at all."""
        with written_whole(path) as part:
            part.write_text(self.to_html(), encoding="utf-8")
        return Path(path)


def _image(drawn: Figure | Axes, alt: str) -> str:
    """A picture inside the page, twice as fine as it is shown, for dense screens and print."""
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure()
    if not isinstance(figure, Figure):
        raise ValueError("the axes belong to no figure")
    width = round(figure.get_figwidth() * _PIXELS_PER_INCH)
    figure.set_dpi(2 * _PIXELS_PER_INCH)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" width="{width}" src="data:image/png;base64,{data}">'


def key_values(rows: Sequence[tuple[str, object]]) -> pd.DataFrame:
    """A table of two columns without heads."""
    return pd.DataFrame({"": [key for key, _ in rows], " ": [str(value) for _, value in rows]})
