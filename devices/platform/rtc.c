/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * rtc.c - MC146818 real-time clock and 128 bytes of CMOS RAM at ports 0x70/0x71.
 *
 * Time is not counted but derived: second = (UTC + phase) / 1 s + offset, where the phase says
 * at which fraction of a host second this clock ticks. Setting the time changes the offset,
 * restarting the divider changes the phase. While the clock stands (SET, or divider held in
 * reset) the time registers are plain bytes; they are decoded when it goes on.
 *
 * Flags of register C follow from what has passed since somebody last looked (seen_s, pf_at), so
 * that polling guests see them without any timer. One host timer is armed, and only while an
 * enabled interrupt is due. IRQ 8 is a level here: up while IRQF is set, down when register C is
 * read.
 *
 * The index port has no effect of its own, hence its writes may be coalesced by KVM.
 */
#include "../cpu/cpu.h"
#include "../mem/memory-backend.h"
#include "parts.h"
#include "rtc-time.h"

enum {
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    A_UIP = 1 << 7,
    A_DIVIDER_RESET = 0x60,
    B_SET = 1 << 7,
    BC_PERIODIC = 1 << 6, /* the same bit enables in B and flags in C */
    BC_ALARM = 1 << 5,
    BC_UPDATE = 1 << 4,
    B_SQWE = 1 << 3,
    C_IRQF = 1 << 7,
    D_VRT = 1 << 7,
};

#define RTC_IRQ 8
#define NS_PER_S G_GINT64_CONSTANT(1000000000)
#define UIP_NS 244000 /* UIP rises 244 us before the update (data sheet, "update cycle") */
#define CRYSTAL_HZ 32768
#define OFFSET_LIMIT G_GINT64_CONSTANT(1000000000000) /* of a loaded record; bytes can spell less */

typedef struct {
    Device    dev;
    guint8    index;
    guint8    cmos[128];                /* time registers: meaningful while the clock stands */
    gint64    offset_s, base_offset_s;  /* ahead of UTC; what it was at the start */
    gint64    phase_ns;                 /* 0 to 1 s - 1 */
    gint64    seen_s;                   /* the second up to which UF and AF are right */
    gint64    pf_at;                    /* virtual clock: when PF is set next */
    VmTimer  *timer;
    IrqLine  *irq;
    IoRegion *index_region, *data_region;
} Rtc;

/* ---- time ---- */

static gboolean divider_runs(const Rtc *rtc)
{
    return (rtc->cmos[REG_A] & A_DIVIDER_RESET) != A_DIVIDER_RESET;
}

static gboolean runs(const Rtc *rtc)
{
    return divider_runs(rtc) && !(rtc->cmos[REG_B] & B_SET);
}

static gint64 now_s(const Rtc *rtc, gint64 *fraction_ns)
{
    gint64 t = vm_utc_ns(device_set_vm(rtc->dev.set)) + rtc->phase_ns;

    *fraction_ns = t % NS_PER_S;
    return t / NS_PER_S + rtc->offset_s;
}

static void freeze(Rtc *rtc)
{
    gint64 fraction;
    rtc_encode(now_s(rtc, &fraction), rtc->cmos[REG_B], rtc->cmos);
}

/* The time registers become the time. */
static void commit(Rtc *rtc)
{
    gpointer user;
    const DeviceObserver *observer = device_set_observer(rtc->dev.set, &user);
    gint64 fraction, old = rtc->offset_s;
    gint64 wanted = rtc_decode(rtc->cmos, rtc->cmos[REG_B]);

    rtc->offset_s += wanted - now_s(rtc, &fraction);
    rtc->seen_s = wanted;
    if (rtc->offset_s != old && observer && observer->rtc_change) {
        g_autofree char *path = device_path(&rtc->dev);
        observer->rtc_change(user, rtc->offset_s - rtc->base_offset_s, path);
    }
}

/* The divider starts anew: the first update is half a second away. */
static void restart_divider(Rtc *rtc)
{
    gint64 utc = vm_utc_ns(device_set_vm(rtc->dev.set));
    rtc->phase_ns = (NS_PER_S + NS_PER_S / 2 - utc % NS_PER_S) % NS_PER_S;
}

/* ---- flags, interrupt, timer ---- */

/* Crystal ticks between periodic interrupts (data sheet, table 5); 0: none. */
static guint32 period_ticks(const Rtc *rtc)
{
    guint rate = rtc->cmos[REG_A] & 0xf;

    if (rate == 0 || !divider_runs(rtc))
        return 0;
    return 1u << (rate <= 2 ? rate + 6 : rate - 1);
}

