"""The main job: survey files → graph, features, a graph-only submission and a report."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from torch_geometric.data import HeteroData
from tqdm import tqdm

from tighnari_graph.command_report import Findings, write_report
from tighnari_graph.errors import SurveyDataError
from tighnari_graph.files import written_whole
from tighnari_graph.folder import DataFolder
from tighnari_graph.gfv import graph_feature_vectors
from tighnari_graph.graph import SurveyGraph
from tighnari_graph.holding import hold
from tighnari_graph.ladder import PO_PART, climb, po_lists
from tighnari_graph.memory import free_memory, refuse_what_does_not_fit
from tighnari_graph.multiscale import MultiScale
from tighnari_graph.neighbor_memory import EDGE_BYTES
from tighnari_graph.neighbors import count_edges, count_edges_between
from tighnari_graph.readers import (
    read_glc24_pa,
    read_glc24_po,
    read_glc24_test,
    species_vocabulary,
)
from tighnari_graph.recipe import hold_out_scales
from tighnari_graph.shares import LEVELS, FrequencyPrior, NeighborShares
from tighnari_graph.sparse import scipy_csr
from tighnari_graph.spec import DEFAULT_MATCH, match_groups
from tighnari_graph.species_lists import species_lists
from tighnari_graph.splits import block_folds, random_folds, some_blocks
from tighnari_graph.submission import check_submission, write_submission
from tighnari_graph.surveys import SurveyTable
from tighnari_graph.truth import true_score
from tighnari_graph.virtual import virtual_europe


@dataclass(frozen=True)
class Options:
    """What the command line sets; see `python -m tighnari_graph --help`."""

    data: Path | None = None
    out: Path = Path("out/graph")
    recipe: str = "best"
    limit: int | None = None
    folds: int = 5
    radius_km: float = 10.0
    seed: int = 0


def run(options: Options) -> dict[str, object]:
    """Do the whole job and return its summary, which is also written as ``summary.json``.

    Raises:
        FileNotFoundError: if the folder or its PA or test metadata are missing.
        FolderInUseError: if another run works in the output folder.
        SurveyDataError: on a table that breaks a rule.
        MemoryError: if the graph will not fit into memory.
    """
    out = options.out
    if out.exists() and not out.is_dir():
        raise SurveyDataError(f"{out}: a file; --out names a folder")
    with hold(out, "virtual_europe"):
        return _run(options, out)


def _run(options: Options, out: Path) -> dict[str, object]:
    begin, data = time.perf_counter(), options.data
    if data is None:
        data = out / "virtual_europe"
        _say(f"no --data given: writing a virtual Europe (synthetic surveys) to {data}")
        virtual_europe(seed=options.seed).write(data)
    found = DataFolder.find(data)
    _say(f"layout {found.layout}: {', '.join(p.name for p in (found.pa, found.test) if p)}")

    train, test, po = _read(found)
    if options.limit is not None and options.limit < len(train):
        train = some_blocks(train, options.limit, options.seed)
        _say(f"--limit: {len(train):,} surveys of whole blocks, the others are left out")
    _estimate(train, test, po, options)

    levels = tuple(level for level in LEVELS if train.has(level) and test.has(level))
    lists = None if po is None else po_lists(train, po, options.radius_km)
    block = block_folds(train, options.folds, seed=options.seed)
    ladder = climb(train, block, lists, options.radius_km, levels)
    folds = random_folds(train, options.folds, options.seed)
    random = climb(train, folds, lists, options.radius_km, levels, "random folds")
    _say(
        f"survey graph of {options.radius_km:g} km: block-fold samples-F1 {ladder.score:.4f} with "
        f"K = {ladder.rule.k}, "
        f"θ = {ladder.rule.threshold:.2f}, λ = {ladder.strength:g} km "
        f"(random folds would claim {random.score:.4f})"
    )

    scales = None
    if options.recipe == "best":
        scales = {"without PO": hold_out_scales(train, block, None, options.seed)}
        if po is not None:
            scales["with PO"] = hold_out_scales(train, block, po, options.seed)
        for name, found_scales in scales.items():
            _say(f"multi-scale {name}: block-fold samples-F1 {found_scales.score:.4f}")

    graph = SurveyGraph.from_surveys(train, options.radius_km)
    hetero = graph.attach(test, po)
    graph.save(out / "graph.safetensors")
    for target in ("survey", "test"):
        with written_whole(out / f"gfv_{target}.npz") as part, part.open("wb") as file:
            sparse.save_npz(file, scipy_csr(graph_feature_vectors(hetero, target=target)))
    if scales is None:
        shares = NeighborShares.of_test(hetero, FrequencyPrior.fit(train, test, levels))
        predicted = ladder.rule.predict(shares.probabilities(ladder.strength))
        corrected = predicted
        if po is not None:
            corrected = sparse.csr_matrix(predicted.maximum(scipy_csr(species_lists(hetero))))
    else:
        model = MultiScale.fit(train, po, seed=options.seed)
        model.save(out / "multiscale.safetensors")
        rows = model.predict(test)
        rule = list(scales.values())[-1].rule
        predicted = corrected = rule.predict(rows.probabilities, richness=rows.richness)
    submission = write_submission(
        out / "submission.csv", test.survey_id, corrected, train.species_ids
    )
    check_submission(submission, test.survey_id, train.species_ids)

    findings = Findings(train, test, po, graph, block, ladder, random, scales)
    summary = _summary(findings, hetero, corrected, found)
    summary["recipe"] = options.recipe
    if scales is None:
        summary["species added by PO lists"] = corrected.nnz - predicted.nnz
    else:
        for name, found_scales in scales.items():
            summary[f"multi-scale {name}, block-fold samples-F1"] = round(found_scales.score, 4)
    summary["seconds"] = round(time.perf_counter() - begin, 1)
    with written_whole(out / "summary.json") as part:
        part.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    about = (
        f"{options.data or 'virtual Europe (synthetic surveys)'}, radius {options.radius_km:g} km, "
        f"{options.folds} folds of 10 km blocks, seed {options.seed}"
    )
    write_report(out / "report.html", about, findings, summary)
    _say("")
    for key, value in summary.items():
        _say(f"{key:<38} {value:,}" if isinstance(value, int) else f"{key:<38} {value}")
    files = ", ".join(sorted(p.name for p in out.glob("[!.]*") if p.is_file()))
    _say(f"{'files':<38} {files} in {out}")
    return summary


def _say(text: str) -> None:
    print(text, flush=True)


def _read(found: DataFolder) -> tuple[SurveyTable, SurveyTable, SurveyTable | None]:
    sources = [found.pa] if found.po is None else [found.pa, found.po]
    with tqdm(total=4, desc="reading", delay=2, disable=None, leave=False) as bar:
        vocabulary = species_vocabulary(*sources)
        bar.update()
        train = read_glc24_pa(found.pa, vocabulary)
        bar.update()
        test = read_glc24_test(found.test)
        bar.update()
        po = None if found.po is None else read_glc24_po(found.po, vocabulary)
        bar.update()
    labels = train.known_labels()
    seen = len(np.unique(labels.indices))
    _say(f"training: {len(train):,} surveys, {labels.nnz:,} labels, {seen:,} species")
    _say(f"to predict: {len(test):,} surveys")
    if po is None:
        _say("presence-only: no file, so no correction with PO lists")
    else:
        _say(
            f"presence-only: {len(po):,} surveys, {po.known_labels().nnz:,} labels; "
            f"{len(vocabulary):,} species with PA"
        )
    for name, table in (("training", train), ("to predict", test), ("presence-only", po)):
        for note, count in (table.notes if table is not None else {}).items():
            if count and note != "rows":
                _say(f"  {name}: {count:,} {note}")
    return train, test, po


def _estimate(
    train: SurveyTable, test: SurveyTable, po: SurveyTable | None, options: Options
) -> None:
    """Count edges before they are made, and refuse what will not fit into memory."""
    columns = {name: pd.factorize(train.column(name))[0] for name in DEFAULT_MATCH}
    group = match_groups(columns, len(train))
    edges = count_edges(train.lat, train.lon, group, options.radius_km)
    need = 0.9e9 + EDGE_BYTES * edges + 8000 * (len(train) + len(test))
    text = f"graph: {edges:,} directed edges"
    if po is not None:
        some = train.subset(np.random.default_rng(options.seed).permutation(len(train))[:1000])
        near = count_edges_between(po, some, options.radius_km) / max(len(some), 1)
        need += 200 * len(po) + 120 * near * min(PO_PART, len(train))
        text += f", about {near:,.0f} PO surveys around a survey"
    free = free_memory()
    _say(f"{text}; needs about {need / 1e9:.1f} of {free / 1e9:.1f} GB free")
    refuse_what_does_not_fit(need, "this", "take a smaller --radius-km, or --limit N surveys")


def _summary(
    findings: Findings, hetero: HeteroData, predicted: sparse.csr_matrix, found: DataFolder
) -> dict[str, object]:
    ladder, test, shown = findings.ladder, findings.test, findings.summary
    summary: dict[str, object] = {"surveys": shown.surveys, "species": shown.species_seen}
    for source, _, target in hetero.edge_types:
        name = f"edges {source} → {target}"
        summary[name] = hetero[source, "near", target].num_edges
    edges = hetero["survey", "near", "test"].edge_index
    summary |= {
        "isolates": shown.isolates,
        "test surveys without a neighbour": len(test) - len(edges[1].unique()),
        "components": shown.components,
        "K": ladder.rule.k,
        "θ": round(ladder.rule.threshold, 2),
        "λ (km)": ladder.strength,
        "block-fold samples-F1": round(ladder.score, 4),
        "random folds would claim": round(findings.random.score, 4),
        "predictions": len(test),
        "species per prediction": round(predicted.nnz / max(len(test), 1), 1),
    }
    if found.truth is not None:
        score = true_score(found.truth, test, predicted, findings.graph.species_ids)
        summary["samples-F1 on the true test labels"] = round(score, 4)
    return summary
