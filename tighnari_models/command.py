"""The main job: a data folder → fold models, logits, a submission and a report."""

import json
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.special import expit

from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import write_array, written_whole
from tighnari_graph.folder import DataFolder
from tighnari_graph.readers import read_glc24_po
from tighnari_graph.sparse import scipy_csr
from tighnari_graph.species_lists import species_lists
from tighnari_graph.submission import check_submission, write_submission
from tighnari_graph.surveys import SurveyTable
from tighnari_graph.truth import true_score
from tighnari_graph.virtual import virtual_europe
from tighnari_models.cross_fusion import FusionResult, cross_fusion
from tighnari_models.data.batch import PAPER_MODALITIES
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.data.scale_rows import ScaleModels
from tighnari_models.estimate import estimate
from tighnari_models.post_processing import PostProcessing, listed_probabilities
from tighnari_models.prediction import predict
from tighnari_models.presets import PRESETS, Preset, hcam_possible
from tighnari_models.report import write_report
from tighnari_models.scoring import Scores, score, tuning_parts
from tighnari_models.trainer import hold_for_run

_VIRTUAL_SURVEYS, _VIRTUAL_TEST = 600, 150


@dataclass(frozen=True)
class Options:
    """What the command line sets; see `python -m tighnari_models --help`."""

    data: Path | None = None
    out: Path = Path("out/models")
    preset: str = "demo"
    recipe: str = "best"
    limit: int | None = None
    folds: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    warm_start: bool | None = None
    pretrained: bool | None = None
    weights: Path | None = None
    modalities: tuple[str, ...] | None = None
    max_bad_share: float = 0.05
    workers: int = 0
    seed: int = 0


def run(options: Options) -> dict[str, object]:
    """Do the whole job and return its summary, which is also written as ``summary.json``.

    Raises:
        FileNotFoundError: if the folder or its PA or test metadata are missing.
        FolderInUseError: if another run works in the output folder.
        SurveyDataError: on a table or file that breaks a rule.
        MemoryError: if memory or disk will not do.
    """
    out = options.out
    if out.exists() and not out.is_dir():
        raise SurveyDataError(f"{out}: a file; --out names a folder")
    with hold_for_run(out, "virtual_europe"):
        return _run(options, out)


def _run(options: Options, out: Path) -> dict[str, object]:
    begin = time.perf_counter()
    logging.basicConfig(format="  %(message)s")
    preset = _chosen_preset(options)
    folder = options.data or _virtual_folder(out, options.seed)
    data, po = _read(folder, options, preset)
    config = preset.config(len(data.species_ids), data.modalities)
    if config.fusion == "concat" and not hcam_possible(data.modalities):
        _say("fusion: concatenation, since hierarchical cross-attention needs every modality")

    parts = tuning_parts(data.surveys, preset.folds, options.seed)
    _fit_scales(data, preset.folds)
    cost = estimate(config, data, preset, out, options.seed)
    _say(f"estimate: {cost}")
    cost.refuse_what_does_not_fit()
    fusion = cross_fusion(
        config, data, out / "folds", folds=preset.folds, warm_start=preset.warm_start,
        max_epochs=preset.max_epochs, fine_tune_epochs=preset.fine_tune_epochs,
        seed=options.seed, training=preset.training,
    )  # fmt: skip
    _say(f"scores, beside the survey graph alone, on folds of {len(data.surveys):,} surveys")
    scales = data.scale_models if "scales" in data.modalities else None
    scores = score(data.surveys, fusion, po, parts, scales, preset.warm_start)
    scored = scores.tuning

    test = data.test_dataset(fusion.folds[0].model.preprocessing)
    if test is None or data.test is None:
        raise SurveyDataError(f"{folder}: no surveys to predict")
    if test.preprocessing is not None and test.preprocessing.table is not None:
        for note, count in test.preprocessing.table.notes.items():
            _say(f"  to predict: {count:,} × {note}")
    logits = predict([fold.model for fold in fusion.folds], test, out=out / "logits_test.npy")
    write_array(out / "logits_tuning.npy", fusion.logits.astype(np.float16))
    richness = None if test.inputs.scales is None else test.inputs.scales.rows.richness
    if scored.community is not None and richness is not None:
        listed = listed_probabilities(logits, richness)
        predicted = scored.community.predict(listed, richness=richness)
    else:
        predicted = scored.rule.predict(expit(np.asarray(logits, dtype=np.float32)))
    corrected = predicted
    if po is not None and scored.community is None:
        lists = scipy_csr(species_lists(data.graph.attach(replace(data.test, labels=None), po)))
        corrected = sparse.csr_matrix(predicted.maximum(lists))
    submission = write_submission(
        out / "submission.csv", data.test.survey_id, corrected, data.species_ids
    )
    check_submission(submission, data.test.survey_id, data.species_ids)

    summary = _summary(data, fusion, scores, corrected)
    summary["species added by PO lists"] = corrected.nnz - predicted.nnz
    truth = DataFolder.find(folder).truth
    if truth is not None:
        reached = true_score(truth, data.test, corrected, data.species_ids)
        summary["samples-F1 on the true test labels"] = round(reached, 4)
    summary["parameters"] = cost.parameters
    summary["minutes"] = round((time.perf_counter() - begin) / 60, 2)
    with written_whole(out / "summary.json") as part:
        part.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    about = f"{folder}, preset {options.preset}, {preset.folds} folds, seed {options.seed}"
    write_report(out / "report.html", about, data, fusion, scores, summary)
    _say("")
    for key, value in summary.items():
        _say(f"{key:<38} {value:,}" if isinstance(value, int) else f"{key:<38} {value}")
    files = ", ".join(sorted(p.name for p in out.glob("[!.]*") if p.is_file()))
    _say(f"{'files':<38} {files} in {out}; models in {out / 'folds'}")
    return summary


