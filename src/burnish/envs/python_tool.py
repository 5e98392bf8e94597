"""Python that a model asks to be run: in the sandbox, and what it printed comes back.

Where the sandbox cannot be had the run ends with its error; there is no weaker way.
"""

WALL_S = 5.0
MEMORY_MB = 256
OUTPUT_BYTES = 1 << 14


def run_python(source: str) -> str:
    """What the program printed.

    Raises:
        ValueError: it failed, took too long or printed too much; the message is for the model.
        SandboxError: programs cannot be run safely on this machine.
    """
    from burnish.sandbox import box

    limits = box.Limits(wall_s=WALL_S, memory_mb=MEMORY_MB, output_bytes=OUTPUT_BYTES)
    ran = box.run(source, limits=limits)
    if ran.timed_out:
        raise ValueError(f"stopped after {WALL_S:g} seconds")
    if ran.out_of_memory:
        raise ValueError(f"more than {MEMORY_MB} MiB of memory")
    if ran.output_capped:
        raise ValueError(f"printed more than {OUTPUT_BYTES} bytes")
    if not ran.ok:
        lines = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        raise ValueError(lines[-1] if lines else "the program failed")
    printed = ran.stdout.decode("utf-8", "replace").strip()
    return printed or "nothing was printed"
