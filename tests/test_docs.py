"""The documentation says what the program does: commands, exit codes, links and the code in the README."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from adacode_cli import errors
from adacode_cli.checkpoints.catalogue_file import weights_folder

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("weights/*.md"), *ROOT.glob("examples/*.md")])


def load_script(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_of_commands_is_current():
    script = load_script(ROOT / "docs" / "make_commands.py")
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == script.page(), (
        "run: python docs/make_commands.py"
    )


def test_the_reference_has_every_option_of_every_command_there_or_where_it_links_to():
    script = load_script(ROOT / "docs" / "make_commands.py")
    sections = {part.splitlines()[0]: part for part in script.page().split("\n## ")[1:]}
    anchors = {script.anchor(heading): part for heading, part in sections.items()}
    for path, command in script.leaves(script.get_command(script.app), "adacode"):
        own = sections[path]
        linked = [anchors[name] for name in re.findall(r"\]\(#([^)]+)\)", own)]
        for parameter in command.params:
            if parameter.opts[0].startswith("-"):
                listed = [part for part in (own, *linked) if f"`{parameter.opts[0]}`" in part]
                assert len(listed) == 1, f"{path} {parameter.opts[0]}"


def test_the_readme_lists_every_exit_code_once():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = sorted(int(code) for code in re.findall(r"^\| (\d+) \|", readme, re.MULTILINE))
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.AdaCodeError)]
    known = {
        errors.EXIT_DONE,
        errors.EXIT_BUG,
        errors.EXIT_TIME_LIMIT,
        errors.EXIT_INTERRUPTED,
        *(c.exit_code for c in classes),
    }
    assert listed == sorted(known)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_images_of_a_page_exist(page):
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [t for t in targets if not t.startswith(("http://", "https://"))]
    missing = [t for t in local if not (page.parent / t).exists()]
    assert not missing


def test_the_python_of_the_readme_runs(tmp_path):
    if not (weights_folder() / "compact-sr-x4.safetensors").is_file():
        pytest.skip("the bundled weights are absent")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    check = "assert large.shape == (680, 680, 3) and mended.shape == (400, 600, 3)\n"
    done = subprocess.run(
        [sys.executable, "-c", blocks[0] + check], cwd=ROOT / "examples", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
