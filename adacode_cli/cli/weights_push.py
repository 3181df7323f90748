"""`adacode weights push`: publishes a folder of weights as a repository on the Hugging Face Hub."""

from __future__ import annotations

from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from adacode_cli.cli.boundary import ended_by_interruption, invocation_of
from adacode_cli.cli.options import AsJson, Verbose, flag
from adacode_cli.cli.status import showing
from adacode_cli.cli.streams import printable, stderr_console, write_line
from adacode_cli.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adacode_cli.checkpoints.figures import Figures
    from adacode_cli.checkpoints.hub_upload import Uploaded
    from adacode_cli.checkpoints.location import HubRepo
    from adacode_cli.checkpoints.publication import Publication, Sent

EPILOG = """Examples:

  adacode weights bundle run -o mine --licence CC-BY-4.0
  adacode weights push mine OWNER/REPO --dry-run
  adacode weights push mine OWNER/REPO --private
  adacode sr photos --weights hub:OWNER/REPO

The address of the commit is printed on standard output. The token is that of
`hf auth login`, or HF_TOKEN."""


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A directory that 'weights bundle' has made.")]
Repository = Annotated[
    str, typer.Argument(metavar="OWNER/REPO", help="The repository; it is made if it does not exist.")
]
Private = Annotated[
    bool, flag("--private", help="Make the repository private; one that exists must be private already.")
]
Branch = Annotated[
    str | None,
    typer.Option(metavar="BRANCH", help="The branch, which is made if it does not exist. Default: main."),
]
Message = Annotated[
    str | None, typer.Option(metavar="TEXT", help="The message of the commit. Default: the families' names.")
]
BaseModel = Annotated[
    list[str] | None,
    typer.Option(metavar="OWNER/REPO", help="A base model on the Hub, for the card. Can be given more than once."),
]
Dataset = Annotated[
    list[str] | None,
    typer.Option(metavar="OWNER/REPO", help="A data set on the Hub that was trained on. Can be given more than once."),
]
DryRun = Annotated[bool, flag("--dry-run", help="Show the files and the card, and send nothing.")]


def push(
    context: typer.Context,
    folder: Folder,
    repository: Repository,
    *,
    private: Private = False,
    revision: Branch = None,
    message: Message = None,
    base_model: BaseModel = None,
    dataset: Dataset = None,
    dry_run: DryRun = False,
    json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Publish weights on the Hugging Face Hub, with a card that people and the Hub's search can read.

    All files are sent in one commit: the weights, their catalogue, the notices of others, and a README.md with the
    licence, the data, and the figures of DIR/*.eval.json ('adacode eval --json'). If DIR has a README.md, that is its
    text. Weights that do not state their licence and what they were trained on are refused.
    """
    invocation_of(context, json=json, verbose=verbose)
    place = _place(repository, revision)
    bases, datasets = ([_checked_name(name) for name in given or ()] for given in (base_model, dataset))
    if message is not None and not message.strip():
        raise UsageError("--message is empty", hint="Give a text, or leave it out.")
    with ended_by_interruption("what has arrived is kept; the same command continues"):
        with showing(f"checking {folder}", quiet=json):
            from adacode_cli.checkpoints.hub_card import card_of
            from adacode_cli.checkpoints.publication import collected

            publication = collected(folder)
            card, of_card = card_of(publication, place, _figures(publication), bases, datasets)
        sending = _Sending(publication, [*publication.files, *of_card], card, place)
        if dry_run:
            sending.show(None, json=json)
            return
        if not json:
            _say(f"sending {sending.amount} to {place.repo}")
        from adacode_cli.checkpoints.hub_upload import upload

        summary = message or f"Weights: {', '.join(family.name for family in publication.families)}"
        families = [family.name for family in publication.families]
        done = upload(sending.files, place, summary, families=families, private=private)
    sending.show(done, json=json)


def _place(repository: str, revision: str | None) -> HubRepo:
    from adacode_cli.checkpoints.location import HUB_PREFIX, parse_hub_repo, with_branch

    try:
        place = parse_hub_repo(repository.removeprefix(HUB_PREFIX))
        return place if revision is None else with_branch(place, revision)
    except WeightsError as error:
        raise UsageError(error.message, hint="Write OWNER/REPO, and a branch with --revision.") from error


def _checked_name(name: str) -> str:
    from adacode_cli.checkpoints.location import parse_hub_repo

    try:
        found = parse_hub_repo(name)
    except WeightsError as error:
        hint = "Write OWNER/REPO, as the Hub calls a base model or a data set."
        raise UsageError(f"{name!r} is no name on the Hub", hint=hint) from error
    if found.revision is not None:
        raise UsageError(f"{name!r} has a revision", hint="Write OWNER/REPO alone.")
    return found.repo


def _figures(publication: Publication) -> list[Figures]:
    """The figures in the folder, each compared with the weights that it is about."""
    from adacode_cli.checkpoints.figures import figures_in

    def digest_of(figures: Figures) -> str:
        """The digest of the network that figures are about; of several families, of the one that they name."""
        from adacode_cli.checkpoints.load import WeightsSource
        from adacode_cli.engine.identity import network_digest

        digest = ""
        for family in publication.families:
            source = WeightsSource(publication.folder / family.name)
            try:
                digest = network_digest(source.network(figures.task, figures.scale, figures.denoise)[0])
            except WeightsError:  # this family has no such task
                continue
            if digest == figures.weights_sha256:
                return digest
        return digest

    return figures_in(publication.folder, digest_of)


@dataclass(frozen=True)
class _Sending:
    """What is sent, and where to."""

    publication: Publication
    files: Sequence[Sent]
    card: str
    place: HubRepo

    @property
    def amount(self) -> str:
        return f"{len(self.files)} files, {sum(file.size for file in self.files) / 1e6:.1f} MB,"

    def show(self, done: Uploaded | None, *, json: bool) -> None:
        """The result on standard output: what would be sent, or the address of the commit."""
        if json:
            write_line(dumps(self._json_object(done)))
        elif done is None:
            self._show_plan()
        else:
            from adacode_cli.checkpoints.location import HubBundle

            if not done.is_new:
                _say("nothing has changed since the last commit")
            address = HubBundle(self.place.repo, self.place.revision).address
            _say(f"to use them: --weights {address}")
            write_line(done.url)

    def _show_plan(self) -> None:
        widest = max(len(file.name) for file in self.files)
        for file in self.files:
            write_line(f"{file.name.ljust(widest)}  {file.size:>13,} bytes")
        write_line("")
        for line in self.card.splitlines():
            write_line(line)
        _say(f"nothing was sent; {self.amount} would go to {self.place.repo}")

    def _json_object(self, done: Uploaded | None) -> dict[str, object]:
        return {
            "version": 1,
            "repo": self.place.repo,
            "branch": self.place.revision or "main",
            "families": [family.name for family in self.publication.families],
            "licence": self.publication.licence,
            "files": [{"name": file.name, "bytes": file.size, "sha256": file.sha256} for file in self.files],
            "card": self.card,
            "commit": done.commit if done else None,
            "url": done.url if done else None,
            "private": done.private if done else None,
            "changed": done.is_new if done else None,
        }


def _say(text: str) -> None:
    stderr_console().print(Text(printable(text), style="dim"))
