"""What people type who know another program, and what it is called here.

Only what is likely and has one answer stands here. Misspellings need no entry: `closest` finds them.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches

# Words in the place of a command, and the words of the command that does it. The keys are of the program itself and of
# its groups of commands.
COMMANDS: Mapping[str, Mapping[str, str]] = {
    "": {
        **dict.fromkeys(
            ("upscale", "upscayl", "enhance", "enlarge", "fix", "restore", "superres", "super-resolution"), "sr"
        ),
        **dict.fromkeys(("clean", "denoise", "resize", "run", "scale", "sharpen", "superresolution", "upsample"), "sr"),
        **dict.fromkeys(("inpainting", "fill", "heal", "mend", "remove", "repair", "retouch"), "inpaint"),
        **dict.fromkeys(("recon", "reconstruction", "rebuild", "encode", "decode", "codes"), "reconstruct"),
        **dict.fromkeys(("check", "diagnose", "env", "info"), "doctor"),
        **dict.fromkeys(("benchmark", "speed"), "bench"),
        **dict.fromkeys(("evaluate", "metrics", "test"), "eval"),
        **dict.fromkeys(("models", "model", "weight"), "weights list"),
        **dict.fromkeys(("download", "fetch"), "weights pull"),
        **dict.fromkeys(("settings", "configure"), "config show"),
        **dict.fromkeys(("help", "commands"), "--help"),
        "version": "--version",
    },
    "weights": {
        **dict.fromkeys(("download", "fetch", "get", "install"), "pull"),
        **dict.fromkeys(("ls", "available"), "list"),
        **dict.fromkeys(("info", "view", "inspect"), "show"),
        **dict.fromkeys(("export", "import"), "convert"),
        **dict.fromkeys(("merge", "mix", "mean"), "average"),
        "int8": "quantize",
    },
}

# Options of Real-ESRGAN, its program for Vulkan, Upscayl, SwinIR and others, without hyphens before them.
_GPU = ("gpu", "cuda", "use-gpu", "use-cuda", "nvidia")
_GPU_NUMBER = ("gpu-id", "gpu-ids", "g", "device-id")
_INPUT = ("input", "i", "in", "inputs", "image", "images", "src", "source", "folder-lq", "input-dir", "input-folder")
_OTHERS: Mapping[str, str] = {
    **dict.fromkeys(_GPU, "--device cuda"),
    **dict.fromkeys(("cpu", "no-gpu", "no-cuda", "use-cpu"), "--device cpu"),
    **dict.fromkeys(("mps", "metal"), "--device mps"),
    **dict.fromkeys(("fp32", "fp16", "bf16", "int8"), "--precision {}"),
    **dict.fromkeys(("half", "float16"), "--precision fp16"),
    **dict.fromkeys(("outscale", "upscale", "upscale-factor", "factor", "zoom", "upsample", "ratio"), "--scale"),
    **dict.fromkeys(("model", "m", "n", "model-name", "model-path", "checkpoint", "ckpt", "network"), "--weights"),
    **dict.fromkeys(("output-dir", "outdir", "out", "out-dir", "output-folder", "dest", "results", "result"), "-o"),
    **dict.fromkeys(("tile-size", "tilesize", "t", "tiles"), "--tile"),
    **dict.fromkeys(("ext", "extension", "f", "output-format", "img-format"), "--format"),
    **dict.fromkeys(("denoise-strength", "dn", "noise", "noise-level"), "--denoise"),
    **dict.fromkeys(("threads", "workers", "num-workers", "num-threads"), "--jobs"),
    **dict.fromkeys(("force", "y", "yes", "replace"), "--overwrite"),
    **dict.fromkeys(("silent", "no-progress"), "--quiet"),
    **dict.fromkeys(("debug", "trace", "traceback"), "-vv"),
    **dict.fromkeys(("masks", "mask-folder"), "--mask-dir"),
    **dict.fromkeys(("max-size", "size", "longest-side", "long-side"), "--long-edge"),
    **dict.fromkeys(("simulate", "plan"), "--dry-run"),
}
_LEAVE_OUT: Mapping[str, str] = {
    **dict.fromkeys(("recursive", "r", "recurse"), "Directories are searched through all levels: leave it out."),
    **dict.fromkeys(("face-enhance", "face"), "There is no treatment of its own for faces: leave it out."),
}

_VALUES: Mapping[str, Mapping[str, str]] = {
    "device": {**dict.fromkeys(("gpu", "nvidia", "gpu0", "cuda0"), "cuda"), "metal": "mps", "apple": "mps"},
    "precision": {"half": "fp16", "float16": "fp16", "float32": "fp32", "full": "fp32", "bfloat16": "bf16"},
}
# Of two words, from 0 to 1: high enough that --strip is not taken for --strict.
_LIKENESS = 0.75
_NEAR_MISSPELLING = 0.85
_NEGATIONS = ("no-", "not-", "dont-", "don't-", "do-not-", "never-", "without-")
_REPLACING = ("overwrite",)


def closest(word: str, known: Iterable[str], likeness: float = _LIKENESS) -> str | None:
    """The known word that `word` may be a misspelling of, or None. likeness: how like it must be, from 0 to 1."""
    near = get_close_matches(word, list(known), n=1, cutoff=likeness)
    return near[0] if near else None


def closest_option(word: str, known: Iterable[str]) -> str | None:
    """The known option that `word` may be a misspelling of, or None. All of them are without hyphens before them.

    Never one that means the opposite, and one that replaces files only if next to nothing differs.
    """
    ends = {_ends_of(each): each for each in without_opposites(word, known)}
    near = closest(_ends_of(word), ends)
    if near in _REPLACING:
        near = closest(_ends_of(word), [near], likeness=_NEAR_MISSPELLING)
    return ends[near] if near else None


def without_opposites(word: str, known: Iterable[str]) -> list[str]:
    """Those of the known options that are negated as `word` is."""
    return [each for each in known if _is_negated(each) == _is_negated(word)]


def _is_negated(word: str) -> bool:
    return word.startswith(_NEGATIONS)


def _ends_of(word: str) -> str:
    """An option without the word that negates it."""
    return next((word.removeprefix(each) for each in _NEGATIONS if word.startswith(each)), word)


def command_for(word: str, group: str, known: Mapping[str, Collection[str]]) -> str | None:
    """The words of the command that somebody may mean who typed `word` after the words of `group`, or None.

    known: the names in the group, each with those of the commands in it, if it is a group itself.
    """
    plain = word.lower().replace("_", "-")
    inner = {name: f"{outer} {name}" for outer, names in known.items() for name in names}
    own = {name: name for name in known}
    every = {**inner, **COMMANDS.get(group, {}), **own}
    near = closest(plain, own) or closest(plain, every, likeness=_NEAR_MISSPELLING)
    if near and plain.endswith(near):  # what comes before the word changes what it means, as in uninstall
        near = None
    return every.get(plain) or (every[near] if near else None)


def option_hint(typed: str, following: str | None, known: Collection[str], takes_inputs: bool) -> str | None:
    """What to give in place of the unknown option `typed`, in a sentence, or None.

    following: the word after it. known: the names of the options of the command. takes_inputs: whether it has inputs.
    """
    plain = typed.lstrip("-").lower().replace("_", "-")
    value = following if following is not None and not following.startswith("-") else None
    if plain in _INPUT and takes_inputs:
        return "Inputs are given without an option" + (f": {shlex.quote(value)}." if value else ".")
    if plain in _LEAVE_OUT and takes_inputs:
        return _LEAVE_OUT[plain]
    meant = _OTHERS.get(plain, "").format(plain)
    if plain in _GPU_NUMBER:
        meant = f"--device cuda:{value}" if value and value.isdigit() else "--device cuda"
    if not meant or _known_name(meant) not in known:
        near = closest_option(plain, [name.removeprefix("--") for name in known if name.startswith("--")])
        meant = f"--{near}" if near else ""
    by_itself = " A GPU is used by itself where there is one." if meant == "--device cuda" else ""
    return f"Did you mean {meant}?{by_itself}" if meant else None


def _known_name(option: str) -> str:
    """The name of an option in a hint: without its value, and -v for -vv."""
    return "-v" if option == "-vv" else option.split(maxsplit=1)[0]


def is_of_others(typed: str) -> bool:
    """Whether `typed` is an option of another program that has one answer here."""
    plain = typed.lstrip("-").lower().replace("_", "-")
    return plain in (*_OTHERS, *_GPU_NUMBER, *_INPUT)


def value_for(option: str, typed: str, choices: Sequence[str]) -> str | None:
    """The value that somebody may mean who typed another one for `option`, which is without hyphens; or None."""
    if option == "device" and typed.isdigit():
        return f"cuda:{typed}"
    return _VALUES.get(option, {}).get(typed.lower()) or closest(typed.lower(), choices)
