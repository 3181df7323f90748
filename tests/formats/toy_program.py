"""The program with a format that the package does not know, and a small restorer in the place of the network."""

import sys
from pathlib import Path

from toy_codec import FORMAT

from adacode_cli import formats

formats.register(FORMAT)

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
    import fake_program

    fake_program.main()
