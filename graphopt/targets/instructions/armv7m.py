"""ARMv7-M and later: saturation."""

from graphopt.targets.instructions.portable import CLIP_INT8

for _isa in ("armv7-m", "armv7e-m", "armv8-m", "armv8.1-m"):
    CLIP_INT8.on(
        _isa,
        """\
    int32_t clipped;
    __asm__("ssat %0, #8, %1" : "=r"(clipped) : "r"(x));
    return clipped;""",
        guard="defined(__ARM_FEATURE_SAT)",
    )
