"""How all tests run (threads, properties), what none of them may leave changed, and a fixture for several."""

from __future__ import annotations

import faulthandler
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from atomic_target import OLD
from hypothesis import is_hypothesis_test, settings

# Before torch is imported, for this process and those that tests start: threads that share two cores take longer than
# one thread does, and sums of several threads have other last bits.
os.environ["OMP_NUM_THREADS"] = "1"
# An adacode.toml in a folder above this one is not for the tests.
os.environ["ADACODE_CONFIG"] = "none"
# Some thousand processes are started; without it each of them would compile all modules of the package.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# No test asserts a time, so no example has a deadline. `--hypothesis-profile thorough` or HYPOTHESIS_PROFILE=thorough
# tries ten times the examples of each test.
THOROUGH = 10
settings.register_profile("ci", deadline=None)
settings.register_profile("thorough", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# Their tests take up to minutes each. They come first, so that no process waits for one of them in the end.
LONG = ("tests/test_recipes.py", "tests/cluster/", "tests/soak/", "tests/training/test_training_whole.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Brings tests into their order, and multiplies the examples of properties if that is asked for."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
    _multiply_examples(items)


def _multiply_examples(items: list[pytest.Item]) -> None:
    """A number in the decorator of a property has precedence over that of a profile."""
    if settings.get_current_profile_name() != "thorough":
        return
    functions = {getattr(item, "function", None) for item in items}
    for function in filter(is_hypothesis_test, functions):
        own = function._hypothesis_internal_use_settings
        function._hypothesis_internal_use_settings = settings(own, max_examples=THOROUGH * own.max_examples)


# Far more than any test takes, on a slow machine that others use too.
DEADLINE_S = 1200

_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGTSTP", "SIGPIPE", "SIGALRM")
    if hasattr(signal, name)
]
# Libraries add variables of their own when they are imported; of these names none may appear either.
_NAMES = ("ADACODE_", "COLUMNS", "HF_", "OMP_", "PYTHON")


def _state() -> dict[str, object]:
    """What belongs to the process and not to a test."""
    torch = sys.modules.get("torch")
    return {
        "the working directory": Path.cwd(),
        "the threads of torch": torch.get_num_threads() if torch else 1,
        **{f"the handler of {number.name}": signal.getsignal(number) for number in _SIGNALS},
        **{f"the variable {name}": value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
    }


@pytest.fixture(autouse=True)
def _process_as_it_was():
    """A test that leaves a setting of the process changed fails, because it would change what later tests do."""
    before = _state()
    yield
    after = _state()
    missing = "is missing"
    wrong = [
        f"{name}: {before.get(name, missing)} → {after.get(name, missing)}"
        for name in before | after
        if before.get(name, missing) != after.get(name, missing)
        and (name in before or name.startswith(tuple(f"the variable {start}" for start in _NAMES)))
    ]
    assert not wrong, "the test leaves changed: " + ", ".join(wrong)


@pytest.fixture(autouse=True)
def _deadline():
    """A test that does not end ends its process and shows its threads: an exception might be caught by the test."""
    faulthandler.dump_traceback_later(DEADLINE_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def target(tmp_path):
    """A file with content, in a directory of its own."""
    path = tmp_path / "out" / "photo.png"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_QUIET = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-sync", *_QUIET]


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium, one for each process of tests: a process can have no second one of Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is absent")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()
