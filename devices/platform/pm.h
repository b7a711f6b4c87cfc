/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pm.h - private to devices/platform: the ACPI register block inside the LPC bridge (ACPI 6.5
 * section 4.8, ICH9 datasheet 13.8). */
#pragma once

#include "../core/device.h"

#define PM_BLOCK_SIZE 128

typedef struct {
    /* state */
    guint16  pm1_sts, pm1_en;
    guint32  pm1_cnt;
    guint64  gpe_sts, gpe_en;
    guint32  smi_en;
    gint64   carry_at; /* virtual clock: next change of the timer's top bit that TMR_STS missed */
    /* wiring */
    Vm      *vm;
    IrqLine *sci;   /* replaced when ACPI_CNTL routes it elsewhere */
    VmTimer *timer; /* armed only while a carry would interrupt */
    guint8   s5_type;
} Pm;

/* Bits of PM1_STS and PM1_EN. */
enum {
    PM1_TMR = 1 << 0,
    PM1_GBL = 1 << 5,
    PM1_PWRBTN = 1 << 8,
    PM1_RTC = 1 << 10,
    PM1_WAK = 1 << 15,
};

/* One access of SIZE 1, 2 or 4, aligned. Device lock held. pm_write() returns TRUE when the
 * guest asked for power-off. */
guint32  pm_read(Pm *pm, guint32 offset, unsigned size);
gboolean pm_write(Pm *pm, guint32 offset, guint32 value, unsigned size);
void     pm_reset(Pm *pm);
/* Drops bits that do not exist from loaded registers; SCI and timer follow them. Device lock
 * held. */
void     pm_post_load(Pm *pm);
/* Brings SCI level and timer in line with the registers. Device lock held. */
void     pm_update(Pm *pm);