static gint64 next_period(gint64 now, guint32 period)
{
    guint64 ticks = (guint64)((unsigned __int128)now * CRYSTAL_HZ / NS_PER_S);
    guint64 next = (ticks / period + 1) * period;
    return (gint64)(((unsigned __int128)next * NS_PER_S + CRYSTAL_HZ - 1) / CRYSTAL_HZ);
}

static void sync_periodic(Rtc *rtc)
{
    gint64 now = vm_clock_ns(device_set_vm(rtc->dev.set));
    guint32 period = period_ticks(rtc);

    if (period == 0 || now < rtc->pf_at)
        return;
    rtc->cmos[REG_C] |= BC_PERIODIC;
    rtc->pf_at = next_period(now, period);
}

static void sync_update(Rtc *rtc)
{
    gint64 fraction, s = now_s(rtc, &fraction);

    if (!runs(rtc))
        return;
    if (s > rtc->seen_s) {
        rtc->cmos[REG_C] |= BC_UPDATE;
        if (rtc_next_alarm(rtc->seen_s, rtc->cmos, rtc->cmos[REG_B]) <= s)
            rtc->cmos[REG_C] |= BC_ALARM;
    }
    rtc->seen_s = s; /* also when the host's clock was set back */
}

static gint64 earliest(gint64 a, gint64 b)
{
    return a < 0 || b < a ? b : a;
}

/* Virtual clock of the next enabled interrupt whose flag is still clear; -1: none. What came due
 * since somebody last looked (after a load the world went on meanwhile) is due now. */
static gint64 next_deadline(const Rtc *rtc)
{
    guint8 wanted = rtc->cmos[REG_B] & (guint8)~rtc->cmos[REG_C];
    gint64 now = vm_clock_ns(device_set_vm(rtc->dev.set));
    gint64 fraction, s = now_s(rtc, &fraction), at = -1;
    gint64 seen = MIN(rtc->seen_s, s);

    if ((wanted & BC_PERIODIC) && period_ticks(rtc))
        at = earliest(at, rtc->pf_at);
    if (!runs(rtc))
        return at;
    if (wanted & BC_UPDATE)
        at = earliest(at, seen < s ? now : now + NS_PER_S - fraction);
    if (wanted & BC_ALARM) {
        gint64 alarm = rtc_next_alarm(seen, rtc->cmos, rtc->cmos[REG_B]);
        if (alarm != RTC_NEVER)
            at = earliest(at, alarm <= s ? now : now + (alarm - s) * NS_PER_S - fraction);
    }
    return at;
}

/* Interrupt and timer follow the registers. */
static void settle(Rtc *rtc)
{
    gboolean irq =
        (rtc->cmos[REG_B] & rtc->cmos[REG_C] & (BC_PERIODIC | BC_ALARM | BC_UPDATE)) != 0;
    rtc->cmos[REG_C] = (rtc->cmos[REG_C] & (guint8)~C_IRQF) | (irq ? C_IRQF : 0);
    irq_line_set(rtc->irq, irq);

    gint64 at = next_deadline(rtc);
    if (at >= 0)
        vm_timer_set(rtc->timer, at);
    else
        vm_timer_cancel(rtc->timer);
}

static void update(Rtc *rtc)
{
    sync_periodic(rtc);
    sync_update(rtc);
    settle(rtc);
}

static void timer_due(gpointer user)
{
    update(user);
}

/* ---- registers ---- */

static guint8 read_c(Rtc *rtc)
{
    update(rtc);
    guint8 flags = rtc->cmos[REG_C];
    rtc->cmos[REG_C] = 0;
    update(rtc);
    return flags;
}

static guint8 read_a(const Rtc *rtc)
{
    gint64 fraction;

    now_s(rtc, &fraction);
    return rtc->cmos[REG_A] | (runs(rtc) && fraction >= NS_PER_S - UIP_NS ? A_UIP : 0);
}

static guint8 read_time(const Rtc *rtc)
{
    guint8 regs[sizeof rtc->cmos];
    gint64 fraction;

    rtc_encode(now_s(rtc, &fraction), rtc->cmos[REG_B], regs);
    return regs[rtc->index];
}

static guint64 data_read(gpointer opaque, guint64 offset, unsigned size)
{
    Rtc *rtc = opaque;

    if (rtc_is_time_register(rtc->index) && runs(rtc))
        return read_time(rtc);
    switch (rtc->index) {
    case REG_A:
        return read_a(rtc);
    case REG_C:
        return read_c(rtc);
    case REG_D:
        return D_VRT;
    default:
        return rtc->cmos[rtc->index];
    }
}

