"""
Figure 9: the whole model
=========================

The parts of a model with the sizes of its own configuration, first the paper's hierarchical
cross-attention, then plain concatenation of table and graph features.
"""

from tighnari_models import TighnariConfig, plot_architecture

paper = plot_architecture(TighnariConfig(num_species=11_255))

# %%
# A configuration with two modalities:
config = TighnariConfig(num_species=11_255, modalities=("table", "gfv"), fusion="concat")
small = plot_architecture(config)
