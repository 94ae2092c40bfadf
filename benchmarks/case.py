"""A benchmark case: what ours does, what others would run instead, and how both are timed."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

REPEATS = 3
_SLOW = 20.0  # seconds of one round of all ways, from which on there is only one
_QUICK = 0.1  # seconds; a quicker way runs more often in a round, up to _MOST times
_MOST = 10
_PROCESS = Path("/proc/self")

Run = Callable[[], Any]
Check = Callable[[Any, Any], str]


@dataclass(frozen=True)
class Peer:
    """Another way to do the work of a case.

    Attributes:
        run: does it and returns the result. A package that is not there (`ModuleNotFoundError`)
            makes a row that says so.
        share: of the whole work that ``run`` does; its seconds are divided by it, and the row says
            so.
        check: (our result, the peer's) → what differs, "" if nothing. None: the case's.
        aim: what ours should reach beside this peer.
    """

    run: Run
    share: float = 1.0
    check: Check | None = None
    aim: str = ""

    def __post_init__(self) -> None:
        if not self.share > 0:
            raise ValueError(f"share must be more than 0, got {self.share}")


@dataclass(frozen=True)
class Limit:
    """What the machine would need for the least that any way must do.

    Attributes:
        what: in words.
        seconds: measured in the same run, see `benchmarks.machine.Speed`.
    """

    what: str
    seconds: float


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        name: the work.
        size: of what.
        ours: does it with the library.
        peers: name → peer.
        limit: of the machine, None where none is meant.
        aim: what is wanted of ours, whatever the peers do; it stands in the case's first row.
        check: as `Peer.check`, for peers without one; None where results cannot be compared.
    """

    name: str
    size: str
    ours: Run
    peers: Mapping[str, Peer] = field(default_factory=dict)
    limit: Limit | None = None
    aim: str = ""
    check: Check | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table: ours beside one peer, or alone.

    Attributes:
        case, size: as of the case.
        seconds: best of ours.
        peer: its name, "" if the case has none.
        peer_seconds: its best; None if it could not run.
        aim: the peer's, and in the first row of a case the case's.
        limit, limit_seconds: as of the case; "" and None without.
        peak_mb: most memory that ours took beyond what was there before; None where the machine
            does not tell.
        note: that a peer is missing, or was extrapolated.
    """

    case: str
    size: str
    seconds: float
    peer: str = ""
    peer_seconds: float | None = None
    aim: str = ""
    limit: str = ""
    limit_seconds: float | None = None
    peak_mb: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Peer's seconds over ours.

        Example:
            >>> Row("sum", "9 numbers", 2.0, peer="loop", peer_seconds=6.0).ratio
            3.0
        """
        return None if self.peer_seconds is None else self.peer_seconds / self.seconds

    @property
    def share_of_limit(self) -> float | None:
        """The limit's seconds over ours: 1 is as fast as the machine."""
        return None if self.limit_seconds is None else self.limit_seconds / self.seconds


@dataclass(frozen=True)
class Timed:
    """One call: seconds, megabytes above what was there before (or None), and the result."""

    seconds: float
    peak_mb: float | None
    result: Any


class Clock(Protocol):
    """Times one call. That of a GPU waits for the device before and after, and asks it for memory.

    Example:
        >>> class Counting:
        ...     def time(self, run: Run) -> Timed:
        ...         return Timed(1.0, None, run())
        >>> [row.seconds for row in measure(Case("sum", "2", lambda: 1 + 1), clock=Counting())]
        [1.0]
    """

    def time(self, run: Run) -> Timed:
        """Run it once."""


class CpuClock:
    """Wall time, and the peak of resident memory where Linux tells it."""

    def time(self, run: Run) -> Timed:
        """Run it once."""
        before = _resident_mb(reset=True)
        begin = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - begin
        after = None if before is None else _resident_mb()
        known = before is not None and after is not None
        return Timed(seconds, max(after - before, 0.0) if known else None, result)


def _resident_mb(reset: bool = False) -> float | None:
    """The peak of resident memory; with ``reset``, after it was set to what is resident now."""
    try:
        if reset:
            (_PROCESS / "clear_refs").write_text("5")
        status = (_PROCESS / "status").read_text()
    except OSError:  # another system, or not allowed to
        return None
    values = dict(line.split(":", 1) for line in status.splitlines())
    return int(values["VmRSS" if reset else "VmHWM"].split()[0]) / 1e3


def measure(case: Case, repeats: int = REPEATS, clock: Clock | None = None) -> list[Row]:
    """Time ours and every peer in turn, best of several rounds, and compare the results.

    In a round every way runs once, or several times if that takes less than 0.1 s. There are
    ``repeats`` rounds, but only one where it takes more than 20 s. A slow first run, as caches are
    cold, is therefore never the best of several.

    Args:
        case: what is measured.
        repeats: rounds.
        clock: `CpuClock` by default.

    Raises:
        RuntimeError: if a peer's result differs; names case and peer, and says how.

    Example:
        >>> rows = measure(Case("sum", "2", lambda: 2, {"loop": Peer(lambda: 3)},
        ...     check=lambda ours, theirs: "" if ours == theirs else f"{ours} is not {theirs}"))
        Traceback (most recent call last):
        ...
        RuntimeError: sum (2): loop gives another result: 2 is not 3
    """
    clock = clock or CpuClock()
    first = clock.time(case.ours)
    ours, peaks = [first.seconds], [first.peak_mb]
    theirs: dict[str, list[float]] = {}
    missing: dict[str, str] = {}
    for name, peer in case.peers.items():
        try:
            timed = clock.time(peer.run)
        except ModuleNotFoundError as error:
            missing[name] = f"{error.name} is not installed"
            continue
        theirs[name] = [timed.seconds]
        _compare(case, name, first.result, timed.result)
        del timed
    del first
    slow = ours[0] + sum(seconds[0] for seconds in theirs.values()) > _SLOW
    for _ in range(0 if slow else repeats - 1):
        for _ in range(_often(ours[0])):
            again = clock.time(case.ours)
            ours.append(again.seconds)
            peaks.append(again.peak_mb)
            del again
        for name, seconds in theirs.items():
            run = case.peers[name].run
            seconds += [clock.time(run).seconds for _ in range(_often(seconds[0]))]
    known = [peak for peak in peaks if peak is not None]
    limit = case.limit
    same = {
        "case": case.name,
        "size": case.size,
        "seconds": min(ours),
        "limit": "" if limit is None else limit.what,
        "limit_seconds": None if limit is None else limit.seconds,
        "peak_mb": max(known) if known else None,
    }
    if not case.peers:
        return [Row(**same, aim=case.aim)]
    rows: list[Row] = []
    for name, peer in case.peers.items():
        note, seconds = missing.get(name, ""), None
        if name in theirs:
            seconds = min(theirs[name]) / peer.share
            note = "" if peer.share == 1 else f"extrapolated from {peer.share:.3g} of the work"
        aim = "; ".join(text for text in (peer.aim, "" if rows else case.aim) if text)
        rows.append(Row(**same, peer=name, peer_seconds=seconds, aim=aim, note=note))
    return rows


def _often(seconds: float) -> int:
    return min(max(int(_QUICK / max(seconds, 1e-9)), 1), _MOST)


def _compare(case: Case, name: str, ours: Any, theirs: Any) -> None:
    check = case.peers[name].check or case.check
    differs = check(ours, theirs) if check is not None else ""
    if differs:
        raise RuntimeError(f"{case.name} ({case.size}): {name} gives another result: {differs}")
