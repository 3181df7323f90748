"""A folder of masks, each found by the name of its picture: `photo.jpg` → `photo.png`, whatever the suffix."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from adacode_cli import atomic
from adacode_cli.errors import InputError
from adacode_cli.imaging.decode import EXTENSIONS


class MaskFolder:
    """The picture files directly in `folder`, indexed once by stem. Raises InputError where it cannot be listed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_stem: dict[str, list[Path]] = {}
        try:
            files = sorted(folder.iterdir())
        except NotADirectoryError as error:
            raise InputError(
                "is not a directory of masks", path=folder, hint="Use --mask for a single file."
            ) from error
        except FileNotFoundError as error:
            raise InputError("there is no such directory", path=folder, hint="Check the name.") from error
        except OSError as error:
            message = f"cannot be listed: {atomic.reason(error)}"
            raise InputError(message, path=folder, hint="Check its permissions.") from error
        for file in files:
            if file.suffix.lower() in EXTENSIONS:
                self._by_stem.setdefault(_key(file), []).append(file)

    def for_image(self, path: Path) -> Path:
        """The mask of the picture `path`; the picture itself, should it lie in the same folder, is not its mask.

        Raises InputError where there is none or more than one.
        """
        found = [mask for mask in self._by_stem.get(_key(path), []) if mask.resolve() != path.resolve()]
        if not found:
            hint = f"Put {path.stem}.png (white where the holes are) into {self._folder}."
            raise InputError(f"has no mask in {self._folder}", path=path, hint=hint)
        if len(found) > 1:
            names = ", ".join(mask.name for mask in found)
            hint = "Keep one of them; the mask is found by the name without its suffix."
            raise InputError(f"has {len(found)} masks in {self._folder}: {names}", path=path, hint=hint)
        return found[0]


def _key(path: Path) -> str:
    # macOS writes é as two code points where most other systems write one.
    return unicodedata.normalize("NFC", path.stem)
