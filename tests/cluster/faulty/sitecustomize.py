"""What is otherwise in the Python processes of a cluster, by the variables of the machine on which they start.

FAULTY: the restorer of tests/cli/fake_program.py is in the place of the network. OTHER_TORCH: the version of torch.
HIDDEN: a package that is not installed.
"""

import os
import sys
from importlib import metadata
from pathlib import Path

if "FAULTY" in os.environ:
    sys.path.insert(0, str(Path(__file__).parents[2] / "cli"))
    import fake_program

    fake_program.install()

if "OTHER_TORCH" in os.environ:
    version = metadata.version
    metadata.version = lambda name: os.environ["OTHER_TORCH"] if name == "torch" else version(name)

if "HIDDEN" in os.environ:
    sys.modules[os.environ["HIDDEN"]] = None
