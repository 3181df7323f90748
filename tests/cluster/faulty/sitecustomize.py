"""What is otherwise in the Python processes of a cluster, by the variables of the machine on which they start.

FAULTY: weights of other names than those of the program have the restorer of tests/cli/fake_program.py. OTHER_TORCH:
the version of torch. HIDDEN: a package that is not installed. LOOK_EVERY: how often a run looks for its cluster.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[3]
REAL = ("compact", "own")


class Chosen:
    """Finds the restorer by the name of its weights, when it is loaded."""

    @classmethod
    def from_pretrained(cls, name, **options):
        if not Path(name).name.startswith(REAL):
            sys.path.insert(0, str(ROOT / "tests" / "cli"))
            import fake_program

            return fake_program.Restorer.from_pretrained(name, **options)
        place = ROOT / "adacode_cli" / "engine" / "restorer.py"
        spec = importlib.util.spec_from_file_location("adacode_cli.engine.restorer", place)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module.Restorer.from_pretrained(name, **options)


class Watching(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Changes a module of ours as soon as it is imported."""

    name = "adacode_cli.batch.cluster.connection"

    def find_spec(self, name, path, target=None):
        if name != self.name:
            return None
        self.spec = importlib.machinery.PathFinder.find_spec(name, path)
        return importlib.machinery.ModuleSpec(name, self, origin=self.spec.origin)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        self.spec.loader.exec_module(module)
        module._LOOK_EVERY_S = float(os.environ["LOOK_EVERY"])


if "FAULTY" in os.environ:
    restorer = type(sys)("adacode_cli.engine.restorer")
    restorer.Restorer = Chosen
    sys.modules[restorer.__name__] = restorer

if "LOOK_EVERY" in os.environ:
    sys.meta_path.insert(0, Watching())

if "OTHER_TORCH" in os.environ:
    version = metadata.version
    metadata.version = lambda name: os.environ["OTHER_TORCH"] if name == "torch" else version(name)

if "HIDDEN" in os.environ:
    sys.modules[os.environ["HIDDEN"]] = None
