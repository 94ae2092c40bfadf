"""What the cases on a GPU share: device, clock, speed, and how large the inputs are."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from benchmarks.case import Case, Clock, CpuClock, Row, Run, Timed
from benchmarks.machine import Speed

_BYTES, _SIDE, _PRODUCTS = 1 << 31, 8192, 3


@dataclass(frozen=True)
class Sizes:
    """How large the inputs are; the defaults are the real data set's.

    Attributes:
        points: surveys of which graphs are built.
        sampled: of the last of them, surveys whose neighbours brute force looks for.
        surveys: with labels, of which graph features are made.
        species: columns.
        non_zeros: of a graph feature; ``best`` of a multi-scale row.
        batch: surveys of a training step; ``steps`` of them are timed together.
        predicted: surveys of a batch to predict; ``rounds`` batches and ``models`` of a prediction.
        prepared: surveys of the prepared arrays; ``files`` of those whose raw files are read.
        workers: processes that read batches.
    """

    points: tuple[int, ...] = (10_000, 88_987, 1_000_000)
    sampled: int = 4_096
    surveys: int = 88_987
    species: int = 11_255
    non_zeros: int = 134
    best: int = 256
    batch: int = 64
    steps: int = 10
    predicted: int = 128
    rounds: int = 4
    models: int = 10
    prepared: int = 8_192
    files: int = 256
    workers: tuple[int, ...] = (8, 16)
    small: bool = False


FULL = Sizes()
SMALL = Sizes(
    points=(200, 800), sampled=50, surveys=400, species=300, non_zeros=30, best=20, batch=4,
    steps=2, predicted=3, rounds=1, models=2, prepared=24, files=12, workers=(1,), small=True,
)  # fmt: skip


class GpuClock:
    """Wall time until the device has finished, and the peak of memory that torch took there."""

    def time(self, run: Run) -> Timed:
        """Run it once."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        begin = time.perf_counter()
        result = run()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - begin
        return Timed(seconds, (torch.cuda.max_memory_allocated() - before) / 1e6, result)


@dataclass(frozen=True)
class Bench:
    """Where and how large.

    Attributes:
        device: a GPU; a CPU to see that all runs.
        sizes: of the inputs.
        clock: that of the device.
        speed: of the device.
        flops: of a product of bfloat16 matrices in a second.
    """

    device: torch.device
    sizes: Sizes
    clock: Clock
    speed: Speed
    flops: float

    @classmethod
    def on(cls, device: torch.device, sizes: Sizes = FULL) -> "Bench":
        """Measure the device."""
        clock: Clock = GpuClock() if device.type == "cuda" else CpuClock()
        num_bytes, side = (1 << 20, 64) if sizes.small else (_BYTES, _SIDE)
        speed = Speed.measured(num_bytes, side, device.type, clock)
        noise = torch.randn(side, side, device=device).bfloat16()
        seconds = min(clock.time(lambda: noise @ noise).seconds for _ in range(_PRODUCTS + 1))
        return cls(device, sizes, clock, speed, 2 * side**3 / seconds)

    @property
    def autocast(self) -> torch.autocast:
        """Bfloat16 on a GPU that can, as the trainer and `predict` have it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    @property
    def half(self) -> bool:
        """Whether the device computes in bfloat16."""
        return self.device.type == "cuda" and torch.cuda.is_bf16_supported()

    def __str__(self) -> str:
        return f"{self.speed}, {self.flops / 1e12:,.1f} Tflop/s in bfloat16 matrix products"


@dataclass(frozen=True)
class Throughput(Case):
    """A case in which both sides handle the same surveys.

    Attributes:
        surveys: of one run, 0 where no rate is told.
        whole: so many surveys are what ours is extrapolated to; 0 for none.
    """

    surveys: int = 0
    whole: int = 0

    def told(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows with surveys a second of ours and the peer.

        Example:
            >>> case = Throughput("step", "64", lambda: None, surveys=64, whole=640)
            >>> [row.note for row in case.told([Row("step", "64", 0.5, "bare", 0.25)])]
            ['128 and 256 surveys/s; extrapolated, ours takes 5 s for 640 surveys']
        """
        for row in rows:
            rates = [f"{self.surveys / row.seconds:,.0f}"]
            if row.peer_seconds is not None:
                rates.append(f"{self.surveys / row.peer_seconds:,.0f}")
            notes = [row.note, f"{' and '.join(rates)} surveys/s"]
            if self.whole:
                seconds = row.seconds * self.whole / self.surveys
                notes.append(f"extrapolated, ours takes {seconds:.3g} s for {self.whole:,} surveys")
            yield replace(row, note="; ".join(note for note in notes if note))
