"""How a store is laid out for Edge and how it is asked: numbers chosen by measuring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polymodal.search import edge_filter
from polymodal.search.edge_payload import IMAGE, SHOWN, TEXT
from polymodal.search.filters import Filter
from polymodal.search.store import point_id

if TYPE_CHECKING:
    import qdrant_edge as edge

    from polymodal.results import Vector

__all__ = [
    "SCAN_LIMIT",
    "by_vector",
    "by_words",
    "condition",
    "config",
    "fuse",
    "fusion_depth",
    "search_params",
]

SCAN_LIMIT = 10_000
"""Up to so many vectors, of all or of those that pass a filter, are scanned rather than searched
by graph: about a millisecond."""
GRAPH_LINKS = 24
GRAPH_CANDIDATES_BUILDING = 200
GRAPH_CANDIDATES = 192
GRAPH_CANDIDATES_OF_MANY = 512
MANY = 250_000
"""From so many vectors more candidates are followed: at 1,000,000, 192 find 0.96 of the true ten
nearest."""
OVERSAMPLING = 3.0
ACORN_UP_TO = 0.9
"""Share of items passing a filter up to which ACORN is used."""
RRF_K = 60
"""Cormack, Clarke and Buettcher, "Reciprocal rank fusion outperforms Condorcet", SIGIR 2009."""
FUSION_DEPTH = 100
"""Candidates of each kind that hybrid search fuses."""
SEGMENT_VECTORS = 500_000


def config(dimension: int) -> edge.EdgeConfig:
    """An image vector, in a graph over int8 copies, and sparse words, beside the payload.

    All of it stays in files that are mapped, not read: opening is quick whatever the size, and the
    system's page cache holds what queries touch. One thread searches: a query takes less time
    than waking a second one, and several queries at once come from several callers.
    """
    import qdrant_edge as edge

    kilobytes = dimension * 4 / 1024
    return edge.EdgeConfig(
        vectors={
            IMAGE: edge.EdgeVectorParams(
                size=dimension, distance=edge.Distance.Dot, memory=edge.Memory.Cold
            )
        },
        sparse_vectors={
            TEXT: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf, memory=edge.Memory.Cold)
        },
        hnsw_config=edge.HnswIndexConfig(
            m=GRAPH_LINKS,
            ef_construct=GRAPH_CANDIDATES_BUILDING,
            full_scan_threshold=int(SCAN_LIMIT * kilobytes) + 1,
            payload_m=0,  # links for filters double the time to build, and ACORN does without
            memory=edge.Memory.Cold,
        ),
        quantization_config=edge.ScalarQuantizationConfig(
            edge.ScalarType.Int8, quantile=0.99, memory=edge.Memory.Cold
        ),
        optimizers=edge.EdgeOptimizersConfig(
            indexing_threshold=int(SCAN_LIMIT * kilobytes) + 1,
            default_segment_number=1,
            max_segment_size=int(SEGMENT_VECTORS * kilobytes) + 1,
        ),
        payload_memory=edge.Memory.Cold,
        id_tracker_memory=edge.Memory.Cold,
        max_search_threads=1,
        wal_enabled=False,
    )


def search_params(
    filter: Filter | None,  # noqa: A002
    vectors: int,
    *,
    exact: bool,
) -> edge.SearchParams:
    """How to search so many vectors; exactly, or by int8 copies with the originals to rank.

    Under a filter a walk through the graph sees only what passes, and soon finds no way on (recall
    0.59 where one in five passes, measured). ACORN looks two steps ahead (Patel et al., SIGMOD
    2024; recall 1.00). Where few pass, Edge scans them.
    """
    import qdrant_edge as edge

    return edge.SearchParams(
        hnsw_ef=GRAPH_CANDIDATES if vectors < MANY else GRAPH_CANDIDATES_OF_MANY,
        exact=exact,
        quantization=edge.QuantizationSearchParams(
            ignore=exact, rescore=True, oversampling=OVERSAMPLING
        ),
        acorn=edge.AcornSearchParams(enable=filter is not None, max_selectivity=ACORN_UP_TO),
    )


def by_vector(
    vector: Vector,
    limit: int,
    wanted: edge.Filter | None,
    params: edge.SearchParams,
    *,
    payload: bool = True,
) -> edge.QueryRequest:
    """A query by cosine; without `payload` it gives ids and scores only, as candidates need."""
    import qdrant_edge as edge

    shown = edge.PayloadSelector.Include(list(SHOWN)) if payload else None
    nearest = edge.Query.Nearest(vector.tolist(), using=IMAGE)
    return edge.QueryRequest(limit, query=nearest, filter=wanted, params=params, with_payload=shown)


def by_words(words: edge.SparseVector, limit: int, wanted: edge.Filter | None) -> edge.QueryRequest:
    """A query by BM25; gives ids and scores only, as candidates need."""
    import qdrant_edge as edge

    return edge.QueryRequest(limit, query=edge.Query.Nearest(words, using=TEXT), filter=wanted)


def fusion_depth(limit: int) -> int:
    """How many candidates of each kind are fused for so many hits."""
    return max(FUSION_DEPTH, 2 * limit)


def fuse(
    near: Sequence[edge.ScoredPoint],
    worded: Sequence[edge.ScoredPoint],
    words_weight: float,
) -> list[tuple[Any, float]]:
    """Two rankings as one by reciprocal ranks (RRF): ids with their scores, best first.

    Edge fuses as well, but its weight divides a rank, so that the first by words keeps its whole
    score however little words weigh; here it multiplies the score.
    """
    scores: dict[Any, float] = {}
    for points, weight in ((near, 1.0), (worded, words_weight)):
        for rank, point in enumerate(points):
            scores[point.id] = scores.get(point.id, 0.0) + weight / (RRF_K + rank)
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def condition(
    filter: Filter | None,  # noqa: A002
    exclude: Sequence[str] = (),
) -> edge.Filter | None:
    """A filter on metadata that leaves out some ids as well."""
    import qdrant_edge as edge

    must = [] if filter is None else edge_filter.conditions(filter)
    if not exclude:
        return edge.Filter(must=must) if must else None
    hidden = edge.HasIdCondition({point_id(each) for each in exclude})
    return edge.Filter(must=must, must_not=[hidden])
