"""One run at a time in an output folder; the system lets go of it when the process ends."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_LOCK = ".lock"
_HOLDER = ".holder"  # who holds it, or did last; the lock itself is emptied by whoever asks
_PARTS = (".*.part", ".tmp??????")  # of `written_whole`, and of safetensors within it


class FolderInUseError(OSError):
    """Another process writes into the folder; the text names both."""


@contextmanager
def hold(folder: str | Path, *inside: str, wait: bool = False) -> Iterator[None]:
    """Hold an output folder for this process alone, and clear what a killed one left half written.

    A process that ends in any way, ``kill -9`` too, lets go of it; worker processes that it leaves
    behind, within seconds. The lock is advisory: it keeps off those that ask. On a network file
    system it holds between machines where ``flock`` does (NFS 4, Lustre with ``-o flock``).

    Args:
        folder: made where it is not there; the hidden files ``.lock`` and ``.holder`` stay.
        inside: folders below it that are this run's own: half-written files go from them too.
        wait: whether to wait for another process instead of giving up.

    Raises:
        FolderInUseError: if another process holds it.
        OSError: if the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, hold(folder):
        ...     try:
        ...         with hold(folder):
        ...             pass
        ...     except FolderInUseError as error:
        ...         print(str(error).replace(folder, "FOLDER"))  # doctest: +ELLIPSIS
        FOLDER: process ... on ... is at work in it; wait for it, or choose another folder
    """
    folder = Path(folder)
    lock = FileLock(folder / _LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise FolderInUseError(
            f"{folder}: {_holder(folder)} is at work in it; wait for it, or choose another folder"
        ) from None
    except OSError as error:
        raise OSError(f"{folder}: cannot be written to ({error.strerror or error})") from error
    try:
        me = f"process {os.getpid()} on {socket.gethostname()}"
        try:
            (folder / _HOLDER).write_text(me, encoding="utf-8")
        except OSError as error:
            raise OSError(f"{folder}: cannot be written to ({error.strerror})") from error
        remove_half_written(folder, *inside)
        yield
    finally:
        lock.release()


def remove_half_written(folder: Path, *inside: str) -> None:
    """Remove what a process that was killed left half written, in a folder that is held.

    Args:
        folder: looked at itself, without what is below it.
        inside: folders below it that are looked through.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     (Path(name) / ".labels.parquet.x1.part").touch()
        ...     remove_half_written(Path(name))
        ...     list(Path(name).iterdir())
        []
    """
    for name in _PARTS:
        for part in (*folder.glob(name), *(p for i in inside for p in (folder / i).rglob(name))):
            part.unlink(missing_ok=True)


def _holder(folder: Path) -> str:
    """Who holds a folder, as far as it says so."""
    try:
        return (folder / _HOLDER).read_text(encoding="utf-8") or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"
