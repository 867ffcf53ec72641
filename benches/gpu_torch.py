"""The workloads of `kiln bench` in PyTorch on CUDA, for figures beside those of benches/gpu.sh.

    python benches/gpu_torch.py [--device cuda] [--seconds 450] [WORKLOAD...] > torch.jsonl

Needs torch alone. A line of JSON for each result, as `kiln bench --json` prints: {"peer", "version", "device",
"workload", "metric", "value", "unit"}. Metrics are Kiln's names behind `tf32_`, `bf16_` (autocast) or `f16_`
(of w1 the matrices' type; elsewhere autocast, and training with a gradient scaler), and `b64_` and the like for
batches. PyTorch runs as a user first writes it: eager and NCHW.
"""

import argparse
import contextlib
import json
import math
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

WORKLOADS = ["w1", "w2", "w3", "w4", "w5", "w6", "w7lstm", "w7attn"]
CONVOLUTION = 2.0 * 32 * 64 * 64 * 9 * 32 * 32 / 1e9
CHAIN = 4 * 1024 * 1024
SIZES = [256, 512, 1024, 2048, 4096, 8192]
BATCHES = [64, 128, 512]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=" ".join(WORKLOADS))
parser.add_argument("--device", default="cuda")
parser.add_argument("--seconds", type=float, default=450, help="after which nothing more is begun")
parser.add_argument("--small", action="store_true", help="the smallest sizes only, to try the script")
options = parser.parse_args()
for name in options.workloads:
    if name not in WORKLOADS:
        parser.error(f"no workload is called {name}; there are {' '.join(WORKLOADS)}")
if options.small:
    SIZES, BATCHES = SIZES[:1], [2]
device = torch.device(options.device)
cuda = device.type == "cuda"
device_name = torch.cuda.get_device_name(device) if cuda else options.device
started = time.perf_counter()


def emit(workload, metric, value, unit):
    row = {"peer": f"torch-{device.type}", "version": torch.__version__, "device": device_name,
           "workload": workload, "metric": metric, "value": float(value), "unit": unit}
    print(json.dumps(row, separators=(",", ":")), flush=True)


def synchronize():
    if cuda:
        torch.cuda.synchronize(device)


def timed(workload, prefix, step, latency_only=False):
    """Seconds of an iteration, in the median: at least 3 awaited iterations and 1 s to warm up, at most 30; then
    7 repetitions (5 where 7 would pass 60 s) of about 0.1 s with one wait at the end, or 20 of one iteration."""

    def awaited():
        begin = time.perf_counter()
        step()
        synchronize()
        return time.perf_counter() - begin

    begin = time.perf_counter()
    first = last = awaited()
    iteration = 1
    while iteration < 30 and not (iteration >= 3 and time.perf_counter() - begin >= 1.0):
        last = awaited()
        iteration += 1
    warmup = time.perf_counter() - begin
    inner = 1 if latency_only else min(200, max(1, math.ceil(0.1 / last)))
    target = 20 if latency_only else 7
    seconds, begin = [], time.perf_counter()
    while len(seconds) < target and (len(seconds) < 5 or time.perf_counter() - begin < 60):
        start = time.perf_counter()
        # Held until the wait, as in the engines that would skip what nobody holds.
        held = [step() for _ in range(inner)]
        synchronize()
        seconds.append((time.perf_counter() - start) / inner)
        del held
    seconds.sort()
    middle = len(seconds) // 2
    median = seconds[middle] if len(seconds) % 2 else (seconds[middle - 1] + seconds[middle]) / 2
    emit(workload, prefix + "time", median * 1e3, "ms")
    emit(workload, prefix + "time_min", seconds[0] * 1e3, "ms")
    emit(workload, prefix + "time_max", seconds[-1] * 1e3, "ms")
    emit(workload, prefix + "first_iteration", first, "s")
    emit(workload, prefix + "warmup_total", warmup, "s")
    emit(workload, prefix + "reps", len(seconds), "count")
    emit(workload, prefix + "inner", inner, "count")
    return median


def uniform(*shape):
    return torch.rand(*shape, device=device) * 2 - 1


def small_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10),
    ).to(device)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet18():
    """ResNet-18 for 32 x 32 images (He et al. 2015, arXiv:1512.03385): a 3 x 3 stem without pooling."""
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    inputs = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)).to(device)


class Mode:
    """A precision: what metrics begin with, TF32 or not, and the type of autocast."""

    def __init__(self, prefix, tf32=False, autocast=None):
        self.prefix, self.tf32, self.dtype = prefix, tf32, autocast

    def forward(self):
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, dtype=self.dtype)


