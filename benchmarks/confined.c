/* Answers CPUID as a processor without AVX-512, VNNI and AMX would. Code whose CPUID instructions were replaced by UD2, two
   bytes as well, traps; the handler does the instruction in its place and clears the flags. For Linux on x86-64. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <ucontext.h>

#define BIT(n) (UINT32_C(1) << (n))

/* Leaf 7 by register, sub-leaves 0 and 1: the numbers are those of Intel's manual, volume 2A. */
static const uint32_t absent[2][4] = {
    {0,
     /* AVX512 F, DQ, IFMA, PF, ER, CD, BW, VL */
     BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31),
     /* AVX512 VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ */
     BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14),
     /* AVX512 4VNNIW, 4FMAPS, VP2INTERSECT; AMX BF16; AVX512 FP16; AMX TILE, INT8 */
     BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25)},
    /* AVX VNNI, AVX512 BF16, AMX FP16, AVX IFMA; AVX VNNI INT8, NE CONVERT, VNNI INT16, AVX10 */
    {BIT(4) | BIT(5) | BIT(21) | BIT(23), 0, 0, BIT(4) | BIT(5) | BIT(10) | BIT(19)},
};

static void answer(int signal, siginfo_t *info, void *context) {
    (void)info;
    greg_t *of = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *at = (const uint8_t *)of[REG_RIP];
    if (at[0] != 0x0f || at[1] != 0x0b) {
        struct sigaction usual = {.sa_handler = SIG_DFL};
        sigaction(signal, &usual, 0);
        return;
    }
    uint32_t leaf = (uint32_t)of[REG_RAX], sub_leaf = (uint32_t)of[REG_RCX], found[4];
    __cpuid_count(leaf, sub_leaf, found[0], found[1], found[2], found[3]);
    if (leaf == 7 && sub_leaf < 2)
        for (int i = 0; i < 4; ++i) found[i] &= ~absent[sub_leaf][i];
    of[REG_RAX] = found[0];
    of[REG_RBX] = found[1];
    of[REG_RCX] = found[2];
    of[REG_RDX] = found[3];
    of[REG_RIP] += 2;
}

__attribute__((constructor)) static void listen(void) {
    struct sigaction here = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGILL, &here, 0);
}
