/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-test.h - a driver for virtio PCI functions, written from virtio 1.2 section 4.1 and PCI 3.0 alone: it finds the
 * capabilities, maps the BAR, negotiates, sets up queues and MSI-X, and sees what interrupts come.
 *
 * Guest memory is the 4 MiB of board_test_ram(). Queues lie from VT_RINGS, buffers from VT_DATA.
 */
#pragma once

#include "board-test.h"
#include "virtq-driver.h"

#define VT_ECAM G_GUINT64_CONSTANT(0xb0000000)
#define VT_BAR G_GUINT64_CONSTANT(0xe0000000)
#define VT_RINGS G_GUINT64_CONSTANT(0x10000)
#define VT_DATA G_GUINT64_CONSTANT(0x200000)
#define VT_MAX_QUEUES 8

/* Common configuration, section 4.1.4.3. */
enum {
    C_DEVICE_FEATURE_SELECT = 0x00,
    C_DEVICE_FEATURE = 0x04,
    C_DRIVER_FEATURE_SELECT = 0x08,
    C_DRIVER_FEATURE = 0x0c,
    C_CONFIG_VECTOR = 0x10,
    C_NUM_QUEUES = 0x12,
    C_STATUS = 0x14,
    C_GENERATION = 0x15,
    C_QUEUE_SELECT = 0x16,
    C_QUEUE_SIZE = 0x18,
    C_QUEUE_VECTOR = 0x1a,
    C_QUEUE_ENABLE = 0x1c,
    C_QUEUE_NOTIFY_OFF = 0x1e,
    C_QUEUE_DESC = 0x20,
    C_QUEUE_DRIVER = 0x28,
    C_QUEUE_DEVICE = 0x30,
    C_QUEUE_RESET = 0x3a,
};

enum { S_ACK = 1, S_DRIVER = 2, S_DRIVER_OK = 4, S_FEATURES_OK = 8, S_NEEDS_RESET = 64 };

#define F(n) (G_GUINT64_CONSTANT(1) << (n))
enum { F_INDIRECT = 28, F_EVENT_IDX = 29, F_VERSION_1 = 32, F_PACKED = 34, F_IN_ORDER = 35, F_RESET = 40 };

typedef struct {
    BoardTest *t;
    guint64    fn; /* its configuration space */
    guint64    common, notify, isr, device; /* addresses */
    guint32    multiplier, device_len;
    guint      window;    /* the capability PCI_CFG, or 0 */
    guint      msix, exp; /* offsets of capabilities, or 0 */
    guint64    table, pba;
    Drv        q[VT_MAX_QUEUES];
    gboolean   has_q[VT_MAX_QUEUES];
    guint64    next_ring;
} VirtioTest;

static inline guint32 vt_cfg_in(VirtioTest *v, guint reg, unsigned size)
{
    return (guint32)mem_in(v->t, v->fn + reg, size);
}

static inline void vt_cfg_out(VirtioTest *v, guint reg, guint32 value, unsigned size)
{
    mem_out(v->t, v->fn + reg, value, size);
    board_test_settle();
}

/* ---- finding it ---- */

static inline guint64 vt_bar_of(VirtioTest *v, guint bar, guint32 offset)
{
    guint64 at = vt_cfg_in(v, 0x10 + 4 * bar, 4);

    g_assert_cmphex(at & 1, ==, 0);
    if ((at & 6) == 4)
        at |= (guint64)vt_cfg_in(v, 0x14 + 4 * bar, 4) << 32;
    return (at & ~G_GUINT64_CONSTANT(15)) + offset;
}

static inline void vt_virtio_cap(VirtioTest *v, guint at)
{
    guint64 addr;
    guint type = vt_cfg_in(v, at + 3, 1);

    if (type == 5) {
        v->window = at;
        return;
    }
    addr = vt_bar_of(v, vt_cfg_in(v, at + 4, 1), vt_cfg_in(v, at + 8, 4));
    if (type == 1)
        v->common = addr;
    else if (type == 2)
        v->notify = addr, v->multiplier = vt_cfg_in(v, at + 16, 4);
    else if (type == 3)
        v->isr = addr;
    else if (type == 4)
        v->device = addr, v->device_len = vt_cfg_in(v, at + 12, 4);
}

