/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-irqchip.c - register models of the PIC pair (Intel 8259A, with ELCR), the IOAPIC (82093AA,
 * version 0x20) and one LAPIC page (SDM volume 3, chapter 11).
 *
 * There is no CPU to interrupt, so these are the registers and the state that follows from them,
 * not timing:
 *
 *   - PIC: ICW1-4, OCW1-3, IRR/ISR/IMR, edge and level by ELCR, priorities with rotation,
 *     special mask, and the poll command, which is how a program acknowledges without a CPU. The
 *     slave's output is the master's IR2.
 *   - IOAPIC: an unmasked pin that fires is a message to the LAPICs, as on the bus: recorded,
 *     and pending in the page's IRR. Level pins hold Remote IRR until an EOI of their vector.
 *     A GSI is the pin of its number, as in KVM's default routes: the timer is on pin 0.
 *   - LAPIC: plain registers at 0xfee00000, the same for all CPUs. EOI ends the highest vector
 *     pending.
 *
 * One lock, a leaf: pins change on any thread under a pin's lock, registers are accessed under it
 * too.
 */
#include "test-accel.h"

#include <string.h>

#include "../common/error.h"
#include "../common/util.h"

#define IOAPIC_BASE G_GUINT64_CONSTANT(0xfec00000)
#define LAPIC_BASE G_GUINT64_CONSTANT(0xfee00000)
#define PAGE 0x1000
#define CASCADE 2
#define N_MESSAGES 256

/* IOAPIC redirection entry */
#define REDIR_DELIVERY_MODE 0x700
#define REDIR_REMOTE_IRR (1u << 14)
#define REDIR_LEVEL (1u << 15)
#define REDIR_MASKED (1u << 16)
#define REDIR_READ_ONLY (REDIR_REMOTE_IRR | 1u << 12)
#define IOAPIC_VERSION (0x20 | (IRQ_PINS - 1) << 16)

/* LAPIC registers */
#define LAPIC_ID 0x20
#define LAPIC_VERSION 0x30
#define LAPIC_EOI 0xb0
#define LAPIC_LDR 0xd0
#define LAPIC_DFR 0xe0
#define LAPIC_SVR 0xf0
#define LAPIC_IRR 0x200
#define LAPIC_LVT_FIRST 0x320
#define LAPIC_LVT_LAST 0x370

typedef struct {
    guint8 irr, isr, imr, elcr;
    guint8 lines;    /* levels of the inputs */
    guint8 base;     /* ICW2 */
    guint8 icw;      /* the next initialisation word wanted: 2, 3, 4; 0: done */
    guint8 icw1;
    guint8 lowest;   /* the input of lowest priority: 7 unless rotated */
    guint8 read_isr; /* OCW3 chose ISR */
    guint8 poll;     /* OCW3 wants the next read to be a poll */
    guint8 special_mask, auto_eoi, rotate_auto_eoi;
} Pic;

typedef struct {
    guint64 address;
    guint32 data;
} Message;

struct TestIrqchip {
    Vm       *vm;
    GMutex    lock; /* all that follows */
    Pic       pic[2];
    guint32   levels; /* of the IOAPIC's pins */
    guint8    select; /* IOREGSEL */
    guint32   id;
    guint64   redir[IRQ_PINS];
    guint32   lapic[PAGE / 16];
    Message   messages[N_MESSAGES];
    guint     first, n_messages;
    IoRegion *regions[5];
};

/* ---- messages and the LAPIC page ---- */

static guint32 *lapic_reg(TestIrqchip *chip, guint offset)
{
    return &chip->lapic[offset / 16];
}

static void message_record(TestIrqchip *chip, guint64 address, guint32 data)
{
    guint vector = data & 0xff;

    if (chip->n_messages == N_MESSAGES) {
        chip->first = (chip->first + 1) % N_MESSAGES;
        chip->n_messages--;
    }
    chip->messages[(chip->first + chip->n_messages++) % N_MESSAGES] = (Message){ address, data };
    if ((data & REDIR_DELIVERY_MODE) <= 0x100) /* fixed, lowest priority */
        *lapic_reg(chip, LAPIC_IRR + vector / 32 * 16) |= 1u << vector % 32;
}

