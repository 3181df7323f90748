"""What libraries say about damaged files goes nowhere: a person reads of them in the words of this program.

Four ways lead to the terminal: Python's warnings (Pillow), logging (tifffile), OpenCV's own log, and libtiff in C, for
which Pillow does not offer a setting. All of them are settings of the process, so only who owns it calls this: a run
and its decoding processes, not a program that imports `decode`.
"""

from __future__ import annotations

import ctypes
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import PIL

_LIBRARIES = ("PIL", "tifffile", "pillow_heif", "imagecodecs")
_TIFF_IN_PILLOW = ("pillow.libs/libtiff*", "PIL/.dylibs/libtiff*")  # in its packages for Linux and for macOS


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within the block, which no other thread may leave earlier or later, libraries write nothing to the terminal."""
    level = cv2.utils.logging.getLogLevel()
    silent = logging.NullHandler()  # Without any, Python prints warnings itself. Whoever wants them can add another.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    for name in _LIBRARIES:
        logging.getLogger(name).addHandler(silent)
    _silence_libtiff()
    try:
        with warnings.catch_warnings():
            for name in _LIBRARIES:
                warnings.filterwarnings("ignore", module=rf"{name}(\..*)?$")
            yield
    finally:
        cv2.utils.logging.setLogLevel(level)
        for name in _LIBRARIES:
            logging.getLogger(name).removeHandler(silent)


def _silence_libtiff() -> None:
    """For good: it does not tell who was its handler in a form that Python could give back."""
    for pattern in _TIFF_IN_PILLOW:
        for library in Path(PIL.__file__).parents[1].glob(pattern):
            with suppress(OSError, AttributeError):
                ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)
