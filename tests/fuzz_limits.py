"""What no file may bring about, whatever is in it: measured around one call of a reader."""

import contextlib
import os
import resource
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

SECONDS = 10
MEMORY = 2 * 2**30


class TooSlow(BaseException):
    """No `Exception`: a reader that turns every error into its own must not catch this one."""


@contextlib.contextmanager
def within_limits(folder: Path) -> Iterator[None]:
    """At most ten seconds, two gigabytes more than before, and nothing below ``folder`` changes."""
    before, began, peak = snapshot(folder), time.monotonic(), peak_bytes()
    with _alarm(), _memory_limit(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd image may be warned of; an error is asked for
        yield
    assert time.monotonic() - began < SECONDS
    assert peak_bytes() - peak < MEMORY
    assert snapshot(folder) == before


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Path → kind, size and time of change, of everything below a folder; links not followed."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            status = path.lstat()
            size = 0 if name in folders else status.st_size
            found[str(path)] = (status.st_mode, size, status.st_mtime_ns)
    return found


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def _alarm() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooSlow

    earlier = signal.signal(signal.SIGALRM, stop)
    left = signal.getitimer(signal.ITIMER_REAL)[0]  # of pytest-timeout
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # before the handler: it would not know the alarm
        signal.signal(signal.SIGALRM, earlier)
        signal.setitimer(signal.ITIMER_REAL, left)


@contextlib.contextmanager
def _memory_limit() -> Iterator[None]:
    """The address space may grow by no more; where the system does not tell its size, any."""
    sizes = Path("/proc/self/statm")
    if not sizes.exists():
        yield
        return
    used = int(sizes.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    earlier = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, earlier[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, earlier)