void test_irqchip_message(TestIrqchip *chip, guint64 address, guint32 data)
{
    g_mutex_lock(&chip->lock);
    message_record(chip, address, data);
    g_mutex_unlock(&chip->lock);
}

gboolean test_irqchip_take(TestIrqchip *chip, guint64 *address, guint32 *data)
{
    gboolean any;

    g_mutex_lock(&chip->lock);
    any = chip->n_messages > 0;
    if (any) {
        *address = chip->messages[chip->first].address;
        *data = chip->messages[chip->first].data;
        chip->first = (chip->first + 1) % N_MESSAGES;
        chip->n_messages--;
    }
    g_mutex_unlock(&chip->lock);
    return any;
}

/* ---- IOAPIC ---- */

/* A pin that is high and may: level pins once until EOI, edge pins when they rise. */
static void ioapic_deliver(TestIrqchip *chip, guint pin)
{
    guint64 *redir = &chip->redir[pin];

    if (*redir & REDIR_MASKED || *redir & REDIR_REMOTE_IRR)
        return;
    if (*redir & REDIR_LEVEL)
        *redir |= REDIR_REMOTE_IRR;
    /* Destination and mode bits as an MSI has them; the data's trigger and delivery mode are the
     * entry's own. */
    message_record(chip, LAPIC_BASE | (*redir >> 56) << 12 | (*redir >> 11 & 1) << 2,
                   (*redir & 0x7ff) | (*redir & REDIR_LEVEL));
}

static void ioapic_pin(TestIrqchip *chip, guint pin, gboolean level)
{
    gboolean was = chip->levels >> pin & 1;

    chip->levels = level ? chip->levels | 1u << pin : chip->levels & ~(1u << pin);
    if (level && !was)
        ioapic_deliver(chip, pin);
}

/* A level pin whose entry changed, or that was ended, fires again if it is still high. */
static void ioapic_again(TestIrqchip *chip, guint pin)
{
    if (chip->redir[pin] & REDIR_LEVEL && chip->levels >> pin & 1)
        ioapic_deliver(chip, pin);
}

static void ioapic_eoi(TestIrqchip *chip, guint8 vector)
{
    for (guint pin = 0; pin < IRQ_PINS; pin++) {
        guint64 *redir = &chip->redir[pin];

        if ((*redir & 0xff) != vector || !(*redir & REDIR_REMOTE_IRR))
            continue;
        *redir &= ~(guint64)REDIR_REMOTE_IRR;
        ioapic_again(chip, pin);
    }
}

static guint32 ioapic_get(const TestIrqchip *chip)
{
    guint pin = (chip->select - 0x10u) / 2;

    switch (chip->select) {
    case 0x00:
    case 0x02: /* arbitration id: the same */
        return chip->id;
    case 0x01:
        return IOAPIC_VERSION;
    default:
        return chip->select >= 0x10 && pin < IRQ_PINS
                   ? (guint32)(chip->redir[pin] >> (chip->select & 1) * 32)
                   : 0;
    }
}

static void ioapic_set(TestIrqchip *chip, guint32 value)
{
    guint pin = (chip->select - 0x10u) / 2;
    guint64 *redir;

    if (chip->select == 0x00)
        chip->id = value & 0x0f000000;
    if (chip->select < 0x10 || pin >= IRQ_PINS)
        return;
    redir = &chip->redir[pin];
    if (chip->select & 1) {
        *redir = (*redir & G_MAXUINT32) | (guint64)(value & 0xff000000) << 32;
        return;
    }
    *redir = (*redir & ~(guint64)G_MAXUINT32) | (*redir & REDIR_READ_ONLY) |
             (value & 0x1ffff & ~REDIR_READ_ONLY);
    if (!(*redir & REDIR_LEVEL))
        *redir &= ~(guint64)REDIR_REMOTE_IRR;
    ioapic_again(chip, pin);
}

static guint64 ioapic_read(gpointer opaque, guint64 offset, unsigned size)
{
    TestIrqchip *chip = opaque;

    switch (offset) {
    case 0x00:
        return chip->select;
    case 0x10:
        return ioapic_get(chip);
    default:
        return 0;
    }
}

static void ioapic_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    TestIrqchip *chip = opaque;

    if (offset == 0x00)
        chip->select = value & 0xff;
    else if (offset == 0x10)
        ioapic_set(chip, (guint32)value);
    else if (offset == 0x40)
        ioapic_eoi(chip, value & 0xff);
}

