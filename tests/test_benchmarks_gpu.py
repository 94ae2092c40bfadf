"""The cases of the GPU, run on the CPU at their smallest size: results are compared, times not."""

import math
import re
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.models.swin_transformer import WindowAttention

from benchmarks import gpu
from benchmarks.case import Case, CpuClock, Limit, Peer, Row, Timed
from benchmarks.cases import gpu_features, gpu_graph, gpu_network, gpu_profile
from benchmarks.cases.gpu_bench import FULL, SMALL, Bench, GpuClock, Throughput
from benchmarks.cases.gpu_steps import BackboneStep, PaperStep
from benchmarks.inputs import clustered_points
from benchmarks.machine import Speed
from benchmarks.table import read_rows

CPU = torch.device("cpu")
BENCH = Bench(CPU, SMALL, CpuClock(), Speed(1e9, 1e9, 1e9), 1e9)


@pytest.mark.parametrize("group", list(gpu.GROUPS))
def test_every_case_runs_and_gives_what_its_peers_give(group, capsys, monkeypatch):
    compiled = []  # the type checker of the tests is nothing that torch.compile can read
    monkeypatch.setattr(torch, "compile", lambda run, backend: compiled.append(backend) or run)
    rows = list(gpu.run([group], BENCH, repeats=1))
    assert rows
    assert compiled == (["eager"] if group.startswith("compiled") else [])
    for row in rows:
        assert row.seconds > 0, (row.note, capsys.readouterr().err)
        assert row.peer_seconds > 0
        assert "failed" not in row.note
    rates = ["surveys/s" in row.note for row in rows]
    assert all(rates) == any(rates) == (group not in ("graph", "features", "layer", "rows"))


def test_the_command_writes_the_table(tmp_path, capsys):
    given = ["--device", "cpu", "--small", "--only", "layer", "--out", str(tmp_path / "new")]
    assert gpu.main(given) == 0
    rows = read_rows(tmp_path / "new" / "gpu.json")
    assert [row.peer for row in rows] == ["dense Linear", "dense Linear, rows made dense"]
    assert "| dense Linear |" in (tmp_path / "new" / "gpu.md").read_text()
    assert "Tflop/s in bfloat16" in capsys.readouterr().out


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    shown = capsys.readouterr()
    assert "no CUDA device here; --device cpu --small" in shown.err
    assert shown.out == ""


