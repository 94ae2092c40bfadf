"""Links between files of the repository, as a page needs them that shows another file's text."""

import os
import re
from pathlib import Path

_LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)")


def rewrite(text: str, at: Path, page: Path, moved: dict[Path, Path]) -> str:
    """Links of a text from ``at``, for the page that shows it; ``moved`` has pages of their own."""

    def changed(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(at.parent / match[2]))
        target = moved.get(target, target)
        return match[1] + Path(os.path.relpath(target, page.parent)).as_posix()

    return _LINK.sub(changed, text)
