"""A family's model card in Markdown, only from what its run recorded.

Every figure is from the run's settings, manifest or logs, or from the files themselves; what is not recorded is marked
as unknown or not measured. The same run and files give the same text, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from adacode_cli.checkpoints.base_models import notice_of, stated_licence
from adacode_cli.checkpoints.format import Provenance
from adacode_cli.checkpoints.licences import is_mix, strictest
from adacode_cli.model.config import NetworkConfig
from adacode_cli.tasks import TASKS, Task
from adacode_cli.training.run_names import BASIS, FUSED, START
from adacode_cli.training.run_record import RunRecord, figure, mapping
from adacode_cli.version import __version__

_UNKNOWN = "unknown"
_NOT_MEASURED = "not measured"
_HOLDS = {
    "basis": "the codebooks; shared by all tasks",
    "fused": "what turns codes into images; shared by all tasks",
}
_BASES = """\
These files were not trained from scratch: training began with the weights of a base model, and changed them, or was
built on them. What is known of the data on which it was trained is in the row *trained on* above. Its licence holds for
these files in addition to that of the family. If the table names a notice of its authors, it is beside this card: copy
it with the files.
"""
_LIMITS = """\
* What is restored is plausible, not evidence: detail that a photograph does not show is generated from codes that
  were learnt from other photographs. Faces, writing and number plates may become those of something else.
* Photographs unlike the training data (drawings, screenshots, medical or satellite images, other categories) and
  degradations unlike those of the training are restored less well. This has not been tested.
* Content that is over- or under-represented in the training data is so in the results, too.
* Validation figures come from crops of the same collection, degraded (except for reconstruction) as in training. They
  compare runs; they do not show how well old, damaged photographs are restored. `adacode eval` measures on your own
  test sets.
