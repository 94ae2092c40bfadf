"""
Figure 3: how features correlate, by region
===========================================

Pearson's r of the environment's columns in four regions. Columns that go together stand together.
Grey cells have no correlation: a column has one value in the whole region, as Bio2 and Bio15 have
in this made-up north, or fewer than three surveys have both values.
"""

import tempfile

from tighnari_graph import read_glc24_pa
from tighnari_graph.figure_columns import plot_correlations
from tighnari_graph.virtual import virtual_europe
from tighnari_models.data.environment import read_environment, survey_frame

with tempfile.TemporaryDirectory() as folder:
    virtual_europe(1500, 50, 50, 60).write(folder)
    surveys = read_glc24_pa(f"{folder}/GLC24_PA_metadata_train.csv")
    frame = survey_frame(surveys, read_environment(folder, "train").frame)

columns = [name for name in frame if name.startswith(("Bio", "Soilgrid", "Elevation"))][:15]
commonest = frame["region"].value_counts().index[:4]
figure = plot_correlations(frame[frame["region"].isin(commonest)], by="region", columns=columns)
