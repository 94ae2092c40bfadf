"""Every reader on files that nobody should have: a documented error or an answer, and no harm."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz_limits import within_limits
from tests.fuzz_targets import TARGETS

FEW, MANY = 12, 360  # cases of each of the 42 targets: more than 500, more than 15,000

# Hypothesis takes what Dask's threads draw from `random` meanwhile for draws of a strategy.
dask_beside = pytest.mark.filterwarnings("ignore:Do not use the `random` module")


def fuzz(name: str, folder: Path, cases: int, same: bool) -> None:
    """Give a reader so many files; ``same`` gives the same ones each time."""
    target = TARGETS[name]
    (folder / "data").mkdir()
    path, contents = target.setup(folder / "data")
    given_files = 0

    @settings(
        max_examples=cases, deadline=None, derandomize=same, database=None, phases=(Phase.generate,
        Phase.shrink), suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    @given(contents)
    def read(content: bytes) -> None:
        nonlocal given_files
        given_files += 1
        path.write_bytes(content)
        with within_limits(folder):
            try:
                target.read(folder / "data", path)
            except target.errors as error:
                assert str(error).strip(), "an error without a word"

    home = Path.cwd()
    os.chdir(folder)
    try:
        read()
    finally:
        os.chdir(home)
    assert given_files >= cases


def test_there_are_cases_enough():
    assert len(TARGETS) * FEW >= 500
    assert len(TARGETS) * MANY >= 15_000


@dask_beside
@pytest.mark.parametrize("name", TARGETS)
def test_readers_stand_some_odd_files(name, tmp_path, client):
    fuzz(name, tmp_path, FEW, same=True)


@pytest.mark.long
@dask_beside
@pytest.mark.parametrize("name", TARGETS)
def test_readers_stand_many_odd_files(name, tmp_path, client):
    fuzz(name, tmp_path, MANY, same=False)
