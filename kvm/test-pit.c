/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-pit.c - the interval timer (Intel 8254, three channels at 0x40-0x43) and port 0x61 of the
 * PC.
 *
 * Nothing ticks. Each channel remembers when its count was loaded; what the counter holds and what
 * its output is follows from the virtual clock and the mode. Only channel 0, whose output is IRQ 0,
 * has a timer, set to the next change of its output. Channel 2's gate is bit 0 of port 0x61, its
 * output bit 5; bit 4 toggles with what was the memory refresh (15 us), since programs wait by it.
 *
 * Modes: 0 output rises at the end of the count; 1 and 5 are started by the gate; 2 a pulse low for
 * one clock each period; 3 a square wave; 4 one pulse at the end. BCD counts are read and written
 * as such.
 */
#include "test-accel.h"

#include "../common/util.h"

#define PIT_HZ G_GINT64_CONSTANT(1193182)
#define NS_PER_S G_GINT64_CONSTANT(1000000000)
#define N_CHANNELS 3

typedef struct {
    guint32 count;    /* 1 .. 0x10000 (10000 in BCD) */
    guint64 start;    /* ns: when counting began */
    guint8  loaded;   /* a count was written since the mode */
    guint8  mode, bcd, access; /* access: 1 low, 2 high, 3 low then high */
    guint8  gate;
    guint8  write_high, read_high; /* the next byte of access 3 */
    guint8  write_low; /* its first byte */
    guint8  latched;   /* count bytes left to read from `latch` */
    guint16 latch;
    guint8  status_latched, status;
} Channel;

struct TestPit {
    Vm       *vm;
    GMutex    lock; /* all that follows */
    Channel   channels[N_CHANNELS];
    guint8    speaker; /* bit 1 of port 0x61 */
    IrqLine  *irq;
    VmTimer  *timer;
    IoRegion *ports, *port61;
};

/* ---- time ---- */

static guint64 ticks_since(const TestPit *pit, const Channel *c)
{
    guint64 ns = (guint64)vm_clock_ns(pit->vm) - c->start;

    return ns / NS_PER_S * PIT_HZ + ns % NS_PER_S * PIT_HZ / NS_PER_S;
}

/* The instant at which TICKS have passed, rounded up so that ticks_since() says so too. */
static gint64 instant_of(const Channel *c, guint64 ticks)
{
    guint64 s = ticks / PIT_HZ, rest = ticks % PIT_HZ;

    return (gint64)(c->start + s * NS_PER_S + (rest * NS_PER_S + PIT_HZ - 1) / PIT_HZ);
}