/* ---- LAPIC registers ---- */

static void lapic_eoi(TestIrqchip *chip)
{
    for (guint i = 8; i-- > 0;) {
        guint32 *irr = lapic_reg(chip, LAPIC_IRR + i * 16);

        if (*irr) {
            guint bit = 31 - (guint)__builtin_clz(*irr);

            *irr &= ~(1u << bit);
            ioapic_eoi(chip, (guint8)(i * 32 + bit));
            return;
        }
    }
}

static guint64 lapic_read(gpointer opaque, guint64 offset, unsigned size)
{
    return offset & 0xf ? 0 : *lapic_reg(opaque, (guint)offset);
}

/* A write to offset 0 is also what an MSI is; test_msi_send() does not come this way, but a
 * client's writel does. */
static void lapic_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    TestIrqchip *chip = opaque;

    if (offset == 0)
        message_record(chip, LAPIC_BASE, (guint32)value);
    else if (offset == LAPIC_EOI)
        lapic_eoi(chip);
    else if ((offset & 0xf) == 0 && offset != LAPIC_VERSION && (offset < 0x100 || offset > 0x270))
        *lapic_reg(chip, (guint)offset) = (guint32)value;
}

/* ---- PIC ---- */

/* The highest-priority input that interrupts, or -1 (8259A: fully nested mode, special mask mode).
 */
static int pic_pending(const Pic *p)
{
    for (guint i = 0; i < 8; i++) {
        guint n = (p->lowest + 1u + i) & 7;
        guint8 bit = (guint8)(1u << n);

        if (p->irr & bit && !(p->imr & bit) && !(p->isr & bit))
            return (int)n;
        if (p->isr & bit && !(p->special_mask && p->imr & bit))
            return -1;
    }
    return -1;
}

static void pic_input(Pic *p, guint n, gboolean level)
{
    guint8 bit = (guint8)(1u << n);
    gboolean is_level = p->elcr & bit || p->icw1 & 0x08;

    if (level && (is_level || !(p->lines & bit)))
        p->irr |= bit;
    else if (!level)
        p->irr &= ~bit; /* gone before it was acknowledged */
    p->lines = level ? p->lines | bit : p->lines & ~bit;
}

static void pics_update(TestIrqchip *chip)
{
    pic_input(&chip->pic[0], CASCADE, pic_pending(&chip->pic[1]) >= 0);
}

static void pic_end(Pic *p, guint n, gboolean rotate)
{
    p->isr &= ~(1u << n);
    if (rotate)
        p->lowest = n;
}

static void pic_acknowledge(Pic *p, guint n)
{
    guint8 bit = (guint8)(1u << n);

    p->isr |= bit;
    if (!(p->elcr & bit || p->icw1 & 0x08) || !(p->lines & bit))
        p->irr &= ~bit;
    if (p->auto_eoi)
        pic_end(p, n, p->rotate_auto_eoi);
}

/* The poll word: bit 7 and the input; reading it acknowledges. */
static guint8 pic_poll(Pic *p)
{
    int n = pic_pending(p);

    p->poll = 0;
    if (n < 0)
        return 0;
    pic_acknowledge(p, (guint)n);
    return 0x80 | (guint8)n;
}

static void pic_icw1(Pic *p, guint8 value)
{
    *p = (Pic){ .elcr = p->elcr, .lines = p->lines, .icw1 = value, .icw = 2, .lowest = 7 };
    /* Edge detection starts over; level inputs ask again. */
    p->irr = p->lines & (value & 0x08 ? 0xff : p->elcr);
}

static void pic_ocw2(Pic *p, guint8 value)
{
    guint n = value & 7;
    gboolean specific = value & 0x40, rotate = value & 0x80;

    if (!(value & 0x20)) { /* no EOI */
        if (rotate && specific)
            p->lowest = n;
        else
            p->rotate_auto_eoi = rotate;
        return;
    }
    if (specific) {
        pic_end(p, n, rotate);
        return;
    }
    for (guint i = 0; i < 8; i++) {
        n = (p->lowest + 1u + i) & 7;
        if (p->isr >> n & 1) {
            pic_end(p, n, rotate);
            return;
        }
    }
}

