"""Dask: a client, and work done on its workers with a progress bar."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from tqdm import tqdm

if TYPE_CHECKING:
    from distributed import Client, Future

_LOG = logging.getLogger(__name__)
_RESTART = "120s"  # for all workers to come back, of which Dask waits for 15 s
_PATIENCE = 60.0  # seconds for tasks at work when another one has failed
_NO_WORKER = 300.0  # seconds without a worker, where there have been some
_POLL = 0.05
_GOES_ON = "What is finished stays, and the same call goes on from there"
_NO_SCHEDULER = "the scheduler of the Dask cluster cannot be reached"
T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def connected(client: "Client | None") -> Iterator["Client"]:
    """The client given, or one of a `LocalCluster` of a process for each core, closed at the end.

    Raises:
        ImportError: without Dask, naming the extra.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(
            "tighnari_graph.distributed needs Dask; in the checkout: pip install '.[distributed]'"
        ) from error
    if client is not None:
        with client.as_current():  # it may not be the default one
            yield client
        return
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": _RESTART}),
        LocalCluster(
            threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL
        ) as cluster,
        Client(cluster) as own,
    ):
        yield own


def done_by(
    client: "Client", work: Callable[..., R], items: Sequence[T], title: str, *given: Any
) -> list[R]:
    """``work(item, *given)`` for every item, on the workers, in the order of the items.

    A worker that dies has its tasks done again by another one. The first error stops the rest, and
    is raised when no task is at work any longer.

    Raises:
        RuntimeError: if a task took several workers down with it, if all workers are gone for five
            minutes, or if the scheduler is.
    """
    from distributed import KilledWorker

    run = uuid4().hex
    futures = client.map(
        work, items, *([one] * len(items) for one in given),
        key=[f"{title}-{run}-{i}" for i in range(len(items))], pure=False,
    )  # fmt: skip
    place = {future.key: i for i, future in enumerate(futures)}
    results: dict[int, R] = {}
    try:
        done = _completed(client, futures, title)
        for future, result in tqdm(done, title, len(items), delay=2, disable=None, leave=False):
            results[place[future.key]] = result
    except KilledWorker as error:
        raise RuntimeError(
            f"{title}: one of {len(items)} tasks ended several workers, most likely for want of "
            "memory; use a smaller max_surveys, fewer workers, or workers with more memory. "
            f"{_GOES_ON}"
        ) from error
    except CancelledError as error:
        raise RuntimeError(f"{title}: {_NO_SCHEDULER}. {_GOES_ON}") from error
    finally:
        left = [future for future in futures if not future.done()]
        if left:
            _stop(client, left, wait=not isinstance(sys.exception(), KeyboardInterrupt))
    return [results[i] for i in range(len(items))]


def _completed(
    client: "Client", futures: list["Future"], title: str
) -> Iterator[tuple["Future", Any]]:
    """Futures as they are done, with what they gave. Workers that have not come yet are waited for:
    a cluster may start them hours later.

    Raises:
        RuntimeError: if there have been workers, and none has come back in time; if there is no
            scheduler.
        Exception: that a task has raised.
    """
    from distributed import as_completed

    completed = as_completed(futures, with_results=True, raise_errors=False)
    asked, alive = 0.0, None
    while not completed.is_empty():
        if done := completed.next_batch(block=False):
            for future, result in done:
                if future.status in ("error", "cancelled"):
                    future.result()  # raises
                yield future, result
            continue
        time.sleep(_POLL)
        now = time.monotonic()
        if now < asked + _NO_WORKER / 100:
            continue
        asked = now
        try:
            alive = now if client.nthreads() else alive
        except OSError as error:
            raise RuntimeError(f"{title}: {_NO_SCHEDULER}. {_GOES_ON}") from error
        if alive is not None and now > alive + _NO_WORKER:
            raise RuntimeError(
                f"{title}: all workers of {client} are gone, for {_NO_WORKER:.0f} seconds now; "
                f"start others. {_GOES_ON}"
            )


def _stop(client: "Client", futures: list["Future"], wait: bool) -> None:
    """Tasks that have not begun never do; those at work, which nothing can stop, are waited for.

    Not after Ctrl-C, which in a terminal reaches the workers too: their tasks never end.
    """
    from distributed import wait as wait_for

    at_work: set[str] = set()
    if wait:
        at_work = {key for keys in client.processing().values() for key in keys}
    client.cancel([future for future in futures if future.key not in at_work])
    try:
        wait_for([future for future in futures if future.key in at_work], timeout=_PATIENCE)
    except CancelledError:
        pass
    except TimeoutError:
        _LOG.warning("%d tasks are at work still; do not use their folder yet", len(at_work))
