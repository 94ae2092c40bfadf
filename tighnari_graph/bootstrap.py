"""How sure a score is: whole blocks of surveys, drawn again and again with replacement.

Surveys of one block are alike, so that each of them is not evidence of its own.
"""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

DRAWS = 1000
_LEVELS = (0.025, 0.975)
_CELLS = 1 << 22  # draws × blocks held at once


def block_interval(
    values: np.ndarray, blocks: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of a mean over surveys, drawing whole blocks with replacement.

    Missing, as two NaN, if all the surveys lie in one block.

    Example:
        >>> block_interval(np.array([1.0, 1.0, 1.0]), np.array([0, 0, 1]))
        (1.0, 1.0)
    """
    values = np.asarray(values, dtype=np.float64)[:, None]
    low, high = ratio_intervals(values, np.ones_like(values), blocks, draws, seed)[0].tolist()
    return low, high


def ratio_intervals(
    numerator: np.ndarray | sparse.csr_matrix,
    denominator: np.ndarray | sparse.csr_matrix,
    blocks: np.ndarray,
    draws: int = DRAWS,
    seed: int = 0,
) -> np.ndarray:
    r"""95 % intervals of several scores, each a sum over surveys divided by another.

    A row is missing (NaN) where fewer than two blocks have anything in the denominator. A draw
    whose denominator is zero does not count.

    Shapes:
        - **numerator, denominator:** :math:`(N, M)`, a column a score
        - **blocks:** :math:`(N,)`
        - **output:** :math:`(M, 2)`, from and to

    Example:
        >>> ratio_intervals(np.array([[2.0], [4.0]]), np.array([[1.0], [2.0]]), np.array([0, 1]))
        array([[2., 2.]])
    """
    drawn = drawn_ratios(numerator, denominator, blocks, draws, seed)
    known = (block_sums(denominator, blocks) > 0).sum(axis=0) > 1
    known &= ~np.isnan(drawn).all(axis=0)
    found = np.full((drawn.shape[1], 2), np.nan)
    if known.any():
        found[known] = np.nanquantile(drawn[:, known], _LEVELS, axis=0).T
    return found


def drawn_ratios(
    numerator: np.ndarray | sparse.csr_matrix,
    denominator: np.ndarray | sparse.csr_matrix,
    blocks: np.ndarray,
    draws: int = DRAWS,
    seed: int = 0,
) -> np.ndarray:
    r"""The scores of every draw of blocks, :math:`(\mathrm{draws}, M)`; see `ratio_intervals`.

    Of one seed and the same blocks, all scores see the same draws, so that they can be paired.

    Example:
        >>> drawn_ratios(np.ones((2, 1)), np.ones((2, 1)), np.array([0, 1]), draws=3).ravel()
        array([1., 1., 1.])
    """
    top, bottom = block_sums(numerator, blocks), block_sums(denominator, blocks)
    parts = [divided(drawn @ top, drawn @ bottom) for drawn in block_draws(len(top), draws, seed)]
    return np.concatenate(parts)


def block_draws(num_blocks: int, draws: int = DRAWS, seed: int = 0) -> Iterator[np.ndarray]:
    r"""How often each block is drawn, some draws at a time.

    Shapes:
        - **each output:** :math:`(d, B)` float64, rows that sum to *B*

    Raises:
        ValueError: if there is no block or no draw.

    Example:
        >>> [part.sum(axis=1).tolist() for part in block_draws(7, draws=2)]
        [[7.0, 7.0]]
    """
    if num_blocks < 1 or draws < 1:
        raise ValueError(f"cannot draw {num_blocks} blocks {draws} times; both must be at least 1")
    rng = np.random.default_rng(seed)
    share = np.full(num_blocks, 1 / num_blocks)
    step = max(1, _CELLS // num_blocks)
    for start in range(0, draws, step):
        size = min(step, draws - start)
        yield rng.multinomial(num_blocks, share, size=size).astype(np.float64)


def block_sums(values: np.ndarray | sparse.csr_matrix, blocks: np.ndarray) -> np.ndarray:
    r"""Sums over the surveys of each block, :math:`(N, M) \to (B, M)`, blocks ascending.

    Example:
        >>> block_sums(np.array([[1.0], [2.0], [4.0]]), np.array([9, 3, 9]))
        array([[2.],
               [5.]])
    """
    sums = block_members(blocks) @ values
    return np.asarray(sums.toarray() if sparse.issparse(sums) else sums, dtype=np.float64)


def block_members(blocks: np.ndarray) -> sparse.csr_matrix:
    r"""Which surveys each block has, :math:`(B, N)` scipy CSR of ones."""
    _, block = np.unique(blocks, return_inverse=True)
    places = (block, np.arange(len(block)))
    num = int(block.max()) + 1 if len(block) else 0
    return sparse.csr_matrix((np.ones(len(block)), places), shape=(num, len(block)))


def divided(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The ratio, NaN where there is nothing to divide by.

    Example:
        >>> divided(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
        array([0.5, nan])
    """
    missing = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=missing, where=denominator > 0)
    return missing
