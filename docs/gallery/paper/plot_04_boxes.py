"""
Figure 4: features by region
============================

The middle half of the values is in the box, the middle 90 % between the whiskers. Columns of
GeoLifeCLEF have their units.
"""

import tempfile

from tighnari_graph import read_glc24_pa
from tighnari_graph.figure_columns import plot_boxes
from tighnari_graph.virtual import virtual_europe
from tighnari_models.data.environment import read_environment, survey_frame

with tempfile.TemporaryDirectory() as folder:
    virtual_europe(1500, 50, 50, 60).write(folder)
    surveys = read_glc24_pa(f"{folder}/GLC24_PA_metadata_train.csv")
    frame = survey_frame(surveys, read_environment(folder, "train").frame)

columns = ["Bio1", "Bio7", "Bio12", "Bio15", "Elevation", "Soilgrid-phh2o"]
commonest = frame["region"].value_counts().index[:6]
figure = plot_boxes(frame[frame["region"].isin(commonest)], columns=columns)
