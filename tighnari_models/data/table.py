"""Survey metadata and environment → the tabular modality: cleaned, filled, standardised."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError

from tighnari_graph.errors import SurveyDataError, refuse
from tighnari_models.data.table_columns import (
    RULES,
    bounds_of,
    cap_footprint,
    category_texts,
    check_columns,
    column_numbers,
    is_category,
    matching,
)
from tighnari_models.data.table_pipeline import (
    learned_statistics,
    restore_statistics,
    table_pipeline,
)

_log = logging.getLogger("tighnari_models")
_CHUNK = 16_384  # rows transformed at once, so that monthly climate needs no second copy


class TablePreprocessor:
    """Turns `survey_frame` rows into the numbers of the tabular encoder, as learned in training.

    What happens to a value, in this order:

    1. Human footprint below 0 becomes 1, above 255 becomes 255.
    2. Outliers become missing, by the rule of their column. Infinite values always do.
    3. Skewed columns, by default areaInM2 and geoUncertaintyInM, are replaced by log(1 + x).
    4. Missing numbers become the training mean of the column, on the scale of step 3.
    5. Numbers are standardised: minus the training mean, over the training standard deviation
       (population form, filled values included). Constant columns become 0.
    6. Categories (region, country, land cover) become one 0/1 column for every category seen in
       training. A missing or unknown category is 0 in all of them.

    The year is a number; `categorical=("region", "country", "LandCover*", "year")` makes it
    one-hot. A land cover layer with fractions, or with more than `max_codes` different codes
    (layers of the 13 are percentages), is taken as a number. Nothing of a row that `fit` did not
    see enters any statistic; the paper's mean over training and test rows is `fit` on both.

    Attributes:
        feature_names: what the columns of the output are, such as ``Elevation``, ``region=ALPINE``.
        notes: what the last `fit` or `transform` made missing, capped, filled or left out, as
            counts.

    Args:
        outliers: the rule of all columns, or column name or pattern (``"Bio*"``) → rule, first
            match first, "impossible" where none matches. Rules are "none" (infinite values only),
            "impossible" (also what the column cannot hold: area ≤ 0, uncertainty < 0, positions
            off the globe, fill values of rasters) and "iqr" (also what lies further than
            `iqr_reach` interquartile ranges outside the quartiles of training, on the scale of
            step 3; a column whose quartiles are equal has no such limit).
        log_scaled: columns or patterns of step 3.
        categorical: columns or patterns of step 6.
        max_codes: most codes of a numbered category.
        iqr_reach: see the "iqr" rule.

    Shapes: N rows → float32 [N, ``num_features``].

    Raises:
        ValueError: on an unknown rule.

    Source: Liu et al. 2024, section 3.1 ("Table Data Cleaning and Missing Value Imputation").

    Example:
        >>> train = pd.DataFrame({"Elevation": [1.0, 3.0, np.inf], "region": ["A", "B", "A"]})
        >>> table = TablePreprocessor().fit(train)
        >>> table.feature_names
        ['Elevation', 'region=A', 'region=B']
        >>> table.transform(pd.DataFrame({"Elevation": [2.0, np.nan], "region": ["B", "C"]}))
        array([[0., 0., 1.],
               [0., 0., 0.]], dtype=float32)
        >>> table.notes
        {'missing Elevation (training mean)': 1, 'unknown region (all zeros)': 1}
    """

    def __init__(
        self,
        outliers: Mapping[str, str] | str = "impossible",
        log_scaled: Sequence[str] = ("areaInM2", "geoUncertaintyInM"),
        categorical: Sequence[str] = ("region", "country", "LandCover*"),
        max_codes: int = 50,
        iqr_reach: float = 1.5,
    ) -> None:
        self.outliers = {"*": outliers} if isinstance(outliers, str) else dict(outliers)
        for pattern, rule in self.outliers.items():
            if rule not in RULES:
                raise ValueError(f"outliers[{pattern!r}] must be one of {RULES}, got {rule!r}")
        if max_codes < 1 or not iqr_reach > 0:
            raise ValueError(f"max_codes {max_codes} and iqr_reach {iqr_reach} must be positive")
        self.log_scaled = tuple(log_scaled)
        self.categorical = tuple(categorical)
        self.max_codes, self.iqr_reach = max_codes, iqr_reach
        self.feature_names: list[str] = []
        self.notes: dict[str, int] = {}
        self._limits: dict[str, tuple[float, float]] = {}  # number column → least, greatest value
        self._categories: dict[str, list[str]] = {}  # category column → categories, sorted
        self._pipeline: ColumnTransformer | None = None

    @property
    def num_features(self) -> int:
        """Width of the output."""
        return len(self.feature_names)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the frame that the features are made of."""
        return (*self._limits, *self._categories)

    def fit(self, frame: pd.DataFrame) -> "TablePreprocessor":
        """Learn limits, means, spreads and categories from training rows.

        A column without any usable value is left out, counted in ``notes`` and logged.

        Raises:
            SurveyDataError: if there are no rows, no usable column, a column twice, or text in a
                column that is not in ``categorical``.
            ValueError: if a pattern of ``outliers`` matches no column.
        """
        check_columns(frame)
        if len(frame) == 0:
            raise SurveyDataError("survey frame: no rows to fit on")
        for pattern in self.outliers:
            if pattern != "*" and not matching(frame.columns, (pattern,)):
                raise ValueError(f"outliers: {pattern!r} matches none of {', '.join(frame)}")
        self.notes = notes = {}
        named = matching(frame.columns, self.categorical)
        categories = [c for c in named if is_category(frame[c], self.max_codes)]
        self._limits, self._categories, empty = {}, {}, []
        for name in frame:
            if name in categories:
                texts, _ = category_texts(frame[name])
                self._categories[name] = sorted({*texts.tolist()} - {""})
                if not self._categories[name]:
                    empty.append(name)
            else:
                values = column_numbers(frame[name])
                self._limits[name] = self._fit_limits(name, values)
                low, high = self._limits[name]
                if not ((values >= low) & (values <= high)).any():
                    empty.append(name)
        for name in empty:
            self._limits.pop(name, None), self._categories.pop(name, None)
        if not self._limits and not self._categories:
            raise SurveyDataError(
                f"survey frame: no column has a usable value in {len(frame)} training rows "
                f"({', '.join(frame) or 'there are no columns'})"
            )
        self._keep(self._build().fit(self._cleaned(frame)))
        if empty:
            notes["columns without a usable training value (left out)"] = len(empty)
            _log.warning("no usable value in training, left out: %s", ", ".join(empty))
        as_numbers = [c for c in named if c in self._limits]
        if as_numbers:
            notes["category columns taken as numbers"] = len(as_numbers)
            _log.info("categories taken as numbers: %s", ", ".join(as_numbers))
        return self

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        """The features of any rows, by what `fit` learned; ``notes`` tells what was changed.

        Shapes: N rows → float32 [N, F].

        Raises:
            NotFittedError: before `fit`.
            SurveyDataError: if a column of training is missing, if there is text where numbers
                were, or if a value is too large for a float32 feature (rule "none" only).
        """
        if self._pipeline is None:
            raise NotFittedError("TablePreprocessor: fit it on training rows first")
        check_columns(frame)
        lacking = [c for c in self.columns if c not in frame]
        if lacking:
            raise SurveyDataError(
                f"survey frame: {len(lacking)} columns of training are missing: "
                f"{', '.join(lacking[:20])}{', …' if len(lacking) > 20 else ''}"
            )
        self.notes = {}
        extra = len(frame.columns) - len(self._limits) - len(self._categories)
        if extra:
            self.notes["columns without a part in training (left out)"] = extra
        cleaned = self._cleaned(frame)
        features = np.empty((len(frame), self.num_features), dtype=np.float32)
        for start in range(0, len(frame), _CHUNK):
            rows = slice(start, start + _CHUNK)
            with np.errstate(over="ignore"):
                features[rows] = self._pipeline.transform(cleaned.iloc[rows])
        huge = ~np.isfinite(features)
        if huge.any():
            column = int(np.argmax(huge.any(axis=0)))
            what = f"a {self.feature_names[column]} too large for a feature"
            refuse("survey frame", huge[:, column], frame.index.to_numpy(), what)
        unknown = [note for note in self.notes if note.startswith("unknown")]
        if unknown:
            _log.info("; ".join(f"{self.notes[note]} × {note}" for note in unknown))
        return features

    def to_json(self) -> dict:
        """Everything learned, as numbers, text, lists and dicts that JSON keeps exactly.

        Lists where the order matters, so that a file with sorted keys is as good.
        """
        if self._pipeline is None:
            raise NotFittedError("TablePreprocessor: fit it on training rows first")
        return {
            "options": {
                "outliers": list(self.outliers.items()),
                "log_scaled": list(self.log_scaled),
                "categorical": list(self.categorical),
                "max_codes": self.max_codes,
                "iqr_reach": self.iqr_reach,
            },
            "limits": [[name, low, high] for name, (low, high) in self._limits.items()],
            "categories": [[name, texts] for name, texts in self._categories.items()],
            "learned": learned_statistics(self._pipeline),
        }

    @classmethod
    def from_json(cls, state: Mapping) -> "TablePreprocessor":
        """What `to_json` described: its output is bit-equal to that of the one that was saved.

        Raises:
            SurveyDataError: if the state is not that of a `TablePreprocessor`.

        Example:
            >>> table = TablePreprocessor().fit(pd.DataFrame({"Elevation": [1.0, 3.0]}))
            >>> same = TablePreprocessor.from_json(table.to_json())
            >>> same.transform(pd.DataFrame({"Elevation": [3.0]}))
            array([[1.]], dtype=float32)
        """
        try:
            options = state["options"]
            self = cls(**{**options, "outliers": dict(options["outliers"])})
            self._limits = {name: (low, high) for name, low, high in state["limits"]}
            self._categories = {name: list(texts) for name, texts in state["categories"]}
            pipeline = self._build()
            restore_statistics(pipeline, state["learned"])
        except (KeyError, TypeError, AttributeError) as error:
            raise SurveyDataError(f"no saved TablePreprocessor: {error!r}") from error
        self._keep(pipeline)
        return self

    def _fit_limits(self, name: str, values: np.ndarray) -> tuple[float, float]:
        rules = (rule for pattern, rule in self.outliers.items() if matching([name], (pattern,)))
        rule = next(rules, "impossible")
        skewed = bool(matching([name], self.log_scaled))
        return bounds_of(name, cap_footprint(name, values, {}), rule, skewed, self.iqr_reach)

    def _cleaned(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Steps 1 and 2: numbers within their limits or NaN, categories as text or ""."""
        columns = {}
        for name, (low, high) in self._limits.items():
            values = cap_footprint(name, column_numbers(frame[name]), self.notes)
            absent = np.isnan(values)
            outlier = ~absent & ~((values >= low) & (values <= high))
            columns[name] = np.where(outlier, np.nan, values)
            self._note(f"outliers of {name} (made missing)", outlier)
            self._note(f"missing {name} (training mean)", outlier | absent)
        for name, known in self._categories.items():
            texts, infinite = category_texts(frame[name])
            columns[name] = texts
            absent = texts == ""
            unknown = ~absent & (pd.Index(known, dtype=object).get_indexer(texts) < 0)
            self._note(f"outliers of {name} (made missing)", infinite)
            self._note(f"missing {name} (all zeros)", absent)
            self._note(f"unknown {name} (all zeros)", unknown)
        return pd.DataFrame(columns, index=frame.index)

    def _note(self, what: str, where: np.ndarray) -> None:
        if where.any():
            self.notes[what] = int(where.sum())

    def _build(self) -> ColumnTransformer:
        skewed = matching(self._limits, self.log_scaled)
        plain = [name for name in self._limits if name not in skewed]
        return table_pipeline(plain, skewed, self._categories)

    def _keep(self, pipeline: ColumnTransformer) -> None:
        self._pipeline = pipeline
        self.feature_names = [str(name) for name in pipeline.get_feature_names_out()]
