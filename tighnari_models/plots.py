"""Figures of a training: loss curves, and what each step of the post-processing is worth."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes


def plot_history(histories: dict[str, pd.DataFrame]) -> Axes:
    """Training and validation loss of every model over the epochs; the best epoch is marked.

    Args:
        histories: name of the model → its history, as `fit` returns it.

    Source: Liu et al. 2024, figures 10 and 12.

    Example:
        >>> history = pd.DataFrame({"epoch": [0, 1], "train_loss": [0.3, 0.2],
        ...     "val_loss": [0.4, 0.3]})
        >>> plot_history({"fold 0": history}).get_ylabel()
        'binary cross-entropy'
    """
    _, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    colors = plt.get_cmap("viridis")
    for number, (name, history) in enumerate(histories.items()):
        color = colors(number / max(len(histories), 1))
        epoch = history["epoch"] + 1
        axes.plot(epoch, history["train_loss"], "--", color=color, linewidth=1)
        axes.plot(epoch, history["val_loss"], color=color, linewidth=1.5, label=name)
        best = history["val_loss"].idxmin() if history["val_loss"].notna().any() else None
        if best is not None:
            axes.plot(epoch[best], history["val_loss"][best], "o", color=color, markersize=4)
    axes.set_xlabel("epoch")
    axes.set_ylabel("binary cross-entropy")
    axes.set_title("validation (solid), training with mixup (dashed)", fontsize=10)
    if len(histories) > 1:
        axes.legend(fontsize=8, ncols=2)
    return axes


def plot_steps(table: pd.DataFrame) -> Axes:
    """Samples-F1 of every step with its interval over blocks.

    Args:
        table: of `post_processing`: a row per step with columns samples-F1, from and to.

    Source: Liu et al. 2024, table 3 (last rows).

    Example:
        >>> table = pd.DataFrame({"samples-F1": [0.2], "from": [0.1], "to": [0.3]}, index=["Top-K"])
        >>> plot_steps(table).get_xlabel()
        'samples-F1'
    """
    _, axes = plt.subplots(figsize=(7, 0.6 + 0.45 * len(table)), layout="constrained")
    score = table["samples-F1"]
    spread = [score - table["from"], table["to"] - score]
    axes.barh(table.index, score, xerr=spread, color="#4c78a8", capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel("samples-F1")
    return axes
