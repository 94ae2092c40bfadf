"""Write files so that a reader never meets half of one."""

import errno
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

import numpy as np
from numpy.lib.format import open_memmap
from safetensors import SafetensorError

from tighnari_graph.holding import FolderInUseError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SAID = ("os error {})", "Os {{ code: {},")  # by safetensors, newer ones and 0.5


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path``, renamed to it when the block ends, removed if it fails.

    Raises:
        OSError: if the disk is full; names the file, of which the earlier content is as it was.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with written_whole(Path(folder) / "a.txt") as part:
        ...         _ = part.write_text("whole")
        ...     sorted(p.name for p in Path(folder).iterdir())
        ['a.txt']
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder, expected the name of a file", str(path))
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    part.touch(exist_ok=False)
    mode = part.stat().st_mode & 0o777  # as the user's umask leaves it
    try:
        yield part
        part.chmod(mode)  # what safetensors makes is for its owner alone
        part.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:
        if (full := _is_full(error)) is not None:
            raise OSError(full, f"{path}: not written ({os.strerror(full)})") from error
        raise
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def written_together(folder: Path, names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Temporary names of files that belong together, put in their places once all are written.

    The last of them is taken away first and comes last: where it is, all are of one writing. A file
    that is not written this time goes too. Until all are written, the earlier files are as they
    were.

    Raises:
        FolderInUseError: if another process or thread writes there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with written_together(Path(folder), ("a.npy", "last.json")) as new:
        ...         write_array(new["a.npy"], np.zeros(2))
        ...         _ = new["last.json"].write_text("{}")
        ...     sorted(p.name for p in Path(folder).iterdir())
        ['a.npy', 'last.json']
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    new = {name: folder / f".{name}.new.part" for name in names}
    with _only_writer(folder):
        _remove_half_written(folder, names)
        try:
            yield new
            (folder / names[-1]).unlink(missing_ok=True)
            for name, path in new.items():
                if path.exists():
                    path.replace(folder / name)
                else:
                    (folder / name).unlink(missing_ok=True)
        finally:
            _remove_half_written(folder, names)
            if made and not any(folder.iterdir()):
                folder.rmdir()


@contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Lock a folder itself, which leaves no file behind; where the system has no such lock, not."""
    if fcntl is None:
        yield
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(
                f"{folder}: is being written to by another process or thread; wait for it, or "
                "choose another folder"
            ) from None
        except OSError:  # some network file systems
            pass
        yield
    finally:
        os.close(place)


def _remove_half_written(folder: Path, names: Sequence[str]) -> None:
    for part in half_written(folder, names):
        part.unlink(missing_ok=True)


def half_written(folder: Path, names: Sequence[str]) -> set[Path]:
    """Files that `written_together` has begun, also in a process that was killed."""
    found: set[Path] = set()
    for name in names:
        found |= {*folder.glob(f".{name}.new.part"), *folder.glob(f"..{name}.new.part.*.part")}
    return found


def write_array(path: str | Path, array: np.ndarray) -> None:
    """An array as a whole ``.npy`` file, never pickled.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_array(Path(folder) / "a.npy", np.arange(3))
        ...     np.load(Path(folder) / "a.npy")
        array([0, 1, 2])
    """
    with written_whole(path) as part, part.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: str | Path) -> np.ndarray:
    """The array of a ``.npy`` file; an archive or a pickle under that name is not opened.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is anything else; numpy parses the header as Python, which has errors
            of its own: SyntaxError, ``tokenize.TokenError``, MemoryError.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_array(Path(folder) / "a.npy", np.arange(3))
        ...     read_array(Path(folder) / "a.npy")
        array([0, 1, 2])
    """
    with Path(path).open("rb") as file:
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def new_memmap(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.memmap:
    """A ``.npy`` file of zeros as a memory map; it takes its whole place on the disk at once.

    Raises:
        OSError: if it does not fit. Without its place, writing to a disk that runs full would kill
            the process (SIGBUS).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     new_memmap(Path(folder) / "a.npy", (2, 3), np.dtype(np.float16)).shape
        (2, 3)
    """
    array = open_memmap(path, "w+", dtype, shape)
    array.flush()
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _is_full(error: BaseException | None) -> int | None:
    """The number of the error if a disk without space is behind it; libraries have their words."""
    while error is not None:
        if isinstance(error, OSError):
            if error.errno in _FULL or " requested and " in str(error):  # numpy's has no number
                return error.errno or errno.ENOSPC
        elif said := [n for n in _FULL if any(text.format(n) in str(error) for text in _SAID)]:
            return said[0]
        error = error.__context__  # torch fails again while it closes the file
    return None