static void pic_ocw3(Pic *p, guint8 value)
{
    if (value & 0x40)
        p->special_mask = value >> 5 & 1;
    if (value & 0x04)
        p->poll = 1;
    else if (value & 0x02)
        p->read_isr = value & 1;
}

static void pic_data(Pic *p, guint8 value)
{
    switch (p->icw) {
    case 2:
        p->base = value & 0xf8;
        p->icw = !(p->icw1 & 0x02) ? 3 : p->icw1 & 0x01 ? 4 : 0;
        break;
    case 3:
        p->icw = p->icw1 & 0x01 ? 4 : 0;
        break;
    case 4:
        p->auto_eoi = value >> 1 & 1;
        p->icw = 0;
        break;
    default:
        p->imr = value;
    }
}

static void pic_command(Pic *p, guint8 value)
{
    if (value & 0x10)
        pic_icw1(p, value);
    else if (value & 0x08)
        pic_ocw3(p, value);
    else
        pic_ocw2(p, value);
}

static guint64 pic_read(TestIrqchip *chip, guint which, guint64 offset)
{
    Pic *p = &chip->pic[which];
    guint8 v;

    if (p->poll)
        v = pic_poll(p);
    else if (offset == 1)
        v = p->imr;
    else
        v = p->read_isr ? p->isr : p->irr;
    pics_update(chip);
    return v;
}

static void pic_write(TestIrqchip *chip, guint which, guint64 offset, guint8 value)
{
    if (offset == 1)
        pic_data(&chip->pic[which], value);
    else
        pic_command(&chip->pic[which], value);
    pics_update(chip);
}

static guint64 master_read(gpointer opaque, guint64 offset, unsigned size)
{
    return pic_read(opaque, 0, offset);
}

static void master_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    pic_write(opaque, 0, offset, (guint8)value);
}

static guint64 slave_read(gpointer opaque, guint64 offset, unsigned size)
{
    return pic_read(opaque, 1, offset);
}

static void slave_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    pic_write(opaque, 1, offset, (guint8)value);
}

static guint64 elcr_read(gpointer opaque, guint64 offset, unsigned size)
{
    return ((TestIrqchip *)opaque)->pic[offset].elcr;
}

/* IRQ 0, 1, 2, 8 and 13 are always edge-triggered. */
static void elcr_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    ((TestIrqchip *)opaque)->pic[offset].elcr = (guint8)value & (offset ? 0xde : 0xf8);
}

/* ---- all of them ---- */

void test_irqchip_pin(TestIrqchip *chip, guint gsi, gboolean level)
{
    g_mutex_lock(&chip->lock);
    if (gsi < 16 && gsi != CASCADE)
        pic_input(&chip->pic[gsi / 8], gsi % 8, level);
    pics_update(chip);
    ioapic_pin(chip, gsi, level);
    g_mutex_unlock(&chip->lock);
}

/* Levels of the inputs stay: their drivers are other devices. */
void test_irqchip_reset(TestIrqchip *chip)
{
    g_mutex_lock(&chip->lock);
    for (guint i = 0; i < 2; i++)
        chip->pic[i] = (Pic){ .lines = chip->pic[i].lines, .lowest = 7 };
    for (guint i = 0; i < IRQ_PINS; i++)
        chip->redir[i] = REDIR_MASKED;
    chip->select = 0;
    chip->id = 0;
    chip->first = chip->n_messages = 0;
    memset(chip->lapic, 0, sizeof chip->lapic);
    *lapic_reg(chip, LAPIC_VERSION) = 0x00050014;
    *lapic_reg(chip, LAPIC_DFR) = G_MAXUINT32;
    *lapic_reg(chip, LAPIC_SVR) = 0xff;
    for (guint offset = LAPIC_LVT_FIRST; offset <= LAPIC_LVT_LAST; offset += 16)
        *lapic_reg(chip, offset) = REDIR_MASKED;
    g_mutex_unlock(&chip->lock);
}

static const TestField pic_fields[] = {
    TEST_FIELD(Pic, irr),      TEST_FIELD(Pic, isr),
    TEST_FIELD(Pic, imr),      TEST_FIELD(Pic, elcr),
    TEST_FIELD(Pic, lines),    TEST_FIELD(Pic, base),
    TEST_FIELD(Pic, icw),      TEST_FIELD(Pic, icw1),
    TEST_FIELD(Pic, lowest),   TEST_FIELD(Pic, read_isr),
    TEST_FIELD(Pic, poll),     TEST_FIELD(Pic, special_mask),
    TEST_FIELD(Pic, auto_eoi), TEST_FIELD(Pic, rotate_auto_eoi),
};

