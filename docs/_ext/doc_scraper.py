"""Figures and interactive maps of a gallery script: those that its variables hold."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

from tighnari_graph import ExploreMap

_PIXELS = 160  # an inch
_IFRAME = """
.. raw:: html

    <iframe class="map" title="Survey graph" loading="lazy" src="../../{name}"></iframe>
    <p><a href="../../{name}">The map alone</a></p>

"""


def figures(block: Any, variables: dict[str, Any], settings: dict[str, Any]) -> str:
    """Save what was made since the last block, and give the text that shows it."""
    known = variables["example_globals"].setdefault("__shown__", [])
    found = [plt.figure(number) for number in plt.get_fignums()]
    text = ""
    for value in list(variables["example_globals"].values()):
        parts = value if isinstance(value, tuple) else (value,)
        found += [part for part in parts if isinstance(part, Figure)]
        found += [part.get_figure() for part in parts if isinstance(part, Axes)]
        if isinstance(value, ExploreMap) and not any(value is one for one in known):
            known.append(value)
            maps = Path(settings["src_dir"]) / "_generated/maps"  # html_extra_path
            maps.mkdir(parents=True, exist_ok=True)
            name = f"{Path(variables['src_file']).stem}.html"
            value.save(maps / name)
            text += _IFRAME.format(name=name)
    paths = []
    for figure in found:
        if any(figure is one for one in known):
            continue
        known.append(figure)
        paths.append(next(variables["image_path_iterator"]))
        figure.savefig(paths[-1], dpi=_PIXELS)
    plt.close("all")
    return figure_rst(paths, settings["src_dir"]) + text
