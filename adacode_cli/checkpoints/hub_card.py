"""The card of a repository: README.md, with the metadata by which the Hub finds and labels weights.

The rules for the metadata are those of huggingface.co/docs/hub/model-cards and …/repositories-licenses: a licence of
the Hub's list or "other" with a name and a link, and identifiers of the Hub alone for base models and data sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from adacode_cli.checkpoints.figures import Figures
from adacode_cli.checkpoints.location import HubBundle, HubRepo
from adacode_cli.checkpoints.publication import Family, Publication, Sent, require_own
from adacode_cli.errors import WeightsError, translated
from adacode_cli.tasks import TASKS

FILE_NAME = "README.md"
LICENCE_FILE = "LICENSE"

# Of the Hub's list, by their SPDX identifiers in lower case; the Hub's own families of licences are not used.
_OF_THE_LIST = """
    apache-2.0 mit afl-3.0 artistic-2.0 bsl-1.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear cc0-1.0 cc-by-2.0
    cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0
    cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 c-uda cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gpl-2.0 gpl-3.0
    lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
"""
LICENCES = frozenset(_OF_THE_LIST.split())
_TAGS = {"sr": "super-resolution", "inpaint": "inpainting", "reconstruct": "image-reconstruction"}
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")
_OPERATORS = ("AND", "OR", "WITH")
_BASE_ON_HUB = re.compile(r"hub:([\w.-]+/[\w.-]+)")
_DATA_ON_HUB = re.compile(r"huggingface\.co/datasets/([\w.-]+/[\w.-]+)")
_MARKUP = re.compile(r"([\\`*_\[\]<>|#])")


def card_of(
    publication: Publication,
    repo: HubRepo,
    figures: Sequence[Figures],
    base_models: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> tuple[str, list[Sent]]:
    """(the text of README.md, the files that belong to it: the card itself, and the licence if the Hub has no name).

    A README.md in the folder is the text of the card, and its own metadata are kept where these have none. base_models,
    datasets: names on the Hub, in addition to those that the weights name. Raises WeightsError for a README.md whose
    metadata are damaged or contradict the licence of the files.
    """
    from huggingface_hub import ModelCard

    data = _metadata(publication, repo, figures, base_models, datasets)
    path = publication.folder / FILE_NAME
    if path.is_file():
        earlier, body = _earlier(path)
        _require_same_licence(earlier, data, path)
        data = data | {key: value for key, value in earlier.items() if key not in data}
    else:
        body = _text(publication, repo, figures)
    text = f"---\n{_yaml(data)}\n---\n\n{body.strip()}\n"
    ModelCard(text)  # what cannot be read back is a mistake of this module, and must not be sent
    extra = []
    if data.get("license_link") == LICENCE_FILE and not publication.has(LICENCE_FILE):
        extra.append(Sent.of_content(LICENCE_FILE, _licence_text(publication).encode()))
    return text, [Sent.of_content(FILE_NAME, text.encode()), *extra]


def licence_metadata(licence: str) -> dict[str, str]:
    """The metadata for a licence: that of the Hub's list, or "other" with a name and a link."""
    known = licence.lower().removesuffix("-only")
    if known in LICENCES:
        return {"license": known}
    name = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.")[:80].rstrip("-.") or "stated-in-the-files"
    return {"license": "other", "license_name": name, "license_link": LICENCE_FILE}


def _metadata(
    publication: Publication,
    repo: HubRepo,
    figures: Sequence[Figures],
    base_models: Sequence[str],
    datasets: Sequence[str],
) -> dict[str, Any]:
    from huggingface_hub import ModelCardData

    stated = [part.provenance for part in publication.parts]
    bases = [*base_models, *(name for one in stated for name in _BASE_ON_HUB.findall(one.base_model))]
    data = [*datasets, *(name for one in stated for name in _DATA_ON_HUB.findall(one.trained_on))]
    tasks = [task for task in TASKS if any(entry.task == task for entry in publication.catalogue.entries)]
    results = [_result(one, kind, name, value) for one in figures for kind, name, value in one.metrics]
    licence = licence_metadata(publication.licence)
    card = ModelCardData(
        license=licence["license"],
        license_name=licence.get("license_name"),
        license_link=licence.get("license_link"),
        library_name="adacode",
        pipeline_tag="image-to-image",
        tags=["adacode", "image-restoration", *(_TAGS[task] for task in tasks if task in _TAGS)],
        base_model=list(dict.fromkeys(name.rstrip(".") for name in bases)) or None,
        datasets=list(dict.fromkeys(name.rstrip(".") for name in data)) or None,
        model_name=repo.repo.partition("/")[2] if results else None,
        eval_results=results or None,
    )
    return _order(card)


def _order(card: Any) -> dict[str, Any]:  # noqa: ANN401 (imported late)
    """The metadata as they are written: the licence first, the figures last."""
    found: dict[str, Any] = card.to_dict()
    first = ("license", "license_name", "license_link", "library_name", "pipeline_tag", "tags")
    names = [*(name for name in first if name in found), *(name for name in found if name not in first)]
    return {name: found[name] for name in names}


