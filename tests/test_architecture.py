"""The package is laid out as docs/architecture.md says: imports run one way, files stay small, start-up stays light."""

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "adacode_cli"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAME = "adacode_cli"

# What the modules of a folder may import besides their own folder and what everybody may.
FOUNDATION = frozenset({"errors", "formats", "geometry", "limits", "atomic", "locks", "sizes", "tasks", "version"})
MAY_IMPORT = {
    "cli": {
        "batch",
        "engine",
        "model",
        "imaging",
        "training",
        "evaluation",
        "checkpoints",
        "codes",
        "benchmark",
        "export",
        "storage",
    },
    "batch": {"engine", "imaging", "codes", "storage"},
    "engine": {"model", "checkpoints", "codes"},
    "training": {"model", "checkpoints", "imaging", "evaluation", "codes"},
    "evaluation": {"engine", "imaging", "model", "checkpoints"},
    "benchmark": {"batch", "engine", "imaging", "model", "checkpoints"},
    "export": {"model", "checkpoints"},
    "spandrel": {"model", "checkpoints"},
    "checkpoints": {"model"},
    "imaging": set(),
    "storage": set(),
    "codes": set(),
    "model": set(),
    "errors": set(),
    "geometry": set(),
    "atomic": set(),
    "locks": set(),
    "sizes": set(),
    "tasks": set(),
    "version": set(),
    "formats": set(),
    "limits": set(),
    # The package itself offers the Python API, and `python -m adacode_cli` the command line.
    "__init__": {"engine", "codes"},
    "__main__": {"cli"},
}
FOUNDATION_IMPORTS = frozenset({"errors", "locks"})
HEAVY = ("torch", "numpy", "cv2")
# Libraries of others that one folder's task alone has a use for.
ONLY_IN = {
    "typer": {"cli"},
    "rich": {"cli"},
    "huggingface_hub": {"checkpoints", "cli"},
    "openvino": {"engine"},
    "onnx": {"export"},
    "onnxruntime": {"export"},
    "ray": {"batch"},
    "spandrel": {"spandrel"},
    "fsspec": {"storage"},
}
MAX_LINES = 450


@cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_name(path):
    """adacode_cli.folder.module, and the folder alone for its __init__."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


KNOWN = {module_name(path) for path in MODULES}


def imports_of(tree, module, *, at_import_only=False):
    """Full names of all that a module imports, inside functions too, and of ours which module each one is."""
    for node in _nodes(tree, at_import_only):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in KNOWN else node.module


def _nodes(tree, at_import_only):
    """All nodes, or those that run when the module is imported: no function's body, nothing for type checkers only."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if at_import_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_import_only and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)


def folder_of(name):
    """The part of ours that a full name belongs to: "engine" for adacode_cli.engine.plan, None for other people's."""
    parts = name.split(".")
    if parts[0] != NAME:
        return None
    return parts[1] if len(parts) > 1 else "__init__"


def forbidden(folder, target):
    """Whether modules of `folder` must not import from the folder `target`."""
    if target is None or target == folder:
        return False
    if folder in FOUNDATION:
        return target not in FOUNDATION_IMPORTS
    return target not in MAY_IMPORT[folder] | FOUNDATION


def arrows(path):
    module = module_name(path)
    folder = folder_of(module) if path.name != "__main__.py" else "__main__"
    return [(folder, folder_of(name), name) for name in imports_of(parsed(path), module)]


def test_there_is_something_to_read():
    assert len(MODULES) > 50
    assert {folder_of(name) for name in KNOWN} == set(MAY_IMPORT)


def assert_each_module(check, modules=MODULES):
    """Every module passes `check`, which yields what is wrong with one; all that is wrong is listed in one message."""
    wrong = [f"{module_name(path)}: {fault}" for path in modules for fault in check(path)]
    assert not wrong, "\n".join(["", *wrong])


def misdirected(path):
    """Imports that the table in docs/architecture.md forbids."""
    return [f"{folder} → {name}" for folder, target, name in arrows(path) if forbidden(folder, target)]


def test_imports_run_one_way():
    assert_each_module(misdirected)


def test_the_table_itself_runs_one_way():
    """A cycle between folders cannot arise, whatever modules import within the table."""
    left = {folder: set(targets) for folder, targets in MAY_IMPORT.items()}
    while left:
        free = [folder for folder, targets in left.items() if not targets & left.keys()]
        assert free, f"cycle among {sorted(left)}"
        for folder in free:
            del left[folder]


def cycle_in(graph):
    """Some cycle of a graph {node: its targets}, or None."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return None
        path.append(node)
        found = next(filter(None, (visit(target) for target in sorted(graph.get(node, ())))), None)
        path.pop()
        done.add(node)
        return found

    return next(filter(None, (visit(node) for node in sorted(graph))), None)


def test_no_module_imports_itself_in_the_end():
    graph = {module_name(p): {n for n in imports_of(parsed(p), module_name(p)) if n in KNOWN} for p in MODULES}
    # The package's own __init__ offers the API lazily; that arrow back up is what its `__getattr__` is for.
    graph[NAME] = {n for n in imports_of(parsed(PACKAGE / "__init__.py"), NAME, at_import_only=True) if n in KNOWN}
    cycle = cycle_in(graph)
    assert cycle is None, " → ".join(cycle or [])


def test_the_reader_sees_what_it_should():
    """The checks above find nothing; here is what they would find."""
    source = """
