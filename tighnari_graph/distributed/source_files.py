"""The files of a Parquet data set, and what the names of their folders say."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tighnari_graph.errors import SurveyDataError

_NOTHING = "__HIVE_DEFAULT_PARTITION__"


def source_files(source: str | Path | Sequence[str | Path], name: str) -> list[str]:
    """The files of a data set, in the order of their rows; a folder's by their paths.

    Names that begin with a dot or an underscore are passed over in a folder. Links to files are
    read; links to folders are not followed, as one may lead in a circle, and are refused, as the
    surveys behind it would be missing unsaid.

    Args:
        source: a file, a folder, or a list of files.
        name: what errors call it.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        SurveyDataError: if there is no file, or a link to a folder, one that leads nowhere, a pipe
            or a device among them.
    """
    given = [source] if isinstance(source, str | Path) else source
    paths = [Path(path).absolute() for path in given]  # workers may have another folder
    gone = [str(path) for path in paths if not path.exists()]
    if gone:
        raise FileNotFoundError(f"{gone[0]}: no such file or folder ({len(gone)} are missing)")
    try:
        whole = isinstance(source, str | Path) and paths[0].is_dir()
        found = sorted(_files_below(paths[0]), key=str) if whole else paths
        odd = [path for path in found if not path.is_file()]
    except OSError as error:
        raise SurveyDataError(f"{name}: cannot be looked through: {error}") from error
    if not found:
        raise SurveyDataError(f"{name}: holds no Parquet files")
    if odd:
        raise SurveyDataError(
            f"{name}: {len(odd)} of {len(found)} names are no files (first {odd[0]}); neither "
            "folders in a list nor links to folders are looked through, name the files themselves"
        )
    return [str(path) for path in found]


def _files_below(folder: Path) -> list[Path]:
    """Everything in a folder but folders and names that begin with a dot or an underscore."""
    found: list[Path] = []
    for path in folder.iterdir():
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir() and not path.is_symlink():
            found += _files_below(path)
        else:
            found.append(path)
    return found


def folder_keys(paths: list[str]) -> list[dict[str, Any]]:
    """What names of folders such as ``year=2020`` say of each file.

    A column of whole numbers in all of them is one of numbers; ``01`` is text, and no ``1``, and
    so is what 64 bits do not hold.

    Example:
        >>> folder_keys(["/in/year=2020/region=01/a.parquet"])
        [{'year': 2020, 'region': '01'}]
    """
    said = []
    for path in paths:
        parts = (part.partition("=") for part in Path(path).parent.parts if "=" in part)
        said.append({unquote(k): None if v == _NOTHING else unquote(v) for k, _, v in parts})
    texts = {
        name
        for keys in said
        for name, value in keys.items()
        if value is not None and not _is_whole(value)
    }
    return [{k: v if v is None or k in texts else int(v) for k, v in keys.items()} for keys in said]


def _is_whole(text: str) -> bool:
    if not text.removeprefix("-").isdecimal() or text != str(int(text)):
        return False
    return -(2**63) <= int(text) < 2**63
