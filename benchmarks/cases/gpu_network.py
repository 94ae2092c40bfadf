"""The network of the paper preset on a GPU: training steps and prediction."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.case import Case, Limit, Peer, Row
from benchmarks.cases.gpu_bench import Bench, Throughput
from benchmarks.cases.gpu_steps import (
    BackboneStep,
    PaperStep,
    bare_backbone,
    lightning_seconds,
    paper_batch,
    paper_config,
)
from benchmarks.cases.network import flops
from tighnari_models import SurveyBatch, Tighnari

AIM = "≥ 0.85×"
STEP = "training step of the paper preset"
BARE = "bare backbone, forward, backward, step"
SURVEYS, PATCH = 4_716, 128


def step_cases(bench: Bench) -> Iterator[Case | Row]:
    """Training steps, as they are and with one thing changed, and inside Lightning's Trainer."""
    bare = BackboneStep(bench)
    yield _step_case(bench, bare, STEP)
    yield _step_case(bench, bare, f"{STEP}, channels last", channels_last=True)
    yield _step_case(bench, bare, f"{STEP}, fused window attention", fused_attention=True)
    yield _step_case(bench, bare, f"{STEP}, fused AdamW", fused_optimizer=True)
    yield _step_case(bench, bare, f"{STEP}, dense graph rows", dense_rows=True)
    yield lightning_row(bench, bare)


def compiled_cases(bench: Bench) -> Iterator[Case]:
    """The step through `torch.compile`; compiling is not timed."""
    bare = BackboneStep(bench)
    yield _step_case(bench, bare, f"{STEP}, compiled", compiled=True)


def compiled_dense_cases(bench: Bench) -> Iterator[Case]:
    """The same with graph features made dense: one graph, not four."""
    bare = BackboneStep(bench)
    yield _step_case(
        bench, bare, f"{STEP}, compiled, dense graph rows", compiled=True, dense_rows=True
    )


def _step_case(bench: Bench, bare: BackboneStep, name: str, **options: bool) -> Throughput:
    sizes, step = bench.sizes, PaperStep(bench, **options)
    with bench.autocast:
        forward = flops(bare.model, step.batch)
    bare.model.train()
    return Throughput(
        name, step_size(bench), partial(step.run, sizes.steps),
        {BARE: Peer(partial(bare.run, sizes.steps), aim=AIM)},
        Limit(
            "multiply 3 × forward of the backbone in bfloat16",
            3 * sizes.steps * forward / bench.flops,
        ),
        surveys=sizes.steps * sizes.batch,
    )  # fmt: skip


def step_size(bench: Bench) -> str:
    """What is done, in words."""
    sizes, config = bench.sizes, paper_config(bench.sizes)
    half = "bfloat16" if bench.half else "float32"
    return (
        f"{sizes.steps} × {sizes.batch} surveys, {config.image_size} pixels, {half}, "
        f"{config.image_encoder}"
    )


def lightning_row(bench: Bench, bare: BackboneStep) -> Row:
    """Measured from inside, so that the trainer's start is left out."""
    sizes = bench.sizes
    seconds = lightning_seconds(bench, sizes.steps)
    times = [bench.clock.time(partial(bare.run, sizes.steps)).seconds for _ in range(2)]
    row = Row(
        f"{STEP}, inside Lightning's Trainer", step_size(bench), seconds, BARE, min(times), AIM
    )
    ours = partial(bare.run, sizes.steps)
    case = Throughput(row.case, row.size, ours, surveys=sizes.steps * sizes.batch)
    return next(case.told([row]))


def prediction_cases(bench: Bench) -> Iterator[Case]:
    """A few batches through all fold models, extrapolated."""
    sizes = bench.sizes
    models = [Tighnari(paper_config(sizes)).to(bench.device).eval() for _ in range(sizes.models)]
    backbone = bare_backbone(bench).eval()
    batch = paper_batch(bench, sizes.predicted, PATCH).replace(y=None).to("cpu")
    if bench.device.type == "cuda":
        batch = batch.pin_memory()
    image = paper_batch(bench, sizes.predicted).image
    surveys = sizes.rounds * sizes.predicted
    yield Throughput(
        "prediction of the paper preset, batches in the host's memory",
        f"{surveys} of {SURVEYS:,} surveys × {sizes.models} models, batches of {sizes.predicted}, "
        f"patches of {PATCH} pixels",
        partial(predicted, bench, models, batch, sizes.rounds),
        {
            "bare backbone, forward, images on the device": Peer(
                partial(forwards, bench, backbone, image, sizes.rounds * sizes.models), aim=AIM
            )
        },
        surveys=surveys,
        whole=SURVEYS,
    )


@torch.inference_mode()
def predicted(
    bench: Bench, models: Sequence[Tighnari], batch: SurveyBatch, rounds: int
) -> list[np.ndarray]:
    """Mean logits as `predict` makes them, which brings a batch of its own to each model."""
    means = []
    with bench.autocast:
        for _ in range(rounds):
            total = torch.zeros(len(batch), models[0].config.num_species, device=bench.device)
            for model in models:
                total += model(batch.to(bench.device, non_blocking=True)).float()
            means.append((total / len(models)).cpu().numpy())
    return means


@torch.inference_mode()
def forwards(bench: Bench, backbone: nn.Module, image: Tensor, times: int) -> None:
    """Forward of the backbone, so often."""
    with bench.autocast:
        for _ in range(times):
            backbone(image)