import adacode_cli.batch.plan
from adacode_cli import atomic
if TYPE_CHECKING:
    from adacode_cli.engine.restorer import Restorer
def late():
    from adacode_cli.cli.main import main
class C:
    import numpy as np
"""
    seen = set(imports_of(ast.parse(source), "x"))
    assert seen == {
        f"{NAME}.batch.plan",
        f"{NAME}.atomic",
        f"{NAME}.engine.restorer",
        f"{NAME}.cli.main",
        "numpy",
    }
    at_import = set(imports_of(ast.parse(source), "x", at_import_only=True))
    assert at_import == {f"{NAME}.batch.plan", f"{NAME}.atomic", "numpy"}
    assert forbidden("model", "engine")
    assert forbidden("imaging", "model")
    assert forbidden("batch", "cli")
    assert forbidden("batch", "checkpoints")
    assert forbidden("training", "engine")
    assert forbidden("evaluation", "training")
    assert forbidden("errors", "version")
    assert forbidden("geometry", "model")
    assert forbidden("engine", "__init__")
    assert not forbidden("geometry", "errors")
    assert not forbidden("cli", "evaluation")
    assert not forbidden("engine", None)
    assert cycle_in({"a": {"b"}, "b": {"c", "d"}, "d": {"a"}}) == ["a", "b", "d", "a"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}}) is None


def misplaced_libraries(path):
    return [
        name
        for folder, _, name in arrows(path)
        for library, folders in ONLY_IN.items()
        if name.split(".")[0] == library and folder not in folders
    ]


def test_libraries_stay_where_they_belong():
    assert_each_module(misplaced_libraries)


def heavy_at_the_top(path):
    top = {name.split(".")[0] for name in imports_of(parsed(path), module_name(path), at_import_only=True)}
    return sorted(top & set(HEAVY))


def test_the_command_line_imports_nothing_heavy_at_the_top():
    assert_each_module(heavy_at_the_top, [p for p in MODULES if "cli" in p.relative_to(PACKAGE).parts])


@pytest.mark.parametrize("module", [NAME, f"{NAME}.cli.main", f"{NAME}.errors", f"{NAME}.formats", f"{NAME}.limits"])
def test_importing_pulls_in_nothing_heavy(module):
    script = f"import json, sys, {module}; print(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert json.loads(run.stdout) == []


def large_or_without_words(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    if lines > MAX_LINES:
        yield f"{lines} lines"
    yield from {"utils", "helpers", "common", "misc"} & set(path.with_suffix("").relative_to(PACKAGE).parts)
    if not ast.get_docstring(parsed(path)) and path.name != "version.py":
        yield "no module docstring"


def test_files_stay_small_and_say_what_they_are():
    assert_each_module(large_or_without_words)


def effects_at_import(path):
    """Loops, and calls for their effect, at a module's top level, except the registration of commands."""
    for node in parsed(path).body:
        if isinstance(node, ast.For | ast.While | ast.With):
            yield f"line {node.lineno}: {type(node).__name__}"
        call = node.value if isinstance(node, ast.Expr) else None
        while isinstance(call, ast.Call) and isinstance(call.func, ast.Call):
            call = call.func
        if isinstance(call, ast.Call) and ast.unparse(call.func) not in ("app.command", "app.add_typer"):
            yield f"line {node.lineno}: {ast.unparse(call.func)}"


def test_nothing_happens_at_import():
    assert_each_module(effects_at_import)


def test_each_check_of_a_module_lists_all_that_is_wrong(tmp_path, monkeypatch):
    """The checks above find nothing; here each one finds what it should, in two modules at once."""
    lines = ["import torch", "from adacode_cli.batch import plan", "import typer", "print(1)", "for x in (): pass"]
    modules = [tmp_path / NAME / "imaging" / "utils.py", tmp_path / NAME / "cli" / "long.py"]
    for path, text in zip(modules, ["\n".join(lines), '"""Said."""\nif 1: print(1)\n' + "\n" * MAX_LINES], strict=True):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / NAME)
    first, second = modules
    assert misdirected(first) == ["imaging → adacode_cli.batch.plan"]
    assert misplaced_libraries(first) == ["typer"]
    assert heavy_at_the_top(first) == ["torch"]
    assert list(large_or_without_words(first)) == ["utils", "no module docstring"]
    assert list(large_or_without_words(second)) == [f"{MAX_LINES + 2} lines"]
    assert list(effects_at_import(first)) == ["line 4: print", "line 5: For"]
    with pytest.raises(AssertionError) as raised:
        assert_each_module(large_or_without_words, modules)
    assert all(word in str(raised.value) for word in (f"{NAME}.imaging.utils: utils", f"{NAME}.cli.long: "))