MODES = [Mode(""), Mode("tf32_", tf32=True), Mode("bf16_", True, torch.bfloat16), Mode("f16_", True, torch.float16)]


def w1(mode):
    dtype = mode.dtype or torch.float32
    for n in SIZES:
        a, b = uniform(n, n).to(dtype), uniform(n, n).to(dtype)
        prefix = f"n{n}_{mode.prefix}"
        with torch.no_grad():
            median = timed("w1", prefix, lambda: a @ b)
        emit("w1", prefix + "rate", 2.0 * n**3 / median / 1e9, "GFLOP/s")


def w2(mode):
    x, k, g = uniform(32, 64, 32, 32), uniform(64, 64, 3, 3), uniform(32, 64, 32, 32)
    with torch.no_grad(), mode.forward():
        median = timed("w2", mode.prefix + "fwd_", lambda: F.conv2d(x, k, padding=1))
    emit("w2", mode.prefix + "fwd_rate", CONVOLUTION / median, "GFLOP/s")
    x.requires_grad_()
    k.requires_grad_()

    def step():
        with mode.forward():
            y = F.conv2d(x, k, padding=1)
        return torch.autograd.grad((y * g).sum(), (x, k))

    median = timed("w2", mode.prefix + "fwdbwd_", step)
    emit("w2", mode.prefix + "fwdbwd_rate", 3 * CONVOLUTION / median, "GFLOP/s")


def w3(mode):
    # No matrix product, so nothing to choose.
    if mode.prefix:
        return
    x = uniform(CHAIN)

    def step():
        return torch.relu(x * 1.5 + -0.25) + x * 0.5

    median = timed("w3", "", step, latency_only=True)
    emit("w3", "rate", 8.0 * CHAIN / median / 1e9, "GB/s")
    timed("w3", "queued_held_", step)


def train(workload, mode, batch, model, optimizer, x):
    labels = torch.randint(0, 10, (batch,), device=device)
    scaler = torch.amp.GradScaler(device.type, enabled=mode.dtype == torch.float16)
    losses = []

    def step():
        optimizer.zero_grad(set_to_none=True)
        with mode.forward():
            loss = F.cross_entropy(model(x), labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        if not losses:
            losses.append(loss.item())
        losses[1:] = [loss.detach()]

    prefix = f"b{batch}_{mode.prefix}"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    median = timed(workload, prefix, step)
    emit(workload, prefix + "rate", batch / median, "samples/s")
    emit(workload, prefix + "loss_first", losses[0], "nats")
    emit(workload, prefix + "loss_last", losses[1].item(), "nats")
    if cuda:
        emit(workload, prefix + "peak_memory", torch.cuda.max_memory_allocated(device) / 2**20, "MiB")


def w4(mode):
    for batch in BATCHES:
        model = small_cnn()
        train("w4", mode, batch, model, torch.optim.Adam(model.parameters(), 1e-3), uniform(batch, 1, 28, 28))


def w5(mode):
    for batch in [32, *BATCHES] if not options.small else BATCHES:
        model = resnet18()
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        train("w5", mode, batch, model, optimizer, uniform(batch, 3, 32, 32))


def w6(mode):
    model = resnet18().eval()
    for batch in (1, 32):
        x = uniform(batch, 3, 32, 32)

        def step():
            with mode.forward():
                return model(x).float().cpu()

        prefix = f"b{batch}_{mode.prefix}"
        with torch.inference_mode():
            median = timed("w6", prefix, step, latency_only=batch == 1)
        emit("w6", prefix + "rate", batch / median, "images/s")


def sequence(workload, mode, model, shape):
    model = model.to(device)
    x, g = uniform(*shape).requires_grad_(), uniform(*shape)
    wanted = [x, *model.parameters()]

    def step():
        with mode.forward():
            y = model(x)
        y = y[0] if isinstance(y, tuple) else y
        return torch.autograd.grad((y * g).sum(), wanted)

    timed(workload, mode.prefix, step)


def w7lstm(mode):
    sequence("w7lstm", mode, nn.LSTM(256, 256, batch_first=True), (32, 64, 256))


def w7attn(mode):
    model = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, activation="gelu", batch_first=True)
    sequence("w7attn", mode, model, (8, 128, 256))


failed = False
for workload in options.workloads or WORKLOADS:
    for mode in MODES:
        if time.perf_counter() - started > options.seconds:
            print(f"no time left for {workload} {mode.prefix}", file=sys.stderr)
            failed = True
            continue
        torch.manual_seed(42)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = mode.tf32
        try:
            globals()[workload](mode)
        except RuntimeError as error:
            print(f"{workload} {mode.prefix} failed: {error}", file=sys.stderr)
            failed = True
sys.exit(failed)
