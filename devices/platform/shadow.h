/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * shadow.h - private to devices/platform: what stands at 0xc0000-0xfffff while there is firmware,
 * by the host bridge's PAM registers (Intel 3 Series Express chipset datasheet, 5.1.13 to 5.1.19).
 *
 * Thread: main, machine paused or vCPUs held; the guest's own writes come in by the region.
 */
#pragma once

#include "../core/device.h"

enum {
    SHADOW_BASE = 0xc0000,
    SHADOW_SIZE = 0x40000,
    SHADOW_PAM = 7, /* registers PAM0 to PAM6 */
};

typedef struct Shadow Shadow;

/* ROM: the whole image, SIZE bytes; of it the last 128 KiB at most show below 1 MiB, ending there.
 * Not owned. Nothing is mapped yet. */
Shadow  *shadow_new(Vm *vm, guint8 *rom, guint64 size);
void     shadow_free(Shadow *s); /* unmaps; NULL is fine */
/* Brings memory in line with PAM. RAM: the SHADOW_SIZE bytes of RAM that belong there. On an error
 * parts of the area are empty. */
gboolean shadow_map(Shadow *s, guint8 *ram, const guint8 pam[SHADOW_PAM], GError **error);
void     shadow_unmap(Shadow *s);
