"""ARMv7-M and later: saturation. All cores with the DSP extension have it."""

from graphopt.targets.instructions.portable import CLIP_INT8, CLIP_INT16

for _isa in ("armv7-m", "dsp"):
    for _clip, _bits in ((CLIP_INT8, 8), (CLIP_INT16, 16)):
        _clip.on(
            _isa,
            f"""\
    int32_t clipped;
    __asm__("ssat %0, #{_bits}, %1" : "=r"(clipped) : "r"(x));
    return clipped;""",
            guard="defined(__ARM_FEATURE_SAT)",
        )
