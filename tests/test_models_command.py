"""`python -m tighnari_models` as a user runs it, and saved models on new files."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.real_data import GLC24, needs_glc24
from tighnari_graph import SurveyDataError, read_glc24_test
from tighnari_graph.submission import check_submission
from tighnari_graph.virtual import virtual_europe
from tighnari_models import Tighnari, TrainingOptions, fit, new_surveys, predict
from tighnari_models.__main__ import main
from tighnari_models.command import Options, run
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.estimate import Estimate
from tighnari_models.presets import PRESETS, hcam_possible


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A small data folder with metadata and environment tables only."""
    world = virtual_europe(150, 30, 60, num_species=60, seed=4)
    return world.write(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def finished(tables, tmp_path_factory):
    """What the command wrote for it: two folds, two epochs."""
    out = tmp_path_factory.mktemp("out")
    summary = run(Options(data=tables, out=out, folds=2, epochs=2))
    return out, summary


def test_the_command_writes_everything(tables, finished):
    out, summary = finished
    found = {path.name for path in out.iterdir()}
    assert {
        "submission.csv",
        "summary.json",
        "report.html",
        "logits_test.npy",
        "logits_tuning.npy",
        "folds",
    } <= found
    test = read_glc24_test(tables / "GLC24_PA_metadata_test.csv")
    species = np.load(out / "folds/fold_00/model/species_ids.npy")
    check_submission(out / "submission.csv", test.survey_id, species)
    logits = np.load(out / "logits_test.npy")
    assert logits.shape == (len(test), len(species))
    assert logits.dtype == np.float16
    assert json.loads((out / "summary.json").read_text()) == summary
    assert summary["modalities"] == "table, gfv, scales"
    assert summary["fusion"] == "concat"
    assert {
        "samples-F1 on tuning surveys, Threshold Top-K",
        "samples-F1 on all folds, survey graph alone",
        "samples-F1 on all folds, sets of communities",
    } <= set(summary)
    html = (out / "report.html").read_text()
    for title in (
        "Loss curves", "Post-processing", "K and θ", "All block folds", "The model", "F1 by region",
        "F1 by degree", "F1 on the map", "Calibration", "Correlations of the table",
        "The table by region",
    ):  # fmt: skip
        assert f"<h2>{title}</h2>" in html
    for title in ("Tokens", "Time series", "Satellite image"):  # there are no such files
        assert f"<h2>{title}</h2>" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_a_second_run_trains_nothing_and_says_the_same(tables, finished):
    out, summary = finished
    weights = out / "folds/fold_01/model/model.safetensors"
    before, text = weights.stat().st_mtime_ns, (out / "submission.csv").read_bytes()
    again = run(Options(data=tables, out=out, folds=2, epochs=2))
    assert weights.stat().st_mtime_ns == before
    assert (out / "submission.csv").read_bytes() == text
    ours, theirs = ({k: v for k, v in s.items() if k != "minutes"} for s in (again, summary))
    assert ours == theirs


def test_other_settings_in_the_same_folder_are_refused(tables, finished):
    out, _ = finished
    with pytest.raises(ValueError, match="max_epochs = 2, asked for 3"):
        run(Options(data=tables, out=out, folds=2, epochs=3))


def test_a_saved_model_predicts_new_files_by_itself(tables, finished, tmp_path):
    out, _ = finished
    alone = tmp_path / "only_test_files"
    for path in tables.rglob("*test*.csv"):
        if "virtual_truth" not in path.parts:
            target = alone / path.relative_to(tables)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    models = [Tighnari.from_pretrained(out / f"folds/fold_0{i}/model") for i in range(2)]
    logits = predict(models, new_surveys(models[0], alone, tmp_path / "prepared"))
    np.testing.assert_allclose(
        logits, np.load(out / "logits_test.npy").astype(np.float32), rtol=2e-3, atol=2e-3
    )


def test_a_model_without_its_surveys_says_so(tables, finished, tmp_path):
    model = Tighnari.from_pretrained(finished[0] / "folds/fold_00/model")
    model.surveys = None
    with pytest.raises(SurveyDataError, match="saved without surveys"):
        new_surveys(model, tables, tmp_path)


def test_fit_then_predict_needs_nothing_between(tables, tmp_path):
    data = SurveyDataModule.from_folder(tables, tmp_path / "prepared")
    config = PRESETS["demo"].config(len(data.species_ids), data.modalities)
    result = fit(
        config, data, tmp_path / "run", max_epochs=1, training=TrainingOptions(progress=False)
    )
    logits = predict(result.model, data.test_dataset())
    assert logits.shape == (len(data.test), len(data.species_ids))


def test_a_column_of_one_table_only_is_left_out_before_training(tables, tmp_path, caplog):
    folder = shutil.copytree(tables, tmp_path / "folder")
    path = folder / "GLC24_PA_metadata_test.csv"
    pd.read_csv(path).drop(columns="areaInM2").to_csv(path, index=False)
    with caplog.at_level("WARNING", logger="tighnari_models"):
        data = SurveyDataModule.from_folder(folder, tmp_path / "prepared")
    assert (
        "1 columns are of training or of test surveys only and left out (areaInM2)" in caplog.text
    )
    assert "areaInM2" not in data.frame


def test_fit_on_all_uses_the_tables_of_both(tables, tmp_path):
    everyone = {}
    for way in ("train", "all"):
        data = SurveyDataModule.from_folder(
            tables, tmp_path / "prepared", modalities=("table",), fit_on=way
        )
        everyone[way] = data.fit_preprocessing(
            np.ones(len(data.surveys), dtype=bool)
        ).table.to_json()
    assert everyone["train"] != everyone["all"]
    with pytest.raises(ValueError, match="fit_on must be"):
        SurveyDataModule(data.surveys, fit_on="test")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--weights", "a.pth", "--pretrained"], "give one"),
        (["--weights", "a.pth"], "a.pth: no such file of weights"),
        (["--limit", "20"], "to choose K and θ on"),
    ],
)
def test_errors_a_user_can_mend(arguments, says, tables, tmp_path, capsys):
    given = arguments if "--data" in arguments else ["--data", str(tables), *arguments]
    assert main([*given, "--out", str(tmp_path / "out")]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--folds", "1"],
        ["--limit", "x"],
        ["--workers", "-1"],
        ["--seed", "-1"],
        ["--preset", "huge"],
    ],
)
def test_arguments_out_of_range_are_refused_at_once(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert arguments[0] in capsys.readouterr().err


def test_presets_are_the_papers_and_fall_back_where_modalities_lack():
    paper = PRESETS["paper"].config(11, ("image", "landsat", "bioclim", "table", "gfv"))
    assert (paper.image_encoder, paper.temporal_encoder, paper.fusion) == (
        "swin_tiny_patch4_window7_224",
        "swin",
        "hcam",
    )
    assert paper.pretrained and PRESETS["paper"].folds == 10 and PRESETS["paper"].warm_start
    assert PRESETS["light"].config(11, paper.modalities).image_encoder == "efficientnet_b0"
    bare = PRESETS["paper"].config(11, ("table", "gfv"))
    assert (bare.fusion, bare.pretrained) == ("concat", False)
    assert not hcam_possible(("image", "table", "gfv")) and hcam_possible(
        ("image", "bioclim", "table", "gfv")
    )


def test_an_estimate_refuses_what_does_not_fit():
    cost = Estimate(
        parameters=10,
        step_seconds=0.1,
        seconds=60.0,
        memory=5,
        memory_free=10,
        disk=5,
        disk_free=10,
    )
    cost.refuse_what_does_not_fit()
    for short, says in ({"memory": 11}, "too little memory"), ({"disk": 11}, "too little disk"):
        with pytest.raises(MemoryError, match=f"{says}.*--batch-size"):
            replace(cost, **short).refuse_what_does_not_fit()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--epochs", "2", "--limit", "200"], marks=pytest.mark.slow),
        pytest.param([], marks=pytest.mark.long),
    ],
)
def test_the_demo_runs_on_a_virtual_europe(options, tmp_path):
    """Every modality, HCAM, all files; the issue asks for four minutes on two cores."""
    command = [sys.executable, "-m", "tighnari_models", "--out", str(tmp_path / "demo"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "demo/summary.json").read_text())
    assert summary["fusion"] == "hcam"
    assert summary["modalities"] == "image, landsat, bioclim, table, gfv, scales"
    assert summary["minutes"] < 4
    assert "samples-F1 on the true test labels" in summary


@pytest.mark.slow
@needs_glc24
def test_real_surveys_beat_the_survey_graph(tmp_path):
    """On the block folds of the real training file, the issue asks for more than the graph alone."""
    summary = run(Options(data=GLC24, out=tmp_path / "out"))
    model = summary["samples-F1 on all folds, Threshold Top-K"]
    assert model > summary["samples-F1 on all folds, survey graph alone"] + 0.005
    assert model > 0.2039  # the graph-only command's figure for these folds
