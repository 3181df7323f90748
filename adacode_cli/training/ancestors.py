"""What a stage states of the weights that it begins with or is built on: their data, licences and base models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from adacode_cli.checkpoints.base_models import ancestor
from adacode_cli.checkpoints.licences import is_mix, strictest
from adacode_cli.checkpoints.load import read_any, shared_parts_beside
from adacode_cli.training.session import TrainingSession


def inherit(session: TrainingSession, files: Iterable[Path], bases: Sequence[tuple[str, str]] = ()) -> None:
    """The next stage's file states what the session trains on, and what all these files of weights state.

    bases: base models without a file of adacode, with their licences. A file from outside of the session's run folder
    becomes a base model too: it is the result of another run, of this or another author. A mixture of licences is
    noted. Raises WeightsError for a file that cannot be read.
    """
    ours, named = [session.provenance], list(bases)
    for path in files:
        weights = read_any(path)
        found = weights.provenance
        ours.append(found)
        if weights.part == "task":  # of a bundle; in those of earlier versions each part states its own
            ours += [part.provenance for _, part in shared_parts_beside(path, weights)]
        if path.absolute().parent.resolve() != session.folder.path.absolute().resolve():
            # Without that of its own base models, which are named themselves.
            named.append((ancestor(path.stem, found.family, found.licence, found.source), found.licence))
    session.stated = session.provenance.with_sources(ours, named)
    licence = session.stated.whole_licence
    if is_mix(licence) and licence != session.provenance.licence:
        note = (
            f"the weights are made from works under several licences: {licence}; the strictest is {strictest(licence)}"
        )
        session.listeners.on_note(note)
