"""Find the files of a GeoLifeCLEF 2024 data set in the folder where a user unpacked it."""

import re
from dataclasses import dataclass
from pathlib import Path

from tighnari_graph.errors import SurveyDataError

# As on Kaggle (P0 with a zero, underscores) and in the GeoPlant release (hyphens).
_PATTERNS = {
    "pa": r"GLC\d\d[-_]PA[-_]metadata[-_]train\.(csv|parquet)",
    "test": r"GLC\d\d[-_]PA[-_]metadata[-_]test\.(csv|parquet)",
    "po": r"GLC\d\d[-_]P[0O][-_]metadata[-_]train\.(csv|parquet)",
    "truth": r"GLC\d\d[-_]PA[-_]labels[-_]test\.(csv|parquet)",
}


@dataclass(frozen=True)
class DataFolder:
    """The survey files of a folder; ``po`` and ``truth`` are None where there are none.

    Attributes:
        pa: presence–absence surveys with labels.
        test: surveys to predict.
        po: presence-only surveys.
        truth: labels of the test surveys, which only synthetic data have.
        layout: which spelling of the names was met.
    """

    pa: Path
    test: Path
    po: Path | None
    truth: Path | None
    layout: str

    @classmethod
    def find(cls, folder: str | Path) -> "DataFolder":
        """Look below ``folder`` for the metadata files, whatever the spelling.

        Raises:
            FileNotFoundError: if there is no such folder, or no PA or test metadata in it.
            SurveyDataError: if it is a file, or a file is there twice.
        """
        folder = Path(folder)
        found = _matching(folder)
        pa, test = found["pa"], found["test"]
        if pa is None or test is None:
            lacking = [name for name, path in (("train", pa), ("test", test)) if path is None]
            raise FileNotFoundError(
                f"{folder}: no PA metadata of {' and '.join(lacking)} below it "
                "(GLC24_PA_metadata_train.csv, GLC24_PA_metadata_test.csv)"
            )
        layout = "GeoPlant (hyphens)" if "-metadata-" in pa.name else "Kaggle (underscores)"
        return cls(pa, test, found["po"], found["truth"], layout)


def find_test(folder: str | Path) -> Path:
    """The metadata of the surveys to predict; nothing else needs to be there.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        SurveyDataError: if the folder is a file, or the file is there twice.
    """
    path = _matching(Path(folder))["test"]
    if path is None:
        raise FileNotFoundError(f"{folder}: no GLC24_PA_metadata_test.csv below it")
    return path


def _matching(folder: Path) -> dict[str, Path | None]:
    """Kind of table → its file, None where there is none."""
    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise SurveyDataError(f"{folder}: a file; expected the folder that holds the data set")
    files = sorted(path for path in folder.rglob("*etadata*") if path.is_file())
    files += sorted(folder.rglob("*labels*"))
    found: dict[str, Path | None] = {}
    for kind, pattern in _PATTERNS.items():
        matching = [path for path in files if re.fullmatch(pattern, path.name)]
        if len(matching) > 1:
            names = ", ".join(str(path.relative_to(folder)) for path in matching)
            raise SurveyDataError(f"{folder}: found {len(matching)} files for one: {names}")
        found[kind] = matching[0] if matching else None
    return found
