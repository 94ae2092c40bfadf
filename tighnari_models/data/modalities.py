"""Which modalities are used, and the scale of those that come from files."""

import logging
from collections.abc import Sequence

import numpy as np

from tighnari_models.data.batch import FILES, MODALITIES
from tighnari_models.data.prepared import PreparedArrays
from tighnari_models.data.scaling import ChannelScaler

_log = logging.getLogger("tighnari_models")


def chosen_modalities(
    wanted: Sequence[str] | None,
    arrays: PreparedArrays | None,
    test_arrays: PreparedArrays | None,
    with_test: bool,
    multiscale: bool = False,
) -> tuple[str, ...]:
    """Those that are wanted, by default all that labelled surveys and surveys to predict have.

    Multi-scale rows can always be made, and are where they are wanted or ``multiscale`` is true.

    Raises:
        ValueError: if one is unknown or wanted and lacking.
    """
    there = {"table", "gfv"} | (set() if arrays is None else set(arrays.arrays))
    if multiscale or "scales" in (wanted or ()):
        there.add("scales")
        wanted = None if wanted is None else (*wanted, "scales")
    if with_test:
        lacking = there & set(FILES)
        lacking -= set() if test_arrays is None else set(test_arrays.arrays)
        if lacking:
            _log.warning("left out, since the test surveys lack them: %s", sorted(lacking))
        there -= lacking
    unknown = sorted(set(wanted or ()) - set(MODALITIES))
    if unknown:
        raise ValueError(f"unknown modalities {unknown}; there are {', '.join(MODALITIES)}")
    if wanted is not None and not set(wanted) <= there:
        raise ValueError(
            f"the data lack {', '.join(sorted(set(wanted) - there))}; "
            f"they have {', '.join(n for n in MODALITIES if n in there)}"
        )
    return tuple(n for n in MODALITIES if n in there and (wanted is None or n in wanted))


def fit_scaler(
    arrays: PreparedArrays, name: str, survey_id: np.ndarray, cube_fill: str = "channel"
) -> ChannelScaler:
    """Mean and spread of the channels of an image or cube over some surveys."""
    rows = np.zeros(len(arrays.survey_id), dtype=bool)
    rows[arrays.rows(survey_id)] = True
    fill = "channel" if name == "image" else cube_fill
    return ChannelScaler(fill).fit(arrays.arrays[name], rows, arrays.found[name])
