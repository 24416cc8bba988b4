"""Index a folder and search it, by words and by picture.

python examples/search_folder.py ~/Pictures "a dog in the snow"
"""

from __future__ import annotations

import sys

import polymodal as pm


def main(folder: str, query: str) -> None:
    """Print what fits the words, then what looks like the best of it."""
    with pm.Suite().collection("example") as pictures:
        report = pictures.add(folder)
        print(f"{report.added} new, {report.skipped} known, {report.failed} failed")
        found = pictures.search(query, k=5)
        for hit in found:
            print(f"{hit.score:.3f}  {hit.path}")
        if found.hits:
            print("like the first:")
            for hit in pictures.similar(found.hits[0].id, k=3):
                print(f"{hit.score:.3f}  {hit.path}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