static gboolean is_periodic(const Channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* Modes 0, 2, 3 and 4 count while the gate is high; 1 and 5 once it rose. */
static gboolean counts(const Channel *c)
{
    return c->loaded && (c->gate || c->mode == 1 || c->mode == 5);
}

static gboolean output(const TestPit *pit, const Channel *c)
{
    guint64 t;

    if (!counts(c))
        return c->mode != 0;
    t = ticks_since(pit, c);
    switch (c->mode) {
    case 0:
    case 1:
        return t >= c->count;
    case 2:
        return t % c->count != c->count - 1;
    case 3:
        return t % c->count < (c->count + 1) / 2;
    default: /* 4, 5: low for one clock at the end */
        return t != c->count;
    }
}

/* Ticks from the start to the next change of the output; 0: it will not change any more. */
static guint64 next_change(const TestPit *pit, const Channel *c)
{
    guint64 t, period;

    if (!counts(c))
        return 0;
    t = ticks_since(pit, c);
    period = t / c->count * c->count;
    switch (c->mode) {
    case 0:
    case 1:
        return t < c->count ? c->count : 0;
    case 2:
        return t - period < c->count - 1 ? period + c->count - 1 : period + c->count;
    case 3:
        return t - period < (c->count + 1) / 2 ? period + (c->count + 1) / 2 : period + c->count;
    default:
        return t < c->count ? c->count : t == c->count ? c->count + 1 : 0;
    }
}

static guint16 to_bcd(guint v)
{
    return (guint16)(v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12);
}

static guint from_bcd(guint16 v)
{
    return (v & 0xfu) + (v >> 4 & 0xfu) * 10 + (v >> 8 & 0xfu) * 100 + (v >> 12 & 0xfu) * 1000;
}

static guint16 counter(const TestPit *pit, const Channel *c)
{
    guint64 t = counts(c) ? ticks_since(pit, c) : 0, wrap = c->bcd ? 10000 : 0x10000;
    guint v;

    if (c->mode == 3) /* counts by two */
        v = (guint)(c->count - 2 * t % c->count);
    else if (is_periodic(c))
        v = (guint)(c->count - t % c->count);
    else
        v = (guint)((c->count + wrap - t % wrap) % wrap);
    return c->bcd ? to_bcd(v % 10000) : (guint16)v;
}

/* ---- channel 0's interrupt ---- */

/* Lock held, on any change of channel 0. */
static void irq_update(TestPit *pit)
{
    const Channel *c = &pit->channels[0];
    guint64 next = next_change(pit, c);

    irq_line_set(pit->irq, c->loaded && output(pit, c));
    if (next > 0)
        vm_timer_set(pit->timer, instant_of(c, next));
    else
        vm_timer_cancel(pit->timer);
}

static void on_timer(gpointer user)
{
    irq_update(user);
}

/* ---- registers ---- */

static void start(TestPit *pit, Channel *c)
{
    c->start = (guint64)vm_clock_ns(pit->vm);
}

static void load(TestPit *pit, Channel *c, guint16 value)
{
    c->count = c->bcd ? from_bcd(value) : value;
    if (c->count == 0)
        c->count = c->bcd ? 10000 : 0x10000;
    /* A square wave of 1 and a pulse each clock do not exist: the shortest is 2. */
    if (is_periodic(c) && c->count == 1)
        c->count = 2;
    c->loaded = 1;
    start(pit, c);
}

static void count_write(TestPit *pit, Channel *c, guint8 value)
{
    switch (c->access) {
    case 1:
        load(pit, c, value);
        break;
    case 2:
        load(pit, c, (guint16)(value << 8));
        break;
    default:
        if (c->write_high)
            load(pit, c, (guint16)(c->write_low | value << 8));
        else
            c->write_low = value;
        c->write_high = !c->write_high;
    }
}

static guint8 count_read(TestPit *pit, Channel *c)
{
    guint16 v;

    if (c->status_latched) {
        c->status_latched = 0;
        return c->status;
    }
    v = c->latched ? c->latch : counter(pit, c);
    if (c->latched)
        c->latched--;
    if (c->access == 3) {
        c->read_high = !c->read_high;
        return (guint8)(c->read_high ? v : v >> 8);
    }
    return (guint8)(c->access == 2 ? v >> 8 : v);
}

static void latch_count(TestPit *pit, Channel *c)
{
    if (c->latched)
        return;
    c->latch = counter(pit, c);
    c->latched = c->access == 3 ? 2 : 1;
}

static void latch_status(TestPit *pit, Channel *c)
{
    if (c->status_latched)
        return;
    c->status =
        (guint8)(output(pit, c) << 7 | !c->loaded << 6 | c->access << 4 | c->mode << 1 | c->bcd);
    c->status_latched = 1;
}

static void read_back(TestPit *pit, guint8 value)
{
    for (guint i = 0; i < N_CHANNELS; i++) {
        if (!(value & 2u << i))
            continue;
        if (!(value & 0x20))
            latch_count(pit, &pit->channels[i]);
        if (!(value & 0x10))
            latch_status(pit, &pit->channels[i]);
    }
}

static void control_write(TestPit *pit, guint8 value)
{
    Channel *c;

    if (value >> 6 == 3) {
        read_back(pit, value);
        return;
    }
    c = &pit->channels[value >> 6];
    if ((value >> 4 & 3) == 0) {
        latch_count(pit, c);
        return;
    }
    *c = (Channel){ .gate = c->gate,
                    .access = value >> 4 & 3,
                    .mode = value >> 1 & 7,
                    .bcd = value & 1,
                    .count = 0x10000 };
    if (c->mode > 5)
        c->mode -= 4; /* bit 2 of modes 2 and 3 does not count */
}

static guint64 pit_read(gpointer opaque, guint64 offset, unsigned size)
{
    TestPit *pit = opaque;

    return offset == N_CHANNELS ? 0 : count_read(pit, &pit->channels[offset]);
}

static void pit_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    TestPit *pit = opaque;

    if (offset == N_CHANNELS)
        control_write(pit, (guint8)value);
    else
        count_write(pit, &pit->channels[offset], (guint8)value);
    irq_update(pit);
}

static guint64 port61_read(gpointer opaque, guint64 offset, unsigned size)
{
    const TestPit *pit = opaque;
    const Channel *c = &pit->channels[2];

    return c->gate | pit->speaker << 1 | (guint64)(vm_clock_ns(pit->vm) / 15085 & 1) << 4 |
           (guint64)output(pit, c) << 5;
}

