"""What libraries say in warnings and log records is for whoever looks for a fault: it is shown with -v."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from adacode_cli.cli.stderr import printable_trace

# Libraries with logs of their own, which they read when they are loaded.
_QUIET = {"HF_HUB_VERBOSITY": "error", "OPENCV_LOG_LEVEL": "SILENT", "TORCH_CPP_LOG_LEVEL": "ERROR"}


def heard_only_if(verbose: Callable[[], bool]) -> None:
    """From now on warnings and log records reach standard error only where `verbose` says so.

    Whoever has set one of their variables, PYTHONWARNINGS too, has asked for them.
    """
    for name, level in _QUIET.items():
        os.environ.setdefault(name, level)

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        *_line: Any,  # noqa: ANN401 (as the module `warnings` calls it)
        **_file: Any,  # noqa: ANN401
    ) -> None:
        """What `warnings` calls for each warning: shows it where `verbose` says so."""
        if verbose():
            sys.stderr.write(printable_trace(warnings.formatwarning(message, category, filename, lineno)))

    if not sys.warnoptions:
        warnings.showwarning = show
    logging.getLogger().addHandler(_Shown(verbose))


class _Shown(logging.Handler):
    """Takes the place of the handler that logging falls back on."""

    def __init__(self, verbose: Callable[[], bool]) -> None:
        super().__init__(logging.WARNING)
        self._verbose = verbose

    def emit(self, record: logging.LogRecord) -> None:
        if self._verbose():
            sys.stderr.write(printable_trace(self.format(record)))
