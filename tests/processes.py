"""Processes that tests start, wait for, and never leave behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = (sys.executable,)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def started(
    module: str, call: str, *arguments: object, by: Sequence[object] = PYTHON, **env: object
) -> subprocess.Popen:
    """A process that makes a call of a module, alone or with another that Lightning starts.

    Started ``by`` Python or what stands for it, with its arguments in ``sys.argv``.
    """
    script = Path(tempfile.mkdtemp()) / "script.py"  # a file, for Lightning to start it again
    script.write_text(f"import sys; from {module} import *; {call}")
    there = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*map(str, by), script, *map(str, arguments)], cwd=ROOT, text=True, start_new_session=True,
        env=there | {name: str(value) for name, value in env.items()},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def ended(process: subprocess.Popen, seconds: float = 250) -> tuple[int, str, str]:
    """Exit status, output and errors, once it and all that it started have ended by themselves."""
    try:
        out, error = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        out, error = killed(process)
        raise AssertionError(f"not at an end after {seconds} seconds: {out}{error}") from None
    return process.returncode, out, error


def succeeded(*processes: subprocess.Popen, seconds: float = 250) -> None:
    """All of them end well; where one does not, the others are ended too."""
    try:
        for process in processes:
            status, _, error = ended(process, seconds)
            assert status == 0, error
    finally:
        for process in processes:
            if process.poll() is None:
                killed(process)


def killed(process: subprocess.Popen) -> tuple[str, str]:
    """Output and errors of one that is ended with all that it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):  # torchrun ends its own at the first
        try:
            os.killpg(process.pid, sign)
            return process.communicate(timeout=10)
        except ProcessLookupError:
            return process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            continue
    return process.communicate()


def wait(until: Callable[[], object], seconds: float) -> None:
    """Until something is so, or the time is over."""
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(0.05)
