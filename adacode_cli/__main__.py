"""`python -m adacode_cli` is the same program as `adacode`."""

from __future__ import annotations

from adacode_cli.cli.main import main

if __name__ == "__main__":
    main()
