/* SPDX-License-Identifier: Apache-2.0
 * Start-up of a bare Cortex-M and the harness's files by Arm semihosting (Arm IHI 0099). */
#include "harness.h"

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { ADP_STOPPED_APPLICATION_EXIT = 0x20026 };

extern uint32_t stack_top, data_start, data_end, data_source, bss_start, bss_end;

int main(void);

static int semihosting(int operation, const void *arguments)
{
    register int r0 __asm("r0") = operation;
    register const void *r1 __asm("r1") = arguments;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

__attribute__((noreturn)) static void leave(int status)
{
    const uint32_t block[2] = { ADP_STOPPED_APPLICATION_EXIT, (uint32_t)status };
    semihosting(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

__attribute__((noreturn)) void fault_handler(void)
{
    leave(99);
}

__attribute__((noreturn)) void reset_handler(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: full access to the FPU */
    __asm volatile("dsb\n isb" ::: "memory");
#endif
    for (uint32_t *to = &data_start, *from = &data_source; to < &data_end;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &bss_start; to < &bss_end;) {
        *to++ = 0;
    }
    leave(main());
}

typedef void (*vector)(void);
__attribute__((section(".vectors"), used)) static const vector vectors[16] = {
    (vector)&stack_top, reset_handler, fault_handler, fault_handler, fault_handler, fault_handler, fault_handler,
};

static uint32_t length(const char *text)
{
    uint32_t n = 0;
    while (text[n] != '\0') {
        ++n;
    }
    return n;
}

int harness_open(const char *path, int write)
{
    const uint32_t block[3] = { (uint32_t)(uintptr_t)path, write ? 5u : 1u, length(path) };
    return semihosting(SYS_OPEN, block);
}

uint32_t harness_read(int file, void *buffer, uint32_t size)
{
    const uint32_t block[3] = { (uint32_t)file, (uint32_t)(uintptr_t)buffer, size };
    return (uint32_t)semihosting(SYS_READ, block);
}

uint32_t harness_write(int file, const void *buffer, uint32_t size)
{
    const uint32_t block[3] = { (uint32_t)file, (uint32_t)(uintptr_t)buffer, size };
    return (uint32_t)semihosting(SYS_WRITE, block);
}
