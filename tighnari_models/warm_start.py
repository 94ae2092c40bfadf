"""Where training starts: from scratch, or from the weights of a model that learned before."""

from dataclasses import asdict, replace
from itertools import zip_longest

from tighnari_models.config import TighnariConfig
from tighnari_models.data.datamodule import SurveyDataModule
from tighnari_models.tighnari import Tighnari


def new_model(config: TighnariConfig, data: SurveyDataModule, start: Tighnari | None) -> Tighnari:
    """A model to train: with the weights of ``start``, or from scratch at the species' frequency.

    Args:
        config: of the model.
        data: with a split, whose training surveys give the frequency of every species.
        start: a model of the same config, or None.
    """
    if start is None:
        model = Tighnari(config)
        model.init_output_bias(data.frequency(data.split.train))  # type: ignore[union-attr]
        return model
    model = Tighnari(replace(config, pretrained=False, weights=None))
    model.load_state_dict(start.state_dict())
    return model


def check_start(start: Tighnari, data: SurveyDataModule, config: TighnariConfig) -> None:
    """Raise unless the weights of a model can be those that training starts from.

    Raises:
        ValueError: if it is of another config, or learned from other table columns.
    """
    _refuse_other_columns(start, data, config)
    _refuse_another(start.config, config)


def _refuse_other_columns(start: Tighnari, data: SurveyDataModule, config: TighnariConfig) -> None:
    """Weights of a table column are of no use to another, even where their number is the same."""
    held, given = (
        None if fitted is None else fitted.table
        for fitted in (start.preprocessing, data.preprocessing)
    )
    if held is None or given is None or "table" not in config.modalities:
        return
    names = zip_longest(held.feature_names, given.feature_names)
    for number, (old, new) in enumerate(names):
        if old != new:
            raise ValueError(
                f"start is a model with {old!r} in column {number} of the table, the data have "
                f"{new!r}: split them with with_split(train, val, start.preprocessing)"
            )


def _refuse_another(start: TighnariConfig, config: TighnariConfig) -> None:
    held, asked = asdict(start), asdict(config)
    for name in asked:
        if name not in ("pretrained", "weights") and held[name] != asked[name]:
            raise ValueError(
                f"start is a model with {name} = {held[name]!r}, the config has {asked[name]!r}"
            )
