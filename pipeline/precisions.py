"""Numeric precisions and backends by name. Free of torch, so that the command line can list them without it."""

PRECISIONS = {  # name -> torch dtype of parameters and activations
    "fp32": "float32",
    "tf32": "float32",  # matrix products round their factors to 10 bits of mantissa
    "bf16": "bfloat16",
    "fp16": "float16",
}
TRAINING_PRECISIONS = tuple(name for name in PRECISIONS if name != "tf32")  # autocast has no dtype for tf32
TORCH, OPENVINO = "torch", "openvino"
BACKENDS: dict[str, tuple[str, ...]] = {  # name -> precisions that networks compute in with it
    TORCH: tuple(PRECISIONS),
    OPENVINO: ("fp32", "bf16", "int8"),
}
QUANTIZED = ("int8",)  # precisions of networks that were quantized, with parameters of their own
AUTO = "auto"  # in place of a backend or a precision: what a measurement of this machine finds fastest
ALL_PRECISIONS = tuple(dict.fromkeys(name for names in BACKENDS.values() for name in names))


def default_backend(precision: str) -> str:
    """Return the backend that computes in a precision where the user names none: torch, if it can."""
    able = [backend for backend, names in BACKENDS.items() if precision in names]
    return able[0] if able and TORCH not in able else TORCH
