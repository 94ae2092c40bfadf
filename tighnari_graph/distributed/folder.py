"""The output folder: one build, one process at a time."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tighnari_graph.files import written_whole
from tighnari_graph.holding import hold, remove_half_written

_FOLDERS = ("edges", "gfv", "halo", "rows", "surveys", "test", "tiles", "work")


@contextmanager
def claimed(out: Path, settings: dict[str, Any]) -> Iterator[None]:
    """Hold the folder for a build with these settings; new, or the same one again.

    Half-written files of workers that were killed are gone when the block ends well.

    Raises:
        FileExistsError: if it holds anything else.
        FolderInUseError: if another process builds there.
    """
    with hold(out, *_FOLDERS):
        _check(out, settings)
        yield
        remove_half_written(out, *_FOLDERS)  # by workers that were killed meanwhile


def _check(out: Path, settings: dict[str, Any]) -> None:
    path = out / "build.json"
    if not path.exists():
        others = sorted(p.name for p in out.iterdir() if not p.name.startswith("."))
        if others:
            raise FileExistsError(
                f"{out}: holds {len(others)} other things ({', '.join(others[:3])}), no build; "
                "choose a new folder"
            )
        with written_whole(path) as part:
            part.write_text(json.dumps(settings))
        return
    try:
        earlier = json.loads(path.read_text())
        differ = sorted(k for k in settings.keys() | earlier if settings.get(k) != earlier.get(k))
    except (ValueError, TypeError, AttributeError) as error:
        raise FileExistsError(f"{path}: no settings of a build ({error})") from error
    if differ:
        raise FileExistsError(
            f"{out}: holds another build, which differs in {', '.join(differ)}; choose a new folder"
        )
