"""How the shipped weights were made, runnable from nothing."""
