/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pm.c - PM1 event and control, PM timer, GPE0 and SMI_EN.
 *
 * The PM timer is not counted: its value follows from the virtual clock, and so does TMR_STS,
 * which is brought up to date whenever somebody looks. Only while TMR_EN is set and TMR_STS is
 * clear would a carry interrupt, and only then a host timer is armed: an idle machine wakes
 * nobody. Points in time are kept as virtual clock values; that clock is saved and restored with
 * the interrupt controllers.
 *
 * Registers are handled as aligned dwords with a mask of the bytes that the access covers, so
 * every width comes out right. There is no SMM: SCI_EN is always set (FADT has no SMI_CMD) and
 * APMC_EN reads as set, since firmware takes that as "already set up" instead of waiting for an
 * SMI that never comes.
 */
#include "pm.h"

enum {
    REG_PM1_EVT = 0x00, /* status, enable */
    REG_PM1_CNT = 0x04,
    REG_PM1_TMR = 0x08,
    REG_GPE0_STS = 0x20,
    REG_GPE0_EN = 0x28,
    REG_SMI_EN = 0x30,
};

#define PM1_STS_BITS (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC | PM1_WAK)
#define PM1_EN_BITS (PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC)
#define CNT_SCI_EN (1u << 0)
#define CNT_BM_RLD (1u << 1)
#define CNT_SLP_TYP (7u << 10)
#define CNT_SLP_EN (1u << 13)
#define SMI_APMC_EN (1u << 5)

#define PM_TIMER_HZ 3579545
#define NS_PER_S G_GINT64_CONSTANT(1000000000)
#define TOP_BIT_TICKS (1 << 23) /* 24 bits wide: bit 23 changes that often */

/* ---- the timer ---- */

static guint64 ticks_at(gint64 ns)
{
    return (guint64)((unsigned __int128)ns * PM_TIMER_HZ / NS_PER_S);
}

/* The first ns at which bit 23 differs from what it is at NS. */
static gint64 next_carry(gint64 ns)
{
    guint64 tick = (ticks_at(ns) / TOP_BIT_TICKS + 1) * TOP_BIT_TICKS;
    return (gint64)(((unsigned __int128)tick * NS_PER_S + PM_TIMER_HZ - 1) / PM_TIMER_HZ);
}

static void timer_sync(Pm *pm)
{
    gint64 now = vm_clock_ns(pm->vm);

    if (now < pm->carry_at)
        return;
    pm->pm1_sts |= PM1_TMR;
    pm->carry_at = next_carry(now);
}

static void settle(Pm *pm)
{
    irq_line_set(pm->sci, (pm->pm1_sts & pm->pm1_en & PM1_EN_BITS) || (pm->gpe_sts & pm->gpe_en));
    if ((pm->pm1_en & PM1_TMR) && !(pm->pm1_sts & PM1_TMR))
        vm_timer_set(pm->timer, pm->carry_at);
    else
        vm_timer_cancel(pm->timer);
}

void pm_update(Pm *pm)
{
    timer_sync(pm);
    settle(pm);
}

void pm_reset(Pm *pm)
{
    pm->pm1_sts = pm->pm1_en = 0;
    pm->pm1_cnt = CNT_SCI_EN;
    pm->gpe_sts = pm->gpe_en = 0;
    pm->smi_en = 0;
    pm->carry_at = next_carry(vm_clock_ns(pm->vm));
    pm_update(pm);
}

void pm_post_load(Pm *pm)
{
    pm->pm1_sts &= PM1_STS_BITS;
    pm->pm1_en &= PM1_EN_BITS;
    pm->pm1_cnt = (pm->pm1_cnt & (CNT_BM_RLD | CNT_SLP_TYP)) | CNT_SCI_EN;
    settle(pm); /* not pm_update(): what is saved next is what was loaded */
}

/* ---- registers ---- */

static guint32 read_dword(Pm *pm, guint32 offset)
{
    switch (offset) {
    case REG_PM1_EVT:
        timer_sync(pm);
        return pm->pm1_sts | (guint32)pm->pm1_en << 16;
    case REG_PM1_CNT:
        return pm->pm1_cnt;
    case REG_PM1_TMR:
        return ticks_at(vm_clock_ns(pm->vm)) & 0xffffff;
    case REG_GPE0_STS:
    case REG_GPE0_STS + 4:
        return (guint32)(pm->gpe_sts >> (offset - REG_GPE0_STS) * 8);
    case REG_GPE0_EN:
    case REG_GPE0_EN + 4:
        return (guint32)(pm->gpe_en >> (offset - REG_GPE0_EN) * 8);
    case REG_SMI_EN:
        return pm->smi_en | SMI_APMC_EN;
    default:
        return 0;
    }
}

/* SLP_EN starts the transition and always reads as zero. */
static gboolean write_control(Pm *pm, guint32 value, guint32 mask)
{
    guint32 wmask = (CNT_BM_RLD | CNT_SLP_TYP) & mask;

    pm->pm1_cnt = (pm->pm1_cnt & ~wmask) | (value & wmask);
    return (value & mask & CNT_SLP_EN) && (pm->pm1_cnt & CNT_SLP_TYP) >> 10 == pm->s5_type;
}

static gboolean write_dword(Pm *pm, guint32 offset, guint32 value, guint32 mask)
{
    guint32 clear = value & mask;

    switch (offset) {
    case REG_PM1_EVT:
        timer_sync(pm);
        pm->pm1_sts &= (guint16) ~(clear & PM1_STS_BITS);
        pm->pm1_en = (guint16)((pm->pm1_en & ~(mask >> 16)) | (clear >> 16)) & PM1_EN_BITS;
        break;
    case REG_PM1_CNT:
        return write_control(pm, value, mask);
    case REG_GPE0_STS:
    case REG_GPE0_STS + 4:
        pm->gpe_sts &= ~((guint64)clear << (offset - REG_GPE0_STS) * 8);
        break;
    case REG_GPE0_EN:
    case REG_GPE0_EN + 4: {
        guint shift = (offset - REG_GPE0_EN) * 8;
        pm->gpe_en = (pm->gpe_en & ~((guint64)mask << shift)) | (guint64)clear << shift;
        break;
    }
    case REG_SMI_EN:
        pm->smi_en = (pm->smi_en & ~mask) | clear;
        break;
    default:
        break;
    }
    pm_update(pm);
    return FALSE;
}

guint32 pm_read(Pm *pm, guint32 offset, unsigned size)
{
    return (read_dword(pm, offset & ~3u) >> (offset & 3) * 8) & (guint32)ones(size);
}

gboolean pm_write(Pm *pm, guint32 offset, guint32 value, unsigned size)
{
    guint shift = (offset & 3) * 8;
    return write_dword(pm, offset & ~3u, value << shift, (guint32)ones(size) << shift);
}
