"""Trains a person model: two people's faces -> an engine that gives the source's face to the target.

    python -m services.faceswap.train --source DIR --target DIR --out RUN [--minutes M | --steps N] [--resume]
    python -m services.faceswap.export --run RUN --name NAME

Both folders hold pictures or films in which the largest face is that of a person who agreed to this. What a run
leaves, and `--resume` reads:

    source.npz, target.npz  the people's faces, cut out once      config.json   sizes of the network
    model.safetensors       weights of the last step              best.safetensors  averaged weights that did best on
    trainer.pt              optimizer, averages, counters                           held-out faces
    preview/NNNNNN.png      rows: face, itself again, swapped     log.jsonl     losses, one line each
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn
from safetensors.torch import load_file, save_file
from torch import Tensor

from services.common.errors import LikenessError
from services.faceswap.person_data import Faces, Sampler, Samples
from services.faceswap.person_model import PersonConfig, PersonModel
from services.faceswap.prepare import prepare

PEAK_LEARNING_RATE: Final = 1e-3
FINAL_SHARE: Final = 0.05  # of the peak, at the end
WARM_UP_STEPS: Final = 30
AVERAGE_DECAY: Final = 0.99
FIRST_CONTRAST: Final = 0.3  # of the first answers around it
OUTSIDE_WEIGHT: Final = 0.1  # of pixels that are not the face
MASK_WEIGHT: Final = 0.1
CHECKED_FACES: Final = 32
SHOWN_FACES: Final = 6


@dataclass
class Progressed:
    """How far training is."""

    step: int = 0
    elapsed_s: float = 0.0
    best_error: float = float("inf")


def face_error(colours: Tensor, answer: Tensor, mask: Tensor, outside: float = 0.0) -> Tensor:
    """Mean absolute error of colours (n, 3, s, s) within masks (n, 1, s, s), a share of what is outside counted too."""
    weight = outside + (1.0 - outside) * mask
    return ((colours - answer).abs() * weight).sum() / (3.0 * weight.sum())


def loss(answer: tuple[Tensor, Tensor], wanted: Tensor, mask: Tensor) -> Tensor:
    """What is minimised for one person: colours, above all within the face, and the mask."""
    return face_error(answer[0], wanted, mask, OUTSIDE_WEIGHT) + MASK_WEIGHT * (answer[1] - mask).abs().mean()


def planes(pixels: Any, device: torch.device) -> Tensor:
    """(n, s, s, 3) or (n, s, s) -> (n, c, s, s)."""
    tensor = torch.from_numpy(pixels if pixels.ndim == 4 else pixels[..., np.newaxis]).to(device)
    return tensor.permute(0, 3, 1, 2)


class Trainer:
    """One model in training and its folder."""

    def __init__(self, source: Faces, target: Faces, config: PersonConfig, out: Path, device: str, seed: int) -> None:
        torch.manual_seed(seed)
        self.out, self.device = out, torch.device(device)
        self.model = PersonModel(config).to(self.device)
        self._start_at_mean(source, target)
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=PEAK_LEARNING_RATE, betas=(0.5, 0.999))
        self.training = [Sampler(faces, config.size, held_out=False) for faces in (source, target)]
        self.held_out = [Sampler(faces, config.size, held_out=True).plain(CHECKED_FACES) for faces in (source, target)]
        self.progressed = Progressed()

    def _start_at_mean(self, source: Faces, target: Faces) -> None:
        """The first answer is each person's mean colour, which saves the first steps."""
        for decoder, faces in ((self.model.source, source), (self.model.target, target)):
            mean = torch.tensor(faces.crops.mean(axis=(0, 1, 2)) / 255.0).clamp(0.02, 0.98)
            with torch.no_grad():
                bias = decoder.last.get_parameter("bias")
                bias[:3] = torch.logit(mean).to(bias)
                decoder.last.get_parameter("weight").mul_(FIRST_CONTRAST)

    def resume(self) -> None:
        """Goes on from the folder's last checkpoint."""
        self.model.load_state_dict(load_file(self.out / "model.safetensors"))
        state = torch.load(self.out / "trainer.pt", map_location=self.device, weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.progressed = Progressed(**state["progressed"])

    def save(self) -> None:
        """Writes the checkpoint; a kill in the middle leaves the one before."""
        weights = self.out / "model.safetensors.tmp"
        save_file({k: v.contiguous() for k, v in self.model.state_dict().items()}, weights)
        state = {"optimizer": self.optimizer.state_dict(), "average": self.average}
        torch.save(state | {"progressed": asdict(self.progressed)}, self.out / "trainer.pt.tmp")
        os.replace(weights, self.out / "model.safetensors")
        os.replace(self.out / "trainer.pt.tmp", self.out / "trainer.pt")

    def log(self, line: dict[str, Any]) -> None:
        about = {"step": self.progressed.step, "minutes": round(self.progressed.elapsed_s / 60, 2)}
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(about | line) + "\n")

    def learning_rate(self, share: float) -> float:
        """Rises over the first steps, then falls along a half cosine; `share` of the budget is used up."""
        cosine = 0.5 * (1.0 + float(np.cos(np.pi * min(share, 1.0))))
        rise = min(1.0, (self.progressed.step + 1) / WARM_UP_STEPS)
        return PEAK_LEARNING_RATE * rise * (FINAL_SHARE + (1.0 - FINAL_SHARE) * cosine)

    def step(self, samples: list[Samples], share: float) -> float:
        """One optimizer step on samples of the source and of the target; gives the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(share)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            answers = self.model(*(planes(part.inputs, self.device) for part in samples))
        errors = [
            loss((colours.float(), mask.float()), planes(part.answers, self.device), planes(part.masks, self.device))
            for (colours, mask), part in zip(answers, samples, strict=True)
        ]
        total = torch.stack(errors).sum()
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.progressed.step += 1
        decay = min(AVERAGE_DECAY, self.progressed.step / (self.progressed.step + 10.0))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1.0 - decay)
        return float(total.detach()) / 2

    @torch.no_grad()
    def check(self) -> dict[str, float]:
        """Errors of the averaged weights on held-out faces, in levels of 255; keeps them when they are the best."""
        averaged = self._averaged()
        wanted = [planes(part.answers, self.device) for part in self.held_out]
        answers = averaged(*wanted)
        found = {}
        for name, answer, face, part in zip(("source", "target"), answers, wanted, self.held_out, strict=True):
            error = face_error(answer[0].float(), face, planes(part.masks, self.device))
            found[name] = round(255.0 * float(error), 3)
        if sum(found.values()) < self.progressed.best_error:
            self.progressed.best_error = sum(found.values())
            best = self.out / "best.safetensors.tmp"
            save_file({k: v.contiguous() for k, v in self.average.items()}, best)
            os.replace(best, self.out / "best.safetensors")
        self.save()
        return found

    @torch.no_grad()
    def preview(self) -> Path:
        """A picture of held-out faces: source, itself again, target, itself again, target with the source's face."""
        source, target = (planes(part.answers[:SHOWN_FACES], self.device) for part in self.held_out)
        count = min(len(source), len(target))
        averaged = self._averaged()
        again, target_again = averaged(source[:count], target[:count])
        swapped, mask = averaged.swap(target[:count])
        pasted = target[:count] + mask * (swapped - target[:count])
        rows = [source[:count], again[0], target[:count], target_again[0], swapped, pasted]
        pixels = torch.stack([row.float().cpu() for row in rows]).permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
        path = self.out / "preview" / f"{self.progressed.step:06d}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), (pixels * 255).round().to(torch.uint8).numpy())
        return path

    def _averaged(self) -> PersonModel:
        averaged = PersonModel(self.model.config).to(self.device)
        averaged.load_state_dict(self.average)
        averaged.eval()
        return averaged