static inline void vt_find_caps(VirtioTest *v)
{
    g_assert_cmphex(vt_cfg_in(v, 6, 2) & 0x10, !=, 0);
    for (guint at = vt_cfg_in(v, 0x34, 1), n = 0; at; at = vt_cfg_in(v, at + 1, 1), n++) {
        guint id = vt_cfg_in(v, at, 1);
        g_assert_cmpuint(n, <, 48);
        if (id == 0x09)
            vt_virtio_cap(v, at);
        else if (id == 0x10)
            v->exp = at;
        else if (id == 0x11) {
            guint32 table = vt_cfg_in(v, at + 4, 4), pba = vt_cfg_in(v, at + 8, 4);
            v->msix = at;
            v->table = vt_bar_of(v, table & 7, table & ~7u);
            v->pba = vt_bar_of(v, pba & 7, pba & ~7u);
        }
    }
    g_assert_true(v->common && v->notify && v->isr);
}

/* Maps all memory BARs one behind the other from BASE. */
static inline void vt_map(VirtioTest *v, guint64 base)
{
    for (guint bar = 0; bar < 6; bar++) {
        guint reg = 0x10 + 4 * bar;
        vt_cfg_out(v, reg, 0xffffffff, 4);
        guint32 mask = vt_cfg_in(v, reg, 4);
        if (!mask || (mask & 1))
            continue;
        guint32 size = ~(mask & ~15u) + 1;
        base = (base + size - 1) & ~(guint64)(size - 1);
        vt_cfg_out(v, reg, (guint32)base, 4);
        if ((mask & 6) == 4)
            vt_cfg_out(v, 0x10 + 4 * ++bar, (guint32)(base >> 32), 4);
        base += size;
    }
}

/* The function at SLOT of pcie.0, mapped, as bus master. */
static inline VirtioTest vt_open(BoardTest *t, guint slot)
{
    VirtioTest v = { .t = t, .fn = VT_ECAM + (slot << 15), .next_ring = VT_RINGS };

    g_assert_cmphex(vt_cfg_in(&v, 0, 2), ==, 0x1af4);
    vt_map(&v, VT_BAR + (slot << 20));
    vt_cfg_out(&v, 4, 6, 2);
    vt_find_caps(&v);
    return v;
}

