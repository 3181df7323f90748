"""What `adacode weights push` sends of a bundle, checked before anything leaves this machine.

Nothing is published that does not say what it was trained on and under which licence it is, that differs from what the
catalogue says, or that lacks the notice of a base model's authors.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from adacode_cli.checkpoints import bundles, catalogue_file
from adacode_cli.checkpoints.base_models import NOT_STATED, joined_licences, notice_of
from adacode_cli.checkpoints.bundles import Bundle
from adacode_cli.checkpoints.catalogue import Catalogue, Entry, FamilyFile
from adacode_cli.checkpoints.format import Provenance, read_weights
from adacode_cli.checkpoints.load import load_network
from adacode_cli.checkpoints.location import LocalBundle
from adacode_cli.checkpoints.priors import read_prior
from adacode_cli.errors import WeightsError, translated

_PRIOR_AGAIN = "Make it again with `adacode train prior`, or move it away."
_AGAIN = "Bundle the run again: `adacode weights bundle RUN -o DIR --overwrite`"
# Names by which people look for a licence's text.
_LICENCE_FILES = re.compile(r"(LICEN[CS]E|COPYING|NOTICE)(\.[A-Za-z0-9_.-]+)?")


@dataclass(frozen=True)
class Sent:
    """A file of the repository: where it is on this machine, or its content; its size in bytes and its SHA-256."""

    name: str
    source: Path | bytes
    size: int
    sha256: str

    @classmethod
    def of_content(cls, name: str, content: bytes) -> Sent:
        """A file that is only in memory."""
        return cls(name, content, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Part:
    """A file of weights, and what it states about itself."""

    file: Sent
    provenance: Provenance


@dataclass(frozen=True)
class Family:
    """One family of a bundle. card: the Markdown of FAMILY.md, "" without one."""

    name: str
    entries: Sequence[Entry]
    card: str


@dataclass(frozen=True)
class Publication:
    """All that a repository gets except its card.

    catalogue: of what is sent. parts: the files of weights. licence: of all of them together, an SPDX expression where
    they state one. others: the catalogue, cards of families, notices and licences.
    """

    folder: Path
    catalogue: Catalogue
    parts: Sequence[Part]
    families: Sequence[Family]
    licence: str
    others: Sequence[Sent]

    @property
    def files(self) -> list[Sent]:
        """Every file."""
        return [*(part.file for part in self.parts), *self.others]

    def has(self, name: str) -> bool:
        """Whether a file of this name is sent."""
        return any(file.name == name for file in self.files)


def collected(folder: Path) -> Publication:
    """What is sent of a bundle. Raises WeightsError where it must not be published, or is no bundle."""
    path = folder / catalogue_file.FILE_NAME
    if not path.is_file():
        hint = "`adacode weights bundle RUN -o DIR` makes such a folder of a training run."
        raise WeightsError(f"has no {catalogue_file.FILE_NAME}", path=folder, hint=hint)
    bundle = _opened(folder)
    catalogue = _with_priors(bundle)
    parts = [*_parts(bundle), *_priors(bundle, catalogue)]
    for entry in catalogue.entries:
        load_network(bundle.paths(entry))  # what nobody could use is not published
    by_name = {part.file.name: part.provenance for part in parts}
    for entry in catalogue.entries:
        _require_same_licence(entry, by_name, path)
    families = [_family(folder, name, catalogue) for name in catalogue.families()]
    others = [Sent.of_content(catalogue_file.FILE_NAME, catalogue_file.to_bytes(catalogue))]
    others += [Sent.of_content(f"{family.name}.md", family.card.encode()) for family in families if family.card]
    others += _notices(folder, parts)
    licence = joined_licences(*dict.fromkeys(part.provenance.whole_licence for part in parts))
    return Publication(folder, catalogue, parts, families, licence, others)


def _opened(folder: Path) -> Bundle:
    """The bundle, whatever number of families it has."""
    entries = catalogue_file.read(folder / catalogue_file.FILE_NAME, f"{_AGAIN}.").entries
    own = [entry.family for entry in entries if entry.kind == "bundled"]
    return bundles.open_bundle(LocalBundle(folder, own[0] if own else None))


def _with_priors(bundle: Bundle) -> Catalogue:
    """The catalogue that is sent: priors that lie in the folder are in it, because a repository has no other way."""
    found = []
    for family in bundle.catalogue.families():
        path = bundle.prior(family)
        if path is not None:
            content = _content(path)
            found.append(FamilyFile(path.name, len(content), hashlib.sha256(content).hexdigest(), family))
    return replace(bundle.catalogue, priors=tuple(found))


def _parts(bundle: Bundle) -> Iterator[Part]:
    """The files of the entries, each once, compared with the catalogue and read."""
    done: set[str] = set()
    for entry in bundle.catalogue.entries:
        for path in bundle.paths(entry):
            if path.name in done:
                continue
            done.add(path.name)
            provenance = read_weights(path).provenance
            _require_stated(path, provenance, f"{_AGAIN} --licence TEXT.", f"{_AGAIN}; runs of this version record it.")
            file = bundle.catalogue.file(path.name)
            assert file.sha256 is not None, "checked when the bundle was opened"
            yield Part(Sent(path.name, path, path.stat().st_size, file.sha256), provenance)


def _priors(bundle: Bundle, catalogue: Catalogue) -> Iterator[Part]:
    for file in catalogue.priors:
        path = bundle.prior(file.family)
        assert path is not None, "found before"
        provenance = read_prior(path).provenance
        _require_stated(path, provenance, _PRIOR_AGAIN, _PRIOR_AGAIN)
        assert file.bytes is not None, "described from its content"
        assert file.sha256 is not None, "described from its content"
        yield Part(Sent(file.name, path, file.bytes, file.sha256), provenance)


def _require_stated(path: Path, provenance: Provenance, for_licence: str, for_data: str) -> None:
    """Raises WeightsError for weights of which nobody would know what they may do with them; with one of two hints."""
    licence = provenance.whole_licence
    if not licence:
        raise WeightsError("states no licence, so it is not published", path=path, hint=for_licence)
    if NOT_STATED in licence:
        base = provenance.base_model if NOT_STATED in provenance.base_licence or not provenance.base_licence else ""
        whose = f"of its base model {base}" if base else "of a part of what it was made of"
        hint = "Ask the authors for their licence, and make the weights again with it stated."
        raise WeightsError(f"does not state the licence {whose}, so it is not published", path=path, hint=hint)
    if not provenance.trained_on:
        what = "does not state what it was trained on, so it is not published"
        raise WeightsError(what, path=path, hint=for_data)


def _require_same_licence(entry: Entry, provenances: dict[str, Provenance], path: Path) -> None:
    """Raises WeightsError if the catalogue says something else than the files."""
    licences = [provenances[name].whole_licence for name in entry.files]
    if entry.licence not in (licences[-1], joined_licences(*licences)):
        what = f"says that {entry.name} is under {entry.licence!r}, and its file states {licences[-1]!r}"
        raise WeightsError(what, path=path, hint=f"{_AGAIN}.")


def _family(folder: Path, name: str, catalogue: Catalogue) -> Family:
    card = folder / f"{name}.md"
    text = _content(card).decode("utf-8", "replace") if card.is_file() else ""
    return Family(name, [entry for entry in catalogue.entries if entry.family == name], text)


def _notices(folder: Path, parts: Sequence[Part]) -> Iterator[Sent]:
    """The notices of base models, which must be there, and other texts of licences in the folder."""
    needed = {notice_of(part.provenance.base_model): part.file.name for part in parts}
    for notice, name in needed.items():
        if notice is not None and not (folder / notice).is_file():
            what = f"is missing: {name} starts from weights of its authors, whose notice has to go with it"
            raise WeightsError(what, path=folder / notice, hint=f"{_AGAIN}.")
    for path in sorted(folder.iterdir()):
        if path.is_file() and _LICENCE_FILES.fullmatch(path.name):
            yield Sent.of_content(path.name, _content(path))


def _content(path: Path) -> bytes:
    require_own(path)
    with translated(WeightsError, "cannot be read", path, hint="Check its permissions."):
        return path.read_bytes()


def require_own(path: Path) -> None:
    """Raises WeightsError for a link that leads out of its folder: a text from elsewhere would be published."""
    with translated(WeightsError, "cannot be read", path, hint="Check its permissions."):
        if not path.resolve().is_relative_to(path.parent.resolve()):
            hint = "Copy the file that is to be published into the folder."
            raise WeightsError("is a link to a file outside of the folder", path=path, hint=hint)
