/* SPDX-License-Identifier: Apache-2.0
 * A QEMU plugin that counts the instructions executed between two addresses, given as start= and stop=, and of
 * each call that a driver, from driver= to driver_end=, makes of functions at the addresses given as entry=.
 * Declares the little of QEMU's plugin interface (version 1) that it uses, so that no header is needed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct block;
struct instruction;
enum { INLINE_ADD_U64 = 0, NO_REGISTERS = 0, MOST_ENTRIES = 4096 };

size_t qemu_plugin_tb_n_insns(const struct block *);
struct instruction *qemu_plugin_tb_get_insn(const struct block *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct instruction *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct block *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct instruction *, void (*)(unsigned, void *), int, void *);

EXPORT int qemu_plugin_version = 1;

static uint64_t start, stop, driver, driver_end, entries[MOST_ENTRIES], executed, at_start, at_entry;
static size_t entry_count;
static int inside;

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

/* A block was counted when it began: data is how many of its instructions, this one among them, are yet to run. */
static uint64_t executed_before(const void *data)
{
    return executed - (uint64_t)(uintptr_t)data;
}

/* A function may jump back to where it begins: it is entered from the driver alone. */
static void on_entry(unsigned cpu, void *data)
{
    (void)cpu;
    if (!inside) {
        inside = 1;
        at_entry = executed_before(data);
    }
}

static void on_driver(unsigned cpu, void *data)
{
    (void)cpu;
    if (inside) {
        inside = 0;
        fprintf(stderr, "call %" PRIu64 "\n", executed_before(data) - at_entry);
    }
}

static int is_entry(uint64_t address)
{
    for (size_t i = 0; i < entry_count; ++i) {
        if (entries[i] == address) {
            return 1;
        }
    }
    return 0;
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
        } else if (address >= driver && address < driver_end) {
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_driver, NO_REGISTERS, (void *)(count - i));
        } else if (is_entry(address)) {
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_entry, NO_REGISTERS, (void *)(count - i));
        }
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments)
{
    (void)info;
    for (int i = 0; i < count; ++i) {
        const char *const value = strchr(arguments[i], '=');
        const uint64_t address = value == NULL ? 0 : strtoull(value + 1, NULL, 0) & ~(uint64_t)1;
        if (strncmp(arguments[i], "start=", 6) == 0) {
            start = address;
        } else if (strncmp(arguments[i], "stop=", 5) == 0) {
            stop = address;
        } else if (strncmp(arguments[i], "driver=", 7) == 0) {
            driver = address;
        } else if (strncmp(arguments[i], "driver_end=", 11) == 0) {
            driver_end = address;
        } else if (strncmp(arguments[i], "entry=", 6) == 0 && entry_count < MOST_ENTRIES) {
            entries[entry_count++] = address;
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