static inline void vt_close(VirtioTest *v)
{
    for (guint i = 0; i < VT_MAX_QUEUES; i++) {
        if (v->has_q[i])
            drv_clear(&v->q[i]);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VirtioTest, vt_close)

/* ---- registers ---- */

static inline guint64 vt_in(VirtioTest *v, guint reg, unsigned size)
{
    return mem_in(v->t, v->common + reg, size);
}

static inline void vt_out(VirtioTest *v, guint reg, guint64 value, unsigned size)
{
    mem_out(v->t, v->common + reg, value, size);
}

#define vt_status(v) ((guint)vt_in(v, C_STATUS, 1))

static inline guint64 vt_features(VirtioTest *v)
{
    vt_out(v, C_DEVICE_FEATURE_SELECT, 0, 4);
    guint64 low = vt_in(v, C_DEVICE_FEATURE, 4);
    vt_out(v, C_DEVICE_FEATURE_SELECT, 1, 4);
    return low | vt_in(v, C_DEVICE_FEATURE, 4) << 32;
}

static inline void vt_accept(VirtioTest *v, guint64 features)
{
    for (guint i = 0; i < 2; i++) {
        vt_out(v, C_DRIVER_FEATURE_SELECT, i, 4);
        vt_out(v, C_DRIVER_FEATURE, (guint32)(features >> (32 * i)), 4);
    }
}

/* From reset to FEATURES_OK. TRUE: it stuck. */
static inline gboolean vt_negotiate(VirtioTest *v, guint64 features)
{
    vt_out(v, C_STATUS, 0, 1);
    g_assert_cmphex(vt_status(v), ==, 0);
    vt_out(v, C_STATUS, S_ACK, 1);
    vt_out(v, C_STATUS, S_ACK | S_DRIVER, 1);
    vt_accept(v, features);
    vt_out(v, C_STATUS, S_ACK | S_DRIVER | S_FEATURES_OK, 1);
    v->next_ring = VT_RINGS;
    return (vt_status(v) & S_FEATURES_OK) != 0;
}

static inline void vt_driver_ok(VirtioTest *v)
{
    vt_out(v, C_STATUS, S_ACK | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK, 1);
    board_test_settle();
}

/* ---- queues ---- */

static inline guint32 vt_ring_flags(guint64 features)
{
    return (features & F(F_PACKED) ? VQ_PACKED : 0) | (features & F(F_EVENT_IDX) ? VQ_EVENT_IDX : 0) |
           (features & F(F_INDIRECT) ? VQ_INDIRECT : 0) |
           (features & F(F_IN_ORDER) ? VQ_IN_ORDER : 0);
}

/* Lays queue I of SIZE out (SIZE 0: as many as the device has) and enables it. */
static inline void vt_queue(VirtioTest *v, guint i, guint16 size, guint64 features)
{
    vt_out(v, C_QUEUE_SELECT, i, 2);
    if (!size)
        size = (guint16)vt_in(v, C_QUEUE_SIZE, 2);
    vt_out(v, C_QUEUE_SIZE, size, 2);
    g_assert_cmpuint(vt_in(v, C_QUEUE_SIZE, 2), ==, size);
    if (v->has_q[i])
        drv_clear(&v->q[i]);
    v->next_ring = (v->next_ring + 4095) & ~G_GUINT64_CONSTANT(4095);
    v->next_ring = drv_init(&v->q[i], v->t->ram, 0, v->next_ring, size, vt_ring_flags(features));
    g_assert_cmphex(v->next_ring, <=, VT_DATA);
    v->has_q[i] = TRUE;
    vt_out(v, C_QUEUE_DESC, v->q[i].config.desc, 8);
    vt_out(v, C_QUEUE_DRIVER, v->q[i].config.driver, 8);
    vt_out(v, C_QUEUE_DEVICE, v->q[i].config.device, 8);
    if (v->msix) {
        vt_out(v, C_QUEUE_VECTOR, i, 2);
        g_assert_cmpuint(vt_in(v, C_QUEUE_VECTOR, 2), ==, i);
    }
    vt_out(v, C_QUEUE_ENABLE, 1, 2);
    g_assert_cmpuint(vt_in(v, C_QUEUE_ENABLE, 2), ==, 1);
}

static inline void vt_kick(VirtioTest *v, guint i)
{
    vt_out(v, C_QUEUE_SELECT, i, 2);
    guint64 at = v->notify + vt_in(v, C_QUEUE_NOTIFY_OFF, 2) * v->multiplier;
    mem_out(v->t, at, i, 2);
}

/* Adds one chain, kicks if the device wants that, and lets the main loop run. */
static inline void vt_send(VirtioTest *v, guint i, const DrvSeg *segs, guint n, guint32 token)
{
    g_assert_true(drv_add(&v->q[i], segs, n, FALSE, token));
    if (drv_kick(&v->q[i]))
        vt_kick(v, i);
    board_test_settle();
}

/* The next used chain is TOKEN's; the bytes written. */
static inline guint32 vt_used(VirtioTest *v, guint i, guint32 token)
{
    guint32 got = 0, len = 0;

    g_assert_true(drv_take(&v->q[i], &got, &len));
    g_assert_cmphex(got, ==, token);
    return len;
}

static inline void vt_none_used(VirtioTest *v, guint i)
{
    guint32 token, len;

    board_test_settle();
    g_assert_false(drv_take(&v->q[i], &token, &len));
}

/* ---- interrupts ---- */

#define VT_MSI_DATA(i) (0x40u + (i))

/* Vector I sends VT_MSI_DATA(I). */
static inline void vt_vector(VirtioTest *v, guint i, gboolean masked)
{
    guint64 at = v->table + i * 16;

    mem_out(v->t, at, 0xfee00000, 4);
    mem_out(v->t, at + 4, 0, 4);
    mem_out(v->t, at + 8, VT_MSI_DATA(i), 4);
    mem_out(v->t, at + 12, masked, 4);
    board_test_settle();
}

static inline void vt_msix_enable(VirtioTest *v, gboolean on)
{
    vt_cfg_out(v, v->msix + 2, on ? 0x8000 : 0, 2);
}

/* All vectors on; LAST is for configuration changes. */
static inline void vt_msix_start(VirtioTest *v, guint last)
{
    vt_msix_enable(v, TRUE);
    for (guint i = 0; i <= last; i++)
        vt_vector(v, i, FALSE);
    vt_out(v, C_CONFIG_VECTOR, last, 2);
    g_assert_cmpuint(vt_in(v, C_CONFIG_VECTOR, 2), ==, last);
}

/* The next message is that of VECTOR. */
static inline void vt_expect_msi(VirtioTest *v, guint vector)
{
    guint64 address = 0;
    guint32 data = 0;

    board_test_settle();
    g_assert_true(vm_test_take_msi(v->t->vm, &address, &data));
    g_assert_cmphex(address, ==, 0xfee00000);
    g_assert_cmphex(data, ==, VT_MSI_DATA(vector));
}

static inline void vt_expect_no_msi(VirtioTest *v)
{
    guint64 address;
    guint32 data;

    board_test_settle();
    g_assert_false(vm_test_take_msi(v->t->vm, &address, &data));
}

/* The level of the pin of SLOT's INTA at the IOAPIC. */
static inline gboolean vt_pin(VirtioTest *v, guint slot)
{
    board_test_settle();
    return irq_pin_level(v->t->vm, 16 + pci_pirq(slot, 0));
}
