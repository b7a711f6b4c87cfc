/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-accel.h - private to the test accelerator: the machine without KVM (docs/design/testing.md
 * section 3).
 *
 *   test.c          the accelerator's table, vCPUs that sleep
 *   test-host.c     the synthetic host: CPUID, feature MSRs
 *   test-irqchip.c  PIC pair, IOAPIC and LAPIC page
 *   test-pit.c      8254 and port 0x61
 *   test-state.c    saving and loading of these models
 *   qtest.c         the protocol: one request line to its reply
 *   qtest-server.c  the protocol on sockets
 *
 * Lock order: device lock or pit->lock, then a pin's lock (irq.c), then irqchip->lock or
 * qtest->lock (leaves).
 */
#pragma once

#include "accel.h"

typedef struct TestIrqchip TestIrqchip;
typedef struct TestPit TestPit;
typedef struct Qtest Qtest;
typedef struct QtestServer QtestServer;

struct TestState {
    TestIrqchip *irqchip;
    TestPit     *pit;
    Qtest       *qtest;
    QtestServer *server;
};

/* ---- interrupt controllers ---- */
TestIrqchip *test_irqchip_new(Vm *vm);
void         test_irqchip_free(TestIrqchip *chip);
void         test_irqchip_reset(TestIrqchip *chip);
void         test_irqchip_pin(TestIrqchip *chip, guint gsi, gboolean level); /* [any] */
/* A message to the LAPICs: recorded, and pending in the page's IRR. [any] */
void         test_irqchip_message(TestIrqchip *chip, guint64 address, guint32 data);
gboolean     test_irqchip_take(TestIrqchip *chip, guint64 *address, guint32 *data);

/* ---- PIT ---- */
TestPit *test_pit_new(Vm *vm);
void     test_pit_free(TestPit *pit);
void     test_pit_reset(TestPit *pit);

/* ---- saving: fields named in a table (test-state.c) ---- */
typedef struct {
    const char *name;
    guint32     offset;
    guint32     size; /* 1, 2, 4, 8: a number; else bytes */
} TestField;
#define TEST_FIELD(Type, field) { #field, G_STRUCT_OFFSET(Type, field), sizeof(((Type *)0)->field) }

void test_fields_save(GVariantBuilder *builder, const char *prefix, const TestField *fields,
                      guint n, gconstpointer from);
/* Strict: each field must be there, of its type. Writes to INTO only what it could read; the caller
 * gives a copy. */
gboolean test_fields_load(GVariant *state, const char *prefix, const TestField *fields, guint n,
                          gpointer into, GError **error);

void     test_irqchip_save(TestIrqchip *chip, GVariantBuilder *builder);
gboolean test_irqchip_load(TestIrqchip *chip, GVariant *state, gboolean commit, GError **error);
void     test_pit_save(TestPit *pit, GVariantBuilder *builder);
gboolean test_pit_load(TestPit *pit, GVariant *state, gboolean commit, GError **error);

/* ---- the synthetic host ---- */
const struct kvm_cpuid2    *test_host_cpuid(Vm *vm, GError **error);
const struct kvm_msr_entry *test_host_msrs(Vm *vm, guint *n, GError **error);
#define TEST_HOST_PHYS_BITS 46

/* ---- qtest ---- */
Qtest *qtest_new(Vm *vm);
void   qtest_free(Qtest *q);
/* Carries out one request of LEN bytes without its line end; appends the reply line to OUT,
 * asynchronous lines before it. */
void   qtest_request(Qtest *q, const char *line, gsize len, GString *out);
/* Appends the asynchronous lines that wait. TRUE if there were any. Main thread. */
gboolean qtest_take_events(Qtest *q, GString *out);
/* Forgets intercepts and what waits: a new client finds all lines low. */
void   qtest_reset(Qtest *q);
/* Wakes FN on the main thread when asynchronous lines wait. */
void   qtest_set_notify(Qtest *q, void (*fn)(gpointer user), gpointer user);
/* From the accelerator: a pin or a line changed. [any] */
void   qtest_pin_changed(Qtest *q, guint gsi, gboolean level);
void   qtest_line_changed(Qtest *q, const IrqLine *line, gboolean level);

QtestServer *qtest_server_new(Vm *vm);
void         qtest_server_free(QtestServer *server);
