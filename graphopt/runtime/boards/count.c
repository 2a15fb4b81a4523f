/* SPDX-License-Identifier: Apache-2.0
 * A QEMU plugin that counts the instructions executed between two addresses, given as start= and stop=, and of
 * each call that a driver, from driver= to driver_end=, makes of functions at the addresses given as entry=.
 * With thumb=1 it also estimates the cycles of a Cortex-M without caches and wait states: one for each instruction;
 * one for each register of LDM, STM, LDRD and STRD beyond the first; one for a load whose neighbour before it is no
 * load or store; two for a jump that is taken; six for a division; of vectors two for each instruction, and one for each
 * element that a gather or scatter moves.
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
size_t qemu_plugin_insn_size(const struct instruction *);
const void *qemu_plugin_insn_data(const struct instruction *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *, int, void *, uint64_t);
void qemu_plugin_register_vcpu_tb_exec_cb(struct block *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct instruction *, void (*)(unsigned, void *), int, void *);

EXPORT int qemu_plugin_version = 1;

static uint64_t start, stop, driver, driver_end, entries[MOST_ENTRIES], executed, at_start, at_entry;
static uint64_t cycles, before_block, cycles_at_start, cycles_at_entry, end_of_last;
static size_t entry_count;
static int inside, thumb;

/* A block of code: where it stands, and the cycles of its instructions where no jump leads to it. */
struct timed {
    uint64_t begin, end, cycles;
};

/* What an instruction of the Thumb set moves. */
struct access {
    int loads, stores, registers, vector, lanes, divides;
};

static void on_start(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    at_start = executed;
    cycles_at_start = before_block;
}

static void on_stop(unsigned cpu, void *data)
{
    (void)cpu;
    (void)data;
    fprintf(stderr, "region %" PRIu64 " %" PRIu64 "\n", executed - at_start, before_block - cycles_at_start);
}

static void on_block(unsigned cpu, void *data)
{
    const struct timed *const block = data;
    (void)cpu;
    before_block = cycles;
    cycles += block->cycles + (block->begin == end_of_last ? 0 : 2);
    end_of_last = block->end;
}

static struct access access_of_half(uint32_t half)
{
    struct access found = {0, 0, 1, 0, 0, 0};
    const uint32_t kind = half >> 12, list = half & 0xff;
    if (half >> 11 == 9) {
        found.loads = 1;
    } else if (kind == 5) {
        found.loads = (half >> 9 & 7) > 2;
        found.stores = !found.loads;
    } else if (kind >= 6 && kind <= 9) {
        found.loads = (half & 0x800) != 0;
        found.stores = !found.loads;
    } else if (kind == 12) {
        found.loads = (half & 0x800) != 0;
        found.stores = !found.loads;
        found.registers = __builtin_popcount(list);
    } else if ((half & 0xf600) == 0xb400) { /* PUSH and POP */
        found.loads = (half & 0x800) != 0;
        found.stores = !found.loads;
        found.registers = __builtin_popcount(half & 0x1ff);
    }
    return found;
}

static struct access access_of_word(uint32_t first, uint32_t second)
{
    struct access found = {0, 0, 1, 0, 0, 0};
    const int loads = (first & 0x10) != 0;
    if ((first & 0xfe40) == 0xe800) { /* LDM, STM */
        found.registers = __builtin_popcount(second);
        found.loads = loads;
        found.stores = !loads;
    } else if ((first & 0xfe40) == 0xe840 && (first & 0x120)) { /* LDRD, STRD */
        found.registers = 2;
        found.loads = loads;
        found.stores = !loads;
    } else if ((first & 0xfe00) == 0xf800) { /* LDR, STR */
        found.loads = loads;
        found.stores = !loads;
    } else if ((first & 0xee00) == 0xec00) { /* of vectors, or of floats */
        found.loads = loads;
        found.stores = !loads;
        found.vector = (second & 0x1e00) >= 0x1e00 || (first & 0xefa0) == 0xec80;
        if ((first & 0xefa0) == 0xec80 && (second & 0x1e00) == 0x0e00) {
            found.lanes = 16 >> (second >> 7 & 3);
        }
    } else if ((first & 0xec00) == 0xec00) {
        found.vector = 1;
    } else if ((first & 0xffd0) == 0xfb90) {
        found.divides = 1;
    }
    return found;
}

/* The cycles of the instructions of a block, where no jump leads to it. */
static uint64_t cycles_of(const struct block *block)
{
    uint64_t total = 0;
    int before = 0;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); ++i) {
        const struct instruction *const one = qemu_plugin_tb_get_insn(block, i);
        const unsigned char *const code = qemu_plugin_insn_data(one);
        const uint32_t first = code[0] | (uint32_t)code[1] << 8;
        const int wide = qemu_plugin_insn_size(one) == 4;
        const struct access found =
            wide ? access_of_word(first, code[2] | (uint32_t)code[3] << 8) : access_of_half(first);
        const int moves = found.loads || found.stores;
        total += 1 + (found.registers > 1 ? found.registers - 1 : 0) + (found.loads && !before) + found.vector;
        total += found.lanes > 2 ? found.lanes - 2 : 0;
        total += found.divides ? 6 : 0;
        before = moves;
    }
    return total;
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
        cycles_at_entry = before_block;
    }
}

static void on_driver(unsigned cpu, void *data)
{
    (void)cpu;
    if (inside) {
        inside = 0;
        fprintf(stderr, "call %" PRIu64 " %" PRIu64 "\n", executed_before(data) - at_entry,
            before_block - cycles_at_entry);
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
    if (thumb) { /* a block is translated again now and then: its times are never freed */
        struct timed *const timed = malloc(sizeof *timed);
        const struct instruction *const last = qemu_plugin_tb_get_insn(block, count - 1);
        timed->begin = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(block, 0));
        timed->end = qemu_plugin_insn_vaddr(last) + qemu_plugin_insn_size(last);
        timed->cycles = cycles_of(block);
        qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, NO_REGISTERS, timed);
    }
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
        } else if (strcmp(arguments[i], "thumb=1") == 0) {
            thumb = 1;
        } else if (strncmp(arguments[i], "entry=", 6) == 0 && entry_count < MOST_ENTRIES) {
            entries[entry_count++] = address;
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    return 0;
}
