"""The DSP extension of ARMv7E-M and ARMv8-M."""

from graphopt.targets.instructions.portable import MULTIPLY_UPPER

MULTIPLY_UPPER.on(
    "dsp",
    """\
    int32_t sum;
    __asm__("smmla %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(c));
    return sum;""",
    guard="defined(__ARM_FEATURE_DSP)",
    comment="The upper half of a * b in 64 bits, plus c.",
)
