"""The scikit-learn objects of the tabular modality: built, and kept as JSON instead of pickles."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from tighnari_graph.errors import SurveyDataError

_NUMBERS = ("plain", "skewed")


def signed_log(values: pd.DataFrame | np.ndarray) -> pd.DataFrame | np.ndarray:
    """log(1 + x), mirrored for x < 0, which only the outlier rule "none" lets through.

    Example:
        >>> signed_log(np.array([0.0, np.expm1(2.0), -np.expm1(2.0)])).tolist()
        [0.0, 2.0, -2.0]
    """
    return np.sign(values) * np.log1p(np.abs(values))


def table_pipeline(
    plain: Sequence[str], skewed: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> ColumnTransformer:
    """Means for gaps and standard scores for numbers, 0/1 columns for categories; not yet fitted.

    Example:
        >>> pipeline = table_pipeline(["Elevation"], [], {"region": ["A", "B"]})
        >>> pipeline.fit_transform(pd.DataFrame({"Elevation": [1.0, 3.0], "region": ["B", "?"]}))
        array([[-1.,  0.,  1.],
               [ 1.,  0.,  0.]])
    """
    log = FunctionTransformer(signed_log, feature_names_out="one-to-one")
    numbers = [("fill", SimpleImputer(strategy="mean")), ("scale", StandardScaler())]
    one_hot = OneHotEncoder(
        categories=[np.array(texts, dtype=object) for texts in categories.values()],
        handle_unknown="ignore",
        sparse_output=False,
        dtype=np.float32,
        feature_name_combiner=lambda name, text: f"{name}={text}",
    )
    parts = [
        ("plain", Pipeline(list(numbers)), list(plain)),
        ("skewed", Pipeline([("log", log), *numbers]), list(skewed)),
        ("category", one_hot, list(categories)),
    ]
    parts = [part for part in parts if part[2]]
    return ColumnTransformer(parts, sparse_threshold=0, verbose_feature_names_out=False)


def learned_statistics(pipeline: ColumnTransformer) -> dict[str, dict]:
    """What a fitted `table_pipeline` learned about numbers, in lists that JSON keeps exactly."""
    return {
        part: {
            "fill": steps["fill"].statistics_.tolist(),
            "mean": steps["scale"].mean_.tolist(),
            "var": steps["scale"].var_.tolist(),
            "scale": steps["scale"].scale_.tolist(),
            "rows": int(steps["scale"].n_samples_seen_),
        }
        for part, steps in _number_steps(pipeline)
    }


def restore_statistics(pipeline: ColumnTransformer, learned: Mapping[str, Mapping]) -> None:
    """Fit a `table_pipeline` to what `learned_statistics` gave.

    Raises:
        SurveyDataError: if a statistic has another length than the pipeline has columns.
    """
    # One row makes scikit-learn set up its objects; what was learned is then put in.
    row = {
        name: [""] if part == "category" else [0.0]
        for part, _, names in pipeline.transformers
        for name in names
    }
    pipeline.fit(pd.DataFrame(row))
    for part, steps in _number_steps(pipeline):
        arrays = {key: np.array(learned[part][key]) for key in ("fill", "mean", "var", "scale")}
        wanted = steps["fill"].statistics_.shape
        for key, array in arrays.items():
            if array.shape != wanted:
                raise SurveyDataError(f"saved table: {key} has shape {array.shape}, not {wanted}")
        steps["fill"].statistics_ = arrays["fill"]
        steps["scale"].mean_, steps["scale"].var_ = arrays["mean"], arrays["var"]
        steps["scale"].scale_ = arrays["scale"]
        steps["scale"].n_samples_seen_ = np.int64(learned[part]["rows"])


def _number_steps(pipeline: ColumnTransformer) -> list[tuple[str, dict]]:
    fitted = pipeline.named_transformers_
    return [(part, dict(fitted[part].named_steps)) for part in _NUMBERS if part in fitted]
