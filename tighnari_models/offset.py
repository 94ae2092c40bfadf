"""What the multi-scale model says of a batch, as logits to add to those of the network."""

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-6  # probabilities are kept this far from 0 and 1


def log_odds(best: Float[Tensor, "b s"], rest: Float[Tensor, " b"]) -> Float[Tensor, "b s"]:
    r"""Log-odds of every species: of the best ones as they are, of the others all alike.

    The remainder of a survey is spread evenly over the species that it has no probability of. None
    of them then comes before one of the best. Computed in 32 bits, also under autocast.

    Shapes:
        - **best:** :math:`(B, S)` probabilities, sparse CSR or dense; 0 where there is none
        - **rest:** :math:`(B,)` expected number of species among all the others
        - **output:** :math:`(B, S)` dense

    Example:
        >>> log_odds(torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor([1.0])).sigmoid()
        tensor([[0.5000, 0.5000, 0.5000]])
    """
    known = best.to_dense().float()
    others = (known == 0).sum(1)
    even = rest.float() / others.clamp(min=1)
    spread = torch.where(known > 0, known, even.unsqueeze(1))
    return spread.clamp(EPSILON, 1 - EPSILON).logit()
