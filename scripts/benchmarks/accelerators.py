"""The name of what a benchmark ran on."""

import jax


def accelerator() -> str | None:
    """Name the accelerator, None on a CPU."""
    device = jax.devices()[0]
    return None if device.platform == "cpu" else device.device_kind
