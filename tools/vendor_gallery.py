"""Fetches the libraries of the gallery (the web page of a run) from the npm registry, as scripts that `file://` allows.

    .venv/bin/python tools/vendor_gallery.py

Versions and digests stand here; a package with another digest is refused. The results are part of the repository and of
the wheel, so neither building nor using adacode needs Node. Needs npm (and, for esbuild, npx).
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "adacode_cli" / "batch" / "gallery" / "static" / "vendor"
ESBUILD = "esbuild@0.28.2"


@dataclass(frozen=True)
class Library:
    """A package of the registry.

    script: the file in it that becomes `name`.js.
    bundled_as: the name under which the script is bundled for pages; "" if it is one already.
    """

    name: str
    package: str
    version: str
    integrity: str
    script: str
    licence: str
    bundled_as: str = ""


LIBRARIES = (
    Library(
        "panzoom",
        "@panzoom/panzoom",
        "4.6.2",
        "sha512-Zn3B5/hwa6eYIPRSKX0xf2clv8nviTX8AnAU5kU/EugiTDhG41ya2wlBqYrZJYCWQROr/5XkWObZhIkepi89qw==",
        "dist/panzoom.min.js",
        "MIT-License.txt",
    ),
    Library(
        "virtual-core",
        "@tanstack/virtual-core",
        "3.19.11",
        "sha512-/5iHb0RHBvj8Di59FDs4ESNm45jls33aZAi4zccVXZjc/6ZvwQP6nzEYeT6weXjTf9E6/vrp2JhYWRyO+ZP13A==",
        "dist/esm/index.js",
        "LICENSE",
        bundled_as="VirtualCore",
    ),
)


def run(*command: str, cwd: Path) -> None:
    """Runs a command. Raises SystemExit if it fails."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        sys.exit(f"failed with exit code {done.returncode}: {' '.join(command)}")


def vendor(library: Library, folder: Path) -> None:
    """Writes the script and the licence of one library. Raises SystemExit for a package with another digest."""
    folder.mkdir()
    run("npm", "pack", "--silent", f"{library.package}@{library.version}", cwd=folder)
    (archive,) = folder.glob("*.tgz")
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != library.integrity:
        sys.exit(f"{library.package} {library.version} has the digest {found}, and {library.integrity} is expected")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    package = folder / "package"
    script = package / library.script
    if library.bundled_as:
        bundle = folder / "bundle.js"
        options = ("--bundle", "--minify", "--format=iife", f"--global-name={library.bundled_as}", "--log-level=error")
        run("npx", "--yes", ESBUILD, str(script), *options, f"--outfile={bundle}", cwd=folder)
        script = bundle
    head = f"/*! {library.package} {library.version}, licence: LICENSE.{library.name} */\n"
    body = "\n".join(
        line for line in script.read_text(encoding="utf-8").splitlines() if not line.startswith("//# sourceMappingURL")
    )
    (VENDOR / f"{library.name}.js").write_text(f"{head}{body.strip()}\n", encoding="utf-8")
    licence = (package / library.licence).read_text(encoding="utf-8")
    (VENDOR / f"LICENSE.{library.name}").write_text(f"{licence.strip()}\n", encoding="utf-8")


def main() -> None:
    """Fetches all libraries."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for library in LIBRARIES:
            vendor(library, Path(folder) / library.name)
            print(f"{library.package} {library.version}")


if __name__ == "__main__":
    main()
