"""Exit codes are the documented ones: scripts depend on them."""

import errno
import inspect
import re
from pathlib import Path

import pytest

from adacode_cli import errors
from adacode_cli.errors import EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, AdaCodeError, InputError, translated

CODES = {
    "UsageError": 2,
    "InputError": 3,
    "WeightsError": 4,
    "DeviceError": 5,
    "OutputError": 6,
    "QualityError": 6,
    "JournalError": 7,
    "TrainingError": 8,
    "PartialFailure": 9,
}
CLASSES = [
    c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, AdaCodeError) and c is not AdaCodeError
]


def test_the_table():
    assert {c.__name__: c.exit_code for c in CLASSES} == CODES
    assert (EXIT_DONE, EXIT_BUG, EXIT_INTERRUPTED) == (0, 1, 130)
    assert AdaCodeError.exit_code == EXIT_BUG


def test_every_class_has_its_own_kind_and_all_but_special_cases_their_own_code():
    direct = [c for c in CLASSES if c.__bases__ == (AdaCodeError,)]
    assert len({c.exit_code for c in direct} | {EXIT_DONE, EXIT_BUG, EXIT_INTERRUPTED}) == len(direct) + 3
    assert len({c.kind for c in CLASSES} | {AdaCodeError.kind}) == len(CLASSES) + 1
    assert all(c.kind == re.sub("(Error|Failure)$", "", c.__name__).lower() for c in CLASSES)


def test_no_class_hides_in_another_module():
    """One table holds them all, so that the boundary and the documentation cannot miss one."""
    source = Path(errors.__file__).parent
    elsewhere = [
        f"{path.name}: {found}"
        for path in source.rglob("*.py")
        if path != Path(errors.__file__)
        for found in re.findall(
            rf"^class .*\((?:{'|'.join(CODES)}|AdaCodeError)\).*", path.read_text(encoding="utf-8"), re.M
        )
    ]
    assert not elsewhere


@pytest.mark.parametrize("error_class", CLASSES)
def test_what_an_error_says(error_class):
    error = error_class("cannot be read", path=Path("a b") / "ü.jpg", hint="Look again.")
    assert (error.message, error.hint) == ("cannot be read", "Look again.")
    assert str(error) == f"{Path('a b') / 'ü.jpg'}: cannot be read"
    bare = error_class("cannot be read")
    assert (bare.path, bare.hint, str(bare)) == (None, "", "cannot be read")
    assert error_class.__doc__


def test_the_documented_table():
    """The code's table, and that of README.md where there is one."""
    readme = Path(__file__).parents[1] / "README.md"
    if not readme.exists():
        pytest.skip("there is no README.md in this checkout")
    rows = {int(code) for code in re.findall(r"^\|\s*`?(\d+)`?\s*\|", readme.read_text(encoding="utf-8"), re.M)}
    assert rows >= {*CODES.values(), EXIT_DONE, EXIT_BUG, EXIT_INTERRUPTED}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot be read: the disk is full"),
        (OSError(errno.EIO, "Input/output error"), "cannot be read: Input/output error"),
        (OSError("cannot identify image file"), "cannot be read: cannot identify image file"),
    ],
)
def test_an_error_of_the_system_is_translated(error, said):
    with pytest.raises(InputError) as caught, translated(InputError, "cannot be read", "a.png", hint="Look."):
        raise error
    told = caught.value
    assert (told.message, told.path, told.hint, told.__cause__) == (said, "a.png", "Look.", error)


def test_other_errors_are_not_translated():
    with pytest.raises(ValueError, match="a bug"), translated(InputError, "cannot be read", "a.png"):
        raise ValueError("a bug")
    with pytest.raises(InputError, match="ours"), translated(InputError, "cannot be read", "a.png"):
        raise InputError("ours")
