"""What tests of several modules stand on: a Dask cluster in this process, and a browser."""

import pytest


@pytest.fixture(scope="module")
def client():
    """A cluster in this process: two threads."""
    from distributed import Client

    from tests.distributed_cases import IN_PROCESS

    with Client(**IN_PROCESS) as one:
        yield one


@pytest.fixture(scope="module")
def browser():
    from tests.explore_visit import chromium

    with chromium() as opened:
        yield opened
