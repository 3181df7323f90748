"""Convolutions in 8 bits on a CPU: which steps become one OpenVINO model, and how such a model runs on a tile.

Consecutive steps are joined to parts. A part that has a convolution with a range is compiled; other parts run in torch,
in float32. A model pads the edges of a tile with zeros as if they were the borders of the map. At inner edges that is
wrong, and as in `engine.maps` the results that depend on it are cut off; the same steps are run on blanks to find which
ones. Sums of integers do not depend on their order, and the few convolutions in float32 have the same bits for maps of
all sizes on the processors that were tested: there a tile has the values of the whole image, bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from threading import Event, Thread
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from adacode_cli.engine.device import has_dot_products
from adacode_cli.engine.halves import Halves
from adacode_cli.engine.maps import MapShape, Patch
from adacode_cli.engine.memory import is_out_of_memory
from adacode_cli.engine.openvino_graph import Recorder, can_trace, import_openvino, model_of
from adacode_cli.engine.program import Step, Steps
from adacode_cli.engine.segments import Blank, Half, Ledger, Load, Normalise, Segment, live_after, run_steps
from adacode_cli.errors import DeviceError
from adacode_cli.geometry import Box
from adacode_cli.model.network import AdaCode
from adacode_cli.model.ranges import WEIGHT_TOP, WEIGHT_TOP_IN_16_BITS

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, Model

# Added to the name of a map that a part's first step reads normalised.
_NORMALISED = ".normalised"


@dataclass(frozen=True)
class _Part:
    """Steps that run together.

    inputs: the maps that they read and do not make, in the order of the model's inputs. outputs: the maps that are
    needed afterwards. needed: all maps that are. model: None where torch runs the steps. coarsest: positions of the
    coarsest map along a side of a latent cell. normalising: the first step as it was given, if it normalises; the model
    is given its map normalised.
    """

    steps: Steps
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    needed: frozenset[str]
    model: Model | None = None
    coarsest: int = 1
    normalising: Step | None = None


class EightBit:
    """Runs a network's steps as `segments.run_steps` does, convolutions with ranges in 8 bits. halves: in float32."""

    def __init__(self, network: AdaCode, halves: Halves) -> None:
        self._network = network
        self._shapes: Mapping[str, MapShape] = {
            **halves.encoder.shapes,
            **halves.from_codes.shapes,
            **halves.decoder.shapes,
        }
        self._weight_top = WEIGHT_TOP if has_dot_products() else WEIGHT_TOP_IN_16_BITS
        self._parts: dict[tuple[Steps, frozenset[str]], list[_Part]] = {}
        self._models: dict[tuple[Steps, tuple[str, ...]], Model | None] = {}
        self._compiled: dict[tuple[Steps, tuple[str, ...]], CompiledModel] = {}
        self._prepared: Event | None = None

    def prepare(self, *halves: Half) -> None:
        """Begins to compile the models of halves that run in one pass, in another thread; `run` waits for it."""
        self._prepared = Event()
        # Python waits for it at exit: a thread that is ended in the middle of a compilation aborts the process.
        Thread(target=self._prepare, args=(halves, self._prepared), name="int8", daemon=False).start()

    def _prepare(self, halves: Sequence[Half], prepared: Event) -> None:
        try:
            # What fails here fails again when a model is needed, and is reported then.
            with suppress(Exception), torch.inference_mode():
                for half in halves:
                    for part in self._divided(half.whole.steps, half.kept & {step.writes for step in half.whole.steps}):
                        if part.model is not None:
                            self._ready(part)
        finally:
            prepared.set()

    def run(self, steps: Steps, load: Load, normalise: Normalise, kept: Collection[str]) -> dict[str, Patch]:
        """As `segments.run_steps`, for patches on the CPU in float32."""
        if self._prepared is not None:
            # Not `Thread.join`: after a Ctrl-C within it, Python takes the thread as ended and does not wait at exit.
            self._prepared.wait()
            self._prepared = None
        local: dict[str, Patch] = {}

        def get(name: str) -> Patch:
            """A map that an earlier part made, or one that is given."""
            return local[name] if name in local else load(name)

        for part in self._divided(steps, frozenset(kept)):
            if part.model is None:
                made = run_steps(part.steps, get, normalise, part.outputs)
            else:
                made = self._inferred(part, get, normalise)
            local = {name: patch for name, patch in (local | made).items() if name in part.needed}
        return local

    def _divided(self, steps: Steps, kept: frozenset[str]) -> list[_Part]:
        if (steps, kept) not in self._parts:
            _require_openvino()
            self._parts[steps, kept] = list(self._joined(steps, kept))
        return self._parts[steps, kept]

    def _joined(self, steps: Steps, kept: frozenset[str]) -> list[_Part]:
        """The steps in parts: a part ends where a step cannot be traced.

        Where steps normalise, each one is a part: all maps that a model reads are cut to what they have in common, and
        between two normalisations their edges differ, so a longer part would lose more places than its steps do.
        """
        groups: list[tuple[bool, list[Step]]] = []
        normalise = any(step.norm is not None for step in steps)
        for step in steps:
            traced = can_trace(step, self._shapes)
            if groups and traced == groups[-1][0] and not (traced and normalise):
                groups[-1][1].append(step)
            else:
                groups.append((traced, [step]))
        after = live_after([Segment(tuple(group), 0, 0, 0) for _, group in groups], kept)
        parts = []
        for (traced, group), needed in zip(groups, after, strict=True):
            outputs = tuple(sorted({step.writes for step in group} & needed))
            part = _Part(tuple(group), _inputs_of(group), outputs, needed)
            parts.append(self._with_model(part) if traced else part)
        return parts

    def _with_model(self, part: _Part) -> _Part:
        """The part with a model, or as it is if nothing in it runs in 8 bits."""
        recorder, steps, shapes = Recorder(self._network, self._weight_top), part.steps, dict(self._shapes)
        normalising = steps[0] if steps[0].norm is not None else None
        if normalising is not None:
            name, *others = normalising.reads
            shapes[name + _NORMALISED] = shapes[name]
            steps = (replace(normalising, reads=(name + _NORMALISED, *others), norm=None), *steps[1:])
        inputs, key = _inputs_of(steps), (steps, part.outputs)
        if key not in self._models:
            # The sums of a sampled tiling are gathered by ever longer lists of steps, whose parts are the same.
            with _computing("prepare"):
                made = model_of(steps, shapes, inputs, part.outputs, recorder)
            self._models[key] = made if recorder.names else None
        model = self._models[key]
        if model is None:
            return part
        coarsest = min(shapes[name].per_cell for name in (*inputs, *(step.writes for step in steps)))
        return replace(part, steps=steps, inputs=inputs, model=model, coarsest=coarsest, normalising=normalising)

    def _inferred(self, part: _Part, get: Load, normalise: Normalise) -> dict[str, Patch]:
        patches = {name: get(name.removesuffix(_NORMALISED)) for name in part.inputs}
        if part.normalising is not None:
            name = part.steps[0].reads[0]
            patches[name] = normalise(part.normalising, patches[name])
        common = _common(patches.values(), part.coarsest)
        boxes = {name: common.scaled(patch.per_cell // part.coarsest) for name, patch in patches.items()}
        given = {name: patch.crop(boxes[name]) for name, patch in patches.items()}
        exact = _exact(part, given)
        boxes = {name: common.scaled(patch.per_cell // part.coarsest) for name, patch in exact.items()}
        results = {
            name: torch.empty((shape[0], boxes[name].height, boxes[name].width, shape[1]))
            for name, shape in ((name, patch.data_BCHW.shape) for name, patch in exact.items())
        }
        self._infer(part, [patch.data_BCHW for patch in given.values()], [results[name] for name in part.outputs])
        return {name: _placed(results[name], boxes[name], patch) for name, patch in exact.items()}

    def _infer(self, part: _Part, inputs_BCHW: list[Tensor], outputs_BHWC: list[Tensor]) -> None:
        openvino = import_openvino()
        model = self._ready(part)
        # OpenVINO does not keep the memory of shared arrays alive, so these lists do.
        given = [_channels_last(x).numpy() for x in inputs_BCHW]
        results = [result.numpy() for result in outputs_BHWC]
        try:
            with _computing("compute"):  # for maps of a new size, kernels are made here
                request = model.create_infer_request()
                for i, array in enumerate(given):
                    request.set_input_tensor(i, openvino.Tensor(array, shared_memory=True))
                for i, array in enumerate(results):
                    request.set_output_tensor(i, openvino.Tensor(array, shared_memory=True))
                request.infer()
        finally:
            # Otherwise it keeps its maps, which the memory plan does not know of, while other tiles and images run.
            model.release_memory()

    def _ready(self, part: _Part) -> CompiledModel:
        key = part.steps, part.outputs
        if key not in self._compiled:
            assert part.model is not None, "torch runs parts without a model"
            self._compiled[key] = compiled(part.model)
        return self._compiled[key]


def compiled(model: Model) -> CompiledModel:
    """A model for this processor, with as many threads as torch has. What is not in 8 bits is computed in float32."""
    settings = {
        # Kernels for the last sizes of maps. Without this limit, memory grows with every new size for a long time.
        "CPU_RUNTIME_CACHE_CAPACITY": 16,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    with _computing("prepare"):
        return _core().compile_model(model, "CPU", settings)


@contextmanager
def _computing(verb: str) -> Iterator[None]:
    """Within, what fails is raised as a DeviceError: OpenVINO cannot `verb` the network. Lack of memory stays as it is:
    smaller tiles may fit.
    """
    try:
        yield
    except DeviceError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        why = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        hint = "Use --precision fp32. A limit on the memory of the process may be too low for OpenVINO's libraries."
        raise DeviceError(f"OpenVINO cannot {verb} the network: {why.strip()}", hint=hint, only_int8=True) from error


def _require_openvino() -> None:
    try:
        import_openvino()
    except ImportError as error:
        hint = "Install it again: pip install --force-reinstall openvino; or use --precision fp32."
        what = f"OpenVINO is installed, but it cannot be imported: {error}"
        raise DeviceError(what, hint=hint, only_int8=True) from error


@cache
def _core() -> Core:
    return import_openvino().Core()


def _inputs_of(steps: Collection[Step]) -> tuple[str, ...]:
    """Maps that the steps read before they make them, in the order of reading."""
    made, inputs = set[str](), dict[str, None]()
    for step in steps:
        inputs |= dict.fromkeys(name for name in step.reads if name not in made)
        made.add(step.writes)
    return tuple(inputs)


def _common(patches: Collection[Patch], coarsest: int) -> Box:
    """The part of the coarsest map that lies in all of the patches, with `coarsest` positions along a latent cell."""
    boxes = [(patch.box, patch.per_cell // coarsest) for patch in patches]
    return Box(
        max(-(-box.top // side) for box, side in boxes),
        max(-(-box.left // side) for box, side in boxes),
        min(box.bottom // side for box, side in boxes),
        min(box.right // side for box, side in boxes),
    )


def _exact(part: _Part, given: Mapping[str, Patch]) -> dict[str, Patch]:
    """The outputs without values: their boxes are the places that do not depend on inner edges of the given patches."""
    ledger = Ledger()

    def load(name: str) -> Patch:
        patch = given[name]
        return replace(patch, data_BCHW=cast(Tensor, Blank(patch.data_BCHW.shape, torch.float32, ledger)))

    return run_steps(part.steps, load, _never_normalised, part.outputs)


def _never_normalised(_step: Step, _patch: Patch) -> Patch:
    raise AssertionError("a part with a model is given its map normalised")


def _placed(result_BHWC: Tensor, box: Box, exact: Patch) -> Patch:
    """Of a model's result, which lies in `box`, the exact places."""
    return replace(exact, data_BCHW=result_BHWC.permute(0, 3, 1, 2), box=box).crop(exact.box)


def _channels_last(x_BCHW: Tensor) -> Tensor:
    """B×H×W×C without gaps; a copy where the map has another order."""
    return x_BCHW.permute(0, 2, 3, 1).contiguous()
