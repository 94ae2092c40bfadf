"""Both commands as a user runs them, and the report as a browser sees it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.real_data import GLC24, needs_glc24
from tighnari_graph import SurveyGraph, check_submission, species_vocabulary
from tighnari_graph.__main__ import main
from tighnari_graph.report import Report, key_values
from tighnari_graph.virtual import virtual_europe

ROOT = Path(__file__).parents[1]
PAPER = ("--recipe", "paper")  # the quick one
FILES = [
    "gfv_survey.npz",
    "gfv_test.npz",
    "graph.safetensors",
    "multiscale.safetensors",
    "report.html",
    "submission.csv",
    "summary.json",
]


def command(
    *arguments: object, cwd: Path = ROOT, timeout: float = 250
) -> subprocess.CompletedProcess:
    quiet = ("ignore::DeprecationWarning", "ignore:`torch.jit.script`")  # of other libraries
    line = [sys.executable, "-W", "error", *(part for one in quiet for part in ("-W", one))]
    line += ["-m", "tighnari_graph"]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*line, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=path,
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    return virtual_europe(num_surveys=150, num_test=30, num_po=120, num_species=40, seed=3).write(
        folder
    )


def test_the_command_writes_everything_and_says_so(world, tmp_path):
    done = command("--data", world, "--out", tmp_path / "out", "--folds", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "out").glob("[!.]*")) == FILES
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["surveys"], summary["predictions"]) == (150, 30)
    for text in (
        "layout Kaggle",
        "directed edges",
        "; needs about",
        "multi-scale with PO: block-fold samples-F1",
        "submission.csv",
    ):
        assert text in done.stdout
    graph = SurveyGraph.load(tmp_path / "out" / "graph.safetensors")
    assert graph.num_edges == summary["edges survey → survey"]
    test = pd.read_csv(world / "GLC24_PA_metadata_test.csv")
    check_submission(
        tmp_path / "out" / "submission.csv", test["surveyId"].to_numpy(), graph.species_ids
    )
    page = (tmp_path / "out" / "report.html").read_text()
    figures = re.findall(r'<img alt="([^"]+)" width="\d+" src="data:image/png;base64,', page)
    assert figures == [
        "Where surveys are", "Species", "Neighbours", "Degrees", "The block shift", "The ladder",
        "K and θ", "F1 by region", "F1 by degree", "F1 on the map", "Calibration",
    ]  # fmt: skip
    assert not re.search(r'(src|href)="(?!data:)', page)  # opens without a network
    assert "The ladder" in page


def test_the_same_seed_gives_the_same_submission_byte_for_byte(world, tmp_path):
    for out in ("a", "b"):
        assert (
            main([*PAPER, "--data", str(world), "--out", str(tmp_path / out), "--folds", "3"]) == 0
        )
    assert (tmp_path / "a/submission.csv").read_bytes() == (
        tmp_path / "b/submission.csv"
    ).read_bytes()
    assert (tmp_path / "a/graph.safetensors").read_bytes() == (
        tmp_path / "b/graph.safetensors"
    ).read_bytes()


def test_a_first_look_takes_as_many_surveys_as_asked(world, tmp_path, capsys):
    assert (
        main(
            [*PAPER, "--data", str(world), "--out", str(tmp_path), "--folds", "2", "--limit", "60"]
        )
        == 0
    )
    assert json.loads((tmp_path / "summary.json").read_text())["surveys"] == 60
    assert "60 surveys of whole blocks" in capsys.readouterr().out


def test_a_folder_without_po_is_said_and_used(world, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(world, data)
    (data / "GLC24_P0_metadata_train.csv").unlink()
    assert main([*PAPER, "--data", str(data), "--out", str(tmp_path / "out"), "--folds", "2"]) == 0
    assert "presence-only: no file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "error: nowhere: no such folder"),
        (["--folds", "1"], "error: num_folds must be from 2"),
        (["--radius-km", "-3"], "error: radius_km must be a positive number"),
    ],
)
def test_what_the_user_can_mend_is_one_line_without_a_traceback(
    world, tmp_path, capsys, arguments, message
):
    data = [] if "--data" in arguments else ["--data", str(world)]
    assert main([*data, *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_a_broken_table_is_named_by_the_command(world, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(world, data)
    path = data / "GLC24_PA_metadata_train.csv"
    path.write_text(path.read_text()[:5000])
    assert main(["--data", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "error: GLC24_PA_metadata_train.csv: " in capsys.readouterr().err


def test_help_shows_the_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "(default: 10.0)" in text
    assert "(default: 5)" in text


def test_without_data_the_command_makes_a_virtual_europe_and_scores_the_truth(tmp_path, capsys):
    assert main([*PAPER, "--out", str(tmp_path), "--folds", "2"]) == 0
    assert "virtual Europe" in capsys.readouterr().out
    score = json.loads((tmp_path / "summary.json").read_text())[
        "samples-F1 on the true test labels"
    ]
    assert 0.3 < score < 0.7


@needs_glc24
def test_the_real_surveys_end_to_end(tmp_path):
    done = command("--data", GLC24, "--out", tmp_path, *PAPER)
    assert done.returncode == 0, done.stderr
    assert "training: 3,284 surveys, 58,381 labels, 2,700 species" in done.stdout
    assert "to predict: 832 surveys" in done.stdout
    assert "presence-only: 992 surveys" in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["block-fold samples-F1"] >= 0.195
    assert summary["seconds"] < 60
    test = pd.read_csv(GLC24 / "GLC24_PA_metadata_test.csv")
    vocabulary = species_vocabulary(
        GLC24 / "GLC24_PA_metadata_train.csv", GLC24 / "GLC24_P0_metadata_train.csv"
    )
    check_submission(tmp_path / "submission.csv", test["surveyId"].to_numpy(), vocabulary)
    assert len(pd.read_csv(tmp_path / "submission.csv")) == 832


@pytest.mark.slow
@needs_glc24
def test_the_best_recipe_reaches_its_aims_on_held_out_blocks(tmp_path):
    done = command("--data", GLC24, "--out", tmp_path, timeout=1200)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["multi-scale without PO, block-fold samples-F1"] >= 0.25
    assert summary["multi-scale with PO, block-fold samples-F1"] >= 0.29
    assert len(pd.read_csv(tmp_path / "submission.csv")) == 832


@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium on this machine")
def test_the_report_opens_in_a_browser_without_a_network(world, tmp_path):
    assert main([*PAPER, "--data", str(world), "--out", str(tmp_path), "--folds", "2"]) == 0
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}",
         "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Survey graph and graph-only prediction" in done.stdout


def test_a_table_of_pairs_wraps_and_one_of_numbers_does_not():
    """On a phone the value of a pair is seen without a move of the hand."""
    pairs, table = key_values([("K", 3)]), pd.DataFrame({"a": [1], "b": [2], "c": [3]})
    report = Report("title", "subtitle")
    report.add("one", table=pairs)
    report.add("other", table=table)
    page = report.to_html()
    assert page.count('class="dataframe pairs"') == 1
    assert page.index('class="dataframe pairs"') < page.index("<h2>other</h2>")
