"""
Figure 1: cubes, flattened
==========================

A cube holds the years of one survey: six bands of Landsat by quarter, and rain and temperature by
month. Read year by year it becomes a line. Gaps are values that are missing.
"""

import tempfile

from tighnari_graph.virtual import virtual_europe
from tighnari_models import plot_cubes
from tighnari_models.data.cubes import find_cubes, read_cube

with tempfile.TemporaryDirectory() as folder:
    virtual_europe(60, 5, 5, 20).write(folder, cubes=True)
    paths = {kind: find_cubes(folder, kind, "train") for kind in ("landsat", "bioclim")}
    survey = min(paths["landsat"].keys() & paths["bioclim"].keys())
    cubes = {kind: read_cube(paths[kind][survey], kind) for kind in paths}

figure = plot_cubes(cubes["landsat"], cubes["bioclim"])