def train(trainer: Trainer, minutes: float, steps: int, batch: int, check_every: int, preview_every: int) -> None:
    """Trains until the budget is used up; minutes and steps of earlier runs count."""
    done = trainer.progressed
    rng = np.random.default_rng(done.step)
    started = time.monotonic() - done.elapsed_s
    sums, since = 0.0, 0
    with Progress(TextColumn("{task.description}"), BarColumn(), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("training", total=1.0)
        share = max(done.elapsed_s / 60 / minutes, done.step / steps)
        while share < 1.0:
            sums += trainer.step([sampler.draw(batch, rng) for sampler in trainer.training], share)
            since += 1
            done.elapsed_s = time.monotonic() - started
            share = max(done.elapsed_s / 60 / minutes, done.step / steps)
            progress.update(task, completed=share, description=f"step {done.step} loss {sums / since:.4f}")
            if done.step % check_every == 0 or share >= 1.0:
                trainer.log({"loss": round(sums / since, 5), "held_out": trainer.check()})
                sums, since = 0.0, 0
            if done.step % preview_every == 0 or share >= 1.0:
                trainer.preview()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m services.faceswap.train", description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder of the person whose face is put on")
    parser.add_argument("--target", type=Path, required=True, help="folder of the person who gets it")
    parser.add_argument("--out", type=Path, required=True, help="folder of faces, checkpoints, previews, log")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", type=int, default=PersonConfig.size, help="side of the crop, a multiple of 16")
    parser.add_argument("--width", type=int, default=PersonConfig.width, help="channels of the first layer")
    parser.add_argument("--batch", type=int, default=16, help="faces of each person per step")
    parser.add_argument("--every", type=int, default=1, help="use every n-th picture of the folders")
    parser.add_argument("--check-every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--preview-every", type=int, default=500, help="steps between preview pictures")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 means all cores")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
        cv2.setNumThreads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        source, target = (
            prepare(folder, options.out / f"{name}.npz", every=options.every)
            for name, folder in (("source", options.source), ("target", options.target))
        )
    except LikenessError as error:
        print(error.detail, file=sys.stderr)
        return 1
    config_file = options.out / "config.json"
    config = PersonConfig(size=options.size, width=options.width)
    if options.resume:
        config = PersonConfig(**json.loads(config_file.read_text(encoding="utf-8")))
    trainer = Trainer(source, target, config, options.out, options.device, options.seed)
    if options.resume:
        trainer.resume()
    config_file.write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    train(trainer, options.minutes, options.steps, options.batch, options.check_every, options.preview_every)
    card = {
        "parameters": trainer.model.parameter_count(),
        "steps": trainer.progressed.step,
        "training_minutes": round(trainer.progressed.elapsed_s / 60, 1),
        "device": options.device,
        "faces": {name: len(faces.crops) for name, faces in (("source", source), ("target", target))},
        "held_out_error": round(trainer.progressed.best_error / 2, 3),
    }
    (options.out / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(card))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
