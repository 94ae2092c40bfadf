"""The rows of the leaderboard, from the global frequency to ensembles, and what each builds on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmarks.leaderboard_data import BoardData
from benchmarks.leaderboard_methods import (
    Tuned,
    boosting,
    chain,
    forest,
    frequency,
    graph_features,
    nearest,
    shares,
)
from benchmarks.leaderboard_networks import (
    EPOCH_SETTINGS,
    SCIKIT_SETTINGS,
    scikit_perceptron,
    tighnari,
    torch_perceptron,
)
from tighnari_graph.community_f1 import CommunityF1
from tighnari_graph.decisions import FixedK
from tighnari_graph.ladder import STRENGTHS
from tighnari_models.evaluation import THRESHOLD_TOP_K, RuleFit
from tighnari_models.held_out import Method

NEIGHBOR_SETTINGS = tuple((k, 0.0) for k in (5, 10, 20, 40, 80))
COVARIATE_SETTINGS = tuple((k, km) for k in (10, 20, 40, 80) for km in (0.0, 10.0, 30.0, 100.0))
LEAF_SETTINGS = (2, 5, 10)
BOOSTING_SETTINGS = (25, 50, 100, 200)
MOST_SPECIES = 50  # boosted one by one
CHAIN, CHAIN_PO = "chain, all covariates", "chain, all covariates, PO"
FOREST, BOOSTING = "random forest", "gradient boosting"
TRAINED, TRAINED_PO = "Tighnari: table, scales", "Tighnari: table, scales, PO"
PLAIN = (  # what others would try first
    "nearest neighbours, position", "nearest neighbours, position and covariates", FOREST, BOOSTING,
    "MLP, scikit-learn", "MLP, torch",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Row:
    """One row.

    Attributes:
        name: what the table calls it.
        method: makes the method for a set of surveys; None for an ensemble.
        builds_on: rows that it is compared with; the first of them that is there is taken.
        members: rows whose logits are averaged, for an ensemble.
        rule: fits what turns probabilities into sets.
        cheap: whether random folds are tried too.
        po: whether it sees presence-only surveys.
        columns: columns of the survey table that must vary.
        few_species: whether it is for at most `MOST_SPECIES` species.
    """

    name: str
    method: Callable[[BoardData], Method] | None
    builds_on: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    rule: RuleFit = THRESHOLD_TOP_K
    cheap: bool = False
    po: bool = False
    columns: tuple[str, ...] = ()
    few_species: bool = False

    def lacks(self, data: BoardData) -> str | None:
        """Why the row cannot be run on these surveys; None if it can."""
        surveys = data.surveys
        constant = [
            name
            for name in self.columns
            if not (surveys.has(name) and surveys.column(name).nunique() > 1)
        ]
        if constant:
            return f"{' and '.join(constant)} tell no surveys apart"
        if self.few_species and len(surveys.species_ids) > MOST_SPECIES:
            num = len(surveys.species_ids)
            return f"it boosts species one by one, which is not done for {num:,} of them"
        if self.po and data.presence_only is None:
            return "there are no PO surveys"
        return None


def _chain(covariates: tuple[str, ...] | None, po: bool = False) -> Callable[[BoardData], Method]:
    return lambda data: partial(chain, covariates, data.presence_only if po else None)


def _tighnari(*modalities: str, po: bool = False) -> Callable[[BoardData], Method]:
    return lambda data: partial(
        tighnari, data.environment, data.presence_only if po else None, modalities
    )


def _communities(name: str, po: bool = False) -> Row:
    rule = CommunityF1.fit
    return Row(f"{name}, sets of communities", None, (name,), (name,), rule=rule, po=po)


def _ensemble(name: str, *members: str, po: bool = False) -> Row:
    return Row(f"mean of {name}", None, members[:1], members, po=po)


ROWS = (
    Row("global frequency", lambda _: partial(frequency, ()), cheap=True),
    Row(
        "regional frequency", lambda _: partial(frequency, ("region",)), ("global frequency",),
        cheap=True, columns=("region",),
    ),
    Row(
        "regional, then national frequency", lambda _: partial(frequency, ("region", "country")),
        ("regional frequency",), cheap=True, columns=("region", "country"),
    ),
    Row(
        PLAIN[0], lambda _: Tuned(partial(nearest, None), NEIGHBOR_SETTINGS),
        ("global frequency",), cheap=True,
    ),
    Row(
        PLAIN[1], lambda data: Tuned(partial(nearest, data.environment), COVARIATE_SETTINGS),
        PLAIN[:1], cheap=True,
    ),
    Row(FOREST, lambda data: Tuned(partial(forest, data.environment), LEAF_SETTINGS), PLAIN[1:2]),
    Row(
        BOOSTING, lambda data: Tuned(partial(boosting, data.environment), BOOSTING_SETTINGS),
        (FOREST,), few_species=True,
    ),
    Row(
        PLAIN[4], lambda data: Tuned(partial(scikit_perceptron, data.environment), SCIKIT_SETTINGS),
        (FOREST,),
    ),
    Row(
        PLAIN[5], lambda data: Tuned(partial(torch_perceptron, data.environment), EPOCH_SETTINGS),
        (FOREST,),
    ),
    Row(
        "GFV, fixed list length", lambda _: graph_features, ("global frequency",),
        rule=FixedK.fit, cheap=True,
    ),
    Row(
        "GFV, Threshold Top-K", lambda _: graph_features, ("GFV, fixed list length",), cheap=True,
    ),
    Row(
        "neighbour shares", lambda _: Tuned(shares, STRENGTHS), ("GFV, Threshold Top-K",),
        cheap=True,
    ),
    Row("chain, distance alone", _chain(()), ("neighbour shares",)),
    Row(
        "chain, year and region", _chain(("year", "region")), ("chain, distance alone",),
        columns=("year", "region"),
    ),
    Row(
        CHAIN, _chain(None),
        ("chain, year and region", "chain, distance alone", "neighbour shares"),
    ),
    Row(CHAIN_PO, _chain(None, po=True), (CHAIN,), po=True),
    Row("Tighnari: table", _tighnari("table"), ("MLP, torch",)),
    Row("Tighnari: table, gfv", _tighnari("table", "gfv"), ("Tighnari: table",)),
    Row(TRAINED, _tighnari("table", "scales"), (CHAIN,)),
    Row("Tighnari: table, gfv, scales", _tighnari("table", "gfv", "scales"), (TRAINED,)),
    Row(TRAINED_PO, _tighnari("table", "scales", po=True), (CHAIN_PO,), po=True),
    _ensemble("chain and forest", CHAIN, FOREST),
    _ensemble("chain and boosting", CHAIN, BOOSTING),
    _ensemble("chain and Tighnari", CHAIN, TRAINED),
    _ensemble("Tighnari and forest", TRAINED, FOREST),
    _ensemble("chain with PO and forest", CHAIN_PO, FOREST, po=True),
    _ensemble("chain and Tighnari, both with PO", CHAIN_PO, TRAINED_PO, po=True),
    _ensemble("Tighnari with PO and forest", TRAINED_PO, FOREST, po=True),
    *(
        _communities(name)
        for name in (
            FOREST, CHAIN, TRAINED, "mean of chain and forest", "mean of chain and Tighnari",
        )
    ),
    *(
        _communities(name, po=True)
        for name in (CHAIN_PO, TRAINED_PO, "mean of chain and Tighnari, both with PO")
    ),
)  # fmt: skip
