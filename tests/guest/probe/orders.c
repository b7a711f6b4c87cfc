/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Orders about hotplug. README.md lists them.
 */
#include "hotplug.h"

static void order_temper(const char *args)
{
    static const char *const names[] = {"willing", "refuse", "silent"};

    for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
        if (str_equal(args, names[i])) {
            temper = (enum temper)i;
            emit("temper is=%s\n", names[i]);
            return;
        }
    }
    emit("error unknown_temper=");
    emit_quoted(args, 64);
    emit("\n");
}

/* The guest's own wish, or its late answer. */
static void order_eject(const char *args)
{
    static const struct {
        const char *kind;
        void (*fn)(u32 n);
    } kinds[] = {{"cpu ", cpuhp_eject}, {"mem ", memhp_eject}, {"pci ", pcihp_eject}};

    for (u32 i = 0; i < ARRAY_SIZE(kinds); i++) {
        const char *rest = str_after(args, kinds[i].kind);
        if (rest) {
            kinds[i].fn(order_number(&rest));
            return;
        }
    }
    emit("error unknown_eject=");
    emit_quoted(args, 64);
    emit("\n");
}

/* Eight bytes of guest-physical memory: all ones where nothing is. */
static void order_peek(const char *args)
{
    u64 addr = str_number(args, NULL) & ~7ull;
    volatile u64 *p = phys_ptr(addr, 8);

    if (p)
        emit("peek addr=%#llx value=%#llx\n", addr, *p);
    else
        emit("peek addr=%#llx unreachable=1\n", addr);
}

static void order_sci(const char *args)
{
    (void)args;
    sci_print();
}

static void order_status(const char *args)
{
    order_sci(args);
    cpuhp_status();
    memhp_status();
    pcihp_status();
    slot_status();
}

const struct order hotplug_orders[] = {
    {"temper", order_temper}, {"eject", order_eject},   {"peek", order_peek},
    {"status", order_status}, {"slot", slot_order},     {"sci", order_sci},
};
const u32 hotplug_order_count = ARRAY_SIZE(hotplug_orders);
