"""Losses against plain loops, their gradients, and where each of them is least."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.small_models import QUIET, small_config, split_data
from tighnari_models.losses import bce, training_loss, weak_bce
from tighnari_models.options import TrainingOptions
from tighnari_models.tighnari import Tighnari
from tighnari_models.training import TighnariTraining

NAMES = ("negative_weight", "negative_target", "positive_weight")
weights = st.fixed_dictionaries(
    {
        "negative_weight": st.floats(0.01, 1),
        "negative_target": st.floats(0, 0.9),
        "positive_weight": st.floats(0.1, 50),
    }
)


def cells(seed: int = 0, shape: tuple[int, int] = (5, 7)) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels of which some are soft, as mixup leaves them."""
    rng = np.random.default_rng(seed)
    y = rng.random(shape).round(1) * (rng.random(shape) < 0.5)
    y[0] = y[0].round()
    return torch.tensor(rng.normal(0, 3, shape)).float(), torch.tensor(y).float()


def by_hand(logits, y, negative_weight, negative_target, positive_weight) -> float:
    total = 0.0
    for row, truths in zip(logits.tolist(), y.tolist(), strict=True):
        for x, truth in zip(row, truths, strict=True):
            p = 1 / (1 + math.exp(-x))
            seen = positive_weight * -math.log(p)
            unseen = -negative_target * math.log(p) - (1 - negative_target) * math.log(1 - p)
            total += truth * seen + (1 - truth) * negative_weight * unseen
    return total / logits.numel()


@given(weights, st.integers(0, 20))
def test_every_cell_costs_what_plain_loops_say(options, seed):
    logits, y = cells(seed)
    assert float(weak_bce(logits, y, **options)) == pytest.approx(
        by_hand(logits, y, **options), rel=1e-4
    )


def test_with_nothing_set_it_is_binary_cross_entropy():
    logits, y = cells()
    torch.testing.assert_close(weak_bce(logits, y), bce(logits, y))


@given(weights)
def test_each_switch_changes_its_own_cells_only(options):
    logits, y = cells()
    y = y.round()
    for name, value in options.items():
        here, plain = (
            logits.clone().requires_grad_(),
            logits.clone().requires_grad_(),
        )
        weak_bce(here, y, **{name: value}).backward()
        bce(plain, y).backward()
        same = torch.isclose(here.grad, plain.grad, rtol=1e-4, atol=1e-7)
        assert same[y == (0 if name == "positive_weight" else 1)].all()


@given(weights, st.integers(0, 20))
def test_gradient_is_the_formula(options, seed):
    logits, y = cells(seed)
    logits.requires_grad_()
    weak_bce(logits, y, **options).backward()
    p = logits.detach().double().sigmoid()
    w, target, a = (options[name] for name in NAMES)
    wanted = (a * y * (p - 1) + w * (1 - y) * (p - target)) / y.numel()
    torch.testing.assert_close(logits.grad.double(), wanted, rtol=1e-4, atol=1e-6)


@given(weights, st.floats(0.05, 0.95))
def test_the_probability_that_costs_least_is_the_documented_one(options, share):
    """Of 1,000 surveys a share reports the species; the loss is least at one probability."""
    reported = torch.zeros(1000, 1)
    reported[: round(1000 * share)] = 1
    q = float(reported.mean())
    w, target, a = (options[name] for name in NAMES)
    best = (a * q + w * target * (1 - q)) / (a * q + w * (1 - q))
    tried = torch.tensor([best, best - 0.01, best + 0.01]).clamp(1e-4, 1 - 1e-4).double().logit()
    costs = [float(weak_bce(x.expand(1000, 1), reported, **options)) for x in tried]
    assert costs[0] <= min(costs[1:]) + 1e-6
    if target == 0:
        assert best / (1 - best) == pytest.approx(q / (1 - q) * a / w)
    if w == a == 1:
        assert best == pytest.approx(q + target * (1 - q))


@given(st.floats(0, 1), weights)
def test_a_blend_of_labels_costs_the_blend_of_both_losses(share, options):
    """What makes the loss fit for mixup."""
    logits, y = cells()
    other = y.flip(0)
    mixed = weak_bce(logits, share * y + (1 - share) * other, **options)
    apart = share * weak_bce(logits, y, **options) + (1 - share) * weak_bce(
        logits, other, **options
    )
    torch.testing.assert_close(mixed, apart, rtol=1e-4, atol=1e-6)


def test_certain_logits_cost_a_finite_amount_in_32_bits():
    logits = torch.tensor([[1e4, -1e4]], dtype=torch.bfloat16, requires_grad=True)
    loss = weak_bce(logits, torch.tensor([[0.0, 1.0]]), 0.5, 0.1, 2.0)
    loss.backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(
        (0.5 * 0.9 * 9984 + 2 * 9984) / 2
    )  # 1e4 in bfloat16
    assert torch.isfinite(logits.grad).all()


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"loss": "focal"}, "loss must be one of bce, weak, got 'focal'"),
        ({"loss": "weak", "negative_weight": 0}, "negative_weight must be"),
        ({"loss": "weak", "negative_weight": 1.5}, "negative_weight must be"),
        ({"loss": "weak", "negative_target": 1.0}, "negative_target must be"),
        ({"loss": "weak", "negative_target": math.nan}, "negative_target must be"),
        ({"loss": "weak", "positive_weight": math.inf}, "positive_weight must be"),
        ({"negative_weight": 0.5}, "negative_weight: only with loss='weak'"),
        ({"loss": "weak"}, "loss='weak' must have one of negative_weight, negative_target"),
    ],
)
def test_options_that_do_not_go_together_are_refused(fields, match):
    with pytest.raises(ValueError, match=match):
        TrainingOptions(**fields)


def test_the_loss_is_that_of_the_options():
    logits, y = cells()
    assert training_loss(TrainingOptions()) is bce
    options = TrainingOptions(
        loss="weak", negative_weight=0.5, negative_target=0.1, positive_weight=3.0
    )
    assert float(training_loss(options)(logits, y)) == pytest.approx(
        by_hand(logits, y, 0.5, 0.1, 3.0), rel=1e-5
    )


def test_training_minimises_the_weak_loss_and_validation_stays_as_it_is(monkeypatch):
    data = split_data()
    batch = next(iter(data.val_dataloader()))
    model = Tighnari(data.complete(small_config(drop_rate=0.0)))
    plain = replace(QUIET, mixup_alpha=0.0, ema_decay=None)
    weak = replace(plain, loss="weak", negative_weight=0.25)
    monkeypatch.setattr(TighnariTraining, "log", lambda *_, **__: None)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    monkeypatch.setattr(TighnariTraining, "optimizers", lambda _: optimizer)
    monkeypatch.setattr(TighnariTraining, "current_epoch", 0)
    monkeypatch.setattr(TighnariTraining, "global_rank", 0)
    trained, validated = {}, {}
    for name, options in (("plain", plain), ("weak", weak)):
        module = TighnariTraining(model, options, 1, 1)
        trained[name] = float(module.training_step(batch, 0).detach())
        module.eval()
        module.validation_step(batch, 0)
        validated[name] = float(module.val_loss.compute())
    model.train()
    assert trained["plain"] == pytest.approx(float(bce(model(batch), batch.y).detach()), rel=1e-5)
    wanted = by_hand(model(batch).detach(), batch.y, 0.25, 0.0, 1.0)
    assert trained["weak"] == pytest.approx(wanted, rel=1e-5)
    assert validated["plain"] == validated["weak"]
