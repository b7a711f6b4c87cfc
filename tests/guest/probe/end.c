/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ways to end. Each prints its line first, since most leave no time to. A way that has not
 * worked after a second says so and falls back to a triple fault, which always works, so that a
 * test sees a failure rather than a hang; `hlt`, `idle` and `loop` are meant to stay.
 *
 * internal-error jumps to an address without memory, where no instruction can be fetched: an
 * emulation failure (KVM_EXIT_INTERNAL_ERROR, suberror 1) on every KVM, since code in ring 0 that
 * can be neither run nor emulated has no other way out.
 */
#include "probe.h"

#define UNMAPPED 0xd0000000u
#define DEBUG_EXIT_PORT 0x501
#define SLP_EN 0x2000
#define SLP_TYP_SHIFT 10

/* Space 0 is memory, 1 is I/O ports; nothing else is used for these registers. */
static void write_gas(const struct gas *g, u8 v)
{
    volatile u8 *p;

    if (g->space == 1) {
        outb((u16)g->addr, v);
    } else if (g->space == 0 && (p = phys_ptr(g->addr, 1))) {
        *p = v;
    }
}

/* A hardware-reduced machine has no PM1 block but a sleep control register of one byte. */
static void end_poweroff(const char *arg)
{
    u16 cnt = (u16)acpi.pm1a_cnt;

    (void)arg;
    if ((acpi.flags & FADT_HW_REDUCED) && acpi.sleep_control.addr)
        write_gas(&acpi.sleep_control, (u8)(acpi.s5_a << 2 | 0x20));
    else if (cnt && acpi.has_s5)
        outw(cnt, (u16)((inw(cnt) & ~0x3c00u) | acpi.s5_a << SLP_TYP_SHIFT | SLP_EN));
}

/* The way that ACPI names, then the keyboard controller's reset line. */
static void end_reset(const char *arg)
{
    (void)arg;
    if ((acpi.flags & FADT_RESET_REG) && acpi.reset.addr) {
        write_gas(&acpi.reset, acpi.reset_value);
        delay_us(100000);
    }
    outb(0x64, 0xfe);
}

/* Bit 1 chooses the kind of reset, the rising edge of bit 2 does it. */
static void end_cf9(const char *arg)
{
    (void)arg;
    outb(0xcf9, 0x02);
    outb(0xcf9, 0x06);
}

/* No IDT: neither the #UD nor the faults that follow can be delivered. */
static void end_triple(const char *arg)
{
    static const struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) empty = {0, 0};

    (void)arg;
    __asm__ volatile("cli; lidt %0; ud2" : : "m"(empty));
}

/* debug-exit:N[:PORT] */
static void end_debug_exit(const char *arg)
{
    const char *rest = arg;
    u8 code = (u8)str_number(arg, &rest);

    outb(*rest == ':' ? (u16)str_number(rest + 1, NULL) : DEBUG_EXIT_PORT, code);
}

static void end_internal_error(const char *arg)
{
    uintptr_t addr = *arg ? (uintptr_t)str_number(arg, NULL) : UNMAPPED;

    __asm__ volatile("jmp *%0" : : "r"(addr));
}

static void end_loop(const char *arg)
{
    (void)arg;
    for (;;) {
        cpu_pause();
    }
}

static void end_hlt(const char *arg)
{
    (void)arg;
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

/* No processor has anything to do, ever: what the monitor spends now is its own. */
static void end_idle(const char *arg)
{
#ifdef __x86_64__
    smp_park_all();
#endif
    end_hlt(arg);
}

static const struct way {
    const char *name;
    void (*fn)(const char *arg);
} ways[] = {
    {"poweroff", end_poweroff}, {"reset", end_reset},
    {"triple", end_triple},     {"cf9", end_cf9},
    {"debug-exit", end_debug_exit}, {"internal-error", end_internal_error},
    {"hlt", end_hlt},           {"idle", end_idle},
    {"loop", end_loop},
};

void end_run(const char *how)
{
    const struct way *way = NULL;
    const char *arg = "";

    for (u32 i = 0; i < ARRAY_SIZE(ways); i++) {
        const char *rest = str_after(how, ways[i].name);
        if (rest && (!*rest || *rest == ':')) {
            way = &ways[i];
            arg = *rest ? rest + 1 : rest;
        }
    }
    /* A typing error in a test must not become a hang. */
    if (!way) {
        emit("error unknown_end=");
        emit_quoted(how, 64);
        emit("\n");
        way = &ways[0];
    }
    emit("end how=%s", way->name);
    if (*arg)
        emit(" arg=%s", arg);
    emit("\n");
    console_drain();
    way->fn(arg);
    delay_us(1000000);
    emit("end how=triple failed=%s\n", way->name);
    console_drain();
    end_triple(arg);
    end_hlt(arg);
    __builtin_unreachable();
}
