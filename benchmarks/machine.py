"""The machine that benchmarks run on: what it is, and how fast it writes, reads and multiplies."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.case import Clock, CpuClock

PACKAGES = (
    "torch", "numpy", "scipy", "pandas", "scikit-learn", "torch-geometric", "timm", "lightning",
    "polars", "libpysal",
)  # fmt: skip
_BYTES = 1 << 28
_SIDE = 2048
_REPEATS = 3


def description() -> dict[str, str]:
    """Processor, cores, versions, date and commit, in words.

    Example:
        >>> sorted(description())[:4]
        ['commit', 'cores', 'date', 'processor']
    """
    return {
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0))}, torch uses {torch.get_num_threads()}",
        "versions": ", ".join(
            [f"python {platform.python_version()}", *(f"{p} {_version(p)}" for p in PACKAGES)]
        ),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Short, with "-dirty" where files have been changed since."""
    line = ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    try:
        done = subprocess.run(line, capture_output=True, text=True, cwd=Path(__file__).parent)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


@dataclass(frozen=True)
class Speed:
    """What the machine manages, measured.

    Attributes:
        write_bytes: written to fresh memory in a second.
        read_bytes: read in a second.
        flops: of a product of float32 matrices in a second, two for each multiplication.
    """

    write_bytes: float
    read_bytes: float
    flops: float

    @classmethod
    def measured(
        cls,
        num_bytes: int = _BYTES,
        side: int = _SIDE,
        device: str = "cpu",
        clock: Clock | None = None,
    ) -> "Speed":
        """Best of three: fill fresh memory, sum it, multiply two square matrices.

        Args:
            num_bytes: of the memory.
            side: of the matrices.
            device: "cpu" or "cuda".
            clock: as for `benchmarks.case.measure`.
        """
        clock = clock or CpuClock()
        num = num_bytes // 4
        filled = torch.ones(num, device=device)
        square = torch.ones(side, side, device=device)
        ways = (
            lambda: torch.empty(num, device=device).fill_(1.0),
            lambda: filled.sum(),
            lambda: square @ square,
        )
        write, read, multiply = (
            min(clock.time(way).seconds for _ in range(_REPEATS)) for way in ways
        )
        return cls(4 * num / write, 4 * num / read, 2 * side**3 / multiply)

    def write(self, num_bytes: float) -> float:
        """Seconds to write so many bytes once.

        Example:
            >>> Speed(write_bytes=1e9, read_bytes=2e9, flops=1e12).write(5e8)
            0.5
        """
        return num_bytes / self.write_bytes

    def read(self, num_bytes: float) -> float:
        """Seconds to read so many bytes once."""
        return num_bytes / self.read_bytes

    def multiply(self, flops: float) -> float:
        """Seconds for so many floating-point operations."""
        return flops / self.flops

    def __str__(self) -> str:
        return (
            f"{self.write_bytes / 1e9:.1f} GB/s written fresh, {self.read_bytes / 1e9:.1f} GB/s "
            f"read, {self.flops / 1e9:,.0f} Gflop/s in float32 matrix products"
        )


def command() -> str:
    """The command line as it was given, without the path of the interpreter."""
    name = Path(sys.argv[0]).stem
    return " ".join(["python -m", f"benchmarks.{name}", *sys.argv[1:]])
