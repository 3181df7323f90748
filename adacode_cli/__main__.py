"""`python -m adacode_cli` is the same program as `adacode`."""

from __future__ import annotations

from adacode_cli.cli.signals import end_at_a_signal


def main() -> None:
    """Hears signals before it imports the commands, and runs them."""
    end_at_a_signal()
    from adacode_cli.cli.main import main as program

    program()


if __name__ == "__main__":
    main()
