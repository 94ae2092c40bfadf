"""The benchmark harness, and every case at its smallest size: results are compared, times not."""

import json
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import case as case_module
from benchmarks import cpu, guard, machine
from benchmarks.case import Case, CpuClock, Limit, Peer, Row, Timed, measure
from benchmarks.cases import attach, decisions, features, graph, reading
from benchmarks.inputs import clustered_points, survey_table
from benchmarks.machine import Speed
from benchmarks.table import header, line, markdown, read_rows, to_json
from tests.oracles import great_circle_km
from tighnari_graph import ExpectedF1, SurveyGraph

SPEED = Speed(1e9, 1e9, 1e9)
ABOUT = {"processor": "a machine", "commit": "0000000"}


class Fixed:
    """A clock that tells the next of these seconds whatever is run."""

    def __init__(self, *seconds):
        self.seconds = list(seconds)
        self.ran = []

    def time(self, run):
        self.ran.append(run())
        return Timed(self.seconds.pop(0), float(len(self.ran)), self.ran[-1])


def equal(ours, theirs):
    return "" if ours == theirs else f"{ours} is not {theirs}"


def pair(**changes):
    case = Case("sum", "2 numbers", lambda: "a", {"loop": Peer(lambda: "a")},
                Limit("write it", 0.5), "≥ 2×", equal)  # fmt: skip
    return replace(case, **changes)


def test_the_best_of_rounds_in_which_ours_and_the_peer_take_turns():
    case = replace(pair(), ours=lambda: "ours", peers={"loop": Peer(lambda: "loop")}, check=None)
    clock = Fixed(4.0, 9.0, 2.0, 8.0, 3.0, 7.0)
    (row,) = measure(case, repeats=3, clock=clock)
    assert clock.ran == ["ours", "loop"] * 3
    assert (row.seconds, row.peer_seconds, row.ratio) == (2.0, 7.0, 3.5)
    assert row.share_of_limit == 0.25
    assert row.peak_mb == 5  # the most of runs 1, 3 and 5


def test_slow_rounds_are_run_once_and_quick_ways_more_often_in_a_round():
    assert measure(pair(), 3, Fixed(1.0, 19.5))[0].seconds == 1.0
    clock = Fixed(0.03, 0.2, *[0.03, 0.02, 0.03, 0.2] * 2)
    (row,) = measure(pair(peers={"loop": Peer(lambda: "b")}, check=None), 3, clock)
    assert clock.ran == ["a", "b"] + ["a", "a", "a", "b"] * 2  # 0.1 s of ours
    assert (row.seconds, row.peer_seconds) == (0.02, 0.2)
    clock = Fixed(*[1e-6] * 22)
    measure(pair(), 2, clock)
    assert len(clock.ran) == 2 + 2 * 10
    clock = Fixed(1e-6, 1e-6)
    measure(pair(), 1, clock)
    assert len(clock.ran) == 2


def test_a_share_of_the_work_is_extrapolated_and_said_so():
    case = replace(pair(), peers={"loop": Peer(lambda: "a", share=0.01)})
    (row,) = measure(case, 1, Fixed(1.0, 0.5))
    assert (row.peer_seconds, row.note) == (50.0, "extrapolated from 0.01 of the work")
    assert "50.0, extrapolated from 0.01 of the work" in line(row)
    with pytest.raises(ValueError, match="share must be more than 0, got 0"):
        Peer(lambda: None, share=0)


def test_another_result_is_an_error_that_names_case_peer_and_difference():
    case = replace(pair(), peers={"loop": Peer(lambda: "b")})
    with pytest.raises(RuntimeError, match=r"sum \(2 numbers\): loop gives .* a is not b"):
        measure(case, 1)
    own = replace(pair(), peers={"loop": Peer(lambda: "b", check=lambda *_: "")})
    assert measure(own, 1)[0].peer == "loop"
    with pytest.raises(RuntimeError, match="loop"):
        measure(replace(pair(), peers={"loop": Peer(lambda: "a", check=lambda *_: "no")}), 1)


