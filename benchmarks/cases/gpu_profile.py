"""What the device spends a training step on, by kernel, and where the host waits for it."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.cases.gpu_bench import Bench
from benchmarks.cases.gpu_steps import BackboneStep, PaperStep

SHOWN, WARM = 15, 3


def report(bench: Bench) -> str:
    """Of a step of the paper preset, and of its bare backbone."""
    steps = bench.sizes.steps
    parts = []
    for name, step in (("paper preset", PaperStep(bench)), ("bare backbone", BackboneStep(bench))):
        step.run(WARM)
        seconds = bench.clock.time(lambda step=step: step.run(steps)).seconds / steps
        parts.append(f"{name}: {1e3 * seconds:.2f} ms a step\n{kernels(bench, step.run, steps)}")
        if bench.device.type == "cuda":
            parts[-1] += f"\n{waits(step.run)}"
    return "\n\n".join(parts)


def kernels(bench: Bench, run: Callable[[int], None], steps: int) -> str:
    """The kernels that take longest, a line each; on a CPU, torch's operations."""
    gpu = bench.device.type == "cuda"
    activity = ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU
    with profile(activities=[activity], acc_events=True) as watched:
        run(steps)
        if gpu:
            torch.cuda.synchronize()
    kind = torch.autograd.DeviceType.CUDA if gpu else torch.autograd.DeviceType.CPU
    found = [
        (item.self_device_time_total if gpu else item.self_cpu_time_total, item.count, item.key)
        for item in watched.key_averages()
        if item.device_type == kind and not item.is_user_annotation
    ]
    found.sort(reverse=True)
    total = sum(time for time, *_ in found)
    number = sum(count for _, count, _ in found)
    total = max(total, 1e-9)  # a device that tells no times
    lines = [f"{total / 1e3 / steps:.2f} ms in {number / steps:,.0f} kernels a step"]
    lines += [
        f"{time / 1e3 / steps:9.3f} ms {time / total:6.1%} {count / steps:8.1f} × {key[:100]}"
        for time, count, key in found[:SHOWN]
    ]
    return "\n".join(lines)


def waits(run: Callable[[int], None]) -> str:
    """Where in Python a step waits for the device, as far as torch notices it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run(1)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    places = Counter(
        f"{Path(warning.filename).name}:{warning.lineno}"
        for warning in said
        if "called a synchronizing" in str(warning.message)
    )
    listed = ", ".join(f"{count} × {place}" for place, count in places.most_common())
    return f"{places.total()} waits for the device a step: {listed or 'none'}"
