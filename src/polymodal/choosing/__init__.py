"""Choosing a model, checking what a precision costs, planning a deployment; above the suite."""
