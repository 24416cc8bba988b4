"""Commands that find things in a collection: search and similar.

Notable: a reader's process may stop at any hit (`| head`), and a query may find nothing; neither
is a failure. What was understood of a query is said on stderr, so that JSON stays JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from polymodal.cli.collections import open_for, open_in
from polymodal.cli.common import lines_of, name_the_starter, open_suite
from polymodal.cli.found import print_result
from polymodal.cli.options import (
    DEFAULT_COLLECTION,
    Budget,
    CollectionName,
    Count,
    Device,
    Html,
    Json,
    Model,
    Quiet,
    Where,
)
from polymodal.cli.output import Output
from polymodal.cli.writing import describe_cost, no_budget_for
from polymodal.errors import UsageError

__all__ = ["search", "similar"]

TOP_HITS = 50
Picture = Annotated[
    str | None,
    typer.Option("--image", metavar="FILE", help="Find what looks like this; add TEXT to mix."),
]
Audio = Annotated[
    str | None, typer.Option("--audio", metavar="FILE", help="A spoken query instead of TEXT.")
]
Query = Annotated[
    list[str] | None, typer.Option("--query", metavar="TEXT", help="A query; repeat.")
]
Queries = Annotated[
    str | None, typer.Option("--queries", metavar="FILE", help="A query a line; - is stdin.")
]
Like = Annotated[
    list[str] | None, typer.Option("--like", metavar="FILE|ID", help="More like this; repeat.")
]
Unlike = Annotated[
    list[str] | None, typer.Option("--unlike", metavar="FILE|ID", help="Less like this; repeat.")
]
Weights = Annotated[
    str | None, typer.Option("--weights", metavar="T,I", help="Of TEXT and --image, as in 0.3,0.7.")
]
Hybrid = Annotated[
    bool | None,
    typer.Option("--hybrid/--no-hybrid", help="Also match words; on where there is text."),
]
Understand = Annotated[
    bool, typer.Option("--understand/--literal", help="Read prices and sizes in TEXT as filters.")
]
Rerank = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Order the first hits anew by a model: starter, a generator."
    ),
]
Top = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="How many --rerank looks at; 50 by default.")
]
Relevant = Annotated[bool, typer.Option("--relevant", help="Only hits that are likely to fit.")]


def search(
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What to find.")] = None,
    image: Picture = None,
    audio: Audio = None,
    query: Query = None,
    queries: Queries = None,
    collection: CollectionName = DEFAULT_COLLECTION,
    k: Count = 10,
    where: Where = None,
    like: Like = None,
    unlike: Unlike = None,
    weights: Weights = None,
    hybrid: Hybrid = None,
    understand: Understand = True,
    relevant: Relevant = False,
    rerank: Rerank = None,
    top: Top = None,
    budget: Budget = None,
    html: Html = None,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Find pictures by words, by a picture, or by both.

    Prices and sizes in TEXT become filters where the collection has such a field.

    Example: polymodal search "red saree under 2000 rupees" --html found.html

    With --json a line is {"id", "path", "score", "metadata", "cosine"}, best first; for several
    queries {"query", "results": [...]}. The score ranks and may be of fused ranks; the cosine is
    missing where no vector was compared. With --rerank, "first_score" is of the search and the
    score of the model in "ranked_by".
    """
    out = Output(as_json=json, quiet=quiet)
    several = query is not None or queries is not None
    asked = _listed(text, query, queries) if several else [text]
    if not (any(asked) or image or audio or like or unlike):
        raise UsageError("nothing to search for: give TEXT, --image, --audio, --like or --queries.")
    options: dict[str, Any] = {"image": image, "audio": audio, "k": k, "where": where}
    options |= {"like": like or (), "unlike": unlike or (), "hybrid": hybrid}
    options |= {"understand": understand, "relevant": relevant}
    options |= _reranking(rerank, top, budget)
    if weights is not None:
        options["weights"] = _two_numbers(weights)
    results = []
    suite = open_suite(model, device, budget=budget)
    with open_in(suite, collection, model) as shop:
        for each in asked:
            result = shop.search(each, **options)
            print_result(result, out, several=several)
            if html:
                results.append(result)
    if html:
        from polymodal.cli.result_pages import search_page

        search_page(html, results, out)
    describe_cost(suite, out)
    name_the_starter(model, out)


def similar(
    item: Annotated[str, typer.Argument(metavar="FILE|ID", help="A picture, or an item's id.")],
    collection: CollectionName = DEFAULT_COLLECTION,
    k: Count = 10,
    html: Html = None,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Find what looks like a picture.

    The picture itself is left out.

    With --json a line is {"id", "path", "score", "metadata", "cosine"}, best first.
    """
    out = Output(as_json=json, quiet=quiet)
    with open_for(collection, model, device) as shop:
        result = shop.similar(item, k=k)
    print_result(result, out)
    if html:
        from polymodal.cli.result_pages import search_page

        search_page(html, [result], out)
    name_the_starter(model, out)


def _listed(text: str | None, query: list[str] | None, queries: str | None) -> Sequence[str | None]:
    """The queries of `--query` and `--queries`."""
    if text is not None:
        raise UsageError("give TEXT or --query/--queries, not both.")
    return [*(query or []), *(lines_of(queries) if queries is not None else [])]


def _reranking(rerank: str | None, top: int | None, budget: float | None) -> dict[str, Any]:
    """The options of `--rerank`; none without it."""
    if rerank is None:
        if top is not None or budget is not None:
            raise UsageError("--top and --budget go with --rerank NAME.")
        return {}
    no_budget_for(rerank, budget)
    return {"rerank": rerank, "top": top or TOP_HITS}


def _two_numbers(text: str) -> tuple[float, float]:
    try:
        words, picture = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--weights takes two numbers, as in 0.3,0.7, not {text!r}.") from None
    return words, picture