def test_the_plan_names_every_group_with_its_sizes_and_runs_nothing(monkeypatch, capsys):
    monkeypatch.setattr(gpu.Bench, "on", None)
    assert gpu.main(["--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [text.split(":")[0] for text in lines] == list(gpu.GROUPS)
    assert "10,000, 88,987, 1,000,000 surveys" in lines[0]
    assert gpu.main(["--plan", "--small", "--only", "graph"]) == 0
    assert "of 200, 800 surveys" in capsys.readouterr().out


def out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 | GiB\nand more")


def group_of(*cases):
    return {"one": gpu.Group("", lambda bench: iter(cases))}


def test_a_failing_case_or_peer_does_not_lose_the_others(monkeypatch, capsys):
    peers = {"loop": Peer(lambda: 1), "dense": Peer(out_of_memory), "wrong": Peer(lambda: 2)}
    check = lambda ours, theirs: "" if ours == theirs else f"{ours} is not {theirs}"  # noqa: E731
    first = Case("sum", "2", lambda: 1, peers, Limit("write", 1.0), "≥ 2×", check)
    monkeypatch.setattr(gpu, "GROUPS", group_of(first, Case("last", "1", lambda: 0)))
    loop, dense, wrong, last = gpu.run(["one"], BENCH)
    assert (loop.peer, loop.note) == ("loop", "")
    assert loop.seconds > 0
    assert (dense.peer, dense.peer_seconds) == ("dense", None)
    assert dense.note == "failed: OutOfMemoryError: CUDA out of memory. Tried to allocate 9 / GiB"
    assert wrong.note.endswith("wrong gives another result: 1 is not 2")
    assert (last.case, last.note) == ("last", "")
    assert "and more" in capsys.readouterr().err


def test_a_group_that_fails_to_make_a_case_is_a_row_and_the_next_group_runs(monkeypatch):
    def broken(bench):
        yield Case("first", "1", lambda: 0)
        raise OSError("no room")

    groups = {"broken": gpu.Group("", broken), **group_of(Case("last", "1", lambda: 0))}
    monkeypatch.setattr(gpu, "GROUPS", groups)
    first, failed, last = gpu.run(["broken", "one"], BENCH)
    assert [row.case for row in (first, failed, last)] == ["first", "broken", "last"]
    assert failed.note == "failed: OSError: no room"
    assert math.isnan(failed.seconds)


def test_a_failure_is_exit_status_1_and_is_written(monkeypatch, tmp_path):
    monkeypatch.setitem(gpu.GROUPS, "layer", group_of(Case("sum", "2", out_of_memory))["one"])
    given = ["--device", "cpu", "--small", "--only", "layer", "--out", str(tmp_path)]
    assert gpu.main(given) == 1
    (row,) = read_rows(tmp_path / "gpu.json")
    assert row.note.startswith("failed: OutOfMemoryError")
    assert row.ratio is None


def test_no_group_begins_late(monkeypatch):
    monkeypatch.setattr(gpu, "GROUPS", group_of(Case("sum", "2", lambda: 0)))
    monkeypatch.setattr(gpu, "LAST_START_S", -1)
    (row,) = gpu.run(["one"], BENCH)
    assert row.note == "failed: left out: 0 s had passed"


def test_at_full_size_ours_runs_once_before_it_is_timed(monkeypatch):
    ran = []
    case = Case("sum", "2", lambda: ran.append("ours"), {"loop": Peer(lambda: ran.append("loop"))})
    list(gpu.measured(case, replace(BENCH, sizes=FULL), 1))
    assert ran == ["ours", "ours", "loop"]


def test_rates_of_a_part_of_the_work():
    case = Throughput("load", "8", lambda: None, surveys=8)
    row = Row("load", "8", 2.0, "files", 4.0, note="extrapolated from 0.5 of the work")
    (told,) = case.told([row])
    assert told.note == "extrapolated from 0.5 of the work; 4 and 2 surveys/s"
    assert next(case.told([replace(row, peer_seconds=None, note="")])).note == "4 surveys/s"


def test_the_clock_of_a_gpu_waits_and_tells_its_memory(monkeypatch):
    calls = []
    held = iter([3_000_000, 10_000_000])
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: calls.append(name))
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda: next(held))
    timed = GpuClock().time(lambda: calls.append("run") or 5)
    assert calls == ["synchronize", "reset_peak_memory_stats", "run", "synchronize"]
    assert isinstance(timed, Timed)
    assert (timed.result, timed.peak_mb) == (5, 7.0)


# The checks of the cases: each must find what is wrong.


def test_edges_that_differ_are_found():
    points = clustered_points(300)
    ours = gpu_graph.on_device(points, CPU)
    check = gpu_graph.same_edges
    assert check(0.0, ours, ours) == ""
    assert "not the same ones" in check(1.0, ours, tuple(part[..., 1:] for part in ours))
    far = ours[0], ours[1] + 0.01, ours[2]
    assert "differ by 0.01 km" in check(1e-3, ours, far)
    assert "differ by 0.01 km" in check(1e-3, ours, (ours[0], ours[1], ours[2] - 0.01))
    swapped = ours[0].flip(0), ours[1], ours[2]
    assert "not the same ones" in check(1.0, ours, swapped)
    none = tuple(part[..., :0] for part in ours)
    assert check(0.0, none, none) == ""


