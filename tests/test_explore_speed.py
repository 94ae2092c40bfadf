"""How fast the page of `explore` draws while it moves, at the real size, without a graphics card."""

import json

import numpy as np
import pytest

from tests.explore_visit import KEPT, Visit, marks
from tests.test_explore_gestures import middle, surveys
from tighnari_graph.explore import explore

pytestmark = marks
# The middle frame of those that move and the worst of all in milliseconds, with room for a busy
# machine of two cores; the best of three times counts, for such a machine may hang for a while.
WHEEL_MS, DRAG_MS, WORST_MS, TRIES = 150.0, 100.0, 1500.0, 3
WATCH = """() => { window.frames_ms = []; window.moves_ms = []; window.watched = true;
  let last = performance.now(), seen = view.now, moves = false;
  const tick = () => { const now = performance.now(); frames_ms.push(now - last);
    if (moves) moves_ms.push(now - last); // a frame that drew a move, no idle one
    moves = view.now !== seen; seen = view.now; last = now;
    if (watched) requestAnimationFrame(tick); }; requestAnimationFrame(tick); }"""


def frames(visit, act):
    visit.settle()
    visit.page.evaluate(WATCH)
    act()
    visit.page.wait_for_timeout(300)
    visit.settle()
    times = visit.page.evaluate("() => { window.watched = false; return frames_ms.slice(1); }")
    moves = visit.page.evaluate("moves_ms")
    found = {"median": float(np.median(times)), "worst": max(times), "frames": len(times)}
    return {**found, "median of moves": float(np.median(moves)), "moves": len(moves)}


@pytest.mark.alone
def test_ninety_thousand_surveys_move_fluently(browser, tmp_path):
    visit = Visit(browser, explore(surveys(90_000), tmp_path / "map.html").path)
    x, y = middle(visit)
    mouse = visit.page.mouse

    def drag():
        mouse.move(x, y)
        mouse.down()
        for k in range(40):
            mouse.move(x + 4 * k, y + 2 * k)
            visit.page.wait_for_timeout(16)
        mouse.up()

    def wheel(turn):
        mouse.move(x, y)
        for _ in range(12):
            mouse.wheel(0, turn)
            visit.page.wait_for_timeout(30)

    def fluent(times, most):
        return times["median of moves"] < most and times["worst"] < WORST_MS

    def measured(act, most):
        start = visit.page.evaluate("view.now")
        for _ in range(TRIES):
            visit.page.evaluate("(now) => moveTo(now)", start)
            times = frames(visit, act)
            if fluent(times, most):
                break
        return times

    found = {
        "drag": measured(drag, DRAG_MS),
        "wheel in": measured(lambda: wheel(-100), WHEEL_MS),
        "drag close": measured(drag, DRAG_MS),
        "wheel out": measured(lambda: wheel(100), WHEEL_MS),
    }
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / "frames.json").write_text(json.dumps(found, indent=1))
    for name, times in found.items():
        assert fluent(times, WHEEL_MS if name.startswith("wheel") else DRAG_MS), (name, times)
    assert visit.complaints == []
    visit.page.close()
