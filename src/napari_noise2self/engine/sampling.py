"""What a step of training sees: crops of the data with hidden pixels, or with targets beside."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from napari_noise2self.engine.config import TrainingConfig
from napari_noise2self.engine.masking import masked_input, needs_generator
from napari_noise2self.engine.noise.estimate import NoiseReport
from napari_noise2self.engine.partition import Partition
from napari_noise2self.engine.preparation import Block, TrainingData
from napari_noise2self.engine.recorruption import Recorruption, can_recorrupt
from napari_noise2self.engine.redrawing import Redrawing
from napari_noise2self.engine.sure_training import Probes

# Crops end at multiples of this, which suits a UNet of depth 4.
CROP_STEP = 16
# Images narrower than this are not trained on squares: they would show too little.
MIN_SQUARE = 64
# Slices of a crop from a volume.
CROP_DEPTH = 8
# In which windows the score is taken, and on how many pixels.
SCORE_WINDOW = {2: (128, 128), 3: (8, 64, 64)}
SCORE_PIXELS = 2**16


class Sampler:
    """Draws batches of crops on the device: masked, or whole where there are targets.

    Positions, subsets and flips come from numbers drawn on the host before,
    so no step waits for the device.

    Parameters
    ----------
    data : TrainingData
    partition : Partition
    config : TrainingConfig
    device : torch.device
    noise : NoiseReport, optional
    goals : sequence of Block, optional
        The target of each block of `data`; without, the data is its own.

    Attributes
    ----------
    probes : Probes or None
        Of the noise, where a risk is minimised instead of an error at targets.
    pairing : Recorruption or Redrawing or None
        What makes pairs for half of the crops of a step; training changes it.
    """

    def __init__(
        self,
        data: TrainingData,
        partition: Partition,
        config: TrainingConfig,
        device: torch.device,
        noise: NoiseReport | None = None,
        goals: Sequence[Block] | None = None,
    ) -> None:
        self.partition = partition
        self.device = device
        self.ndim = data.blocks[0].values.ndim - 1
        self.extents = partition.extents(self.ndim)
        self.replacement = config.replacement
        self._generator = torch.Generator(device)
        self.values = [torch.from_numpy(b.values).to(device) for b in data.blocks]
        self.goals = None
        valid = [block.valid for block in data.blocks]
        if goals is not None:
            self.goals = [torch.from_numpy(goal.values).to(device) for goal in goals]
            valid = [own & goal.valid for own, goal in zip(valid, goals, strict=True)]
        self.invalid = [None if v.all() else torch.from_numpy(~v).to(device) for v in valid]
        self._bad = any(invalid is not None for invalid in self.invalid)
        self.labels = []
        open_subsets: set[int] = set()
        held_out_count = 0
        for block in data.blocks:
            labels = partition.labels(block.values.shape[1:], block.origin)
            held_out = partition.held_out(block.values.shape[1:], block.origin)
            open_subsets |= set(np.unique(labels[~held_out]).tolist())
            held_out_count += int(held_out.sum())
            # -1 - label: belongs to the subset, but is held out.
            coded = np.where(held_out, -1 - labels, labels)
            self.labels.append(torch.from_numpy(coded).to(device))
        # Without those that are held out as a whole.
        self.open_subsets = sorted(open_subsets)
        sizes = np.array([labels.numel() for labels in self.labels], float)
        # For `_place`: thousands of images are too many to add up for each crop.
        up_to = np.cumsum(sizes / sizes.sum())
        self._up_to = up_to / up_to[-1]
        shortest = [min(v.shape[1 + a] for v in self.values) for a in range(self.ndim)]
        self.crop, self.turn = self._crop(config.crop_size, shortest)
        self._flip = config.recipe != "plain"
        self.turn = self.turn and self._flip
        # A step sees no more pixels in a volume than in an image.
        crop_pixels = math.prod(self.crop)
        affordable = config.batch_size * config.crop_size**2 // crop_pixels
        self.batch_size = min(max(affordable, 1), config.batch_size)
        share = 1 - held_out_count / float(sizes.sum())
        self.targets_per_crop = crop_pixels * share / len(self.open_subsets)
        self.noise_known = noise is not None and noise.known
        self.probes = None
        if config.objective == "sure":
            assert noise is not None
            self.probes = Probes(
                data.blocks,
                data.normalisation,
                noise,
                config.noise_sd,
                self.crop,
                device,
                config.seed,
            )
            # Probes are drawn for crops that are turned already.
            self.turn = self.turn and self.probes.white
        self.pairing: Recorruption | Redrawing | None = None
        # With one crop per step, there is none for a pair.
        paired = self.masks and self.batch_size > 1
        if paired and noise is not None and can_recorrupt(noise, partition):
            self.pairing = Recorruption(
                data.blocks, data.normalisation, noise, self.crop, device, config.seed
            )

    def _crop(self, wanted: int, shortest: Sequence[int]) -> tuple[list[int], bool]:
        """The shape of the crops, and whether Y and X may be exchanged in them."""
        y, x = (min(wanted, side - side % CROP_STEP) for side in shortest[-2:])
        if self.ndim == 3:
            y, x = (min(side, max(wanted // 2, CROP_STEP)) for side in (y, x))
        alike = self.extents[-1] == self.extents[-2]
        if alike and min(y, x) >= MIN_SQUARE:
            y = x = min(y, x)
        depth = [min(shortest[0], CROP_DEPTH)] if self.ndim == 3 else []
        return [*depth, y, x], alike and y == x

    @property
    def masks(self) -> bool:
        """Whether targets are hidden from the network; not with goals, nor with a risk."""
        return self.goals is None and self.probes is None

    def masked_crops(self, size: int) -> int:
        """How many of the `size` crops of a step are masked; the others are pairs."""
        return size - size // 2 if self.pairing else size

    def batch(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What the network is shown, what it has to predict, and where.

        Masked crops, the crops as they are, and the hidden targets; or crops
        as they are, the same crops of the targets, and all but what is held out.

        Returns
        -------
        inputs, goals : Tensor, shape (size, channels, [Z,] Y, X)
        targets : Tensor of bool, same shape
        """
        if self.goals is not None:
            known = self.goals

            def with_goal(
                crop: Tensor, number: int, window: tuple[slice, ...]
            ) -> tuple[Tensor, Tensor]:
                return crop, known[number][(slice(None), *window)]

            return self._whole(size, rng, with_goal)
        values: list[Tensor] = []
        covers: list[Tensor] = []
        goals: list[Tensor] = []
        holes: list[Tensor] = []
        turned = self.turn and bool(rng.integers(2))
        for _ in range(size):
            number, window = self._place(rng)
            subset = self.open_subsets[int(rng.integers(len(self.open_subsets)))]
            part = self.labels[number][window][None]
            arranged = self._arrangement(turned, rng)
            values.append(arranged(self.values[number][(slice(None), *window)]))
            goals.append(arranged(part == subset))
            covers.append(arranged((part == subset) | (part == -1 - subset)))
            if self._bad:
                holes.append(arranged(self._hole(number, window)))
        clean, targets = torch.stack(values), torch.stack(goals)
        hole = torch.stack(holes) if self._bad else None
        if hole is not None:
            targets = targets & ~hole
        if needs_generator(self.replacement):
            self._generator.manual_seed(int(rng.integers(2**63)))
        masked = self._masked(clean, torch.stack(covers), hole)
        return masked, clean, targets.expand(clean.shape)

    def pairs(self, size: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Crops as `pairing` makes them noisy, what is to be predicted, and where to compare them.

        Held-out positions are not compared.

        Returns
        -------
        inputs, goals : Tensor, shape (size, channels, [Z,] Y, X)
        targets : Tensor of bool, same shape
        """
        pairing = self.pairing
        assert pairing is not None

        def paired(crop: Tensor, number: int, window: tuple[slice, ...]) -> tuple[Tensor, Tensor]:
            return pairing.pair(crop, number, window, rng)

        return self._whole(size, rng, paired)

    def risk_batch(
        self, size: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Crops, the deviation of their noise, probes of it, and where the risk counts.

        Held-out positions do not count: they stay unknown to training.

        Returns
        -------
        crops, deviation, probes : Tensor, shape (size, channels, [Z,] Y, X)
        targets : Tensor of bool, same shape
        """
        probes = self.probes
        assert probes is not None

        def with_deviation(
            crop: Tensor, number: int, window: tuple[slice, ...]
        ) -> tuple[Tensor, Tensor]:
            return crop, probes.deviation(number, window)

        crops, deviation, targets = self._whole(size, rng, with_deviation)
        self._generator.manual_seed(int(rng.integers(2**63)))
        drawn = torch.stack([probes.probe(part, rng, self._generator) for part in deviation])
        return crops, deviation, drawn, targets

    def _whole(
        self,
        size: int,
        rng: np.random.Generator,
        pair: Callable[[Tensor, int, tuple[slice, ...]], tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Crops without hidden pixels: what `pair` makes of each, and where to compare it."""
        inputs: list[Tensor] = []
        goals: list[Tensor] = []
        places: list[Tensor] = []
        turned = self.turn and bool(rng.integers(2))
        for _ in range(size):
            number, window = self._place(rng)
            crop = self.values[number][(slice(None), *window)]
            arranged = self._arrangement(turned, rng)
            one, other = pair(crop, number, window)
            inputs.append(arranged(one))
            goals.append(arranged(other))
            allowed = (self.labels[number][window] >= 0)[None]
            if self._bad:
                allowed = allowed & ~self._hole(number, window)
            places.append(arranged(allowed))
        stacked = torch.stack(inputs)
        return stacked, torch.stack(goals), torch.stack(places).expand(stacked.shape)

    def _arrangement(self, turned: bool, rng: np.random.Generator) -> Callable[[Tensor], Tensor]:
        """A flip of a crop, by chance, after an exchange of Y and X if it is `turned`."""
        axes = [axis for axis in (-1, -2) if self._flip and rng.integers(2)]

        def arranged(x: Tensor) -> Tensor:
            x = x.transpose(-1, -2) if turned else x
            return x.flip(axes) if axes else x

        return arranged

    def _place(self, rng: np.random.Generator) -> tuple[int, tuple[slice, ...]]:
        """A block, and where to cut a crop from it."""
        number = int(np.searchsorted(self._up_to, rng.random(), side="right"))
        shape = self.labels[number].shape
        starts = [int(rng.integers(n - c + 1)) for n, c in zip(shape, self.crop, strict=True)]
        return number, tuple(slice(s, s + c) for s, c in zip(starts, self.crop, strict=True))

    def _hole(self, number: int, window: tuple[slice, ...]) -> Tensor:
        invalid = self.invalid[number]
        region = (slice(None), *window)
        if invalid is None:
            return torch.zeros_like(self.values[number][region], dtype=torch.bool)
        return invalid[region]

    def scoring_batches(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Fixed windows spread over the data, with the held-out positions as targets.

        As `batch` returns them: masked, or whole with the targets beside.
        """
        subset = self.partition.held_out_subset(self.ndim)
        places = []
        for number, labels in enumerate(self.labels):
            window = [min(s, n) for s, n in zip(SCORE_WINDOW[self.ndim], labels.shape, strict=True)]
            counts = [n // w for n, w in zip(labels.shape, window, strict=True)]
            for index in np.ndindex(*counts):
                places.append((number, [i * w for i, w in zip(index, window, strict=True)], window))
        most = max(SCORE_PIXELS // math.prod(places[0][2]), 1)
        batches = []
        for i in sorted(np.random.default_rng(0).permutation(len(places))[:most]):
            number, starts, shape = places[i]
            region = tuple(slice(s, s + w) for s, w in zip(starts, shape, strict=True))
            labels = self.labels[number][region][None, None]
            clean = self.values[number][(slice(None), *region)][None]
            targets = labels == -1 - subset
            cover = targets | (labels == subset)
            invalid, hole = self.invalid[number], None
            if invalid is not None:
                hole = invalid[(slice(None), *region)][None]
                targets = targets & ~hole
            if self.goals is not None:
                goal = self.goals[number][(slice(None), *region)][None]
                batches.append((clean, goal, targets.expand(clean.shape)))
                continue
            self._generator.manual_seed(int(i))
            masked = self._masked(clean, cover, hole)
            batches.append((masked, clean, targets.expand(clean.shape)))
        return batches

    def _masked(self, clean: Tensor, cover: Tensor, hole: Tensor | None) -> Tensor:
        return masked_input(
            clean,
            cover,
            self.partition,
            self.replacement,
            invalid=hole,
            generator=self._generator,
        )
