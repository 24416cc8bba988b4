"""Small programs that keep generated files true; run through `make`."""
