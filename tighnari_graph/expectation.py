r"""Expected F1 of the k most probable species of a survey, for every k at once.

With :math:`1/m = \int_0^1 x^{m-1} dx` and the generating function of the number of species that
occur, :math:`G(x) = \mathbb E[x^N] = \prod_s (1 - p_s + p_s x)`,

.. math:: \mathbb E[F_1(k)] = 2 \int_0^1 x^k\, G(x) \sum_{i \le k} \frac{p_i}{1 - p_i + p_i x}\, dx

The integrand is a polynomial, and Gauss-Legendre nodes give the integral to rounding. Species past
the candidates enter G alone, as :math:`-\sum_j v^j S_j / j` in its logarithm, with v = 1 − x and
power sums :math:`S_j = \sum_s p_s^j`. So a survey costs its species times the powers (some ten),
and its candidates times the nodes (some forty); the usual recursions are quadratic in both.

A shift of all logits by b tilts G: it becomes :math:`G(e^b x) / G(e^b)`. So the same power sums
serve every shift, with v = 1 − eᵇ x.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from tighnari_graph.calibration import Temperature
from tighnari_graph.ranking import Chunk, most_above, top_species

_PRECISION = {"exact": 1e-9, "fast": 1e-3}  # of the logarithm of G
METHODS = tuple(_PRECISION)
_LARGE = 0.25  # more probable species are factors of G, not part of the power sums
_CACHED = 1 << 16  # numbers whose powers are made at once: they stay in the cache
_MARGIN = 6.0  # standard deviations of the number of species, for the number of nodes


@dataclass(frozen=True, eq=False)
class RankedChunk:
    """The most probable species of some surveys, and what the others add to their number.

    Attributes:
        columns: :math:`(n, D)`, largest probability first.
        best: :math:`(n, D)`, their calibrated probabilities, 0 where there is no species.
        sums: :math:`(n, J)`, power sums of the calibrated probabilities of all other species.
    """

    columns: np.ndarray
    best: np.ndarray
    sums: np.ndarray

    @classmethod
    def of(
        cls, p: Chunk, temperature: Temperature, depth: int, method: str, reach: float = 0.0
    ) -> "RankedChunk":
        """Rank some surveys' species.

        Args:
            p: their probabilities, 0 … 1.
            temperature: how to calibrate them.
            depth: at least so many species are ranked, and all that are large.
            method: "exact" or "fast", how many powers are needed.
            reach: largest shift that will be asked for.
        """
        large = expit((logit(_LARGE) - temperature.bias) * temperature.temperature)
        columns, best = top_species(p, max(depth, most_above(p, large)))
        if isinstance(p, np.ndarray):
            others = p.copy()
            np.put_along_axis(others, columns, 0, axis=1)
        else:
            others = top_species(p, most_above(p, 0.0))[1][:, best.shape[1] :]
            others = np.maximum(others, 0)
        ranked = temperature.scaled(np.maximum(best, 0).astype(np.float64))
        farthest = max(1.0, np.expm1(reach))
        return cls(columns, ranked, _power_sums(temperature.scaled(others), method, farthest))

    def expected_f1(self, unlisted: float, shift: float, method: str, depth: int) -> np.ndarray:
        r"""Expected F1 of the k most probable species, k from 0 to D or ``depth``.

        Args:
            unlisted: expected number of further species that have no probability.
            shift: added to all logits.
            method: "exact" or "fast".
            depth: largest k.

        Shapes:
            - **output:** :math:`(n, D + 1)`
        """
        best, tilt = Temperature(bias=shift).scaled(self.best), np.exp(shift)
        power = np.arange(1, self.sums.shape[1] + 1)
        mean = best.sum(axis=1) + unlisted
        mean += tilt * (self.sums @ (1 - tilt) ** (power - 1))
        spread = (best**2).sum(axis=1)
        spread += tilt**2 * (self.sums[:, 1:] @ (power[:-1] * (1 - tilt) ** (power[1:] - 2)))
        variance = mean - spread

        at_one = self.sums @ ((1 - tilt) ** power / power)
        nothing = np.exp(at_one - self.sums @ (1 / power) - unlisted) * (1 - best).prod(axis=1)
        head = best[:, :depth]
        expected = np.zeros((len(best), head.shape[1] + 1))
        expected[:, 0] = nothing
        k = np.arange(1, head.shape[1] + 1)
        if method == "fast":
            count = k + 1 + mean[:, None]
            first, second = np.cumsum(head, axis=1), np.cumsum(head**2, axis=1)
            expected[:, 1:] = 2 * (
                first / count + second / count**2 + first * variance[:, None] / count**3
            )
            return expected
        most = len(k) + 1 + (mean + _MARGIN * np.sqrt(variance)).max(initial=0)
        nodes, weights = np.polynomial.legendre.leggauss(int(np.ceil(np.sqrt(8 * most))))
        for x, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
            factors = 1 - best * (1 - x)
            others = np.exp(
                at_one - self.sums @ ((1 - tilt * x) ** power / power) - unlisted * (1 - x)
            )
            others *= factors.prod(axis=1)
            terms = np.divide(head, factors[:, :depth], out=factors[:, :depth])
            np.cumsum(terms, axis=1, out=terms)
            terms *= 2 * weight * x**k
            terms *= others[:, None]
            expected[:, 1:] += terms
        return expected

    def length(self, unlisted: float, shift: float, method: str, depth: int) -> np.ndarray:
        """How many species the set with the highest expected F1 has, [n]; of equals, the fewest."""
        expected = self.expected_f1(unlisted, shift, method, depth)
        available = np.count_nonzero(self.best, axis=1)
        return np.asarray(np.minimum(np.argmax(expected, axis=1), available))


def _power_sums(others: np.ndarray, method: str, farthest: float) -> np.ndarray:
    """Sums of powers of each row, as many as a series in v up to ``farthest`` needs: [n, J]."""
    total = others.sum(axis=1, dtype=np.float64)
    largest = max(float(others.max(initial=0)) * farthest, np.finfo(float).tiny)
    wanted = _PRECISION[method] / max(1.0, float(total.max(initial=0)))
    num = max(2, int(np.ceil(np.log(wanted) / np.log(largest))))
    sums = np.empty((len(others), num))
    sums[:, 0] = total
    step = max(1, _CACHED // max(others.shape[1], 1))
    for start in range(0, len(others), step):
        rows = slice(start, start + step)
        base = others[rows].astype(np.float64)
        powers = base.copy()
        for power in range(1, num):
            powers *= base
            sums[rows, power] = powers.sum(axis=1)
    return sums