static const TestField apic_fields[] = {
    TEST_FIELD(TestIrqchip, levels), TEST_FIELD(TestIrqchip, select), TEST_FIELD(TestIrqchip, id),
    TEST_FIELD(TestIrqchip, redir),  TEST_FIELD(TestIrqchip, lapic),
};

void test_irqchip_save(TestIrqchip *chip, GVariantBuilder *builder)
{
    g_mutex_lock(&chip->lock);
    test_fields_save(builder, "pic0.", pic_fields, G_N_ELEMENTS(pic_fields), &chip->pic[0]);
    test_fields_save(builder, "pic1.", pic_fields, G_N_ELEMENTS(pic_fields), &chip->pic[1]);
    test_fields_save(builder, "apic.", apic_fields, G_N_ELEMENTS(apic_fields), chip);
    g_mutex_unlock(&chip->lock);
}

gboolean test_irqchip_load(TestIrqchip *chip, GVariant *state, gboolean commit, GError **error)
{
    g_autofree TestIrqchip *copy = g_new0(TestIrqchip, 1);

    if (!test_fields_load(state, "pic0.", pic_fields, G_N_ELEMENTS(pic_fields), &copy->pic[0],
                          error) ||
        !test_fields_load(state, "pic1.", pic_fields, G_N_ELEMENTS(pic_fields), &copy->pic[1],
                          error) ||
        !test_fields_load(state, "apic.", apic_fields, G_N_ELEMENTS(apic_fields), copy, error))
        return FALSE;
    for (guint i = 0; i < 2; i++) /* an index elsewhere */
        copy->pic[i].lowest &= 7;
    if (commit) {
        g_mutex_lock(&chip->lock);
        memcpy(chip->pic, copy->pic, sizeof chip->pic);
        chip->levels = copy->levels;
        chip->select = copy->select;
        chip->id = copy->id;
        memcpy(chip->redir, copy->redir, sizeof chip->redir);
        memcpy(chip->lapic, copy->lapic, sizeof chip->lapic);
        g_mutex_unlock(&chip->lock);
    }
    return TRUE;
}

static void region_add(TestIrqchip *chip, guint i, IoSpace space, guint64 base, guint64 size,
                       const IoOps *ops, const char *name)
{
    chip->regions[i] =
        iobus_add(chip->vm, space, base, size, ops, chip, &chip->lock, 0, name, NULL);
    g_assert(chip->regions[i]); /* the bus is still empty */
}

TestIrqchip *test_irqchip_new(Vm *vm)
{
    static const IoOps master_ops = { master_read, master_write, 1, 1, FALSE };
    static const IoOps slave_ops = { slave_read, slave_write, 1, 1, FALSE };
    static const IoOps elcr_ops = { elcr_read, elcr_write, 1, 1, FALSE };
    static const IoOps ioapic_ops = { ioapic_read, ioapic_write, 4, 4, FALSE };
    static const IoOps lapic_ops = { lapic_read, lapic_write, 4, 4, FALSE };
    TestIrqchip *chip = g_new0(TestIrqchip, 1);

    chip->vm = vm;
    g_mutex_init(&chip->lock);
    test_irqchip_reset(chip);
    region_add(chip, 0, IO_PIO, 0x20, 2, &master_ops, "pic");
    region_add(chip, 1, IO_PIO, 0xa0, 2, &slave_ops, "pic");
    region_add(chip, 2, IO_PIO, 0x4d0, 2, &elcr_ops, "elcr");
    region_add(chip, 3, IO_MMIO, IOAPIC_BASE, PAGE, &ioapic_ops, "ioapic");
    region_add(chip, 4, IO_MMIO, LAPIC_BASE, PAGE, &lapic_ops, "lapic");
    return chip;
}

void test_irqchip_free(TestIrqchip *chip)
{
    for (guint i = 0; i < G_N_ELEMENTS(chip->regions); i++)
        iobus_remove(chip->vm, chip->regions[i]);
    g_mutex_clear(&chip->lock);
    g_free(chip);
}
