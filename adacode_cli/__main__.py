"""`python -m adacode_cli` is the same program as `adacode`."""

from __future__ import annotations

from adacode_cli.cli.signals import end_at_a_signal


def main() -> None:
    """Installs the handlers of signals, then imports and runs the commands."""
    end_at_a_signal()
    from adacode_cli.cli.main import main as program

    program()


if __name__ == "__main__":
    main()