def test_a_package_that_is_missing_is_a_row_and_other_errors_are_errors():
    def missing():
        import a_package_that_nobody_has  # noqa: F401

    def broken():
        raise OSError("broken")

    case = replace(pair(), peers={"loop": Peer(missing, aim="≥ 3×"), "sum": Peer(lambda: "a")})
    first, second = measure(case, 2)
    assert first.note == "a_package_that_nobody_has is not installed"
    assert first.peer_seconds is None
    assert first.ratio is None
    assert first.aim == "≥ 3×; ≥ 2×"
    assert second.peer_seconds is not None
    assert second.aim == ""
    with pytest.raises(OSError, match="broken"):
        measure(replace(case, peers={"loop": Peer(broken)}), 1)


def test_a_case_without_peers_is_one_row():
    (row,) = measure(Case("sum", "2", lambda: 2), 1, Fixed(3.0))
    assert (row.seconds, row.peer, row.ratio, row.share_of_limit) == (3.0, "", None, None)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak")
def test_the_peak_is_what_was_held_at_once_beyond_what_was_there():
    num = 60_000_000
    there = np.ones(num, dtype=np.uint8)
    timed = CpuClock().time(lambda: np.ones(num, dtype=np.uint8).sum() + there[0])
    assert timed.result == num + 1
    assert 55 < timed.peak_mb < 90
    assert CpuClock().time(lambda: None).peak_mb < 5


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked for it")
def test_memory_that_malloc_keeps_is_given_back():
    parts = [b"x" * (1 << 16) for _ in range(800)]  # 52 MB
    last = b"y" * (1 << 16)  # above them, so that free alone does not lower the top
    full = case_module._resident_mb(reset=True)
    del parts
    cpu.give_back_memory()
    assert full - case_module._resident_mb(reset=True) > 40
    assert len(last) == 1 << 16


def test_where_the_system_tells_no_memory_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(case_module, "_PROCESS", tmp_path / "nowhere")
    assert CpuClock().time(lambda: 1).peak_mb is None
    assert measure(pair(), 1)[0].peak_mb is None


def test_speed_is_measured_by_the_clock_it_is_given():
    speed = Speed.measured(num_bytes=4000, side=10, clock=Fixed(*[2.0] * 3, *[4.0] * 3, *[5.0] * 3))
    assert (speed.write_bytes, speed.read_bytes, speed.flops) == (2000, 1000, 400)
    assert (speed.write(4000), speed.read(500), speed.multiply(800)) == (2, 0.5, 2)
    assert "0.0 GB/s" in str(speed)


def test_the_machine_is_described():
    about = machine.description()
    assert f"torch {torch.__version__.split('+')[0]}" in about["versions"]
    assert about["commit"]
    assert all(about.values())
    assert machine._version("a_package_that_nobody_has") == "not installed"


def test_the_table_survives_json_and_has_a_column_for_every_cell(tmp_path):
    rows = [*measure(pair(), 1, Fixed(0.25, 1.0)), Row("other", "1", 1.0, note="x")]
    (tmp_path / "cpu.json").write_text(to_json(rows, ABOUT))
    assert read_rows(tmp_path / "cpu.json") == rows
    stored = json.loads((tmp_path / "cpu.json").read_text())
    assert stored["about"] == ABOUT
    assert stored["rows"][0]["ratio"] == 4.0
    text = markdown(rows, ABOUT)
    assert "- commit: 0000000" in text
    table = [row for row in text.splitlines() if row.startswith("|")]
    assert len({row.count("|") for row in table}) == 1
    expected = (
        "| sum | 2 numbers | 0.250 | loop | 1.00 | 4× | ≥ 2× | 0.500: write it | 200.00% | 1 |"
    )
    assert table[2] == expected
    assert header() == "\n".join(table[:2])
    for text in ("{", "[]", '{"rows": [{"case": "sum"}]}', '{"rows": 3}'):
        (tmp_path / "cpu.json").write_text(text)
        with pytest.raises(ValueError, match="holds no table of a benchmark run"):
            read_rows(tmp_path / "cpu.json")


def row(ratio, peer="loop", size="2"):
    return Row("sum", size, 1.0, peer, peer_seconds=ratio)


