"""Suppresses messages of libraries about damaged files, which this program reports itself.

There are four sources: Python warnings (Pillow), logging (tifffile), the log of OpenCV, and libtiff in C, for
which Pillow has no setting. All are settings of the process, so only a run and its decoding processes change them, not
a program that imports `decode`.
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
    """Within the block, libraries write nothing to the terminal. Blocks of several threads must not overlap."""
    level = cv2.utils.logging.getLogLevel()
    silent = logging.NullHandler()  # Without a handler, Python prints warnings itself.
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
    """Permanent, because Python cannot restore the former handler."""
    for pattern in _TIFF_IN_PILLOW:
        for library in Path(PIL.__file__).parents[1].glob(pattern):
            with suppress(OSError, AttributeError):
                ctypes.CDLL(str(library)).TIFFSetErrorHandler(None)
