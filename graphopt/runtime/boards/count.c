/* SPDX-License-Identifier: Apache-2.0
 * A QEMU plugin that counts the instructions executed between two addresses, given as start= and stop=.
 * Declares the little of QEMU's plugin interface (version 1) that it uses, so that no header is needed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct block;
struct instruction;
enum { INLINE_ADD_U64 = 0, NO_REGISTERS = 0 };

size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct instruction *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct instruction *, void (*)(unsigned, void *), int, void *);

EXPORT int qemu_plugin_version = 1;

static uint64_t start, stop, executed, at_start;

static void on_start(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    at_start = executed;
}

static void on_stop(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    fprintf(stderr, "region %" PRIu64 "\n", executed - at_start);
}

/* A block runs whole or not at all, so its instructions are added at once. */
static void on_translate(plugin_id id, struct block *block)
{
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &executed, count);
    for (size_t i = 0; i < count; ++i) {
        struct instruction *instruction = qemu_plugin_tb_get_insn(block, i);
        const uint64_t address = qemu_plugin_insn_vaddr(instruction);
        if (address == start) {
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_start, NO_REGISTERS, NULL);
        } else if (address == stop) {
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_stop, NO_REGISTERS, NULL);
        }
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments)
{
    (void)info;
    for (int i = 0; i < count; ++i) {
        if (strncmp(arguments[i], "start=", 6) == 0) {
            start = strtoull(arguments[i] + 6, NULL, 0) & ~(uint64_t)1;
        } else if (strncmp(arguments[i], "stop=", 5) == 0) {
            stop = strtoull(arguments[i] + 5, NULL, 0) & ~(uint64_t)1;
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