/* Start and stop by the divider bits of A. */
static void write_a(Rtc *rtc, guint8 value)
{
    gboolean ran = divider_runs(rtc), counted = runs(rtc);

    sync_periodic(rtc);
    if (counted && (value & A_DIVIDER_RESET) == A_DIVIDER_RESET)
        freeze(rtc);
    rtc->cmos[REG_A] = value & (guint8)~A_UIP;
    if (!ran && divider_runs(rtc)) {
        restart_divider(rtc);
        if (runs(rtc))
            commit(rtc);
    }
    if (period_ticks(rtc))
        rtc->pf_at = next_period(vm_clock_ns(device_set_vm(rtc->dev.set)), period_ticks(rtc));
}

/* Start and stop by SET, which also clears UIE. */
static void write_b(Rtc *rtc, guint8 value)
{
    gboolean counted = runs(rtc);

    if (value & B_SET)
        value &= (guint8)~BC_UPDATE;
    if (counted && (value & B_SET))
        freeze(rtc);
    rtc->cmos[REG_B] = value;
    if (!counted && runs(rtc))
        commit(rtc);
}

/* Into a clock that runs: the other fields are what they are now. */
static void write_time(Rtc *rtc, guint8 value)
{
    if (!runs(rtc)) {
        rtc->cmos[rtc->index] = value;
        return;
    }
    freeze(rtc);
    rtc->cmos[rtc->index] = value;
    commit(rtc);
}

static void data_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    Rtc *rtc = opaque;

    sync_update(rtc); /* by the settings that were in force until now */
    if (rtc_is_time_register(rtc->index))
        write_time(rtc, (guint8)value);
    else if (rtc->index == REG_A)
        write_a(rtc, (guint8)value);
    else if (rtc->index == REG_B)
        write_b(rtc, (guint8)value);
    else if (rtc->index != REG_C && rtc->index != REG_D)
        rtc->cmos[rtc->index] = (guint8)value;
    update(rtc);
}

static guint64 index_read(gpointer opaque, guint64 offset, unsigned size)
{
    return 0xff; /* write-only */
}

/* Bit 7 masks NMI on the PC; here NMIs come from the manager only and are not masked. */
static void index_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    ((Rtc *)opaque)->index = value & 0x7f;
}

static const IoOps index_ops = { .read = index_read, .write = index_write, .max_size = 1 };
static const IoOps data_ops = { .read = data_read, .write = data_write, .max_size = 1 };

/* ---- CMOS RAM as PC firmware and older kernels read it ---- */

static void fill_memory(Rtc *rtc)
{
    guint64 low = mem_below_4g(rtc->dev.set), high = mem_above_4g(rtc->dev.set);
    guint64 extended_kib = low > 1 << 20 ? MIN((low >> 10) - 1024, 65535) : 0;
    guint64 above_16m = low > 16 << 20 ? MIN((low - (16 << 20)) >> 16, 65535) : 0;
    guint64 above_4g = MIN(high >> 16, 0xffffff);

    le16_put(rtc->cmos + 0x15, (guint16)MIN(low >> 10, 640));
    le16_put(rtc->cmos + 0x17, (guint16)extended_kib);
    le16_put(rtc->cmos + 0x30, (guint16)extended_kib);
    le16_put(rtc->cmos + 0x34, (guint16)above_16m);
    le16_put(rtc->cmos + 0x5b, (guint16)above_4g);
    rtc->cmos[0x5d] = (guint8)(above_4g >> 16);
}

/* Big endian, over what the AT BIOS summed. */
static void fill_checksum(Rtc *rtc)
{
    guint sum = 0;

    for (guint i = 0x10; i <= 0x2d; i++)
        sum += rtc->cmos[i];
    rtc->cmos[0x2e] = (guint8)(sum >> 8);
    rtc->cmos[0x2f] = (guint8)sum;
}

static gboolean rtc_power_on(Device *dev, GError **error)
{
    Rtc *rtc = (Rtc *)dev;
    guint cpus = cpu_plugged_count(dev->set);

    LOCK_SCOPE(&dev->lock);
    fill_memory(rtc);
    rtc->cmos[0x0f] = 0;    /* shutdown status: a normal start */
    rtc->cmos[0x10] = 0;    /* no floppy */
    rtc->cmos[0x12] = 0;    /* no AT disks */
    rtc->cmos[0x14] = 0x02; /* equipment: FPU */
    rtc->cmos[0x38] = 0;    /* third boot device: none */
    rtc->cmos[0x3d] = 0x32; /* disk, then CD-ROM */
    rtc->cmos[0x5f] = (guint8)CLAMP(cpus, 1, 256) - 1;
    fill_checksum(rtc);
    return TRUE;
}

/* ---- the device ---- */

