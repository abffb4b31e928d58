"""Band steps through the WaveNet in torch: for GPUs, where steps are recorded as CUDA graphs once and then replayed.

The rule is that of `generate.py`, down to the random numbers, with the weights that the CPU engine reads. A step is
some hundred small operations, and what limits a GPU is the launching of them. A graph launches many steps at once, and
all lanes take each step together, idle ones included, so that no shape ever changes; what differs between two replays
lies in tensors that stay where they are. The same code runs operation by operation on a CPU, slowly: so it is tested.
No other module that serves imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor
from torch.nn import functional as F

from services.vocoder.bfloat import unpack_pairs
from services.vocoder.config import STEPS_PER_FRAME
from services.vocoder.generate import LOUDEST, SAMPLING, draw_ahead
from services.vocoder.packed import PackedWaveNet, trim_halves
from services.vocoder.pqmf import BANDS
from services.vocoder.stepping import SLICE_STEPS, Steps

GRAPH_STEPS: Final = 25  # streams begin and end with half an interval: these divide all that they ever take
CENTRES: Final = SLICE_STEPS // STEPS_PER_FRAME + 2  # frame centres that may enclose a slice's steps
LANE_MULTIPLE: Final = 16  # no vector instruction then has a remainder, so a lane's place does not change its sums

Program = Callable[[], None]
Recorder = Callable[[Sequence[Program]], list[Program]]


class LayerWeights(NamedTuple):
    """C channels, L layers, W inputs, O outputs; matrices are (inputs, outputs)."""

    input: Tensor  # (W, C)
    input_bias: Tensor
    now: Tensor  # (L, C, 2C), signals and gates
    past: Tensor  # (L, C, 2C)
    gate_bias: Tensor  # (L, 2C)
    residual: Tensor  # (L, C, C)
    residual_bias: Tensor  # (L, C)
    skip: Tensor  # (L * C, C), of all layers
    skip_bias: Tensor  # (C,), their sum
    head: Tensor  # (C, C)
    head_bias: Tensor
    output: Tensor  # (C, O)
    output_bias: Tensor


def unpack(packed: PackedWaveNet, device: torch.device) -> LayerWeights:
    """The weights as the CPU engine reads them, rounded to bfloat16 where they are, in float32."""
    channels, outputs = packed.config.channels, packed.config.output_width
    steps = packed.steps
    gate = trim_halves(np.swapaxes(unpack_pairs(steps.gate), 1, 2), channels)
    mix = trim_halves(np.swapaxes(unpack_pairs(steps.mix), 1, 2), channels)
    mix_bias = trim_halves(steps.mix_bias, channels)
    arrays = dict(
        input=steps.input[:, :channels],
        input_bias=steps.input_bias[:channels],
        now=gate[:, :channels],
        past=gate[:, channels:],
        gate_bias=trim_halves(steps.gate_bias, channels),
        residual=mix[:, :, :channels],
        residual_bias=mix_bias[:, :channels],
        skip=mix[:, :, channels:].reshape(-1, channels),
        skip_bias=mix_bias[:, channels:].sum(axis=0),
        head=steps.head[:, :channels],
        head_bias=steps.head_bias[:channels],
        output=steps.output[:, :outputs],
        output_bias=steps.output_bias[:outputs],
    )
    return LayerWeights(
        **{name: torch.tensor(np.ascontiguousarray(array), device=device) for name, array in arrays.items()}
    )


class Shared:
    """A tensor that stays where it is on the device, and the array of the host that it is filled from."""

    def __init__(self, device: torch.device, *shape: int, dtype: torch.dtype = torch.float32) -> None:
        self.tensor = torch.zeros(shape, dtype=dtype, device=device)
        self._host = self.tensor
        if device.type != "cpu":
            self._host = torch.zeros(shape, dtype=dtype, pin_memory=device.type == "cuda")
        self.array: np.ndarray[Any, Any] = self._host.numpy()

    def send(self) -> None:
        if self._host is not self.tensor:
            self.tensor.copy_(self._host, non_blocking=True)


def cuda_graphs(programs: Sequence[Program]) -> list[Program]:
    """CUDA graphs of what the programs launch; each that is returned launches all of it in one call."""
    apart: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    apart.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(apart):
        for program in programs:  # libraries set themselves up when first used, which cannot be recorded
            program()
    graphs = [torch.cuda.CUDAGraph() for _ in programs]
    for graph, program in zip(graphs, programs, strict=True):
        with torch.cuda.graph(graph, stream=apart):
            program()
    torch.cuda.current_stream().wait_stream(apart)
    return [graph.replay for graph in graphs]


class TorchLanes:
    """See `stepping.Lanes`; one thread at a time. A stream's rings lie on the device until its steps are done."""

    def __init__(self, packed: PackedWaveNet, *, together: int, device: str, record: Recorder | None = None) -> None:
        """`together`: streams at a time, at most. `record`: what programs become before they are used again and again;
        None: CUDA graphs on a GPU, themselves elsewhere."""
        config = packed.config
        self._config = config
        self._device = torch.device(device)
        self._weights = unpack(packed, self._device)
        self._together = together
        self._seats: dict[Steps, int] = {}
        lanes = -(-together // LANE_MULTIPLE) * LANE_MULTIPLE
        share = partial(Shared, self._device)
        # by step: what was heard last, and the draft around; what is drawn becomes the next one's first part
        self._inputs = share(SLICE_STEPS + 1, lanes, config.input_width)
        self._choice = share(SLICE_STEPS, lanes)
        self._shares = share(SLICE_STEPS, lanes, BANDS)
        self._spreads = share(SLICE_STEPS, lanes, BANDS)
        # by lane
        self._conditions = share(lanes, CENTRES, config.layers, 2 * config.channels)
        self._first = share(lanes, dtype=torch.int64)  # step of the stream
        self._since = share(lanes, dtype=torch.int64)  # steps from the first centre to the first step
        self._forced = share(lanes, 1, dtype=torch.bool)
        self._sent = [value for value in vars(self).values() if isinstance(value, Shared)]

        def kept(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=self._device)

        dilations = torch.tensor(config.dilations, device=self._device)[:, None]
        depth = sum(config.dilations)
        self._dilations = dilations
        self._rings = kept(lanes * depth, config.channels)
        self._ring_starts = torch.cumsum(dilations, 0) - dilations + depth * torch.arange(lanes, device=self._device)
        self._lane = torch.arange(lanes, device=self._device)
        self._at = torch.arange(SLICE_STEPS, device=self._device)[:, None]
        self._slots = kept(SLICE_STEPS, config.layers * lanes, dtype=torch.int64)
        self._gates = kept(SLICE_STEPS, config.layers, lanes, 2 * config.channels)
        self._parameters = kept(SLICE_STEPS, lanes, config.output_width)
        self._programs: list[Program] = []
        if record is None and self._device.type == "cuda":
            record = cuda_graphs
        if record is not None:
            self._prepare()
            starts = range(0, SLICE_STEPS, GRAPH_STEPS)
            self._programs = record([partial(self._take, start, start + GRAPH_STEPS) for start in starts])

    def advance(self, group: list[Steps], count: int) -> None:
        self._seat(group)
        for member, lane in self._seats.items():
            self._write(member, lane, count)
        for shared in self._sent:
            shared.send()
        self._prepare()
        for start in range(0, count, GRAPH_STEPS):
            if self._programs and start + GRAPH_STEPS <= count:
                self._programs[start // GRAPH_STEPS]()
            else:
                self._take(start, min(start + GRAPH_STEPS, count))
        self._read(count)

    def _seat(self, group: list[Steps]) -> None:
        """Gives a lane to who has none; those of streams that are gone are free."""
        self._seats = {member: self._seats[member] for member in group if member in self._seats}
        free = set(range(self._together)) - set(self._seats.values())
        for member in group:
            if member not in self._seats:
                self._seats[member] = free.pop()
                self._rings_of(self._seats[member]).copy_(torch.from_numpy(member.rings))

    def _rings_of(self, lane: int) -> Tensor:
        depth = sum(self._config.dilations)
        return self._rings[lane * depth : (lane + 1) * depth]

    def _write(self, member: Steps, lane: int, count: int) -> None:
        """What the stream's next steps read, onto the host's side of the lane."""
        width, steps = self._config.draft_width, slice(member.done, member.done + count)
        inputs = self._inputs.array.reshape(*self._inputs.array.shape[:2], 1 + width, BANDS)[:, lane]
        around = sliding_window_view(member.prior[member.done : member.done + count + width - 1], width, axis=0)
        inputs[:count, 1:] = around.transpose(0, 2, 1)
        inputs[0, 0] = member.last
        if member.forced:
            inputs[1 : count + 1, 0] = member.bands[steps]
        offset, first = member.offset + member.done, member.first + member.done
        draw_ahead(
            SAMPLING,
            member.voicing,
            offset,
            member.seed,
            member.temperature,
            first,
            self._choice.array[:count, lane],
            self._shares.array[:count, lane],
            self._spreads.array[:count, lane],
        )
        centre, since = divmod(offset, STEPS_PER_FRAME)
        conditions = member.conditions[centre : centre + CENTRES]
        self._conditions.array[lane, : len(conditions)] = trim_halves(conditions, self._config.channels)
        self._first.array[lane], self._since.array[lane], self._forced.array[lane] = first, since, member.forced

    def _prepare(self) -> None:
        """What all steps of a slice can be told at once: where the rings stand, and the gates' bias and offset."""
        dilations, starts = self._dilations, self._ring_starts
        turned = (self._first.tensor + self._at)[:, None] % dilations
        torch.add(turned, starts, out=self._slots.view(SLICE_STEPS, *starts.shape))
        since = self._since.tensor + self._at
        centre = torch.clamp(since // STEPS_PER_FRAME, max=CENTRES - 2)
        offsets = self._conditions.tensor + self._weights.gate_bias
        before, after = offsets[self._lane, centre], offsets[self._lane, centre + 1]
        weight = (since % STEPS_PER_FRAME).to(torch.float32)[..., None, None] / STEPS_PER_FRAME
        torch.lerp(before.transpose(1, 2), after.transpose(1, 2), weight.transpose(1, 2), out=self._gates)

    def _take(self, start: int, end: int) -> None:
        """The steps of a slice from `start` to before `end`, all lanes."""
        for at in range(start, end):
            self._predict(at)
            self._draw(at)

    def _predict(self, at: int) -> None:
        weights, channels = self._weights, self._config.channels
        slots, gates = self._slots[at], self._gates[at]
        past = self._rings.index_select(0, slots).view(*gates.shape[:2], channels)
        gates.baddbmm_(past, weights.past)
        steps = torch.addmm(weights.input_bias, self._inputs.tensor[at], weights.input)
        heard: list[Tensor] = []
        passed: list[Tensor] = []
        for layer in range(self._config.layers):
            if layer:
                steps = steps + torch.addmm(weights.residual_bias[layer - 1], passed[-1], weights.residual[layer - 1])
            heard.append(steps)
            gate = gates[layer].addmm_(steps, weights.now[layer])
            gate[:, :channels].tanh_()
            passed.append(F.glu(gate))
        self._rings.index_copy_(0, slots, torch.cat(heard))
        skips = torch.addmm(weights.skip_bias, torch.cat(passed, dim=1), weights.skip)
        hidden = torch.addmm(weights.head_bias, F.silu(skips), weights.head)
        torch.addmm(weights.output_bias, F.silu(hidden), weights.output, out=self._parameters[at])

    def _draw(self, at: int) -> None:
        """As `generate._draw` does it, into the next step's input; what is forced stays there."""
        mixtures = self._config.mixtures
        shaped = self._parameters[at].view(-1, BANDS, 3, mixtures)
        likely = torch.softmax(shaped[:, :, 0] * self._choice.tensor[at][:, None, None], dim=-1)
        share = self._shares.tensor[at][..., None]
        chosen = torch.searchsorted(likely.cumsum(-1), share, right=True).clamp_(max=mixtures - 1)
        picked = shaped[:, :, 1:].gather(-1, chosen[:, :, None].expand(-1, -1, 2, -1))
        mean, log_scale = picked[:, :, 0, 0], picked[:, :, 1, 0]
        scale = log_scale.clamp(min=self._config.log_scale_floor).exp()
        drawn = torch.addcmul(mean, self._spreads.tensor[at], scale).clamp_(-LOUDEST, LOUDEST)
        heard = self._inputs.tensor[at + 1, :, :BANDS]
        torch.where(self._forced.tensor, heard, drawn, out=heard)

    def _read(self, count: int) -> None:
        """What was drawn, back into the streams; and the rings of those whose steps are done, who leave."""
        bands = self._inputs.tensor[1 : count + 1, :, :BANDS].cpu().numpy()
        parameters = self._parameters[:count].cpu().numpy()
        for member, lane in list(self._seats.items()):
            steps = slice(member.done, member.done + count)
            member.bands[steps], member.parameters[steps] = bands[:, lane], parameters[:, lane]
            member.last[:] = bands[-1, lane]
            if member.left == count:
                member.rings[:] = self._rings_of(lane).cpu().numpy()
                del self._seats[member]
