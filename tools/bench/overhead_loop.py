"""A training loop in pure Python, with and without an armed worker around it: the program of ``overhead.py``.

In: the number of pairs on the command line; settings and ``READY_FIFO`` from the environment. Out: one
JSON object on stdout: for each clock, a list of pairs of seconds, without and with.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable

import oobdump

STEPS = 120
"""A block of a tenth of a second: twenty switch intervals of the interpreter."""

FEATURES = 64
ROWS = 32
RATE = 0.01


def train(steps: int) -> float:
    """Fit a line by gradient descent: loops, calls, lists and floats, as a training script has them."""
    weights = [0.0] * FEATURES
    rows = [[((row * 31 + column * 17) % 97) / 97 for column in range(FEATURES)] for row in range(ROWS)]
    targets = [sum(row) for row in rows]
    loss = 0.0
    for _ in range(steps):
        errors = [predict(weights, row) - target for row, target in zip(rows, targets, strict=True)]
        loss = sum(error * error for error in errors) / ROWS
        for column in range(FEATURES):
            slope = sum(error * row[column] for error, row in zip(errors, rows, strict=True))
            weights[column] -= RATE * slope / ROWS
    return loss


def predict(weights: list[float], row: list[float]) -> float:
    """The scalar product."""
    return sum(weight * value for weight, value in zip(weights, row, strict=True))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall clock and processor seconds of one block, the latter over all threads."""
    gc.collect()
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def armed() -> tuple[float, float]:
    """One block beside an armed worker."""
    oobdump.start()
    try:
        train(2)  # what start() handed to its threads is done by now
        time.sleep(0.01)
        return timed(lambda: train(STEPS))
    finally:
        oobdump.stop()


def bare() -> tuple[float, float]:
    """The same without."""
    train(2)
    time.sleep(0.01)
    return timed(lambda: train(STEPS))


def main(pairs: int) -> None:
    """Announce, measure, print."""
    ready = os.open(os.environ["READY_FIFO"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(ready, f"ready {os.getpid()} -\n".encode())
    found: dict[str, list[tuple[float, float]]] = {"wall": [], "processor": []}
    for number in range(pairs):
        without, beside = (bare(), armed()) if number % 2 else reversed((armed(), bare()))
        for index, clock in enumerate(found):
            found[clock].append((without[index], beside[index]))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
