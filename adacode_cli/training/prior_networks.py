"""The two networks of a prior while they learn, in float: they see what `codes.prior_coding` shows to the exact ones.

One predicts each code from the codes that are known before it, the other each mixing weight, as a mixture of two
logistic distributions (Salimans et al. 2017, arXiv:1701.05517). Both see all cells of a crop at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adacode_cli.codes.prior import CENTRE, FEATURE, KINDS, MAX_PRODUCT, NEIGHBOURS, STEP_FEATURE
from adacode_cli.codes.prior_coding import OFFSETS, PASSES

# Features of a cell, of each of its neighbours, and of products with the mixing weights; values in the hidden layers.
_CODE_SIZES, _CODE_HIDDEN = (24, 16), (56, 32)
_WEIGHT_SIZES, _WEIGHT_HIDDEN = (16, 8, 4), (64, 32)
_MIXTURE = 2
STEP_UNIT = FEATURE // STEP_FEATURE
"""The steps of a mixing weight whose input is 1."""
_TYPICAL_SCALE = 4.0  # of a mixing weight's distribution, in steps: where the training begins
_MIN_LOG_SCALE, _MAX_LOG_SCALE = -2.0, 5.0
# The exact coder gives every step some probability too.
_FLOOR = 1e-6


class CodePrior(nn.Module):
    """B×K×h×w codes → bits of each code, B×h×w×K in the order of coding."""

    title, rate = "codes", 4e-3

    def __init__(self, order: Sequence[int], book_sizes: Sequence[int]) -> None:
        super().__init__()
        self.order, self.book_sizes = tuple(order), tuple(book_sizes)
        self.width, self.context = _CODE_SIZES
        self.embeddings = _embeddings(book_sizes, self.width)
        summed = self.width + NEIGHBOURS * self.context
        own = NEIGHBOURS * self.context + KINDS
        self.networks = nn.ModuleList(
            _network((own + summed if i else own, *_CODE_HIDDEN, book_sizes[k])) for i, k in enumerate(self.order)
        )

    def forward(self, codes_BKHW: Tensor, _steps_BHWK: Tensor) -> Tensor:
        """Bits of each code; the steps of the mixing weights are not known yet."""
        known, kinds = _known(codes_BKHW)
        bits = []
        summed = torch.zeros((), device=codes_BKHW.device)
        for i, k in enumerate(self.order):
            embedded = self.embeddings[k][codes_BKHW[:, k]]
            parts = [summed, _around(summed[..., : self.context])] if i else []
            parts += [_around(embedded[..., : self.context]) * known.repeat_interleave(self.context, -1), kinds]
            logits = self.networks[i](torch.cat(parts, -1))
            nats = F.cross_entropy(logits.flatten(0, 2), codes_BKHW[:, k].flatten(), reduction="none")
            bits.append(nats.view(codes_BKHW[:, k].shape) / math.log(2))
            summed = summed + embedded
        return torch.stack(bits, -1)


class WeightPrior(nn.Module):
    """B×K×h×w codes and B×h×w×K steps of the mixing weights, float → bits of each mixing weight, B×h×w×K."""

    title, rate = "mixing weights", 3e-3

    def __init__(self, book_sizes: Sequence[int]) -> None:
        super().__init__()
        self.width, self.context, self.products_width = _WEIGHT_SIZES
        self.embeddings = _embeddings(book_sizes, self.width)
        self.products = _embeddings(book_sizes, self.products_width)
        summed = self.width + NEIGHBOURS * self.context
        own, around = NEIGHBOURS + KINDS, 1 + NEIGHBOURS
        self.networks = nn.ModuleList(
            _network((summed + own + around * (i + (i > 0) * self.products_width), *_WEIGHT_HIDDEN, 3 * _MIXTURE))
            for i in range(len(book_sizes))
        )
        for network in self.networks:
            last = network[-1]  # type: ignore[index]
            with torch.no_grad():
                last.weight.mul_(0.2)
                last.bias.zero_()
                last.bias[_MIXTURE : 2 * _MIXTURE] = torch.linspace(-0.9, 0, _MIXTURE)

    def forward(self, codes_BKHW: Tensor, steps_BHWK: Tensor) -> Tensor:
        """Bits of each mixing weight."""
        features = self._features(codes_BKHW, (steps_BHWK - CENTRE) / STEP_UNIT)
        outputs = (network(each) for network, each in zip(self.networks, features, strict=True))
        return torch.stack([_bits(out, steps_BHWK[..., i, None]) for i, out in enumerate(outputs)], -1)

    def _features(self, codes_BKHW: Tensor, units_BHWK: Tensor) -> Iterator[Tensor]:
        known, kinds = _known(codes_BKHW)
        summed = torch.zeros((), device=codes_BKHW.device)
        for k, embedding in enumerate(self.embeddings):
            summed = summed + embedding[codes_BKHW[:, k]]
        common = [summed, _around(summed[..., : self.context])]
        product = torch.zeros((), device=codes_BKHW.device)
        for i, products in enumerate(self.products):
            before, own = units_BHWK[..., :i], units_BHWK[..., i : i + 1]
            parts = [*common, before, _around(before)] if i else list(common)
            parts += [_around(own) * known, kinds]
            parts += [product, _around(product)] if i else []
            yield torch.cat(parts, -1)
            limit = MAX_PRODUCT / FEATURE
            product = (product + products[codes_BKHW[:, i]] * own).clamp(-limit, limit)


def means_scales_logits(outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The last layer's outputs → means in steps, logarithms of scales in steps, logits; each …×R."""
    means, scales, logits = outputs.chunk(3, -1)
    return means * STEP_UNIT + CENTRE, scales + math.log(_TYPICAL_SCALE), logits


