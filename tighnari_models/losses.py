"""What a wrong probability costs: the paper's loss, and one for labels that are incomplete."""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from tighnari_models.options import TrainingOptions


def bce(logits: Float[Tensor, "b s"], y: Float[Tensor, "b s"]) -> Float[Tensor, ""]:
    r"""Binary cross-entropy of logits, averaged over species and surveys, in 32 bits.

    Shapes:
        - **logits, y:** :math:`(B, S)`

    Source: Liu et al. 2024, equation 11.

    Example:
        Probability 1/2 costs log 2, whatever the truth.

        >>> import torch
        >>> bce(torch.zeros(2, 3), torch.eye(2, 3))
        tensor(0.6931)
    """
    return F.binary_cross_entropy_with_logits(logits.float(), y.float())


def weak_bce(
    logits: Float[Tensor, "b s"],
    y: Float[Tensor, "b s"],
    negative_weight: float = 1.0,
    negative_target: float = 0.0,
    positive_weight: float = 1.0,
) -> Float[Tensor, ""]:
    r"""Binary cross-entropy for labels whose presences are certain and whose absences are not.

    .. math:: L = \frac1{BS} \sum a\,y\,(-\log p) + w\,(1 - y)\,
              \bigl(-\varepsilon \log p - (1 - \varepsilon) \log(1 - p)\bigr)

    Each number is a switch of its own; where none is set this is `bce`. Where a species is reported
    in a share q of the surveys, p = a q / (a q + w (1 − q)) costs least (ε = 0): the odds of a
    report, times a / w. So for rare species w is the share of presences that get reported.
    Without w and a, p = q + ε (1 − q) costs least, for every species alike: ε S species too many in
    a list of S.

    Args:
        logits: of the model.
        y: 1 where a species was reported, else 0; between them after mixup, where the loss is the
            same blend of the losses of both labels.
        negative_weight: w, what an absence counts beside a presence.
        negative_target: ε, the probability that a species is there although nobody reported it.
        positive_weight: a, what a presence counts. With w = 1 this is λ of the "full assume
            negative" loss, without its random places.

    Shapes:
        - **logits, y:** :math:`(B, S)`

    Source: positive weight: Cole et al. 2023, Spatial implicit neural representations for
    global-scale species mapping, section 3.2.

    Example:
        At probability 1/2 every cell costs log 2 times its weight.

        >>> import torch
        >>> weak_bce(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), negative_weight=0.5)
        tensor(0.5199)

        An absence that is a presence with probability 0.2 pulls towards it.

        >>> logits = torch.zeros(1, 1, requires_grad=True)
        >>> weak_bce(logits, torch.zeros(1, 1), negative_target=0.2).backward()
        >>> logits.grad
        tensor([[0.3000]])
    """
    x, y = logits.float(), y.float()
    if_present, if_absent = F.softplus(-x), F.softplus(x)
    absence = negative_target * if_present + (1 - negative_target) * if_absent
    return (positive_weight * y * if_present + negative_weight * (1 - y) * absence).mean()


def training_loss(options: TrainingOptions) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of logits and labels that these options ask for.

    Example:
        >>> import torch
        >>> loss = training_loss(TrainingOptions(loss="weak", negative_weight=0.5))
        >>> loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        tensor(0.5199)
    """
    if options.loss == "bce":
        return bce
    return partial(
        weak_bce,
        negative_weight=options.negative_weight,
        negative_target=options.negative_target,
        positive_weight=options.positive_weight,
    )
