"""Shapley and Owen values of games whose coalitions are numbered in binary."""

from dataclasses import dataclass
from math import factorial

import numpy as np


def shapley_weights(players: int) -> np.ndarray:
    r"""Weight of a coalition of 0, 1, … others that a player joins: :math:`s!(n-s-1)!/n!`.

    Args:
        players: how many there are, :math:`n`, at least 1.

    Shapes:
        - **output:** :math:`(n,)`

    Example:
        >>> shapley_weights(3).round(3)
        array([0.333, 0.167, 0.333])
    """
    sizes = range(players)
    return np.array([factorial(s) * factorial(players - s - 1) for s in sizes]) / factorial(players)


def shapley_values(values: np.ndarray) -> np.ndarray:
    r"""What each player adds on the average over all orders in which they can come.

    Args:
        values: of every coalition; bit *i* of a coalition's number says whether player *i* is in.

    Shapes:
        - **values:** :math:`(2^n, \dots)`
        - **output:** :math:`(n, \dots)`, which sums to the last of ``values`` less the first

    Source: Shapley 1953, *A value for n-person games*.

    Example:
        Alone they are worth 1 and 2, together 5.

        >>> shapley_values(np.array([0.0, 1.0, 2.0, 5.0]))
        array([2., 3.])
    """
    coalition = np.arange(len(values))
    players = len(values).bit_length() - 1
    weight = shapley_weights(players) if players else np.zeros(0)
    size = coalition_sizes(players)
    shares = []
    for player in range(players):
        without = coalition[coalition >> player & 1 == 0]
        added = values[without | 1 << player] - values[without]
        shares.append(np.tensordot(weight[size[without]], added, axes=1))
    return np.stack(shares) if shares else np.zeros((0, *values.shape[1:]))


def coalition_sizes(players: int) -> np.ndarray:
    r"""How many players are in each of the :math:`2^n` coalitions."""
    return np.array([number.bit_count() for number in range(1 << players)])


@dataclass(frozen=True)
class Game:
    """Coalitions of modalities, and of the groups of neighbours within the graph's.

    A state is a coalition of the modalities other than the graph's, and one of its groups; without
    that modality there are no groups, undivided it is a single one.

    Attributes:
        players: the modalities.
        groups: of neighbours.
        background: how many surveys stand in for what is absent.

    Source: Owen 1977, *Values of games with a priori unions*.
    """

    players: tuple[str, ...]
    groups: int
    background: int

    @property
    def others(self) -> tuple[str, ...]:
        """The modalities that are not divided."""
        return tuple(n for n in self.players if not (self.groups and n == "gfv"))

    @property
    def order(self) -> tuple[str, ...]:
        """The modalities in the order of their shares, the divided one last."""
        return (*self.others, "gfv") if self.groups else self.others

    def rows(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Which rows of `Choices` to predict, the state of each, and its weight in the mean."""
        whole = (1 << len(self.others)) - 1
        full = (1 << self.groups) - 1
        sizes = (whole + 1, full + 1, self.background)
        outer, inner, standing = (part.ravel() for part in np.indices(sizes))
        alike = (outer == whole) & ((inner > 0) | (self.groups == 0))  # nothing is absent
        kept = ~alike | (standing == 0)
        outer, inner, standing, alike = (part[kept] for part in (outer, inner, standing, alike))
        rows = {
            name: np.where(outer >> bit & 1, 0, standing + 1)
            for bit, name in enumerate(self.others)
        }
        if self.groups:
            some = np.where(inner == full, 0, self.background + inner)
            rows["gfv"] = np.where(inner == 0, standing + 1, some)
        return rows, outer * (full + 1) + inner, np.where(alike, 1.0, 1 / self.background)

    def shares(self, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Base [1, C], shares of the modalities [M, C] and of the groups [g, C]."""
        states = value.reshape(1 << len(self.others), 1 << self.groups, -1)
        base = states[0, :1]
        if not self.groups:
            return base, shapley_values(states[:, 0]), np.zeros((0, states.shape[2]))
        shares = shapley_values(np.concatenate([states[:, 0], states[:, -1]]))
        weight = shapley_weights(len(self.order))[coalition_sizes(len(self.others))]
        return base, shares, shapley_values(np.tensordot(weight, states, axes=1))
