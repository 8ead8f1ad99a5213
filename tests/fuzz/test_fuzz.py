"""The fuzzer in its short form: it runs each target, and it finds what is there to be found."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def fuzz(monkeypatch, capsys, tmp_path):
    """A function of words: the fuzzer's exit code, what it printed, and its modules."""
    for place in (TOOLS, TOOLS / "fuzz"):
        monkeypatch.syspath_prepend(str(place))
    decoders = importlib.import_module("decoders")

    def run(*words: str):
        code = decoders.main(["--json", "--keep", str(tmp_path / "kept"), *words])
        return code, json.loads(capsys.readouterr().out)

    run.targets = importlib.import_module("fuzz_targets")
    return run


@pytest.mark.slow
def test_every_decoder_and_reader_takes_any_bytes(fuzz):
    """A value or an error of ours from each target; ``make fuzz`` gives them a minute and more."""
    code, printed = fuzz("--seconds", "15", "--seed", "1")
    assert (code, printed["findings"]) == (0, [])
    assert {row["target"] for row in printed["rows"]} == {*fuzz.targets.TARGETS}
    assert all(row["inputs"] > 3 for row in printed["rows"])


def _spins(data: bytes) -> None:
    while b"x" in data:
        pass


def _holds(data: bytes) -> int:
    return len(bytearray(2**27)) if b"x" in data else 0


def _raises(data: bytes) -> None:
    if b"x" in data:
        raise KeyError(data)


def _crashes(data: bytes) -> None:
    if b"x" in data:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("call", "said"),
    [(_spins, "processor time"), (_holds, "MiB of memory"), (_raises, "KeyError"), (_crashes, "ended with -9")],
)
def test_what_is_wrong_is_found_and_kept(fuzz, monkeypatch, tmp_path, call, said):
    """Time, memory, a foreign error and a crash are findings, each with the input that did it."""
    target = fuzz.targets.Target(call, (), ("text",))
    monkeypatch.setattr(fuzz.targets, "TARGETS", {"planted": lambda: target})
    monkeypatch.setattr(fuzz.targets, "seeds", lambda _: [b"harmless", b"an x"])
    began = time.monotonic()
    code, printed = fuzz("--seconds", "1", "--target", "planted")
    assert code == 1
    assert said in printed["findings"][0]
    kept = [path.read_bytes() for path in (tmp_path / "kept").iterdir()]
    assert kept
    assert all(b"x" in data for data in kept)
    assert time.monotonic() - began < 60


def test_the_same_seed_gives_the_same_inputs(fuzz):
    """A finding can be searched for again."""
    mutations, random = sys.modules["mutations"], importlib.import_module("random")
    corpus = [b"one", b'{"a": [1, 2]}']
    chances = [random.Random("a seed") for _ in range(2)]
    first, second = ([mutations.mutated(corpus, chance) for _ in range(200)] for chance in chances)
    assert first == second
    assert len({*first}) > 150
    assert max(map(len, first)) <= mutations.MAX_BYTES
