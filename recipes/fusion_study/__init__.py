"""Fusion strategies side by side on the same questions: the numbers of docs/fusion.md."""
