"""
Figure 12: training without a part
==================================

The same, of one model with all its modalities and of others that lack one.
"""

import tempfile

from tighnari_graph import block_folds
from tighnari_graph.virtual import virtual_europe
from tighnari_models import SurveyDataModule, TighnariConfig, TrainingOptions, fit, plot_history

histories = {}
with tempfile.TemporaryDirectory() as folder:
    virtual_europe(300, 30, 50, 60).write(folder)
    data = SurveyDataModule.from_folder(folder, f"{folder}/prepared", batch_size=32)
    folds = block_folds(data.surveys, 4)
    split = data.with_split(train=folds > 0, val=folds == 0)
    options = TrainingOptions(lr=2e-3, progress=False)
    parts = {"all": data.modalities, "without table": ("gfv",), "without graph": ("table",)}
    for name, modalities in parts.items():
        config = TighnariConfig(
            len(data.species_ids), modalities, fusion="concat",
            table_dim=32, gfv_dim=32, fusion_dim=32,
        )  # fmt: skip
        run = fit(config, split, f"{folder}/{name}", max_epochs=8, training=options)
        histories[name] = run.history

ax = plot_history(histories)
