"""The starter models: how they were trained, exported and measured."""