"""
# Characters with a meaning inside a line of CommonMark and GitHub's tables.
_MARKUP = re.compile(r"([\\`*_\[\]<>|&~#])")


@dataclass(frozen=True)
class BundledFile:
    """One file of the family: which part it is ("sr-x4"), its name, size in bytes, and more.

    parameters: of the network that runs; faithful: how many of them the file has a second time, for `--denoise`.
    """

    name: str
    file: str
    bytes: int
    parameters: int
    faithful: int
    config: NetworkConfig
    provenance: Provenance


@dataclass(frozen=True)
class BundledFamily:
    """The family that a card describes. `parts` begin with basis and fused; `dtype` is as in --dtype."""

    name: str
    parts: Sequence[BundledFile]
    dtype: str

    @property
    def tasks(self) -> Sequence[BundledFile]:
        """The parts that can be run."""
        return self.parts[2:]

    @property
    def with_base(self) -> Sequence[BundledFile]:
        """The parts that start from weights of other authors or other runs."""
        return [part for part in self.parts if part.provenance.base_model]


def model_card(family: BundledFamily, record: RunRecord) -> str:
    """The card as Markdown with tables, ending in a line break."""
    tasks = ", ".join(_title(part) for part in family.tasks)
    sections = (
        f"# The `{family.name}` weights\n\nAdaCode networks (image-adaptive codebooks) for {tasks}.\n"
        "`adacode weights bundle` wrote this card from what the training run recorded; the rest is called unknown.\n",
        table(("", ""), _summary(family, record)),
        "## Files\n",
        table(("file", "what it holds", "parameters", "bytes"), _files(family)),
        "## How to use\n",
        _usage(family),
        *_base_models(family),
        "## Training data\n",
        _data(family, record),
        "## How it was trained\n",
        table(("part", "steps", "minutes", "batch", "patch (px)", "losses and their weights"), _runs(family, record)),
        "## Validation\n",
        _validation(family, record),
        "## Use of the codes\n\nAt the end of stage II, as its log counted them last.\n",
        table(("basis", "codes", "used", "perplexity"), _codes(family, record)),
        "## Limits\n",
        _LIMITS,
    )
    return "\n".join(sections)


def _summary(family: BundledFamily, record: RunRecord) -> Iterable[Sequence[str]]:
    recipe = mapping(record.recipe)
    yield "licence", _each(family, lambda provenance: provenance.whole_licence or "not stated")
    if any(is_mix(part.provenance.whole_licence) for part in family.parts):
        yield "strictest of these licences", _each(family, lambda provenance: strictest(provenance.whole_licence))
    yield "stored as", f"safetensors, {family.dtype}"
    yield "trained on", _each(family, lambda provenance: provenance.trained_on or _UNKNOWN)
    yield "made by", _each(family, lambda provenance: provenance.source or _UNKNOWN)
    yield "trained with", _each(family, lambda own: f"adacode {own.version}" if own.version else _UNKNOWN)
    yield "bundled with", f"adacode {__version__}"
    yield "preset", _text(recipe.get("preset"))
    yield "seed", _text(recipe.get("seed"))
    yield "precision", _text(recipe.get("precision"))
    # Only the name: the folder of a file is private.
    yield "perceptual network in training", re.split(r"[/\\]", _text(recipe.get("perceptual")))[-1]


def _each(family: BundledFamily, statement: Callable[[Provenance], str]) -> str:
    """The statement of all files; if they differ, each statement with its files."""
    files: dict[str, list[str]] = {}
    for part in family.parts:
        files.setdefault(statement(part.provenance), []).append(part.file)
    return (
        "; ".join(files)
        if len(files) == 1
        else "; ".join(f"{', '.join(names)}: {text}" for text, names in files.items())
    )


def _files(family: BundledFamily) -> Iterable[Sequence[str]]:
    for part in family.parts:
        holds = _HOLDS.get(part.name, f"{_title(part)}: the tensors of this task only")
        parameters = f"{part.parameters:,}"
        if part.faithful:
            holds += "; for --denoise below 1 also values that keep noise"
            parameters += f" and {part.faithful:,} for --denoise"
        yield part.file, holds, parameters, f"{part.bytes:,}"


def _usage(family: BundledFamily) -> str:
    masks = {task: " --mask-dir masks" if task.fills_hole else "" for task in map(_task, family.tasks)}
    commands = [f"    adacode {task.name} photos{more} --weights DIR" for task, more in masks.items()]
    beside = " and ".join(f"`{part.file}`" for part in family.parts[:2])
    more = f"Of single files, {beside} must lie beside a task's file.\n"
    return "\n".join((*commands, "", f"DIR is the folder of this card, or its place on the Hub. {more}"))


def _base_models(family: BundledFamily) -> Sequence[str]:
    """A section on the files that start from weights of others or other runs; empty if there are none."""
    if not family.with_base:
        return ()
    stated = [(part.file, part.provenance.base_model, part.provenance.base_licence) for part in family.with_base]
    rows = [(file, b, stated_licence(b, licence), notice_of(b) or "ask its authors") for file, b, licence in stated]
    return "## Base models\n", table(("file", "starts from", "its licence", "notice of its authors"), rows), _BASES


def _data(family: BundledFamily, record: RunRecord) -> str:
    files = ", ".join(f"`{part.file}`" for part in family.with_base)
    own = "Of the stage of this run that was trained last; the row *trained on* above is of all stages.\n"
    own += f"The base models of {files} were trained before, on other data.\n\n" if files else "\n"
    if record.shards is None:
        return "Unknown: the run kept no manifest of its photographs.\n"
    manifest, crops = record.shards, mapping(record.shards.get("crops"))
    train, held_out = mapping(crops.get("train")), mapping(crops.get("validation"))
    about = (
        ("photographs", _count(manifest.get("photographs"))),
        ("megapixels", _count(manifest.get("megapixels"))),
        ("source", _text(manifest.get("source"))),
        ("licence of the photographs", _text(manifest.get("licence"))),
        ("side of a stored crop (px)", _count(manifest.get("crop_px"))),
        ("photographs left out", _left_out(record)),
    )
    names = sorted({*train, *held_out})
    rows = [(name, _count(train.get(name, 0)), _count(held_out.get(name, 0))) for name in names]
    each = table(("category", "crops to train on", "crops held out"), rows)
    return f"{own}{table(('', ''), about)}" + (f"\n{each}" if rows else "")


def _left_out(record: RunRecord) -> str:
    counts = mapping(mapping(mapping(record.shards).get("left_out")).get("counts"))
    return ", ".join(f"{_count(num)} {reason}" for reason, num in sorted(counts.items())) or _UNKNOWN


def _runs(family: BundledFamily, record: RunRecord) -> Iterable[Sequence[str]]:
    start = [f"{BASIS}{START}"] if record.lines(f"{BASIS}{START}") else []
    basis = [f"{BASIS}{name}" for name in family.parts[0].config.names()]
    runs = [(name, "basis") for name in (*start, *basis)] + [(FUSED, "fuse")]
    runs += [(part.name, "restore") for part in family.tasks if not _task(part).from_codes]
    for name, stage in runs:
        steps, seconds = record.last(name, "step"), record.last(name, "seconds")
        minutes = _UNKNOWN if seconds is None else f"{seconds / 60:.1f}"
        settings = record.settings(name, stage)
        sizes = (_count(settings.get(key)) for key in ("batch", "patch"))
        yield name, _count(steps), minutes, *sizes, _losses(record, name, mapping(settings.get("loss")))


def _losses(record: RunRecord, name: str, weights: Mapping[str, object]) -> str:
    """Weights of the terms in the log: a recipe also has weights of losses that a stage does not use."""
    if not weights:
        return _UNKNOWN
    terms = {term: "codebook" if term == "commitment" else term for term in weights}
    used = {term: figure(weights[term]) for term, key in terms.items() if record.last(name, key) is not None}
    return ", ".join(f"{term} {weight:g}" for term, weight in used.items() if weight) or "none"


def _validation(family: BundledFamily, record: RunRecord) -> str:
    held_out = [figure(num) for num in mapping(mapping(mapping(record.shards).get("crops")).get("validation")).values()]
    total = sum(num for num in held_out if num is not None)
    held_back = f"The shards hold {total:,} crops back for it" if total else "How many crops were held back is unknown"
    header = ("task", "PSNR (dB)", "SSIM", "LPIPS", "crops", "after step")
    return (
        "Means over crops that no step was trained on, from the last such line of each log. LPIPS: lower is better.\n"
        f"{held_back}.\n\n{table(header, _figures(family, record))}"
    )


def _figures(family: BundledFamily, record: RunRecord) -> Iterable[Sequence[str]]:
    for part in family.tasks:
        line = record.validation(FUSED if _task(part).from_codes else part.name)
        figures = [figure(line.get(f"validation/{key}")) for key in ("psnr", "ssim", "lpips")]
        shown = [
            _NOT_MEASURED if value is None else format(value, form)
            for value, form in zip(figures, (".2f", ".4f", ".4f"), strict=True)
        ]
        yield _title(part), *shown, _count(line.get("validation/crops")), _count(line.get("step"))


def _codes(family: BundledFamily, record: RunRecord) -> Iterable[Sequence[str]]:
    config = family.parts[0].config
    for name, (num, _) in zip(config.names(), config.codebooks, strict=True):
        used, perplexity = (record.last(FUSED, f"{key}/{name}") for key in ("used", "perplexity"))
        yield (
            name,
            f"{num:,}",
            _NOT_MEASURED if used is None else f"{used:.0%}",
            _NOT_MEASURED if perplexity is None else f"{perplexity:.0f}",
        )


def _task(part: BundledFile) -> Task:
    return TASKS[part.config.task]


def _title(part: BundledFile) -> str:
    return _task(part).words(part.config.scale)


def _count(value: object) -> str:
    found = figure(value)
    return _UNKNOWN if found is None else f"{round(found):,}"


def _text(value: object) -> str:
    return _UNKNOWN if value is None or value == "" else str(value)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The table, lines for the header, the rule and each row, each ending in a line break. The header is Markdown."""
    lines = [header, ["---"] * len(header), *([_cell(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    printable = "".join(char if char.isprintable() else " " for char in text)
    return _MARKUP.sub(r"\\\1", " ".join(printable.split()))
