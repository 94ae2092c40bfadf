"""`SurveyTable`: rows of survey × species in, one checked row per survey out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import sparse

from tighnari_graph.columns import text_codes, whole_numbers
from tighnari_graph.errors import SurveyDataError, refuse
from tighnari_graph.long_table import degrees, first_rows, renamed
from tighnari_graph.vocabulary import label_matrix, species_columns, vocabulary_of

REQUIRED = ("surveyId", "lat", "lon", "year")


@dataclass(frozen=True, eq=False, repr=False)
class SurveyTable:
    r"""Surveys of plants, one entry per survey, in the order in which the rows first named them.

    Attributes:
        survey_id: :math:`(N,)` int64, unique.
        lat: :math:`(N,)` float64, degrees north.
        lon: :math:`(N,)` float64, degrees east.
        year: :math:`(N,)` int64.
        region: :math:`(N,)` text, None where it is missing; None as a whole if the table has no
            such column.
        labels: :math:`(N, S)` scipy CSR of 0/1 float32; None for a table without species.
        species_ids: :math:`(S,)` int64, column → speciesId.
        species_names: :math:`(S,)` text if the species came as names, else None.
        meta: every other column, one row per survey (the survey's first row).
        notes: what was merged, missing or infinite, as counts; nothing happens unsaid.

    Source: Liu et al. 2024, section 3.1 ("we group the metadata by Survey ID").

    Example:
        >>> rows = pd.DataFrame({"surveyId": [7, 3, 7], "lat": [43.1, 44.0, 43.1],
        ...     "lon": [3.2, 3.0, 3.2], "year": [2020, 2021, 2020],
        ...     "region": ["ALPINE"] * 3, "speciesId": [5.0, 5.0, 9.0]})
        >>> table = SurveyTable.from_long(rows)
        >>> table
        SurveyTable(surveys=2, species=2, labels=3, years=2020–2021, regions=1)
        >>> table.survey_id, table.labels.toarray()
        (array([7, 3]), array([[1., 1.],
               [1., 0.]], dtype=float32))
    """

    survey_id: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    year: np.ndarray
    region: np.ndarray | None
    labels: sparse.csr_matrix | None
    species_ids: np.ndarray
    species_names: np.ndarray | None = None
    meta: pd.DataFrame = field(default_factory=pd.DataFrame)
    notes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.meta.columns.empty:
            object.__setattr__(self, "meta", pd.DataFrame(index=range(len(self.survey_id))))

    def __len__(self) -> int:
        return len(self.survey_id)

    def __repr__(self) -> str:
        parts = [f"surveys={len(self)}"]
        if self.labels is not None:
            parts += [f"species={len(self.species_ids)}", f"labels={self.labels.nnz}"]
        if len(self):
            parts.append(f"years={self.year.min()}–{self.year.max()}")
        if self.region is not None:
            parts.append(f"regions={pd.Series(self.region).nunique()}")
        return f"SurveyTable({', '.join(parts)})"

    def has(self, name: str) -> bool:
        """Whether `column` knows the name."""
        return name == "year" or name in self.meta or (name == "region" and self.region is not None)

    def column(self, name: str) -> pd.Series:
        """The values of one column, one per survey: year, region or any column of ``meta``.

        Raises:
            SurveyDataError: if the table has no such column.
        """
        if name == "year":
            return pd.Series(self.year, name=name)
        if name == "region" and self.region is not None:
            return pd.Series(self.region, name=name, dtype=object)
        if name in self.meta:
            return self.meta[name].reset_index(drop=True)
        present = ["year"] + (["region"] if self.region is not None else []) + list(self.meta)
        raise SurveyDataError(f"survey table: no column {name!r}; it has {', '.join(present)}")

    def known_labels(self) -> sparse.csr_matrix:
        """The labels, where there must be some.

        Raises:
            SurveyDataError: if the table has none.
        """
        if self.labels is None:
            raise SurveyDataError("survey table: has no speciesId column, so no labels")
        return self.labels

    def subset(self, rows: np.ndarray) -> "SurveyTable":
        """The surveys at ``rows`` (a bool mask or positions), with the same vocabulary.

        Example:
            >>> rows = pd.DataFrame({"surveyId": [1, 2], "lat": 0., "lon": [0., 1.], "year": 2020})
            >>> SurveyTable.from_long(rows).subset(np.array([False, True])).survey_id
            array([2])
        """
        return replace(
            self,
            survey_id=self.survey_id[rows],
            lat=self.lat[rows],
            lon=self.lon[rows],
            year=self.year[rows],
            region=None if self.region is None else self.region[rows],
            labels=None if self.labels is None else self.labels[rows],
            meta=self.meta.loc[rows].reset_index(drop=True)
            if np.asarray(rows).dtype == bool
            else self.meta.iloc[rows].reset_index(drop=True),
            notes={},
        )

    @classmethod
    def from_long(
        cls,
        frame: pd.DataFrame,
        species_ids: Sequence[int] | Sequence[str] | np.ndarray | None = None,
        columns: Mapping[str, str] | None = None,
        *,
        source: str = "survey table",
    ) -> "SurveyTable":
        """Group a long table, one row per survey × species, into one entry per survey.

        Rows of a survey may stand anywhere; a (survey, species) pair counts once; a row without a
        species is a survey where nothing was found. Infinite numbers in other columns become
        missing and are counted in ``notes``.

        Args:
            frame: columns surveyId, lat, lon, year, optionally region and speciesId (whole numbers
                or text names), and any others, which go to ``meta``.
            species_ids: the vocabulary, to be shared between tables; by default the species found,
                in ascending order. For text names, a sequence of names.
            columns: new names, such as ``{"decimalLatitude": "lat"}``.
            source: what errors call the table.

        Units: degrees for lat and lon.

        Raises:
            SurveyDataError: on missing columns, positions out of range, ids that are not whole
                numbers, a survey with two positions, years or regions.
            ValueError: on species outside ``species_ids``.
        """
        if not isinstance(frame, pd.DataFrame):
            raise TypeError(f"{source}: expected a DataFrame, got {type(frame).__name__}")
        frame = renamed(frame, columns or {}, source)
        missing = [name for name in REQUIRED if name not in frame]
        if missing:
            raise SurveyDataError(
                f"{source}: no column {', '.join(missing)} among "
                f"{', '.join(map(str, frame.columns)) or 'no columns at all'}"
                " (rename with columns={'yours': 'ours'})"
            )
        row_id, absent = whole_numbers(frame["surveyId"], source, None)
        refuse(source, absent, None, "no surveyId")
        lat = degrees(frame["lat"], 90.0, "latitude", source, row_id)
        lon = degrees(frame["lon"], 180.0, "longitude", source, row_id)
        year, absent = whole_numbers(frame["year"], source, row_id)
        refuse(source, absent, row_id, "no year")

        # Survey of each row, numbered as first seen, and the first row of each survey.
        survey, survey_id = pd.factorize(row_id)
        first = np.empty(len(survey_id), dtype=np.int64)
        first[survey[::-1]] = np.arange(len(survey))[::-1]
        home = first[survey]
        refuse(source, (lat != lat[home]) | (lon != lon[home]), row_id, "a second position")
        refuse(source, year != year[home], row_id, "a second year")
        region = None
        if "region" in frame:
            try:
                codes, names = text_codes(frame["region"])
            except TypeError as error:
                raise SurveyDataError(f"{source}: region holds mixed values ({error})") from error
            refuse(source, codes != codes[home], row_id, "a second region")
            region = np.array([*names, None], dtype=object)[codes[first]]

        notes = {"rows": len(frame)}
        labels, vocabulary, species_names = None, np.zeros(0, dtype=np.int64), None
        if species_ids is not None:
            vocabulary, species_names = vocabulary_of(species_ids, source)
        if "speciesId" in frame:
            column, vocabulary, species_names = species_columns(
                frame["speciesId"], vocabulary if species_ids is not None else None,
                species_names, source, row_id,
            )  # fmt: skip
            labels = label_matrix(survey, column, (len(survey_id), len(vocabulary)))
            notes["rows without a species"] = int((column < 0).sum())
            notes["repeated rows"] = int((column >= 0).sum()) - labels.nnz
            notes["surveys without species"] = int((np.diff(labels.indptr) == 0).sum())
        else:
            notes["repeated rows"] = len(frame) - len(survey_id)
        if region is not None:
            notes["surveys without region"] = int(pd.isna(region).sum())
        others = [c for c in frame.columns if c not in (*REQUIRED, "region", "speciesId")]
        meta = first_rows(frame[others], first, home, notes, source)
        return cls(
            survey_id.astype(np.int64), lat[first], lon[first], year[first], region,
            labels, vocabulary, species_names, meta, notes,
        )  # fmt: skip
