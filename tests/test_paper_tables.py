"""The paper's tables: all rows are there, and a tiny ladder runs, resumes and is rendered."""

import numpy as np
import pandas as pd
import pytest
import timm
import torch

from benchmarks import paper_runs, paper_tables
from benchmarks.paper_markdown import COLUMNS, as_frame, as_markdown
from benchmarks.paper_rows import SIZES, TABLES, Row
from benchmarks.paper_runs import Study, virtual_folder
from benchmarks.paper_scores import differences, interval
from tighnari_graph.bootstrap import block_interval
from tighnari_models.config import TighnariConfig
from tighnari_models.data.batch import PAPER_MODALITIES
from tighnari_models.tighnari import Tighnari

ROWS = [row for rows in TABLES.values() for row in rows]


def test_every_row_of_the_paper_is_there_with_its_numbers():
    assert [len(TABLES[number]) for number in (1, 2, 3)] == [4, 6, 12]
    third = {row.name: row for row in TABLES[3]}
    assert third["10 Fold Cross Fusion without HCAM and GFV"].paper[:3] == (
        0.49120,
        0.34790,
        0.34625,
    )
    assert third["EfficientNet and Swin-T"].paper[:3] == (0.40824, 0.30872, 0.31349)
    assert third["Official baseline, Top-K tuned"].paper[2] == 0.32359
    assert TABLES[2][5].paper == (0.42737, 0.32488, 0.32216, 0.00377, 0.00331, 302)
    assert TABLES[1][1].image == "ViT-Base"


def test_rows_are_compared_with_earlier_rows_of_their_table():
    for rows in TABLES.values():
        names = [row.name for row in rows]
        assert len(set(names)) == len(names)
        for place, row in enumerate(rows):
            assert row.against is None or row.against in names[:place]


def test_the_same_model_is_trained_once_for_all_tables():
    baseline = {
        TABLES[1][0].trained,
        TABLES[2][0].trained,
        TABLES[3][0].trained,
        TABLES[3][2].trained,
    }
    assert baseline == {"swin-t-tiny_resnet18_concat"}
    assert TABLES[2][1].trained == TABLES[3][3].trained
    assert len({row.trained for row in TABLES[3]}) == 6


@pytest.mark.parametrize(
    "row", {row.trained: row for row in ROWS}.values(), ids=lambda r: r.trained
)
def test_every_row_is_a_model_that_can_be_built(row):
    modalities = PAPER_MODALITIES if row.gfv else PAPER_MODALITIES[:-1]
    paper, small = (
        TighnariConfig(5, modalities=modalities, num_table_features=3, **size.model(row))
        for size in (SIZES["paper"], SIZES["small"])
    )
    assert paper.pretrained and timm.is_model(paper.image_encoder)  # too large to build in a test
    assert timm.is_model(paper.temporal_encoder) or paper.temporal_encoder in ("swin", "vit")
    with torch.device("meta"):
        assert Tighnari(small).head.out_features == 5


def test_interval_of_one_seed_is_that_over_blocks():
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 40, 300)
    values = rng.random(300) + 0.3 * rng.random(40)[blocks]
    low, high = interval(values[None], blocks)
    expected = block_interval(values, blocks, draws=2000)
    assert np.allclose([low, high], expected, atol=0.01)
    assert low < values.mean() < high


def test_interval_knows_that_seeds_differ():
    blocks = np.arange(50)
    same = np.tile(np.linspace(0, 0.1, 50), (3, 1))
    other = same + np.array([[0.0], [0.5], [1.0]])
    assert np.diff(interval(same, blocks)) < 0.1 < 0.5 < np.diff(interval(other, blocks))


def test_differences_are_paired():
    rows = (Row("a", against=None), Row("b", against="a"), Row("c", against="b"))
    rng = np.random.default_rng(0)
    first = rng.random((3, 60))
    f1 = {"a": first, "b": first + 0.01, "c": first + 0.01}
    gains = differences(rows, f1, np.arange(60) // 2)
    assert gains["as measured"].tolist() == ["helped", "no difference seen"]
    assert gains["difference"].to_numpy() == pytest.approx([0.01, 0.0])
    hurt = differences(rows[:2], {"a": first, "b": first - 0.01}, np.arange(60) // 2)
    assert hurt["as measured"].tolist() == ["hurt"]


def test_markdown_leaves_public_and_private_scores_to_the_user():
    row = TABLES[3][2]
    ours = {"row": row.name, "val score": 0.5, "from": 0.4, "to": 0.6, "val loss": 0.1}
    ours |= {
        "training loss": 0.2,
        "seconds per epoch": 3.0,
        "K": 25,
        "seeds": 1,
        "θ": 0.0,
        "test score": None,
    }
    frame = as_frame((row,), {row.name: ours})
    gains = differences((row,), {row.name: np.ones((1, 4))}, np.arange(4))
    text = as_markdown("Table 3", frame, gains, ["A note."])
    line = next(line for line in text.splitlines() if line.startswith("| Baseline"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["Baseline", "0.5000 (0.400–0.600)", "0.42110"]
    assert cells[3:8] == ["25", "", "0.32774", "", "0.32816"]
    assert cells[-2:] == ["3.0", "271"]
    assert frame["public score"].isna().all()
    assert {f"paper {name}" for name in COLUMNS} <= set(frame)


def test_a_tiny_ladder_runs_and_resumes(tmp_path, monkeypatch, capsys):
    folder = virtual_folder(tmp_path, 80)
    study = Study(folder, tmp_path / "small", folds=2, seeds=1, epochs=1, members=2)
    only = ("Swin-T replace ResNet", "10 Fold Cross Fusion without HCAM and GFV")
    frame, gains = paper_tables.run(study, 3, only=only)
    assert frame["val score"].between(0, 1).all()
    assert frame["val loss"].notna().all()
    assert gains.index.tolist() == [only[1]]
    written = study.out / "table_3"
    places = [
        written / name
        for name in ("swin_t_replace_resnet", "10_fold_cross_fusion_without_hcam_and_gfv")
    ]
    for place in places:
        assert len(pd.read_csv(place / "submission.csv")) == 20
    before = {
        path: path.stat().st_mtime_ns
        for path in study.out.rglob("*")
        if path.name in ("row.json", "test.npy")
    }
    assert len(before) == 2 + 4  # two models in each of two folds, the first of them also alone

    def refuse(*_, **__):
        raise AssertionError("a finished model was trained again")

    monkeypatch.setattr(paper_runs, "fit", refuse)
    again, _ = paper_tables.run(
        Study(folder, study.out, folds=2, seeds=1, epochs=1, members=2), 3, only=only
    )
    pd.testing.assert_frame_equal(frame, again)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(ValueError, match="differs in preset"):
        paper_tables.run(
            Study(folder, study.out, folds=2, seeds=1, epochs=2, members=2), 3, only=only
        )


def test_help_names_the_tables(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["paper_tables", "--help"])
    with pytest.raises(SystemExit):
        paper_tables.parse()
    assert "Tables 1, 2 and 3" in capsys.readouterr().out
