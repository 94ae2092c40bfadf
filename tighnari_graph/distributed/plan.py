"""Groups of surveys cut into tiles: which surveys a worker looks at together."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from tighnari_graph.distributed.chunks import Chunk, Key
from tighnari_graph.distributed.cubes import END


@dataclass(frozen=True)
class Tile:
    """The surveys of one group in one run of cube numbers.

    Attributes:
        number: of the tile, and of the files made of it.
        key: what the group shares, year, region or others; None is a missing value, which matches
            nothing.
        begin, end: numbers of the cubes, ``end`` no longer in it.
        surveys: how many; one that stands in two pieces of the data set counts twice.
        cut: whether the group has other tiles.
    """

    number: int
    key: Key
    begin: int
    end: int
    surveys: int
    cut: bool

    def __str__(self) -> str:
        return f"tile {self.number} ({', '.join(map(str, self.key))})"

    @property
    def name(self) -> str:
        """Of its files, without what they hold."""
        return f"part-{self.number:06d}"

    @property
    def matches(self) -> bool:
        """Whether its surveys can have neighbours at all."""
        return None not in self.key


def plan_tiles(chunks: list[Chunk], max_surveys: int) -> list[Tile]:
    """A tile for each group, or several of about equal size for one of more surveys.

    Surveys of one cube of 6 m are never cut apart, so a tile can be larger.
    """
    members: dict[Key, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        for key in chunk.groups:
            members[key].append(chunk)
    tiles: list[Tile] = []
    for key in sorted(members, key=lambda key: [(part is None, part) for part in key]):
        numbers = [chunk.group_numbers(key) for chunk in members[key]]
        total = sum(map(len, numbers))
        marks = np.array([0, END])
        if total > max_surveys:
            marks = _marks(numbers, total, -(-total // max_surveys))
        below = _below(numbers, marks)
        for begin, end, count in zip(marks[:-1], marks[1:], np.diff(below), strict=True):
            cut = len(marks) > 2
            tiles.append(Tile(len(tiles), key, int(begin), int(end), int(count), cut))
    return tiles


def _marks(numbers: list[np.ndarray], total: int, parts: int) -> np.ndarray:
    """Cube numbers that cut a group into equal parts, by halving until each is found."""
    wanted = total * np.arange(1, parts) // parts
    low, high = np.zeros(parts - 1, dtype=np.int64), np.full(parts - 1, END)
    while (low < high).any():
        middle = low + (high - low) // 2
        enough = _below(numbers, middle) >= wanted
        low, high = np.where(enough, low, middle + 1), np.where(enough, middle, high)
    marks = np.unique(np.concatenate([[0], low, [END]]))
    return marks[np.append(True, np.diff(_below(numbers, marks)) > 0)]


def _below(numbers: list[np.ndarray], marks: np.ndarray) -> np.ndarray:
    """How many surveys of the group have a smaller cube number than each of these."""
    return np.sum([sorted_part.searchsorted(marks) for sorted_part in numbers], axis=0)
