"""Trains the network: `python -m services.synthesizer.train --data data/... --out data/... --minutes 80 [--resume]`.

The learning rate falls to nothing over the whole budget (minutes or steps, whichever ends first; minutes of earlier
runs count when resumed). The folder holds, and `--resume` reads:

    model.safetensors   weights of the last step        config.json    sizes of the network
    best.safetensors    averaged weights (EMA) with the lowest validation loss
    trainer.pt          optimizer, averages, counters    log.jsonl      losses, one line each
    card.json           figures for the model card
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from rich.progress import BarColumn, Progress, TextColumn
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from services.common.speaker_space import LOG_F0, VOICING
from services.synthesizer.dataset import Batch, Corpus, recorded_share, voices_in
from services.synthesizer.model import ModelConfig, Synthesizer
from services.synthesizer.recorded import STYLE as RECORDED

PEAK_LEARNING_RATE: Final = 1.5e-3
FINAL_SHARE: Final = 0.01  # of the peak, at the end
WARM_UP_STEPS: Final = 200
GRADIENT_NORM: Final = 1.0
AVERAGE_DECAY: Final = 0.999
DURATION_WEIGHT: Final = 0.3
LOG_F0_WEIGHT: Final = 6.0  # one channel of 82; only where voiced
VOICING_WEIGHT: Final = 6.0
VALIDATION_UTTERANCES: Final = 48
GENERATED_UTTERANCES: Final = 8
STYLE_WEIGHTS: Final = "conditions.style.weight"


@dataclass
class Progressed:
    """How far training is."""

    step: int = 0
    elapsed_s: float = 0.0
    best_loss: float = float("inf")


def frame_loss(predicted: Tensor, batch: Batch) -> Tensor:
    """Mean absolute error per number of a frame; pitch counts where there is one."""
    error = (predicted - batch.frames).abs() * batch.frame_mask
    voiced = (batch.frames[..., VOICING] >= 0.0).float()
    frames = batch.frame_mask.sum()
    mel = error[..., :LOG_F0].mean(dim=-1).sum() / frames
    log_f0 = (error[..., LOG_F0] * voiced).sum() / frames
    voicing = error[..., VOICING].sum() / frames
    return mel + (LOG_F0_WEIGHT * log_f0 + VOICING_WEIGHT * voicing) / LOG_F0


def losses(model: Synthesizer, batch: Batch) -> dict[str, Tensor]:
    """Losses of a batch with teacher forcing; `total` is what is minimised."""
    step_count = batch.frames.shape[1] // model.config.reduction
    inputs, log_durations = model.step_inputs(
        batch.symbols, batch.edges, batch.style, batch.speaker, batch.durations, batch.lengths, step_count
    )
    coarse = model.decoder.teach(inputs, batch.frames)
    fine = model.postnet(coarse * batch.frame_mask)
    mask = (batch.symbols > 0).float()
    wrong = functional.smooth_l1_loss(log_durations.float(), torch.log1p(batch.durations), reduction="none", beta=0.2)
    duration = (wrong * mask).sum() / mask.sum()
    coarse_loss, fine_loss = frame_loss(coarse.float(), batch), frame_loss(fine.float(), batch)
    total = coarse_loss + fine_loss + DURATION_WEIGHT * duration
    return {"total": total, "coarse": coarse_loss, "fine": fine_loss, "duration": duration}


@torch.no_grad()
def validate(model: Synthesizer, corpus: Corpus, device: torch.device) -> dict[str, float]:
    """Losses on held-out sentences; `generated` is the loss with nothing told but the true durations."""
    model.eval()
    torch.manual_seed(0)
    chosen = sorted(corpus.validation, key=lambda u: u.text)[:VALIDATION_UTTERANCES]
    chosen.sort(key=lambda u: u.frame_count)
    sums: dict[str, float] = {}
    size = 16
    for start in range(0, len(chosen), size):
        part = chosen[start : start + size]
        for name, value in losses(model, corpus.collate(part).to(device)).items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(part) / len(chosen)
    batch = corpus.collate(chosen[:: max(len(chosen) // GENERATED_UTTERANCES, 1)]).to(device)
    step_count = batch.frames.shape[1] // model.config.reduction
    inputs, _ = model.step_inputs(
        batch.symbols, batch.edges, batch.style, batch.speaker, batch.durations, batch.lengths, step_count
    )
    sums["generated"] = float(frame_loss(model.postnet(model.decoder.generate(inputs)), batch))
    model.train()
    return {name: round(value, 4) for name, value in sums.items()}


class Trainer:
    """One model in training and its folder."""

    def __init__(self, corpus: Corpus, config: ModelConfig, out: Path, device: torch.device, seed: int) -> None:
        torch.manual_seed(seed)
        self.corpus, self.out, self.device = corpus, out, device
        self.model = Synthesizer(config).to(device)
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.9, 0.98))
        self.progressed = Progressed()

    def resume(self) -> None:
        """Goes on from the folder's last checkpoint."""
        self.model.load_state_dict(load_file(self.out / "model.safetensors"))
        state = torch.load(self.out / "trainer.pt", map_location=self.device, weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.progressed = Progressed(**state["progressed"])

    def start_from(self, weights: Path) -> None:
        """Begins from such weights as the published ones, with a new optimizer; styles they lack begin as the mean."""
        published = load_file(weights)
        styles = published[STYLE_WEIGHTS]
        added = styles.mean(dim=0, keepdim=True).expand(len(self.model.config.styles) - len(styles), -1)
        published[STYLE_WEIGHTS] = torch.cat([styles, added])
        self.model.load_state_dict(published)
        self.average = {name: value.to(self.device) for name, value in published.items()}

    def save(self) -> None:
        """Writes the checkpoint; a kill in the middle leaves the one before."""
        weights = self.out / "model.safetensors.tmp"
        save_file({k: v.contiguous() for k, v in self.model.state_dict().items()}, weights)
        state = {"optimizer": self.optimizer.state_dict(), "average": self.average}
        torch.save(state | {"progressed": asdict(self.progressed)}, self.out / "trainer.pt.tmp")
        os.replace(weights, self.out / "model.safetensors")
        os.replace(self.out / "trainer.pt.tmp", self.out / "trainer.pt")

    def log(self, line: dict[str, Any]) -> None:
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def learning_rate(self, share: float) -> float:
        """Rises over the first steps, then falls along a half cosine; `share` of the budget is used up."""
        cosine = 0.5 * (1.0 + float(torch.cos(torch.tensor(torch.pi * min(share, 1.0)))))
        rise = min(1.0, (self.progressed.step + 1) / WARM_UP_STEPS)
        return PEAK_LEARNING_RATE * rise * (FINAL_SHARE + (1.0 - FINAL_SHARE) * cosine)

    def step(self, batch: Batch, share: float) -> dict[str, float]:
        """One optimizer step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(share)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            values = losses(self.model, batch.to(self.device))
        if not torch.isfinite(values["total"]):
            raise FloatingPointError(
                f"the loss is {float(values['total'].detach())} at step {self.progressed.step}: see the data"
            )
        values["total"].backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        self.optimizer.step()
        self.progressed.step += 1
        decay = min(AVERAGE_DECAY, self.progressed.step / (self.progressed.step + 10.0))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1.0 - decay)
        return {name: float(value.detach()) for name, value in values.items()}

    def check(self) -> dict[str, float]:
        """Validates the averaged weights, keeps them when they are the best, and saves."""
        averaged = Synthesizer(self.model.config).to(self.device)
        averaged.load_state_dict(self.average)
        with torch.random.fork_rng():
            found = validate(averaged, self.corpus, self.device)
        if found["fine"] < self.progressed.best_loss:
            self.progressed.best_loss = found["fine"]
            best = self.out / "best.safetensors.tmp"
            save_file({k: v.contiguous() for k, v in self.average.items()}, best)
            os.replace(best, self.out / "best.safetensors")
        self.save()
        return found


@dataclass(frozen=True)
class Budget:
    """Training ends with whichever is used up first."""

    minutes: float
    steps: int

    def share(self, progressed: Progressed) -> float:
        """How much of it is used, 0 to 1 and more."""
        return max(progressed.elapsed_s / 60 / self.minutes, progressed.step / self.steps)


def train(trainer: Trainer, batches: Iterator[Batch], budget: Budget, check_every: int) -> None:
    """Trains until the budget is used up."""
    done = trainer.progressed
    started = time.monotonic() - done.elapsed_s
    sums: dict[str, float] = {}
    since = 0
    with Progress(TextColumn("{task.description}"), BarColumn(), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("training", total=1.0)
        share = budget.share(done)
        while share < 1.0:
            for name, value in trainer.step(next(batches), share).items():
                sums[name] = sums.get(name, 0.0) + value
            since += 1
            done.elapsed_s = time.monotonic() - started
            share = budget.share(done)
            if done.step % 50 == 0 or share >= 1.0:
                means = {name: round(value / since, 4) for name, value in sums.items()}
                trainer.log({"step": done.step, "minutes": round(done.elapsed_s / 60, 2), "training": means})
                sums, since = {}, 0
                progress.update(task, completed=share, description=f"step {done.step} loss {means['total']:.3f}")
            if done.step % check_every == 0 or share >= 1.0:
                found = trainer.check()
                trainer.log({"step": done.step, "minutes": round(done.elapsed_s / 60, 2), "validation": found})


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.synthesizer.train", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that prepare wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoints and logs")
    parser.add_argument("--minutes", type=float, default=80.0)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--frames-per-batch", type=int, default=6000)
    parser.add_argument("--check-every", type=int, default=400, help="steps between validations and checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--start", type=Path, help="begin from these weights: models/synthesizer/training.safetensors")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 means all cores")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    config_file = options.out / "config.json"
    config = ModelConfig()
    if options.resume:
        stored = json.loads(config_file.read_text(encoding="utf-8"))
        config = ModelConfig(**stored | {"styles": tuple(stored["styles"])})
    elif RECORDED in voices_in(options.data):
        config = ModelConfig(styles=(*config.styles, RECORDED))
    corpus = Corpus(options.data, config.styles, config.reduction)
    trainer = Trainer(corpus, config, options.out, torch.device(options.device), options.seed)
    if options.resume:
        trainer.resume()
    elif options.start:
        trainer.start_from(options.start)
    config_file.write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    budget = Budget(options.minutes, options.steps)
    batches = corpus.batches(
        options.frames_per_batch,
        options.seed + trainer.progressed.step,
        share=(lambda: recorded_share(budget.share(trainer.progressed))) if RECORDED in config.styles else None,
    )
    train(trainer, batches, budget, options.check_every)
    card = {
        "parameters": trainer.model.parameter_count(),
        "steps": trainer.progressed.step,
        "training_minutes": round(trainer.progressed.elapsed_s / 60, 1),
        "device": options.device,
        "validation_loss": trainer.progressed.best_loss,
        "data": json.loads((options.data / "card.json").read_text(encoding="utf-8")),
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(card))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
