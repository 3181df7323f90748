"""Installs packages that are missing, or too old, from a folder of wheels; then describes the machine.

python benchmarks/gpu_run/preparation.py --target DIR [--wheels DIR] [--modules NAME,NAME]

Prints what it did and, as its last line, one JSON object. Modules are imported in a separate process. Torch is never
installed: a machine with a GPU has a torch that fits its driver.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

# Modules that the other parts import; the last ones are the program itself.
MODULES = (
    *("numpy", "torch", "safetensors", "cv2", "PIL", "imageio", "imagecodecs", "tifffile", "typer", "rich", "filelock"),
    *("huggingface_hub", "httpx2", "pytest", "skimage", "adacode_cli.cli.main", "adacode_cli.engine.restorer"),
    *("adacode_cli.benchmark.whole", "adacode_cli.training.runs"),
)
_NEVER = ("torch", "nvidia", "triton")
# Rounds of installation: an installed package may need another one.
_ROUNDS = 6

_PROBE = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        found[name] = None
    except ModuleNotFoundError as error:
        found[name] = ["missing", (error.name or name).partition(".")[0]]
    except BaseException as error:
        found[name] = ["broken", f"{type(error).__name__}: {error}"[:300]]
print()
print(json.dumps(found))
"""
_TORCH = """
import json, torch
found = {"torch": torch.__version__, "threads": torch.get_num_threads(), "cuda": torch.version.cuda}
if torch.cuda.is_available():
    about = torch.cuda.get_device_properties(0)
    capability = f"{about.major}.{about.minor}"
    found |= {"card": about.name, "gigabytes": round(about.total_memory / 2**30, 1), "capability": capability}
    found |= {"multiprocessors": about.multi_processor_count, "cudnn": torch.backends.cudnn.version()}
print()
print(json.dumps(found))
"""


def wheels_by_module(folder: Path | None) -> dict[str, str]:
    """Module → the distribution that brings it, for every wheel in a folder."""
    known: dict[str, str] = {}
    for wheel in sorted(folder.glob("*.whl")) if folder else []:
        try:
            with zipfile.ZipFile(wheel) as archive:
                names = archive.namelist()
        except (OSError, zipfile.BadZipFile) as error:
            print(f"{wheel.name} is left out, as it cannot be read: {error}")
            continue
        tops = {name.partition("/")[0].partition(".")[0] for name in names if ".dist-info/" not in name}
        known |= dict.fromkeys(tops, wheel.name.partition("-")[0])
    return known


def json_output(code: str, *arguments: str) -> dict[str, Any]:
    """The JSON object in the last line of a Python process; empty if it fails before."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError):
        print(f"a process that examines this machine ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return {}


def install(distribution: str, wheels: Path, target: Path) -> bool:
    """Installs only this distribution, only from the folder; returns whether pip succeeded."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    command += ["--disable-pip-version-check", "--target", str(target), "--find-links", str(wheels), distribution]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(f"pip install {distribution}: {'done' if done.returncode == 0 else done.stderr.strip()}", flush=True)
    return done.returncode == 0


def unsuitable() -> dict[str, str]:
    """Distributions that this project requires in another version than the one here → the version that is here."""
    try:
        from packaging.requirements import Requirement
    except ModuleNotFoundError:
        return {}
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {}
    for requirement in map(Requirement, project["dependencies"]):
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            found[requirement.name] = version
    return found


def prepare(modules: list[str], wheels: Path | None, target: Path) -> tuple[list[str], dict[str, str]]:
    """Installs what is missing or unsuitable, if there are wheels of it.

    Returns what was installed, and what still cannot be imported, with the reason.
    """
    known, installed, tried = wheels_by_module(wheels), list[str](), set[str]()
    for name, version in unsuitable().items():
        here = name.replace("-", "_") in known.values() and not name.startswith(_NEVER)
        print(f"{name} {version} is not a version that this project works with{'' if here else '; it is used anyway'}")
        if here and wheels is not None and install(name, wheels, target):
            installed.append(name)
    for _ in range(_ROUNDS):
        found = json_output(_PROBE, *modules)
        absent = {problem[1] for problem in found.values() if problem and problem[0] == "missing"}
        wanted = {known[name] for name in absent if name in known and not known[name].startswith(_NEVER)} - tried
        if not wanted or wheels is None:
            break
        installed += [name for name in sorted(wanted) if install(name, wheels, target)]
        tried |= wanted
    lacking = {name: f"{problem[0]}: {problem[1]}" for name, problem in found.items() if problem}
    return installed, lacking if found else dict.fromkeys(modules, "could not be tried")


def driver() -> str | None:
    """The version of NVIDIA's driver."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().partition("\n")[0] or None


def main() -> None:
    """Prepares, and prints a description of the machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--modules", default="", metavar="NAME,NAME", help="more than those that this program needs")
    given = parser.parse_args()
    installed, lacking = prepare([*MODULES, *filter(None, given.modules.split(","))], given.wheels, given.target)
    for name, reason in lacking.items():
        print(f"cannot be imported: {name} ({reason})")
    about = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    about |= {"driver": driver(), "installed": installed, "lacking": lacking}
    print(json.dumps(about | json_output(_TORCH)))


if __name__ == "__main__":
    main()
