"""`python -m tighnari_models`: a data folder → fold models, submission, report."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from tighnari_graph.command_arguments import at_least
from tighnari_graph.recipe import RECIPES
from tighnari_models.command import Options, run
from tighnari_models.data.batch import MODALITIES
from tighnari_models.presets import PRESETS


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and run; returns 0, or 2 after an error that the user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m tighnari_models",
        description="Train the multimodal model on a GeoLifeCLEF 2024 folder with whatever "
        "modalities it holds, cross-fuse, fit a decision rule on held-out blocks (CommunityF1; "
        "Threshold Top-K in the paper's recipe), and write submission.csv, logits, models and "
        "report.html. A run that was stopped goes on where it was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add, not_given = parser.add_argument, argparse.SUPPRESS  # then `Options` decides
    add("--data", type=Path, metavar="DIR", default=not_given,
        help="the data set as downloaded (default: a virtual Europe is made)")  # fmt: skip
    add("--out", type=Path, metavar="DIR", default=Options.out, help="where results go")
    add("--preset", choices=tuple(PRESETS), default=Options.preset,
        help="paper: Swin-T, Temporal-Swin, HCAM, 10 folds; light: EfficientNet-B0 for the images; "
        "demo: small, from scratch")  # fmt: skip
    add("--recipe", choices=RECIPES, default=Options.recipe,
        help="best: the preset with multi-scale rows and sets of whole communities where it has "
        "them; paper: without, Threshold Top-K and PO lists")  # fmt: skip
    add("--limit", type=at_least(1), metavar="N", default=not_given,
        help="use N training surveys (whole blocks) for a first look (default: all)")  # fmt: skip
    add("--folds", type=at_least(2), metavar="N", default=not_given,
        help=f"models to fuse (default: {_of_presets('folds')})")  # fmt: skip
    add("--epochs", type=at_least(1), metavar="N", default=not_given,
        help=f"epochs from scratch (default: {_of_presets('max_epochs')})")  # fmt: skip
    add("--batch-size", type=at_least(1), metavar="N", default=not_given,
        help=f"surveys a step (default: {_of_presets('batch_size')})")  # fmt: skip
    add("--warm-start", action=argparse.BooleanOptionalAction, default=not_given,
        help="fine-tune models 2, 3, … from the first "
        f"(default: {_of_presets('warm_start')})")  # fmt: skip
    pretrained = {name: preset.model.get("pretrained", False) for name, preset in PRESETS.items()}
    add("--pretrained", action=argparse.BooleanOptionalAction, default=not_given,
        help="load the image encoder's weights from the hub "
        f"(default: {_in_words(pretrained)})")  # fmt: skip
    add("--weights", type=Path, metavar="FILE", default=not_given,
        help="load them from a file instead (default: none)")  # fmt: skip
    add("--modalities", nargs="+", choices=MODALITIES, metavar="NAME", default=not_given,
        help=f"use these only, of {', '.join(MODALITIES)} (default: all there are)")  # fmt: skip
    add("--max-bad-share", type=float, metavar="SHARE", default=Options.max_bad_share,
        help="share of missing or broken files from which on it is an error")  # fmt: skip
    add("--workers", type=at_least(0), metavar="N", default=Options.workers,
        help="processes that read batches")  # fmt: skip
    add("--seed", type=at_least(0), metavar="N", default=Options.seed,
        help="seed of folds, weights and batches")  # fmt: skip
    try:
        given = vars(parser.parse_args(arguments))
        if "modalities" in given:
            given["modalities"] = tuple(given["modalities"])
        run(Options(**given))
    except torch.OutOfMemoryError as error:
        print(f"error: {error}; take a smaller --batch-size", file=sys.stderr)
        return 2
    except (ValueError, OSError, MemoryError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _of_presets(field: str) -> str:
    """What each preset sets."""
    return _in_words({name: getattr(preset, field) for name, preset in PRESETS.items()})


def _in_words(values: Mapping[str, object]) -> str:
    words = {True: "yes", False: "no"}
    shown = {n: words[v] if isinstance(v, bool) else v for n, v in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


if __name__ == "__main__":
    sys.exit(main())