def _bits(outputs: Tensor, steps: Tensor) -> Tensor:
    means, log_scales, logits = means_scales_logits(outputs)
    inverse = torch.exp(-log_scales.clamp(_MIN_LOG_SCALE, _MAX_LOG_SCALE))
    above, below = ((torch.sigmoid((steps + half - means) * inverse)) for half in (0.5, -0.5))
    probability = ((above - below) * logits.softmax(-1)).sum(-1)
    return -torch.log2(probability * (1 - 256 * _FLOOR) + _FLOOR)


def _known(codes_BKHW: Tensor) -> tuple[Tensor, Tensor]:
    """B×h×w×8, 1 for each neighbour that is coded before the cell in the same plane; B×h×w×3, 1 for the cell's kind."""
    number, (height, width) = len(codes_BKHW), codes_BKHW.shape[-2:]
    passes = np.empty((2, 2), np.int64)
    for i, (y, x) in enumerate(PASSES):
        passes[y, x] = i
    rows, columns = np.indices((height, width))
    own = passes[rows % 2, columns % 2]
    earlier = np.stack([passes[(rows + dy) % 2, (columns + dx) % 2] < own for dy, dx in OFFSETS], -1)
    kinds = np.stack([own == kind + 1 for kind in range(KINDS)], -1)
    found = (torch.from_numpy(part.astype(np.float32)).to(codes_BKHW.device) for part in (earlier, kinds))
    known, kind = (part.expand(number, -1, -1, -1) for part in found)
    return known, kind


def _around(features_BHWC: Tensor) -> Tensor:
    """B×h×w×C → B×h×w×8C: the features of the neighbours, 0 beyond the border."""
    height, width = features_BHWC.shape[1:3]
    padded = F.pad(features_BHWC, (0, 0, 1, 1, 1, 1))
    parts = [padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in OFFSETS]
    return torch.cat(parts, -1)


def _embeddings(book_sizes: Sequence[int], width: int) -> nn.ParameterList:
    return nn.ParameterList([nn.Parameter(torch.randn(size, width) * 0.3) for size in book_sizes])


def _network(sizes: Sequence[int]) -> nn.Sequential:
    first, second, third, last = sizes
    layers = [nn.Linear(first, second), nn.ReLU(), nn.Linear(second, third), nn.ReLU(), nn.Linear(third, last)]
    with torch.no_grad():
        layers[-1].weight.mul_(0.5)  # type: ignore[operator]
    return nn.Sequential(*layers)


def start_from(codebooks: Sequence[Tensor], codes_KN: Tensor, networks: Sequence[CodePrior | WeightPrior]) -> None:
    """The embeddings begin as the principal components of the K codebook vectors of a cell, and the logits of codes as
    the logarithms of their frequencies.

    codebooks: K tensors codes×dim. codes_KN: codes of many cells.
    """
    books = []
    for book, codes in zip(codebooks, codes_KN, strict=True):
        used = book.double()[codes]
        books.append((book.double() - used.mean(0)) / used.std().clamp(min=1e-9))
    cells = torch.cat([book[codes] for book, codes in zip(books, codes_KN, strict=True)], 1)
    variances, directions = torch.linalg.eigh(cells.T @ cells / len(cells))
    variances, directions = variances.flip(0), directions.flip(1)
    dims = [book.shape[1] for book in books]
    for network in networks:
        kept = min(network.width, len(variances))
        scaled = directions[:, :kept] / variances[:kept].clamp(min=1e-9).sqrt() * torch.linspace(1, 0.5, kept)
        for embedding, book, part in zip(network.embeddings, books, scaled.split(dims), strict=True):
            with torch.no_grad():
                embedding[:, :kept] = (book @ part).float()
        if isinstance(network, CodePrior):
            for layers, k in zip(network.networks, network.order, strict=True):
                counts = torch.bincount(codes_KN[k], minlength=network.book_sizes[k]) + 1.0
                with torch.no_grad():
                    layers[-1].bias.copy_(torch.log(counts / counts.sum()))  # type: ignore[index]
