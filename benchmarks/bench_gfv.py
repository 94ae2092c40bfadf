"""Graph feature vectors at the size of the real data set, beside one scipy product.

Run `python -m benchmarks.bench_gfv` (88,987 surveys × 11,255 species), or with ``--surveys N``.
"""

import argparse
import resource
import time

import numpy as np
from scipy import sparse

from benchmarks.inputs import survey_table
from tighnari_graph import GFVConv, SurveyGraph
from tighnari_graph.sparse import scipy_csr

REAL_SIZE = 88_987


def scipy_product(graph: SurveyGraph) -> sparse.csr_matrix:
    """The peer: one CSR · CSR product on one core, then the root of the degree."""
    source, target = graph.edge_index.numpy()
    pointer = np.searchsorted(target, np.arange(graph.num_nodes + 1))
    shape = (graph.num_nodes, graph.num_nodes)
    near = sparse.csr_matrix((graph.edge_weight.numpy(), source, pointer), shape=shape)
    scale = 1 / np.sqrt(np.maximum(np.diff(pointer), 1)).astype(np.float32)
    return sparse.csr_matrix(sparse.diags_array(scale) @ (near @ scipy_csr(graph.y)))


def compare(num: int = REAL_SIZE, num_species: int = 11_255, repeats: int = 3) -> dict[str, float]:
    """Best seconds of each way in this process; raises if the features differ."""
    graph = SurveyGraph.from_surveys(survey_table(num, num_species))
    conv = GFVConv()
    seconds: dict[str, list[float]] = {"ours": [], "scipy CSR · CSR": []}
    for _ in range(repeats):
        begin = time.perf_counter()
        features = conv(graph.y, graph.edge_index, graph.edge_weight)
        seconds["ours"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        expected = scipy_product(graph)
        seconds["scipy CSR · CSR"].append(time.perf_counter() - begin)
    if abs(scipy_csr(features) - expected).max() > 1e-3:
        raise RuntimeError("the features differ")
    best = {name: min(values) for name, values in seconds.items()}
    return best | {"edges": graph.num_edges, "non-zeros a row": expected.nnz / num}


def main() -> None:
    """Print a table with ratios to ours, and the peak memory of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--surveys", type=int, default=REAL_SIZE, help="number of surveys")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the best counts")
    arguments = parser.parse_args()
    result = compare(arguments.surveys, repeats=arguments.repeats)
    edges, width = result.pop("edges"), result.pop("non-zeros a row")
    print(f"{arguments.surveys:,} surveys, {edges:,} edges, {width:.0f} non-zeros a row\n")
    print(f"{'graph feature vectors, 11,255 species':<42} {'seconds':>8} {'× ours':>7}")
    for name, seconds in result.items():
        print(f"{name:<42} {seconds:>8.2f} {seconds / result['ours']:>7.1f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\npeak memory of the process, inputs and peer included: {peak:.1f} GB")


if __name__ == "__main__":
    main()
