"""The release script on a small repository of its own: what it refuses, what it writes, what it puts back."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "tools" / "release.py"
FILES = {
    "pyproject.toml": """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "adacode-cli"
dynamic = ["version"]
requires-python = ">=3.11"
[project.scripts]
adacode = "adacode_cli:main"
[tool.hatch.version]
path = "adacode_cli/version.py"
""",
    "adacode_cli/version.py": '"""Version."""\n\n__version__ = "0.1.0"\n',
    "adacode_cli/__init__.py": """
import os, shutil, sys
from adacode_cli.version import __version__
def main():
    command, *rest = sys.argv[1:]
    with open(os.environ["CALLS"], "a") as calls:
        print(command, file=calls)
    if command == "--version":
        print("adacode", __version__)
    if command == "sr":
        shutil.copy(rest[0], rest[2])
""",
    "CHANGELOG.md": "# Changelog\n\n## 0.2.0 — unreleased\n\n* More.\n\n## 0.1.0 — 2026-01-31\n\n* First.\n",
    "constraints.txt": "",
    "examples/photos/astronaut.jpg": "a photograph",
    ".gitignore": "/dist/\n",
}


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "a")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@example.org")
    root = tmp_path / "repository"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    (root / "tools").mkdir()
    shutil.copy(SCRIPT, root / "tools")
    git(root, "init", "--quiet")
    committed(root)
    return root


def git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def committed(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "change")


def state(root: Path) -> tuple[str, ...]:
    """Commit, tags, and what differs from the commit."""
    return git(root, "rev-parse", "HEAD"), git(root, "tag"), git(root, "status", "--porcelain"), git(root, "diff")


def release(root: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "tools" / "release.py"), version]
    return subprocess.run(command, cwd=root.parent, capture_output=True, text=True, check=False)


def unclean(root: Path) -> None:
    (root / "new.txt").write_text("not committed")


def tagged(root: Path) -> None:
    git(root, "tag", "v0.2.0")


@pytest.mark.parametrize(
    ("version", "prepare", "message"),
    [
        ("0.2.0", unclean, "changes that are not committed:\n?? new.txt"),
        ("0.2.0", tagged, "the tag v0.2.0 exists already"),
        ("0.3.0", None, "CHANGELOG.md has no heading '## 0.3.0 — unreleased'"),
        ("0.1.0", None, "CHANGELOG.md has no heading '## 0.1.0 — unreleased'"),
        ("next", None, "'next' is not a version"),
    ],
)
def test_a_release_that_cannot_be_is_refused_and_nothing_changes(repository, version, prepare, message):
    if prepare:
        prepare(repository)
    before = state(repository)
    done = release(repository, version)
    assert done.returncode == 1
    assert message in done.stderr
    assert state(repository) == before
    assert not (repository / "dist").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="releases are made on Linux or macOS")
def test_a_release_has_version_date_tag_and_a_wheel_that_was_tried(repository):
    done = release(repository, "0.2.0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert '__version__ = "0.2.0"' in (repository / "adacode_cli" / "version.py").read_text()
    headings = [s for s in (repository / "CHANGELOG.md").read_text("utf-8").splitlines() if s.startswith("## ")]
    assert headings[0].startswith("## 0.2.0 — 20")
    assert headings[1] == "## 0.1.0 — 2026-01-31"
    assert git(repository, "rev-parse", "v0.2.0^{commit}") == git(repository, "rev-parse", "HEAD")
    assert git(repository, "cat-file", "-t", "v0.2.0") == "tag\n"
    assert git(repository, "status", "--porcelain") == ""
    assert [p.name for p in (repository / "dist").glob("*.whl")] == ["adacode_cli-0.2.0-py3-none-any.whl"]
    assert (repository.parent / "calls").read_text().split() == ["--version", "doctor", "sr"]


def test_a_step_that_fails_puts_everything_back(repository):
    project = repository / "pyproject.toml"
    project.write_text(project.read_text() + '[tool.hatch.build.targets.wheel.force-include]\n"absent" = "absent"\n')
    committed(repository)
    before = state(repository)
    done = release(repository, "0.2.0")
    assert done.returncode == 1
    assert "hatchling build" in done.stderr
    assert state(repository) == before
