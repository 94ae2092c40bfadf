"""
Figure 8: tokens of the encoders
================================

What a model's own configuration makes of cubes and image: patches become tokens, and tokens of one
tint attend to each other. Nothing is trained or loaded.
"""

from tighnari_models import TighnariConfig, plot_token_grids

figure = plot_token_grids(TighnariConfig(num_species=11_255))
