/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * irq.h - interrupts. Devices hold IrqLine and MsiVector handles and never see a GSI table.
 *
 * GSI 0-23 are the IOAPIC's pins (0-15 also the PIC's), in KVM's in-kernel irqchip or in the test
 * accelerator's register models. Vectors take GSIs from 24 up, lazily, and give them back. Routes
 * are written to KVM as a whole table, off the QMP path: KVM_SET_GSI_ROUTING may wait milliseconds.
 */
#pragma once

#include "vm.h"

#define IRQ_PINS 24

typedef struct IrqLine IrqLine;
/* One input to the wired-OR of pin GSI. OWNER is for messages and qtest. */
IrqLine *irq_line_new(Vm *vm, guint gsi, const char *owner);
void     irq_line_set(IrqLine *line, gboolean level); /* [any]; no system call if the pin's level does not change */
gboolean irq_line_get(const IrqLine *line);           /* [any] this input's own level */
void     irq_line_free(IrqLine *line);                /* lowers it */

typedef struct MsiVector MsiVector;
MsiVector *msi_vector_new(Vm *vm, const char *owner);
/* What a delivery writes, and whether it is masked; takes effect before the next fire. */
void       msi_vector_set(MsiVector *v, guint64 address, guint32 data, gboolean masked);
int        msi_vector_fd(MsiVector *v, GError **error); /* eventfd bound by irqfd; write 1 to fire from an I/O thread */
void       msi_vector_fire(MsiVector *v);      /* [any] */
gboolean   msi_vector_take_pending(MsiVector *v); /* [any] fired while masked, since the last call */
void       msi_vector_free(MsiVector *v);
