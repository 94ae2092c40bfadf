"""
Figure 10: training of the folds
================================

Loss over the epochs, a model for each fold held out. Marks are the epochs that are kept.
"""

import tempfile

from tighnari_graph import block_folds
from tighnari_graph.virtual import virtual_europe
from tighnari_models import SurveyDataModule, TighnariConfig, TrainingOptions, fit, plot_history

histories = {}
with tempfile.TemporaryDirectory() as folder:
    virtual_europe(300, 30, 50, 60).write(folder)
    data = SurveyDataModule.from_folder(folder, f"{folder}/prepared", batch_size=32)
    config = TighnariConfig(
        len(data.species_ids), data.modalities, fusion="concat",
        table_dim=32, gfv_dim=32, fusion_dim=32,
    )  # fmt: skip
    options = TrainingOptions(lr=2e-3, progress=False)
    folds = block_folds(data.surveys, 4)
    for fold in range(3):
        split = data.with_split(train=folds != fold, val=folds == fold)
        run = fit(config, split, f"{folder}/{fold}", max_epochs=8, training=options)
        histories[f"fold {fold}"] = run.history

ax = plot_history(histories)
