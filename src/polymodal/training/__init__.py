"""Training: data, steps, rates, checkpoints and recipes, for one process or many.

Stands on `polymodal.nn`, `media` and `models`; nothing of the core imports it, and torch comes
with `polymodal[train]`. Wrong data, settings and runs raise `UsageError` or `TrainingError`.
"""
