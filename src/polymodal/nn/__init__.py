"""Building blocks in PyTorch: losses, towers, projectors, resamplers, fusion, tiling.

Each module has one subject and names its source paper. Nothing here imports the rest of the
package, and importing `polymodal` imports nothing here: torch comes with `polymodal[train]`.
Wrong arguments raise ValueError, which says what to change.
"""
