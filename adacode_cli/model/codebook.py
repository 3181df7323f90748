"""Adaptive codes: the nearest code of every basis, mixed by predicted weights (paper, section 3.2).

The search is exact and in float32 in every precision of the network, because a code is a discrete decision: a rounding
error there changes the image, not only its last bit. Of codes at the same distance, the one with the lowest index wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from adacode_cli.model.blocks import conv3
from adacode_cli.model.config import NetworkConfig
from adacode_cli.model.swin import SwinStack
from adacode_cli.tasks import BASIS

# Distances are computed for this number of cells at a time, which limits the table to 32 MB for 512 codes.
SEARCH_CHUNK = 16384


@dataclass(frozen=True)
class Mixture:
    """The result of the codebooks for a latent map: the mixed feature, the codes and the weights.

    latent_BCHW: input of the decoder. codes: one B×H×W int64 tensor a plane (`NetworkConfig.book_sizes`).
    weights_BKHW: mixing weights; 1/K where there is no predictor.
    """

    latent_BCHW: Tensor
    codes: tuple[Tensor, ...]
    weights_BKHW: Tensor


class Codebook(nn.Module):
    """One basis: num_codes × dim vectors and the nearest-neighbour search among them."""

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_codes, dim)

    def nearest(self, feature_BCHW: Tensor) -> Tensor:
        """B×dim×H×W, any float dtype → B×H×W int64 codes of least Euclidean distance."""
        b, c, h, w = feature_BCHW.shape
        with torch.autocast(feature_BCHW.device.type, enabled=False):
            cells = feature_BCHW.permute(0, 2, 3, 1).reshape(-1, c)
            codes = self.embedding.weight.float()
            # |f - e|² without |f|², which is the same for every code
            norms = codes.square().sum(1)
            parts = [
                torch.addmm(norms, f.float(), codes.T, alpha=-2).argmin(1) for f in torch.split(cells, SEARCH_CHUNK)
            ]
        return torch.cat(parts).reshape(b, h, w)

    def quantise(self, feature_BCHW: Tensor, scales: Sequence[float]) -> list[Tensor]:
        """B×dim×H×W → B×H×W codes of each level. A level quantises what the codes of the levels before it left."""
        codes = [self.nearest(feature_BCHW)]
        for before, scale in pairwise(scales):
            feature_BCHW = feature_BCHW.float() - before * self.look_up(codes[-1]).float()
            codes.append(self.nearest(feature_BCHW / scale))
        return codes

    def look_up(self, codes_BHW: Tensor) -> Tensor:
        """B×H×W codes → B×dim×H×W vectors."""
        vectors: Tensor = self.embedding(codes_BHW)
        return vectors.permute(0, 3, 1, 2)


class WeightPredictor(nn.Module):
    """Latent map → K mixing weights a cell: B×C×H×W → B×K×H×W."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels = config.channels[-1]
        self.swin = SwinStack(channels, config.predictor_swin) if config.predictor_swin else nn.Identity()
        self.out = nn.Conv2d(channels, config.num_bases, 1)
        self.softmax = config.softmax

    def forward(self, latent_BCHW: Tensor) -> Tensor:
        weights: Tensor = self.out(self.swin(latent_BCHW))
        return weights.softmax(1) if self.softmax else weights


class AdaptiveCodebook(nn.Module):
    """K basis codebooks with their projections, and the weight predictor that mixes them.

    A stage-I network (task BASIS) has one codebook and no predictor; `uniform` weights have none either.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        channels, self.scales = config.channels[-1], config.code_scales
        self.before = nn.ModuleList(nn.Conv2d(channels, dim, 1) for _, dim in config.codebooks)
        self.books = nn.ModuleList(Codebook(n, dim) for n, dim in config.codebooks)
        self.after = nn.ModuleList(conv3(dim, channels) for _, dim in config.codebooks)
        self.predictor = None if config.task == BASIS.name or config.uniform else WeightPredictor(config)

    def weights(self, latent_BCHW: Tensor) -> Tensor:
        """B×K×H×W mixing weights of a latent map."""
        if self.predictor is None:
            b, _, h, w = latent_BCHW.shape
            return latent_BCHW.new_full((b, len(self.books), h, w), 1 / len(self.books))
        predicted: Tensor = self.predictor(latent_BCHW)
        return predicted

    def nearest(self, latent_BCHW: Tensor) -> tuple[Tensor, ...]:
        """The nearest codes of every basis, each B×H×W, for one level after the other."""
        levels = [
            book.quantise(before(latent_BCHW), self.scales)  # type: ignore[operator]
            for before, book in zip(self.before, self.books, strict=True)
        ]
        return tuple(codes for level in zip(*levels, strict=True) for codes in level)

    def vectors(self, codes: Sequence[Tensor]) -> list[Tensor]:
        """Codes, of the first levels or of all → a B×dim×H×W vector a basis: the sum of its levels."""
        num = len(self.books)
        vectors = [book.look_up(c) for book, c in zip(self.books, codes[:num], strict=True)]  # type: ignore[operator]
        for level in range(1, len(codes) // num):
            for k, book in enumerate(self.books):
                finer = book.look_up(codes[level * num + k])  # type: ignore[operator]
                vectors[k] = torch.add(vectors[k], finer, alpha=self.scales[level])
        return vectors

    def mix(self, vectors: list[Tensor], weights_BKHW: Tensor) -> Tensor:
        """Σ_k w_k · after_k(vector_k): B×C×H×W, the decoder's input."""
        parts: list[Tensor] = [after(v) for after, v in zip(self.after, vectors, strict=True)]
        if len(parts) == 1 and self.predictor is None:
            return parts[0]
        weights = weights_BKHW.unsqueeze(2).unbind(1)
        return torch.stack([w * p for w, p in zip(weights, parts, strict=True)]).sum(0)

    def mixed(self, codes: Sequence[Tensor], weights_BKHW: Tensor) -> Tensor:
        """Codes and weights alone → the decoder's input (a file of codes holds these)."""
        return self.mix([v.to(weights_BKHW.dtype) for v in self.vectors(codes)], weights_BKHW)

    def forward(self, latent_BCHW: Tensor) -> Mixture:
        weights = self.weights(latent_BCHW)
        codes = self.nearest(latent_BCHW)
        return Mixture(self.mixed(codes, weights), codes, weights)
