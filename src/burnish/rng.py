"""Named, counter-based random streams: the only source of randomness.

`key(seed, "rl", step, problem_id, i)` is a hash, so a draw depends on what it is for and never on
batch size, worker count or arrival order; nothing about randomness needs to be checkpointed.
"""

import hashlib

import numpy as np


def key(seed: int, *names: str | int) -> int:
    """A 63-bit key for the stream that `names` describe, under a run's seed."""
    digest = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "big", signed=True))
    for name in names:
        raw = f"{type(name).__name__}:{name}".encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    return int.from_bytes(digest.digest(), "big") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator (Philox, counter-based) at the start of the named stream."""
    return np.random.Generator(np.random.Philox(key=key(seed, *names)))


def uniforms(keys: np.ndarray, counter: int | np.ndarray) -> np.ndarray:
    """One uniform in (0, 1) for each key and counter (broadcast): SplitMix64 of the two.

    keys: uint64 [N]. Row i depends on keys[i] and counter alone, so a completion's tokens do not
    depend on which others were sampled beside it.
    """
    with np.errstate(over="ignore"):
        counters = np.asarray(counter, dtype=np.uint64) + np.uint64(1)
        z = keys.astype(np.uint64) + counters * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    out: np.ndarray = ((z >> np.uint64(12)).astype(np.float64) + 0.5) / float(1 << 52)
    return out
