"""Rank 0 evaluates, which takes minutes, while the others wait for it: slow, not stuck."""

import hashlib

import torch.distributed as dist
from _job import begin

ROUNDS = 100_000
"""A twentieth of a second each."""


def embed(block: bytes) -> bytes:
    """One layer."""
    return hashlib.pbkdf2_hmac("sha256", block, b"embed", ROUNDS)


def attend(block: bytes) -> bytes:
    """Another layer."""
    return hashlib.pbkdf2_hmac("sha256", block, b"attend", ROUNDS)


def transform(block: bytes) -> bytes:
    """Another layer."""
    return hashlib.pbkdf2_hmac("sha256", block, b"transform", ROUNDS)


def score(block: bytes) -> bytes:
    """Another layer."""
    return hashlib.pbkdf2_hmac("sha256", block, b"score", ROUNDS)


def evaluate() -> None:
    """Many blocks, each through all layers."""
    for number in range(100_000):
        score(transform(attend(embed(b"%d" % number))))


if begin() == 0:
    evaluate()
dist.barrier()
