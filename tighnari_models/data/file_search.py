"""Which file belongs to which survey: one walk below the data folder, paths read as words."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from tighnari_graph.errors import SurveyDataError

SPLITS = ("train", "test")
_SPLIT = re.compile(r"(?<![a-z])(train|test)(?![a-z])")
_PRESENCE_ONLY = re.compile(r"(?<![a-z0-9])p[o0](?![a-z0-9])")  # the competition spells it P-zero


def files_of_split(
    folder: str | Path, split: str, name: re.Pattern[str], skip: re.Pattern[str]
) -> Iterator[tuple[re.Match[str], str]]:
    """Every file of the split's presence–absence surveys, as match of its name and path.

    A file belongs to the split that its name says, or else the nearest folder above it, up to
    ``folder`` itself. What lies below a presence-only folder (``PO_Train_…``) is passed over, since
    survey ids mean something else there. Links are followed, those to a folder once each; pipes,
    devices and links that lead nowhere are passed over.

    Args:
        folder: where to look.
        split: "train" or "test".
        name: files to take.
        skip: folders not to enter, by their own name.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if the split is neither "train" nor "test".
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    top = Path(folder).absolute()
    if not top.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    linked = {os.path.realpath(top)}
    todo = [(str(top), _split_of(top.name))]
    while todo:
        here, of_folder = todo.pop()
        with os.scandir(here) as entries:
            for entry in entries:
                kind = _kind(entry)
                if kind == stat.S_IFDIR:
                    if skip.search(entry.name) or _PRESENCE_ONLY.search(entry.name.lower()):
                        continue
                    if entry.is_symlink():
                        target = os.path.realpath(entry.path)
                        if target in linked:
                            continue
                        linked.add(target)
                    todo.append((entry.path, _split_of(entry.name) or of_folder))
                    continue
                match = name.search(entry.name)
                if match is None or kind != stat.S_IFREG:
                    continue
                if (_split_of(entry.name) or of_folder) == split:
                    yield match, entry.path


def _kind(entry: os.DirEntry[str]) -> int | None:
    """Regular file, folder or neither, of the entry or what it links to."""
    try:
        return stat.S_IFDIR if entry.is_dir() else stat.S_IFREG if entry.is_file() else None
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself
            return None
        raise


def _split_of(name: str) -> str | None:
    words = _SPLIT.findall(name.lower())
    return words[-1] if words else None


def one_per_survey(found: list[tuple[int, str]], what: str) -> dict[int, Path]:
    """Survey id → its one file.

    Raises:
        SurveyDataError: if a survey has two, naming both.

    Example:
        >>> one_per_survey([(7, "a/7.jpeg"), (7, "b/7.jpeg")], "RGB patches")
        Traceback (most recent call last):
        ...
        tighnari_graph.errors.SurveyDataError: 1 of 1 surveys have two RGB patches, expected one:
            surveyId 7 has a/7.jpeg and b/7.jpeg
    """
    files: dict[int, str] = {}
    twice: dict[int, str] = {}
    for survey, path in found:
        if files.setdefault(survey, path) != path:
            twice.setdefault(survey, path)
    if twice:
        survey = min(twice)
        both = " and ".join(sorted((files[survey], twice[survey])))
        raise SurveyDataError(
            f"{len(twice)} of {len(files)} surveys have two {what}, expected one: "
            f"surveyId {survey} has {both}"
        )
    return {survey: Path(path) for survey, path in files.items()}


def content_of(path: Path, limit: int, expected: str) -> bytes:
    """The bytes of a small file.

    Raises:
        FileNotFoundError: if there is no such file.
        SurveyDataError: if it is no regular file, or longer than ``limit``.

    Example:
        >>> content_of(Path(os.devnull), 10, "an image")
        Traceback (most recent call last):
        ...
        tighnari_graph.errors.SurveyDataError: /dev/null: no regular file, expected an image
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise SurveyDataError(f"{path}: no regular file, expected {expected}")
    if status.st_size > limit:
        raise SurveyDataError(f"{path}: {status.st_size} bytes, expected {expected}")
    return path.read_bytes()
