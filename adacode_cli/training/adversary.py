"""The discriminator of a run: what it says of restored pictures, and how it learns to tell them from real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from adacode_cli.training.discriminator import fresh_discriminator, hinge_discriminator, hinge_generator
from adacode_cli.training.processes import Processes
from adacode_cli.training.recipe import StageRecipe


class Adversary:
    """A U-Net discriminator and its Adam, at a constant rate (paper's published settings)."""

    def __init__(self, recipe: StageRecipe, seed: int, processes: Processes) -> None:
        self.network = fresh_discriminator(recipe.discriminator_channels, seed).to(processes.device).train()
        settings = recipe.optimiser
        self.optimiser = torch.optim.Adam(self.network.parameters(), settings.discriminator_rate, settings.betas)
        self._clip, self._processes = settings.clip, processes

    def verdict(self, picture_BCHW: Tensor) -> Tensor:
        """The generator's loss: how far the picture is from being taken for real. Leaves the discriminator alone."""
        self.network.requires_grad_(False)
        loss = hinge_generator(self.network(picture_BCHW))
        self.network.requires_grad_(True)
        return loss

    def losses(self, real_BCHW: Tensor, restored_BCHW: Tensor) -> Tensor:
        """The discriminator's own loss."""
        return hinge_discriminator(self.network(real_BCHW), self.network(restored_BCHW.detach()))

    def learn(self, loss: Tensor) -> Tensor:
        """One step of the discriminator; returns its gradient's norm before clipping."""
        parameters = list(self.network.parameters())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._processes.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._clip)
        self.optimiser.step()
        return norm
