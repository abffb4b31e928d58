"""Trains the WaveNet, on a CPU or a GPU, in as many sittings as wanted.

    python -m services.vocoder.train --data data/vocoder --out out/vocoder --minutes 60 [--resume]

`--out` receives `trunk.pt` (weights, averaged weights, optimisers, step: what `--resume` continues from),
`best.safetensors` (averaged weights that did best on the dev speakers) and `log.jsonl`. The learning rate warms up,
stays, and falls over the last part of the sitting; the trunk is saved before that fall, and so is not spent by it.
With `--speech-dir` recordings are prepared first.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from services.vocoder.batches import Augmentation, Batch, Sampler, joined
from services.vocoder.config import STEPS_PER_SECOND, WaveNetConfig
from services.vocoder.prepare import Corpus, prepare
from services.vocoder.wavenet import WaveNet, negative_log_likelihood

WARM_UP_STEPS: Final = 100
VALIDATION_BATCHES: Final = 6
VALIDATION_SIZE: Final = 8
UNSCORED_STEPS: Final = 64  # at a segment's start, where the network has not heard enough yet
CHECKPOINT_S: Final = 240.0


@dataclass(frozen=True)
class TrainingOptions:
    """One sitting."""

    data: Path
    out: Path
    minutes: float
    steps: int
    resume: bool
    start: Path | None = None  # published weights to begin from, where no trunk is at hand
    batch_size: int = 4
    intervals: int = 40  # of 12.5 ms per segment: half a second
    learning_rate: float = 2e-3
    cooldown: float = 0.25  # part of the sitting over which the rate falls to zero
    predicted_share: float = 0.0  # of a batch: frames as the synthesizer predicts them (services.vocoder.predicted)
    history_noise: float = 0.08  # at most, in units of a band's level: what the network hears of itself is not clean
    averaging: float = 0.998
    validate_every: int = 250
    threads: int = 1
    device: str = "cpu"
    seed: int = 0


class Trainer:
    """Network, averaged network, optimisers and the number of steps taken; saved and loaded as one."""

    def __init__(self, options: TrainingOptions, config: WaveNetConfig) -> None:
        torch.manual_seed(options.seed)
        self.options = options
        self.config = config
        self.device = torch.device(options.device)
        self.network = WaveNet(config).to(self.device)
        self.average = WaveNet(config).to(self.device)
        self.average.load_state_dict(self.network.state_dict())
        inner: list[nn.Parameter] = []
        outer: list[nn.Parameter] = []
        for name, parameter in self.network.named_parameters():
            matrix = parameter.ndim == 2 and name not in ("input.weight", "output.weight")
            (inner if matrix else outer).append(parameter)
        # Muon (Jordan et al. 2024) for the matrices inside: fewer steps to the same likelihood than AdamW alone.
        self.optimisers = [
            torch.optim.Muon(inner, lr=0.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(outer, lr=0.0, betas=(0.9, 0.99), weight_decay=0.0),
        ]
        self.step = 0
        self.audio_seconds = 0.0

    def state(self) -> dict[str, Any]:
        return {
            "config": self.config.as_dict(),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "audio_seconds": self.audio_seconds,
        }

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["config"] != self.config.as_dict():
            raise ValueError(f"{path} was trained with another shape: {state['config']}")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.step, self.audio_seconds = state["step"], state["audio_seconds"]

    def begin_from(self, path: Path) -> None:
        """Takes exported weights for network and average; the optimisers start afresh."""
        with safe_open(path, framework="pt") as file:
            facts = file.metadata()
            if json.loads(facts["config"]) != self.config.as_dict():
                raise ValueError(f"{path} was trained with another shape: {facts['config']}")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)

    def _autocast(self) -> Any:
        return torch.autocast("cuda", torch.bfloat16) if self.device.type == "cuda" else nullcontext()

    def loss(self, network: WaveNet, batch: Batch, noise: float) -> Tensor:
        """Negative log-likelihood in nats per band value, [4], of a batch."""
        target = torch.from_numpy(batch.target).to(self.device, non_blocking=True)
        draft = torch.from_numpy(batch.draft).to(self.device, non_blocking=True)
        frames = torch.from_numpy(batch.frames).to(self.device, non_blocking=True)
        history = F.pad(target, (0, 0, 1, 0))[:, :-1]
        if noise:
            history = history + noise * torch.rand(len(history), 1, 1, device=self.device) * torch.randn_like(history)
        with self._autocast():
            parameters = network(history, draft, frames)
        return negative_log_likelihood(parameters, target, self.config)[:, UNSCORED_STEPS:].mean(dim=(0, 1))

    def update(self, batch: Batch, rate: float) -> float:
        """One step of gradient descent; returns the loss."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            optimiser.zero_grad(set_to_none=True)
        loss = self.loss(self.network, batch, self.options.history_noise).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        self.audio_seconds += batch.target.shape[0] * batch.target.shape[1] / STEPS_PER_SECOND
        keep = min(self.options.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for averaged, parameter in zip(self.average.parameters(), self.network.parameters(), strict=True):
                averaged.lerp_(parameter, 1 - keep)
        return float(loss.detach())

    @torch.no_grad()
    def validate(self, batches: list[Batch]) -> list[float]:
        """Loss of the averaged network per band."""
        losses = torch.stack([self.loss(self.average, batch, 0.0) for batch in batches])
        return [round(value, 4) for value in losses.mean(dim=0).tolist()]


def _save(state: dict[str, Any], path: Path) -> None:
    torch.save(state, path.with_suffix(".part"))
    os.replace(path.with_suffix(".part"), path)


def export_weights(trainer: Trainer, path: Path, dev_nll: float) -> None:
    """The averaged weights as safetensors, with the shape and the training they had as metadata."""
    facts = {
        "config": trainer.config.as_dict(),
        "step": trainer.step,
        "audio_seconds": round(trainer.audio_seconds),
        "dev_nll": dev_nll,
    }
    weights = {name: value.detach().float().cpu().contiguous() for name, value in trainer.average.state_dict().items()}
    save_file(weights, path, metadata={name: json.dumps(value) for name, value in facts.items()})


def _best_so_far(path: Path) -> float:
    """The dev loss of the weights that were exported last, infinite where there are none."""
    if not path.exists():
        return float("inf")
    with safe_open(path, framework="pt") as file:
        return float(json.loads(file.metadata()["dev_nll"]))


def _progress(options: TrainingOptions, began: float, step: int) -> float:
    """How much of the sitting is over, 0 to 1."""
    by_time = (time.monotonic() - began) / (options.minutes * 60) if options.minutes else 0.0
    by_steps = step / options.steps if options.steps else 0.0
    return min(1.0, max(by_time, by_steps))


def _batches(samplers: Sequence[tuple[Sampler, int]], options: TrainingOptions, step: int) -> Iterator[Batch]:
    """Endless batches, each with so many segments of every sampler."""
    random = np.random.default_rng((options.seed, step))
    while True:
        yield joined([sampler.draw(random, size) for sampler, size in samplers if size])


def _samplers(options: TrainingOptions, config: WaveNetConfig) -> list[tuple[Sampler, int]]:
    """What training draws from, and how many segments of a batch: recordings as they are, and as predicted."""
    predicted = round(options.predicted_share * options.batch_size)
    sizes = {"train": options.batch_size - predicted, "predicted": predicted}
    return [
        (Sampler(Corpus(options.data / split), config, options.intervals, Augmentation()), size)
        for split, size in sizes.items()
        if size
    ]


def train(options: TrainingOptions, config: WaveNetConfig) -> Trainer:
    """One sitting; returns the trainer as it ends."""
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(options, config)
    trunk, best = options.out / "trunk.pt", options.out / "best.safetensors"
    if options.resume:
        trainer.load(trunk)
    elif options.start:
        trainer.begin_from(options.start)
    if not options.resume and best.exists():
        raise FileExistsError(f"{best} is from an earlier training: give --resume or another --out")
    training = _samplers(options, config)
    held_out = Sampler(Corpus(options.data / "dev"), config, options.intervals, Augmentation.none())
    fixed = np.random.default_rng(0)
    validation = [held_out.draw(fixed, VALIDATION_SIZE) for _ in range(VALIDATION_BATCHES)]
    log = (options.out / "log.jsonl").open("a")

    began, saved, cooling = time.monotonic(), time.monotonic(), False
    first_step, recent = trainer.step, []
    for batch in _batches(training, options, trainer.step):
        progress = _progress(options, began, trainer.step - first_step)
        if progress >= 1 - options.cooldown and not cooling:
            cooling = True
            _save(trainer.state(), trunk)
        elif not cooling and time.monotonic() - saved > CHECKPOINT_S:
            _save(trainer.state(), trunk)
            saved = time.monotonic()
        rate = options.learning_rate * min(1.0, (trainer.step + 1) / WARM_UP_STEPS)
        if cooling and options.cooldown:
            rate *= max(0.0, (1 - progress) / options.cooldown)
        if progress < 1:
            recent.append(trainer.update(batch, rate))
        if trainer.step % options.validate_every == 0 or progress >= 1:
            bands = trainer.validate(validation)
            mean = float(np.mean(bands))
            entry = {
                "step": trainer.step,
                "audio_seconds": round(trainer.audio_seconds),
                "minutes": round((time.monotonic() - began) / 60, 2),
                "rate": round(rate, 6),
                "train": round(float(np.mean(recent)), 4) if recent else None,
                "dev": round(mean, 4),
                "dev_bands": bands,
            }
            recent = []
            log.write(json.dumps(entry) + "\n")
            log.flush()
            print(json.dumps(entry), flush=True)
            if mean < _best_so_far(best):
                export_weights(trainer, best, mean)
        if progress >= 1:
            break
    if not cooling:
        _save(trainer.state(), trunk)
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the vocoder's WaveNet")
    parser.add_argument("--speech-dir", type=Path, help="prepare these recordings first")
    parser.add_argument("--data", type=Path, default=Path("data/vocoder"), help="prepared recordings")
    parser.add_argument("--out", type=Path, default=Path("out/vocoder"))
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from trunk.pt in --out")
    parser.add_argument("--start", type=Path, help="begin from exported weights (.safetensors)")
    parser.add_argument("--batch-size", type=int, default=TrainingOptions.batch_size)
    parser.add_argument(
        "--predicted-share", type=float, default=0.0, help="of each batch, from the split of services.vocoder.predicted"
    )
    parser.add_argument("--learning-rate", type=float, default=TrainingOptions.learning_rate)
    parser.add_argument("--cooldown", type=float, default=TrainingOptions.cooldown)
    parser.add_argument("--threads", type=int, default=TrainingOptions.threads)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = vars(parser.parse_args())
    speech_dir = arguments.pop("speech_dir")
    if not arguments["minutes"] and not arguments["steps"]:
        parser.error("say how long: --minutes or --steps")
    if speech_dir:
        for split in ("dev", "train"):
            prepare(speech_dir, arguments["data"], split)
    train(TrainingOptions(**arguments), WaveNetConfig())


if __name__ == "__main__":
    main()
