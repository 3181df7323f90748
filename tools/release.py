"""Makes a release: version, changelog heading, a wheel that has been checked, a commit and a tag.

    make release VERSION=0.2.0        or: .venv/bin/python tools/release.py 0.2.0

CHANGELOG.md must have the heading `## 0.2.0 — unreleased`, and git must report no change in the tree. The wheel is
installed into a new virtual environment with the versions of constraints.txt; there `adacode` must restore a
photograph. If a step fails, the two changed files are put back, and there is neither a commit nor a tag. Nothing is
pushed or uploaded: the last lines of the output show how. dist/ is emptied first. Linux and macOS.
"""

from __future__ import annotations

import datetime
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION_FILE = ROOT / "adacode_cli" / "version.py"
CHANGELOG = ROOT / "CHANGELOG.md"
DIST = ROOT / "dist"
PHOTOGRAPH = ROOT / "examples" / "photos" / "astronaut.jpg"


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Standard output of a command that runs without packages from outside its own environment.

    Raises:
        SystemExit: The command failed.
    """
    print("+", *command, flush=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"failed with exit code {done.returncode}: {' '.join(words)}\n{done.stdout}")
    return done.stdout


def require_ready(version: str) -> None:
    """Refuses a version that cannot be released from this tree."""
    if not re.fullmatch(r"\d+\.\d+\.\d+(rc\d+)?", version):
        sys.exit(f"{version!r} is not a version such as 0.2.0 or 0.2.0rc1")
    if changes := run("git", "status", "--porcelain"):
        sys.exit(f"the tree has changes that are not committed:\n{changes}")
    if run("git", "tag", "--list", f"v{version}"):
        sys.exit(f"the tag v{version} exists already")
    if heading(version) not in CHANGELOG.read_text(encoding="utf-8").splitlines():
        sys.exit(f"CHANGELOG.md has no heading '{heading(version)}'")


def heading(version: str, day: str = "unreleased") -> str:
    """The heading of a version in the changelog."""
    return f"## {version} — {day}"


def write_version(version: str) -> None:
    """Writes the version, and today's date into the changelog."""
    text = VERSION_FILE.read_text(encoding="utf-8")
    text = re.sub(r'^__version__ = ".*"$', f'__version__ = "{version}"', text, flags=re.MULTILINE)
    VERSION_FILE.write_text(text, encoding="utf-8")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    text = CHANGELOG.read_text(encoding="utf-8")
    CHANGELOG.write_text(text.replace(heading(version), heading(version, today), 1), encoding="utf-8")


def build() -> Path:
    """The new wheel in dist/, beside the source archive."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", DIST)
    (wheel,) = DIST.glob("*.whl")
    return wheel


def check(wheel: Path, version: str) -> None:
    """Installs the wheel into a new virtual environment and restores a photograph with it, away from this tree."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "venv", with_pip=True)
        programs = folder / "venv" / "bin"
        run(programs / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel)
        installed = run(programs / "adacode", "--version", cwd=folder)
        if version not in installed.split():
            sys.exit(f"the wheel is of version {installed.strip()}")
        run(programs / "adacode", "doctor", cwd=folder)
        run(programs / "adacode", "sr", PHOTOGRAPH, "-o", folder / "large.png", cwd=folder)
        if not (folder / "large.png").is_file():
            sys.exit("adacode sr wrote no image")


def release(version: str) -> None:
    """Everything, in order."""
    require_ready(version)
    before = run("git", "rev-parse", "HEAD").strip()
    try:
        write_version(version)
        check(build(), version)
        run("git", "commit", "--quiet", "-m", f"Version {version}", VERSION_FILE, CHANGELOG)
        run("git", "tag", "--annotate", f"v{version}", "-m", f"Version {version}")
    except BaseException:
        run("git", "reset", "--quiet", "--soft", before)
        run("git", "reset", "--quiet", "--", VERSION_FILE, CHANGELOG)
        run("git", "checkout", "--quiet", before, "--", VERSION_FILE, CHANGELOG)
        raise
    print(f"v{version} is committed and tagged, and dist/ has its files. To publish it:")
    print(f"  git push origin HEAD v{version}")
    print("  python -m twine upload dist/*")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    release(sys.argv[1])