def _say(text: str) -> None:
    print(text, flush=True)


def _chosen_preset(options: Options) -> Preset:
    preset = PRESETS[options.preset]
    given = {
        "folds": options.folds,
        "max_epochs": options.epochs,
        "batch_size": options.batch_size,
        "warm_start": options.warm_start,
    }
    changes: dict[str, object] = {name: v for name, v in given.items() if v is not None}
    if options.epochs is not None:
        changes["fine_tune_epochs"] = min(preset.fine_tune_epochs, options.epochs)
    if options.recipe == "paper":
        changes["multiscale"] = False
    model = dict(preset.model)
    if options.pretrained is not None:
        model["pretrained"] = options.pretrained
    if options.pretrained and options.weights is not None:
        raise SurveyDataError("--pretrained loads from the hub and --weights from a file: give one")
    if options.weights is not None:
        if not options.weights.is_file():
            raise FileNotFoundError(f"{options.weights}: no such file of weights")
        model |= {"weights": str(options.weights), "pretrained": False}
    return replace(preset, model=model, **changes)  # type: ignore[arg-type]


def _virtual_folder(out: Path, seed: int) -> Path:
    folder = out / "virtual_europe"
    if not (folder / "virtual_truth/README.txt").exists():
        _say(f"no --data given: writing a virtual Europe (synthetic surveys) to {folder}")
        world = virtual_europe(_VIRTUAL_SURVEYS, _VIRTUAL_TEST, seed=seed)
        world.write(folder, cubes=True, patches=True)
    else:
        _say(f"no --data given: the virtual Europe in {folder} (synthetic surveys)")
    return folder


def _read(
    folder: Path, options: Options, preset: Preset
) -> tuple[SurveyDataModule, SurveyTable | None]:
    found = DataFolder.find(folder)
    _say(f"layout {found.layout}")
    data = SurveyDataModule.from_folder(
        folder, options.out / "prepared", options.modalities, options.limit,
        options.max_bad_share, batch_size=preset.batch_size, num_workers=options.workers,
        seed=options.seed, multiscale=preset.multiscale and options.modalities is None,
    )  # fmt: skip
    labels = data.surveys.known_labels()
    _say(f"training: {len(data.surveys):,} surveys, {labels.nnz:,} labels")
    if options.limit is not None:
        _say(f"  --limit {options.limit:,}: whole blocks, the other surveys are left out")
    _say(f"to predict: {0 if data.test is None else len(data.test):,} surveys")
    missing = [name for name in PAPER_MODALITIES if name not in data.modalities]
    _say(f"modalities: {', '.join(data.modalities)}; missing: {', '.join(missing) or 'none'}")
    po = None if found.po is None else read_glc24_po(found.po, data.species_ids)
    _say(f"presence-only: {'no file' if po is None else f'{len(po):,} surveys'}")
    if "scales" in data.modalities:
        data.scale_models = ScaleModels(data.surveys, po)
    return data, po


def _fit_scales(data: SurveyDataModule, folds: int) -> None:
    """Fit the multi-scale features of the surveys to predict, and say how long that takes."""
    begin = time.perf_counter()
    if data.multiscale_model() is not None:  # another per fold, and one that tunes
        spent = time.perf_counter() - begin
        _say(f"multi-scale features: {spent:.0f} s to fit, {folds + 2} times in all")


def _summary(
    data: SurveyDataModule,
    fusion: FusionResult,
    scores: Scores,
    predicted: sparse.csr_matrix,
) -> dict[str, object]:
    def steps(part: PostProcessing, where: str) -> dict[str, object]:
        reached = part.table["samples-F1"].items()
        return {f"samples-F1 on {where}, {step}": round(f1, 4) for step, f1 in reached}

    scored, unseen = scores.tuning, scores.all_folds
    return {
        "surveys": len(data.surveys),
        "modalities": ", ".join(data.modalities),
        "fusion": fusion.folds[0].model.config.fusion,
        "fold models": len(fusion.folds),
        "best epochs": ", ".join(str(fold.best_epoch + 1) for fold in fusion.folds),
        "K": scored.rule.k,
        "θ": round(scored.rule.threshold, 2),
        "tuning surveys": int(fusion.tuning_rows.sum()),
        **steps(scored, "tuning surveys"),
        **({} if unseen is None else steps(unseen, "all folds")),
        "predictions": predicted.shape[0],
        "species per prediction": round(predicted.nnz / max(predicted.shape[0], 1), 1),
    }