def _result(figures: Figures, kind: str, name: str, value: float) -> Any:  # noqa: ANN401 (imported late)
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type="image-to-image",
        task_name=figures.title,
        dataset_type="images",
        dataset_name=f"{figures.file.removesuffix('.eval.json')} ({figures.images} images)",
        metric_type=kind,
        metric_name=name,
        metric_value=round(value, 4),
    )


def _yaml(data: dict[str, Any]) -> str:
    from huggingface_hub import CardData

    return str(CardData(**data).to_yaml())


def _earlier(path: Path) -> tuple[dict[str, Any], str]:
    """The metadata and the text of a README.md in the folder."""
    from huggingface_hub import ModelCard

    require_own(path)
    hint = "Correct the part between the two lines ---, or move the file away."
    try:
        with translated(WeightsError, "cannot be read", path, hint=hint):
            card = ModelCard(path.read_text(encoding="utf-8"))
        found: Any = card.data
        return dict(found.to_dict()), card.text
    except Exception as error:  # of the library that reads YAML, whose class depends on what is wrong
        if isinstance(error, WeightsError):
            raise
        what = f"has metadata that cannot be read: {str(error).splitlines()[0][:200] if str(error) else 'damaged'}"
        raise WeightsError(what, path=path, hint=hint) from error


def _require_same_licence(earlier: dict[str, Any], data: dict[str, Any], path: Path) -> None:
    stated = earlier.get("license")
    if stated is not None and stated != data["license"]:
        what = f"says license: {stated}, and the files are under {data.get('license_name', data['license'])}"
        raise WeightsError(what, path=path, hint="Correct it, or leave the licence out: it is filled in.")


def _text(publication: Publication, repo: HubRepo, figures: Sequence[Figures]) -> str:
    families = publication.families
    sections = [f"# {_escaped(repo.repo.partition('/')[2])}\n", _usage(families, repo), _entries(publication)]
    if figures:
        sections.append(_figures(figures))
    sections += [re.sub(r"^#", "##", family.card, flags=re.MULTILINE) for family in families if family.card]
    return "\n".join(sections)


def _usage(families: Sequence[Family], repo: HubRepo) -> str:
    lines = ["Weights for adacode, which restores folders of photographs from the command line:\n"]
    places = [HubBundle(repo.repo, repo.revision, one.name if len(families) > 1 else None).address for one in families]
    for family, place in zip(families, places, strict=True):
        for task in dict.fromkeys(entry.task for entry in family.entries):
            masks = " --mask-dir masks" if TASKS[task].fills_hole else ""
            lines.append(f"    adacode {task} photos{masks} --weights {place}")
    named = f'"{repo.repo}"' if len(families) == 1 and repo.revision is None else f'"{places[0]}"'
    lines += ["\nFrom Python:\n", "    from adacode_cli import Restorer\n"]
    lines.append(f"    restorer = Restorer.from_pretrained({named})\n")
    return "\n".join(lines)


def _entries(publication: Publication) -> str:
    rows = [
        f"| {entry.name} | {TASKS[entry.task].words(entry.scale)} | {_escaped(entry.licence)} |"
        for entry in publication.catalogue.entries
    ]
    return "\n".join(("| weights | task | licence |", "| --- | --- | --- |", *rows)) + "\n"


def _figures(figures: Sequence[Figures]) -> str:
    rows = ["Means over test images, as `adacode eval` measured them with these weights:\n"]
    rows += ["| test | task | images | metric | value | baseline |", "| --- | --- | --- | --- | --- | --- |"]
    for one in figures:
        test = _escaped(one.file.removesuffix(".eval.json"))
        others = [f"{value:.4f} ({_escaped(one.baseline_method)})" for value in one.baseline] or [""] * len(one.metrics)
        for (kind, name, value), other in zip(one.metrics, others, strict=True):
            measured = f"{name}, {one.perceptual}" if kind not in ("psnr", "ssim") and one.perceptual else name
            rows.append(f"| {test} | {one.title} | {one.images} | {_escaped(measured)} | {value:.4f} | {other} |")
    return "\n".join(rows) + "\n"


def _licence_text(publication: Publication) -> str:
    """The text of LICENSE where the Hub has no name for the licence: what each file states, and where texts are."""
    lines = ["The files of weights in this repository are under the licences that they state:", ""]
    lines += [f"{part.file.name}: {_one_line(part.provenance.whole_licence)}" for part in publication.parts]
    texts = list(dict.fromkeys(_identifiers(publication.licence)))
    if texts:
        lines += ["", "Texts of the licences:", "", *(f"https://spdx.org/licenses/{name}.html" for name in texts)]
    return "\n".join(lines) + "\n"


def _identifiers(licence: str) -> Iterator[str]:
    """The SPDX identifiers of an expression; none of a text that is no expression."""
    words = licence.replace("(", " ").replace(")", " ").split()
    names = [word for word in words if word not in _OPERATORS]
    if all(_SPDX.fullmatch(name) and ("-" in name or name.lower() in LICENCES) for name in names):
        yield from (name for name in names if not name.startswith("LicenseRef-"))


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _escaped(text: str) -> str:
    return _MARKUP.sub(r"\\\1", _one_line(text))
