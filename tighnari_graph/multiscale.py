"""`MultiScale`: probabilities of species from surveys near and far, every weight fitted."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from scipy import sparse
from scipy.spatial import cKDTree
from torch import Tensor
from tqdm import tqdm

from tighnari_graph.covariates import Covariates
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.geodesy import unit_vectors
from tighnari_graph.kernel_conv import KernelChain, KernelConv, KernelEdges
from tighnari_graph.multiscale_fit import choose_opening, descend
from tighnari_graph.pyramid import Pyramid
from tighnari_graph.scale_rows import TOP, ScaleRows
from tighnari_graph.surveys import SurveyTable
from tighnari_graph.targets import Targets

SCALES_KM = (200.0, 80.0, 30.0, 10.0, 3.0)
MAX_EDGES = 50_000_000
EXACT_EACH = 1000  # edges of a survey up to which nothing is seen as a cell
EDGES_EACH = 4000


@dataclass(frozen=True, eq=False)
class MultiScale:
    r"""Species probabilities from all surveys, near ones and similar ones weighing more.

    From the coarsest scale to the finest, :math:`p \leftarrow (\sum_j k_h s_h \mathbf y_j +
    \lambda_h p) / (\sum_j r_h k_h s_h + \lambda_h)`, beginning with the global frequency, so each
    scale shrinks towards the coarser one (`KernelChain`). Bandwidths, :math:`\lambda_h`, the
    strengths of the comparisons and, for presence-only surveys, amplitude and detection rate are
    fitted by binary cross-entropy on predictions that never see the survey's own block of 10 km.

    While surveys × surveys stay within ``max_edges``, every survey is an edge and the result is
    exact. Beyond, far surveys are seen as the cells of a `Pyramid`, opened as far as the budget
    allows; ``opening`` says how far (0 is exact).

    Attributes:
        chain: the fitted parameters.
        pyramids: relation ("survey", "po") → its surveys and cells.
        covariates: relation → how its surveys are compared with targets.
        species_ids: :math:`(S,)` int64.
        opening: see `Pyramid.edges`.
        history: loss of every step.

    Source: Liu et al. 2024, section 5 (weights of neighbours learned instead of set).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows = pd.DataFrame({"surveyId": np.arange(40), "lat": 45 + rng.random(40),
        ...     "lon": 7.0, "year": 2020})
        >>> rows["speciesId"] = np.where(rows["lat"] > 45.5, 5, 9)
        >>> table = SurveyTable.from_long(rows)
        >>> model = MultiScale.fit(table)
        >>> new = SurveyTable.from_long(rows[:1].drop(columns="speciesId"))
        >>> model.predict(new).probabilities.toarray().argmax() == (rows["speciesId"][0] == 9)
        np.True_
    """

    chain: KernelChain
    pyramids: dict[str, Pyramid]
    covariates: dict[str, Covariates]
    species_ids: np.ndarray
    opening: float = 0.0
    history: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def fit(
        cls,
        train: SurveyTable,
        presence_only: SurveyTable | None = None,
        *,
        scales_km: tuple[float, ...] = SCALES_KM,
        covariates: tuple[str, ...] | None = None,
        kernel: str = "exponential",
        effort: np.ndarray | None = None,
        block_km: float = 10.0,
        max_edges: int | None = None,
        max_targets: int = 5000,
        steps: int = 96,
        lr: float = 0.1,
        seed: int = 0,
    ) -> "MultiScale":
        r"""Fit the parameters; 2,700 surveys of 2,700 species take about 15 s of processor.

        Args:
            train: labelled surveys.
            presence_only: further surveys that list part of their species.
            scales_km: bandwidths to begin with, coarse to fine.
            covariates: columns to compare surveys by; by default all that vary, see `Covariates`.
                Presence-only surveys are compared by those of them that they have.
            kernel: "exponential" or "gaussian".
            effort: :math:`(N_{po},)` weight of each presence-only survey.
            block_km: side of the blocks that are left out.
            max_edges: most edges of all training surveys, and so how exact the result is; by
                default 50 million, and about 4,000 a survey and relation; all pairs up to 1,000.
            max_targets: surveys that the loss is taken over; a random part of a larger table.
            steps: of Adam, each on four minibatches of 64 surveys that lie near each other.
            lr: highest learning rate of Adam.
            seed: of the order of surveys.

        Raises:
            SurveyDataError: without surveys or labels, on an unknown column, or if presence-only
                surveys have another vocabulary.
            ValueError: on a kernel or scales that `KernelConv` refuses.
        """
        labels = train.known_labels()
        if len(train) < 2:
            raise SurveyDataError(f"MultiScale: {len(train)} surveys, at least 2 are needed")
        compared = {"survey": Covariates.fit(train, covariates)}
        values, codes = compared["survey"].encode(train)
        pyramids = {
            "survey": Pyramid.build(train.lat, train.lon, labels, values, codes, block_km=block_km)
        }
        if presence_only is not None:
            po_labels = presence_only.known_labels()
            if not np.array_equal(presence_only.species_ids, train.species_ids):
                raise SurveyDataError(
                    "MultiScale: presence-only surveys have another vocabulary; read both with "
                    "species_ids=species_vocabulary(...)"
                )
            bad = effort is not None and not (np.isfinite(effort) & (effort >= 0)).all()
            if bad or (effort is not None and len(effort) != len(presence_only)):
                raise ValueError(
                    f"effort must be {len(presence_only)} finite numbers from 0 up, one a survey"
                )
            compared["po"] = compared["survey"].shared_with(presence_only)
            values, codes = compared["po"].encode(presence_only)
            pyramids["po"] = Pyramid.build(
                presence_only.lat, presence_only.lon, po_labels, values, codes, effort,
                block_km=block_km,
            )  # fmt: skip
        chain = KernelChain(
            {
                name: KernelConv(scales_km, len(compared[name].comparisons), kernel, name == "po")
                for name in pyramids
            }
        )
        most = MAX_EDGES if max_edges is None else max_edges
        exact = min(EXACT_EACH * len(train), most) if max_edges is None else most
        wanted = min(EDGES_EACH * len(pyramids) * len(train), most)
        opening = choose_opening(pyramids, train, exact, wanted, most)
        model = cls(chain, pyramids, compared, train.species_ids, opening)
        some = np.random.default_rng(seed).permutation(len(train))[:max_targets]
        history = descend(model, train, some, steps, lr, seed)
        return cls(chain, pyramids, compared, train.species_ids, opening, history)

    def probabilities(
        self, target: SurveyTable, blocks: np.ndarray | None = None
    ) -> Float[Tensor, "n s"]:
        r"""Probabilities of a minibatch, :math:`(n, S)` dense, with gradients where asked for.

        Args:
            target: some surveys; their labels are not looked at.
            blocks: own block of each, which is left out; None leaves none out.
        """
        targets = Targets.of(target, self.covariates)
        return self.chain(self._edges(targets, blocks), self._prior(blocks))

    def predict(self, target: SurveyTable, top: int = TOP) -> ScaleRows:
        """The best ``top`` species of new surveys."""
        return self._rows(target, None, top)

    def predict_training(self, train: SurveyTable, top: int = TOP) -> ScaleRows:
        """The same for surveys it was fitted on, each as if its own block were unseen.

        Args:
            train: all of them or some, in any order, known by their places.
            top: species of each survey to keep.

        Raises:
            SurveyDataError: if no fitted survey lies where one of these does.
        """
        vectors = unit_vectors(train.lat, train.lon)
        apart, row = self._places.query(vectors)
        if (apart > 0).any():
            raise SurveyDataError(
                f"MultiScale: {(apart > 0).sum()} of {len(train)} surveys lie where none of the "
                f"{self._places.n} does that it was fitted on"
            )
        return self._rows(train, self._own_blocks(row), top)

    def save(self, path: str | Path) -> None:
        """Write to one file, with the surveys and cells that it predicts from."""
        from tighnari_graph.multiscale_files import save_multiscale

        save_multiscale(self, path)

    @staticmethod
    def load(path: str | Path) -> "MultiScale":
        """Open a file that `save` wrote; SurveyDataError if it is anything else."""
        from tighnari_graph.multiscale_files import load_multiscale

        return load_multiscale(path)

    def _own_blocks(self, rows: np.ndarray) -> np.ndarray:
        return self.pyramids["survey"].block[rows]

    def _edges(
        self, targets: Targets, blocks: np.ndarray | None, richness: bool = False
    ) -> dict[str, KernelEdges]:
        return {
            name: KernelEdges.between(
                pyramid, self.covariates[name], targets.vectors, targets.numeric[name],
                targets.codes[name], blocks if name == "survey" else None, self.opening,
                richness and name == "survey",
            )
            for name, pyramid in self.pyramids.items()
        }  # fmt: skip

    @cached_property
    def _places(self) -> cKDTree:
        """Where the surveys are that it was fitted on."""
        return cKDTree(self.pyramids["survey"].vectors[: self.pyramids["survey"].num_surveys])

    @cached_property
    def _totals(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels of all surveys, and the same times richness."""
        labels, richness = (
            np.asarray(sums.sum(axis=0), dtype=np.float32) for sums in self._block_sums[:2]
        )
        return labels, richness

    @cached_property
    def _block_sums(self) -> tuple[sparse.csr_matrix, sparse.csr_matrix, np.ndarray]:
        """Labels of every block, the same times richness, and its surveys."""
        pyramid = self.pyramids["survey"]
        num = pyramid.num_surveys
        block = pyramid.block[:num]
        member = sparse.csr_matrix((np.ones(num, dtype=np.float32), (block, np.arange(num))))
        sums = (sparse.csr_matrix(member @ m[:num]) for m in (pyramid.labels, pyramid.richness))
        return (*sums, np.bincount(block))

    def _prior(self, blocks: np.ndarray | None, of: int = 0) -> Tensor:
        """Frequency of every species among all surveys, or all but those of the own block.

        With ``of=1`` every survey counts as often as it has species.
        """
        sums, count = self._block_sums[of], self._block_sums[2]
        total, num = self._totals[of], int(count.sum())
        if blocks is None:
            return torch.from_numpy(total.ravel() / num)
        others = np.maximum(num - count[blocks], 1).astype(np.float32)
        return torch.from_numpy((total - sums[blocks].toarray()) / others[:, None])

    def _rows(self, target: SurveyTable, blocks: np.ndarray | None, top: int) -> ScaleRows:
        if top < 1:
            raise ValueError(f"top must be at least 1, got {top}")
        targets = Targets.of(target, self.covariates)
        parts = []
        runs = targets.runs(np.arange(len(target)))
        for rows in tqdm(runs, "multi-scale", delay=2, disable=None, leave=False):
            own = None if blocks is None else blocks[rows]
            prior = self._prior(own)
            with torch.no_grad():
                edges = self._edges(targets.at(rows), own, richness=True)
                # a species that only presence-only surveys know is in surveys of mean richness
                known = torch.where(prior > 0, self._prior(own, of=1) / prior, prior.sum(-1, True))
                found = self.chain.with_richness(edges, prior, known)
            parts.append(ScaleRows.best(found[0].numpy(), found[1].numpy(), top))
        back = np.argsort(np.concatenate([np.zeros(0, dtype=np.int64), *runs]))
        return ScaleRows.stacked(parts, len(self.species_ids)).at(back)