def test_the_guard_warns_of_ratios_that_fell_below_seven_tenths(tmp_path, capsys):
    stored = [row(10.0), row(10.0, "other"), row(None, "absent"), row(4.0, size="3")]
    now = [row(6.9), row(7.1, "other"), row(1.0, "absent"), row(1.0, "new"), row(None, size="3")]
    assert guard.fallen(now, stored) == ["sum (2) beside loop: ratio 6.9, stored 10"]
    for name, rows in (("now.json", now), ("stored.json", stored)):
        (tmp_path / name).write_text(to_json(rows, ABOUT))
    guard.main([str(tmp_path / "now.json"), "--stored", str(tmp_path / "stored.json")])
    assert capsys.readouterr().out == "warning: sum (2) beside loop: ratio 6.9, stored 10\n"
    assert guard.report(stored, tmp_path / "stored.json").startswith("4 rows compared")
    assert "not in results/" in guard.report(now, tmp_path / "none.json")


@pytest.mark.parametrize("group", list(cpu.GROUPS))
def test_every_way_gives_the_same_at_the_smallest_size(group):
    rows = list(cpu.run([group], small=True, speed=SPEED))  # raises if one does not
    assert rows
    assert all(row.seconds > 0 and row.size for row in rows)
    for row in rows:
        run = row.peer_seconds is not None
        assert run == bool(row.peer) or row.note.endswith("is not installed")


@pytest.mark.alone
def test_the_graph_of_the_real_size_is_built_six_times_faster_than_the_balltree_loop():
    """A ratio of two times in one process, taken while nothing else should run."""
    points = clustered_points(graph.SIZES[1])
    peer = Peer(lambda: graph.balltree_loop(points))
    table = graph.table_of(points)
    case = Case("graph", "", lambda: graph.ours(table), {"": peer}, check=graph.same_edges)
    assert measure(case, 2)[0].ratio >= 6


@pytest.mark.alone
def test_features_of_the_real_size_take_seconds_and_under_4_gb():
    built = SurveyGraph.from_surveys(survey_table(features.SURVEYS))
    (row,) = measure(Case("features", "", lambda: features.graph_feature_vectors(built)), 1)
    assert row.seconds < 10
    assert row.peak_mb is None or row.peak_mb < 2000


def test_the_command_prints_the_table_and_writes_it(tmp_path, capsys):
    cpu.main(["--small", "--only", "decisions", "--out", str(tmp_path / "new")])
    shown = capsys.readouterr().out
    rows = read_rows(tmp_path / "new" / "cpu.json")
    assert len(rows) == 3
    written = (tmp_path / "new" / "cpu.md").read_text()
    for row in rows:
        assert line(row) in shown
        assert line(row) in written
    assert "GB/s" in written
    with pytest.raises(SystemExit):
        cpu.main(["--only", "nothing"])


# The checks of the cases: each must find what is wrong.


@pytest.fixture(scope="module")
def points():
    return clustered_points(300)


def test_edges_that_differ_are_found(points):
    ours = graph.ours(graph.table_of(points))
    assert graph.same_edges(ours, ours) == ""
    fewer = tuple(part[..., 1:] for part in ours)
    assert "not the same ones" in graph.same_edges(ours, fewer)
    assert "differ by 0.01" in graph.same_edges(ours, (ours[0], ours[1] + 0.01, ours[2]))
    assert "differ by 0.01" in graph.same_edges(ours, (ours[0], ours[1], ours[2] - 0.01))
    rows = np.array([0, 5])
    some = graph.brute_force(points, rows)
    assert graph.same_of(rows)(ours, some) == ""
    assert graph.same_of(np.array([0, 6]))(ours, some) != ""
    assert graph.as_many_of(rows)(ours, some) == ""
    assert "edges" in graph.as_many_of(rows)(ours, ours)
    assert graph.number_is(ours[0].shape[1])(None, fewer) != ""