def test_edges_to_some_surveys_are_compared_with_brute_force(monkeypatch):
    points = clustered_points(300)
    ours = gpu_graph.on_device(points, CPU)
    rows = np.array([0, 5, 200, 299])
    monkeypatch.setattr(gpu_graph, "CELLS", 700)  # two at a time
    some = gpu_graph.brute_force(points, rows, CPU)
    assert set(some[0][1].tolist()) <= set(rows.tolist())
    assert gpu_graph.same_edges_to(rows)(ours, some) == ""
    assert gpu_graph.same_edges_to(np.array([0, 5, 200]))(ours, some) != ""


def test_gradients_that_differ_are_found():
    a, b = torch.eye(2), torch.ones(2, 3)
    same = gpu_features.same_gradients
    assert same((a, b.T), (a, b)) == ""
    assert same((a, b.T + 1), (a, b)) == "entries differ by 1 of the largest"
    assert same((a + 1, b.T), (a, b)) != ""


def test_steps_learn_and_the_average_follows():
    step = PaperStep(BENCH)
    weight = step.model.head.weight
    before, average = weight.detach().clone(), step.training.averaged.head.weight.clone()
    rate = step.optimizer.param_groups[0]["lr"]
    step.run(2)
    assert not torch.equal(weight, before)
    assert not torch.equal(step.training.averaged.head.weight, average)
    assert step.optimizer.param_groups[0]["lr"] > rate
    bare = BackboneStep(BENCH)
    first = next(bare.model.parameters())
    before = first.detach().clone()
    bare.run(1)
    assert not torch.equal(first, before)


def test_what_a_variant_changes(monkeypatch):
    plain = PaperStep(BENCH)
    assert not any(group["fused"] for group in plain.optimizer.param_groups)
    assert plain.forward is plain.model
    windows = [m for m in plain.model.modules() if isinstance(m, WindowAttention)]
    assert windows
    assert not any(window.fused_attn for window in windows)
    other = PaperStep(
        BENCH, channels_last=True, fused_attention=True, fused_optimizer=True, dense_rows=True
    )
    assert plain.batch.gfv.layout == torch.sparse_csr
    assert other.batch.gfv.layout == torch.strided
    assert all(group["fused"] for group in other.optimizer.param_groups)
    windows = [m for m in other.model.modules() if isinstance(m, WindowAttention)]
    assert all(window.fused_attn for window in windows)
    assert other.batch.image.is_contiguous(memory_format=torch.channels_last)
    assert not plain.batch.image.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        logits = [step.model.eval()(step.batch) for step in (plain, other)]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-5)


def test_predictions_are_the_mean_of_the_models():
    (case,) = gpu_network.prediction_cases(BENCH)
    bench, models, batch, rounds = case.ours.args
    (mean,) = case.ours()
    with torch.no_grad():
        expected = sum(model(batch) for model in models) / len(models)
    assert len(models) == bench.sizes.models == 2
    assert rounds == 1
    np.testing.assert_allclose(mean, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert case.whole == 4716


def test_the_profile_lists_what_takes_longest(monkeypatch, capsys):
    monkeypatch.setattr(gpu_profile, "WARM", 1)
    assert gpu.main(["--device", "cpu", "--small", "--profile"]) == 0
    shown = capsys.readouterr().out
    ours, bare = shown.split("paper preset: ")[1].split("bare backbone: ")
    for part in (ours, bare):
        lines = part.strip().splitlines()
        assert "ms a step" in lines[0]
        assert "kernels a step" in lines[1]
        times = [float(text.split(" ms ")[0]) for text in lines[2:]]
        assert len(times) == gpu_profile.SHOWN
        assert times == sorted(times, reverse=True)
        assert "Optimizer.step" not in part


def test_waits_for_the_device_are_told_by_place(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def step(times):
        assert modes[-1] == "warn"
        for _ in range(2 * times):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)

    told = gpu_profile.waits(step)
    assert re.fullmatch(r"2 waits for the device a step: 2 × test_benchmarks_gpu.py:\d+", told)
    assert gpu_profile.waits(lambda times: None).endswith("0 waits for the device a step: none")
    assert modes == ["warn", "default"] * 2