static gboolean rtc_realize(Device *dev, GError **error)
{
    Rtc *rtc = (Rtc *)dev;
    Vm *vm = device_set_vm(dev->set);
    gint64 fraction;

    if (!device_claim_io(dev, IO_PIO, 0x70, 2, "rtc", error) ||
        !device_claim_irq(dev, RTC_IRQ, "rtc", error))
        return FALSE;
    rtc->irq = irq_line_new(vm, RTC_IRQ, PART_RTC);
    rtc->timer = vm_timer_new(vm, &dev->lock, timer_due, rtc);
    rtc->cmos[REG_A] = 0x26; /* 32768 Hz crystal, 1024 Hz periodic rate */
    rtc->cmos[REG_B] = RTC_B_24H;
    board_rtc_offset(board_config(dev->set)->rtc_base, vm_utc_ns(vm) / NS_PER_S,
                     &rtc->base_offset_s);
    rtc->offset_s = rtc->base_offset_s;
    rtc->seen_s = now_s(rtc, &fraction);
    rtc->pf_at = next_period(vm_clock_ns(vm), period_ticks(rtc));
    return TRUE;
}

static void rtc_publish(Device *dev)
{
    Rtc *rtc = (Rtc *)dev;
    Vm *vm = device_set_vm(dev->set);
    g_autoptr(GError) error = NULL;

    rtc->index_region = iobus_add(vm, IO_PIO, 0x70, 1, &index_ops, rtc, &dev->lock, IO_COALESCED,
                                  "rtc-index", &error);
    g_assert_no_error(error); /* claimed in realize */
    rtc->data_region =
        iobus_add(vm, IO_PIO, 0x71, 1, &data_ops, rtc, &dev->lock, 0, "rtc-data", &error);
    g_assert_no_error(error);
}

static void rtc_unpublish(Device *dev)
{
    Rtc *rtc = (Rtc *)dev;
    Vm *vm = device_set_vm(dev->set);

    iobus_remove(vm, rtc->data_region);
    iobus_remove(vm, rtc->index_region);
}

static void rtc_unrealize(Device *dev)
{
    Rtc *rtc = (Rtc *)dev;

    g_clear_pointer(&rtc->timer, vm_timer_free);
    g_clear_pointer(&rtc->irq, irq_line_free);
}

/* The chip's reset line stops interrupts; time and RAM live on a battery. */
static void rtc_reset(Device *dev, ResetKind kind)
{
    Rtc *rtc = (Rtc *)dev;

    rtc->index = 0;
    rtc->cmos[REG_B] &= (guint8) ~(BC_PERIODIC | BC_ALARM | BC_UPDATE | B_SQWE);
    update(rtc); /* what passed until now is forgotten, too */
    rtc->cmos[REG_C] = 0;
}

static gboolean rtc_post_load(Device *dev, GError **error)
{
    Rtc *rtc = (Rtc *)dev;

    if (rtc->phase_ns < 0 || rtc->phase_ns >= NS_PER_S)
        return error_set(
            error, "State of device '%s': phase_ns is %" G_GINT64_FORMAT ", not below one second",
            dev->id, rtc->phase_ns);
    if (ABS(rtc->offset_s / 2) > OFFSET_LIMIT / 2 ||
        ABS(rtc->base_offset_s / 2) > OFFSET_LIMIT / 2 || ABS(rtc->seen_s / 2) > OFFSET_LIMIT / 2)
        return error_set(error, "State of device '%s': time is out of range", dev->id);
    rtc->index &= 0x7f;
    rtc->cmos[REG_A] &= (guint8)~A_UIP;
    settle(rtc); /* not update(): what is saved next is what was loaded */
    return TRUE;
}

static const StateDesc rtc_state[] = {
    STATE_ROW(Rtc, index, U8, "0.1"),
    STATE_ROW(Rtc, cmos, BYTES, "0.1"),
    STATE_ROW(Rtc, offset_s, I64, "0.1"),
    STATE_ROW(Rtc, base_offset_s, I64, "0.1"),
    STATE_ROW(Rtc, phase_ns, I64, "0.1"),
    STATE_ROW(Rtc, seen_s, I64, "0.1"),
    STATE_ROW(Rtc, pf_at, I64, "0.1"),
    STATE_END,
};

static const DeviceOps rtc_ops = {
    .realize = rtc_realize,
    .publish = rtc_publish,
    .reset = rtc_reset,
    .power_on = rtc_power_on,
    .unpublish = rtc_unpublish,
    .unrealize = rtc_unrealize,
    .post_load = rtc_post_load,
};

const DeviceType rtc_type = {
    .name = PART_RTC,
    .size = sizeof(Rtc),
    .ops = &rtc_ops,
    .state = rtc_state,
};