def test_the_projection_keeps_areas_and_short_distances_nearly():
    lat, lon = np.array([52.0, 40.0]), np.array([10.0, -5.0])
    east, north = graph.laea_km(lat, lon)
    assert (east[0], north[0]) == pytest.approx((0.0, 0.0), abs=1e-9)
    step = 0.05
    corners = graph.laea_km(lat + step, lon), graph.laea_km(lat, lon + step)
    (e1, n1), (e2, n2) = ((e - east, n - north) for e, n in corners)
    for i in range(2):
        here = (lat[i], lon[i])
        sides = [great_circle_km(*here, lat[i] + step, lon[i]),
                 great_circle_km(*here, lat[i], lon[i] + step)]  # fmt: skip
        found = abs(e1[i] * n2[i] - e2[i] * n1[i])
        assert found == pytest.approx(sides[0] * sides[1], rel=2e-3)
        assert np.hypot(e1[i], n1[i]) == pytest.approx(sides[0], rel=0.02)


def test_surveys_that_were_grouped_otherwise_are_found(tmp_path):
    frame = attach.po_rows(300, 200, 50)
    case = reading.reading_case(frame, tmp_path)
    ours = case.ours()
    theirs = reading.pandas_surveys(tmp_path / "po.csv")
    assert reading.same_surveys(ours, theirs) == ""
    assert reading.same_surveys(ours, theirs[1:]) == "200 and 199 surveys"
    assert "lat of 1 surveys" in reading.same_surveys(
        ours, theirs.assign(lat=np.where(theirs.index == 7, 0, theirs["lat"]))
    )
    lists = theirs["species"].tolist()
    lists[3] = [*lists[3], 49 if 49 not in lists[3] else 48]
    assert "species" in reading.same_surveys(ours, theirs.assign(species=lists))


def test_lists_and_pairs_that_differ_are_found():
    everyone = survey_table(300, 40)
    new = np.arange(300) % 10 == 0
    built = SurveyGraph.from_surveys(everyone.subset(~new))
    po = attach.read_glc24_po(attach.po_rows(400, 300, 40), np.arange(40))
    case = attach.attaching_case(built, everyone.subset(new), po, SPEED)
    hetero = case.ours()
    for peer in case.peers.values():
        pairs = peer.run()
        assert case.check(hetero, pairs) == ""
        (ids, distance), other = pairs
        assert "not the same ones" in case.check(hetero, ((ids[:, 1:], distance[1:]), other))
        assert "distances" in case.check(hetero, ((ids, distance + 0.01), other))
    lists = attach.dictionary_lists(hetero)
    ours = attach.species_lists(hetero, source="both")
    assert attach.same_lists(ours, lists) == ""
    lists[0] = lists[0] ^ {3}
    assert attach.same_lists(ours, lists) == "lists of 1 test nodes"


def test_features_that_differ_are_found():
    built = SurveyGraph.from_surveys(survey_table(200, 60))
    ours = features.graph_feature_vectors(built, normalize=None)
    right, dense = features.torch_product(built), ours.to_dense()
    assert features.same_features(ours, right) == ""
    assert features.same_features(ours, right * 1.01) != ""
    assert features.same_first(ours, dense[:9]) == ""
    assert features.same_first(ours, dense[1:9]) != ""
    assert features.same_dense(ours, dense) == ""
    assert features.same_dense(ours, dense + 1) != ""
    a, b = torch.eye(2), torch.ones(2, 3)
    assert features.same_gradients((a, b.T), (a, b)) == ""
    assert features.same_gradients((a, b.T + 1), (a, b)) != ""
    assert features.same_gradients((a + 1, b.T), (a, b)) != ""


def test_sets_that_are_not_the_best_are_found():
    p, _ = decisions.probabilities(6, 40)
    loop = decisions.expected_loop(p)
    best = ExpectedF1().predict(p)
    assert decisions.near_best(1e-6, best, loop) == ""
    longest = ExpectedF1().predict(np.ones_like(p))
    assert "expected F1 of survey 0" in decisions.near_best(1e-6, longest, loop)
    assert "not the most probable" in decisions.near_best(1e-6, best[:, ::-1].tocsr(), loop)


def test_expected_f1_of_the_plain_loop_is_that_of_all_outcomes():
    p = np.array([0.5, 0.8])
    order, value = decisions.expected_of(p)
    assert order.tolist() == [1, 0]
    # both, only the first, only the second, none: 0.4, 0.4, 0.1, 0.1
    assert value == pytest.approx([0.1, 0.4 * 2 / 3 + 0.4, 0.4 + 0.4 * 2 / 3 + 0.1 * 2 / 3])
