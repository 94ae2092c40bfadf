"""Seen from above, a patch has no right way up: turn and mirror it at random while training."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def turned(image: Float[Tensor, "b c h w"], way: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
    r"""Each image in one of the eight ways in which a square fits onto itself.

    Bit 0 of ``way`` mirrors left and right, bit 1 up and down, bit 2 swaps rows and columns; the
    last is left out where images are not square.

    Shapes:
        - **image, output:** :math:`(B, C, H, W)`
        - **way:** :math:`(B,)` whole numbers from 0 to 7

    Example:
        >>> image = torch.tensor([[[[1, 2], [3, 4]]]]).float()
        >>> turned(image, torch.tensor([5]))[0, 0]  # mirrored and swapped: a quarter turn
        tensor([[2., 4.],
                [1., 3.]])
    """
    bits = [(way >> bit & 1).bool().view(-1, 1, 1, 1) for bit in range(3)]
    image = torch.where(bits[0], image.flip(-1), image)
    image = torch.where(bits[1], image.flip(-2), image)
    if image.size(-1) == image.size(-2):
        image = torch.where(bits[2], image.transpose(-1, -2), image)
    return image
