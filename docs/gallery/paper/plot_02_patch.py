"""
Figure 2: near-infrared beside RGB
==================================

A satellite image of one survey in its natural colours, and in near-infrared, where plants are
bright.
"""

import tempfile

from tighnari_graph.virtual import virtual_europe
from tighnari_models import plot_patch
from tighnari_models.data.patches import find_patches, read_patch

with tempfile.TemporaryDirectory() as folder:
    virtual_europe(60, 5, 5, 20).write(folder, patches=True)
    patches = find_patches(folder, "train").paths()
    patch = read_patch(*patches[min(patches)])

figure = plot_patch(patch)