/* A rising gate starts modes 1, 2, 3 and 5 over. */
static void port61_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    TestPit *pit = opaque;
    Channel *c = &pit->channels[2];

    if ((value & 1) && !c->gate && c->mode != 0 && c->mode != 4)
        start(pit, c);
    c->gate = value & 1;
    pit->speaker = value >> 1 & 1;
}

/* ---- life cycle ---- */

void test_pit_reset(TestPit *pit)
{
    g_mutex_lock(&pit->lock);
    for (guint i = 0; i < N_CHANNELS; i++)
        pit->channels[i] = (Channel){ .mode = 3, .access = 3, .gate = i != 2, .count = 0x10000 };
    pit->speaker = 0;
    irq_update(pit);
    g_mutex_unlock(&pit->lock);
}

static const TestField channel_fields[] = {
    TEST_FIELD(Channel, count),     TEST_FIELD(Channel, start),
    TEST_FIELD(Channel, loaded),    TEST_FIELD(Channel, mode),
    TEST_FIELD(Channel, bcd),       TEST_FIELD(Channel, access),
    TEST_FIELD(Channel, gate),      TEST_FIELD(Channel, write_high),
    TEST_FIELD(Channel, read_high), TEST_FIELD(Channel, write_low),
    TEST_FIELD(Channel, latched),   TEST_FIELD(Channel, latch),
    TEST_FIELD(Channel, status),    TEST_FIELD(Channel, status_latched),
};
static const char *const channel_prefix[N_CHANNELS] = { "pit0.", "pit1.", "pit2." };
static const TestField pit_fields[] = { TEST_FIELD(TestPit, speaker) };

void test_pit_save(TestPit *pit, GVariantBuilder *builder)
{
    g_mutex_lock(&pit->lock);
    for (guint i = 0; i < N_CHANNELS; i++)
        test_fields_save(builder, channel_prefix[i], channel_fields, G_N_ELEMENTS(channel_fields),
                         &pit->channels[i]);
    test_fields_save(builder, "pit.", pit_fields, G_N_ELEMENTS(pit_fields), pit);
    g_mutex_unlock(&pit->lock);
}

/* Whatever was loaded, the arithmetic stays sound: no count of 0, no start in the future. */
static void channel_sanitize(const TestPit *pit, Channel *c)
{
    c->count = CLAMP(c->count, is_periodic(c) ? 2 : 1, 0x10000);
    c->start = MIN(c->start, (guint64)vm_clock_ns(pit->vm));
    c->mode = MIN(c->mode, 5);
    c->access = CLAMP(c->access, 1, 3);
}

gboolean test_pit_load(TestPit *pit, GVariant *state, gboolean commit, GError **error)
{
    TestPit copy = { 0 };

    for (guint i = 0; i < N_CHANNELS; i++) {
        if (!test_fields_load(state, channel_prefix[i], channel_fields,
                              G_N_ELEMENTS(channel_fields), &copy.channels[i], error))
            return FALSE;
        channel_sanitize(pit, &copy.channels[i]);
    }
    if (!test_fields_load(state, "pit.", pit_fields, G_N_ELEMENTS(pit_fields), &copy, error))
        return FALSE;
    if (commit) {
        g_mutex_lock(&pit->lock);
        for (guint i = 0; i < N_CHANNELS; i++)
            pit->channels[i] = copy.channels[i];
        pit->speaker = copy.speaker & 1;
        irq_update(pit);
        g_mutex_unlock(&pit->lock);
    }
    return TRUE;
}

TestPit *test_pit_new(Vm *vm)
{
    static const IoOps pit_ops = { pit_read, pit_write, 1, 1, FALSE };
    static const IoOps port61_ops = { port61_read, port61_write, 1, 1, FALSE };
    TestPit *pit = g_new0(TestPit, 1);

    pit->vm = vm;
    g_mutex_init(&pit->lock);
    pit->irq = irq_line_new(vm, 0, "pit");
    pit->timer = vm_timer_new(vm, &pit->lock, on_timer, pit);
    test_pit_reset(pit);
    pit->ports = iobus_add(vm, IO_PIO, 0x40, 4, &pit_ops, pit, &pit->lock, 0, "pit", NULL);
    pit->port61 =
        iobus_add(vm, IO_PIO, 0x61, 1, &port61_ops, pit, &pit->lock, 0, "port 0x61", NULL);
    g_assert(pit->ports && pit->port61); /* the bus is still empty */
    return pit;
}

void test_pit_free(TestPit *pit)
{
    iobus_remove(pit->vm, pit->ports);
    iobus_remove(pit->vm, pit->port61);
    vm_timer_free(pit->timer);
    irq_line_free(pit->irq);
    g_mutex_clear(&pit->lock);
    g_free(pit);
}
