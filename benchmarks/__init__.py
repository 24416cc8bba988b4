"""One script a claim of the README: a Markdown table, ours beside the peer, in one run."""
