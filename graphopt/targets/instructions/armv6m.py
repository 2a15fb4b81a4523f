"""ARMv6-M, which multiplies to 32 bits alone."""

from graphopt.targets.instructions.portable import MULTIPLY_UPPER

MULTIPLY_UPPER.on(
    "armv6-m",
    """\
    const uint32_t a_low = (uint32_t)a & 0xffffu;
    const uint32_t b_low = (uint32_t)b & 0xffffu;
    const int32_t a_high = a >> 16;
    const int32_t b_high = b >> 16;
    const int32_t middle = a_high * (int32_t)b_low + (int32_t)(a_low * b_low >> 16);
    const int32_t other = (int32_t)a_low * b_high + (int32_t)((uint32_t)middle & 0xffffu);
    return a_high * b_high + (middle >> 16) + (other >> 16) + c;""",
    comment="The upper half of a * b in 64 bits, plus c, by four products of 16 bits: others call a function for it.",
)
