"""`python -m polymodal` is the `polymodal` command."""

from polymodal.cli import main

if __name__ == "__main__":
    main()
