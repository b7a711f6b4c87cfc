/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-qtest.c - arbitrary qtest lines against a small machine: RAM, ROM, a device with registers,
 * an interrupt line and a timer, and the accelerator's own models. Each reply must be one of the
 * protocol's: asynchronous lines, then exactly one that begins OK, FAIL or ERR.
 *
 * Requests that are legal but long (64 KiB to the limit of a length, more than 10 ms of virtual
 * time) are left out: they would only be slow.
 */
#include <stdint.h>
#include <string.h>

#include "../../kvm/iobus.h"
#include "../../kvm/irq.h"
#include "../../kvm/memory.h"
#include "../../kvm/vm.h"

#define MAX_LINES 100
#define MAX_STEP_NS 10000000
#define SLOW_LEN 0x10000
#define LEN_LIMIT (256u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    Vm      *vm;
    GMutex   lock;
    IrqLine *line;
    VmTimer *timer;
    guint64  reg;
    IoRegion *ports, *mmio;
    guint8  *memory;
} Board;

static guint64 dev_read(gpointer opaque, guint64 offset, unsigned size)
{
    return ((Board *)opaque)->reg ^ offset;
}

static void dev_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    Board *b = opaque;

    b->reg = value;
    irq_line_set(b->line, value & 1);
    if (value & 2)
        vm_timer_set(b->timer, vm_clock_ns(b->vm) + (gint64)(value & 0xfffff));
}

static void on_timer(gpointer user)
{
    Board *b = user;

    irq_line_set(b->line, !irq_line_get(b->line));
}

static void board_init(Board *b)
{
    static const IoOps ops = { dev_read, dev_write, 2, 4, FALSE };

    b->vm = vm_new(VM_ACCEL_TEST, NULL, NULL, NULL);
    g_assert(b->vm);
    g_mutex_init(&b->lock);
    b->line = irq_line_new(b->vm, 4, "/machine/dev");
    b->timer = vm_timer_new(b->vm, &b->lock, on_timer, b);
    b->ports = iobus_add(b->vm, IO_PIO, 0x500, 8, &ops, b, &b->lock, 0, "dev", NULL);
    b->mmio = iobus_add(b->vm, IO_MMIO, 0x10000, 0x100, &ops, b, &b->lock, 0, "dev", NULL);
    b->memory = g_aligned_alloc0(4, 4096, 4096);
    g_assert(vm_memory_add(b->vm, 0, b->memory, 4096, 0, NULL));
    g_assert(vm_memory_add(b->vm, 0x1000, b->memory + 4096, 4096, MEM_READONLY, NULL));
    g_assert(vm_memory_add(b->vm, 0xfffffffffffff000, b->memory + 8192, 4096, 0, NULL));
}

static void board_clear(Board *b)
{
    iobus_remove(b->vm, b->ports);
    iobus_remove(b->vm, b->mmio);
    vm_timer_free(b->timer);
    irq_line_free(b->line);
    vm_free(b->vm);
    g_mutex_clear(&b->lock);
    g_aligned_free(b->memory);
}

static gboolean too_slow(const Board *b, const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 4);
    guint n = g_strv_length(words);
    guint64 v;

    if (n == 2 && g_str_has_prefix(line, "clock_s")) {
        v = g_ascii_strtoull(words[1], NULL, 0);
        return v > MAX_STEP_NS + (line[7] == 'e' ? (guint64)vm_clock_ns(b->vm) : 0);
    }
    v = n > 2 ? g_ascii_strtoull(words[2], NULL, 0) : 0;
    return v > SLOW_LEN && v <= LEN_LIMIT && !g_str_has_prefix(line, "out") &&
           !g_str_has_prefix(line, "irq");
}

static void check_reply(const char *reply)
{
    while (g_str_has_prefix(reply, "IRQ raise ") || g_str_has_prefix(reply, "IRQ lower "))
        reply = strchr(reply, '\n') + 1;
    g_assert(g_str_has_prefix(reply, "OK") || g_str_has_prefix(reply, "FAIL ") ||
             g_str_has_prefix(reply, "ERR "));
    g_assert(strchr(reply, '\n') == reply + strlen(reply) - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_auto(GStrv) lines = g_strsplit(text, "\n", MAX_LINES);
    Board board = { 0 };

    board_init(&board);
    for (guint i = 0; lines[i]; i++) {
        g_autofree char *reply = NULL;

        if (too_slow(&board, lines[i]))
            continue;
        reply = vm_qtest_line(board.vm, lines[i]);
        check_reply(reply);
    }
    board_clear(&board);
    return 0;
}
