"""ARMv7-M and later: saturation. All cores with the DSP extension have it."""

from graphopt.targets.instructions.portable import CLIP_INT8

for _isa in ("armv7-m", "dsp"):
    CLIP_INT8.on(
        _isa,
        """\
    int32_t clipped;
    __asm__("ssat %0, #8, %1" : "=r"(clipped) : "r"(x));
    return clipped;""",
        guard="defined(__ARM_FEATURE_SAT)",
    )
