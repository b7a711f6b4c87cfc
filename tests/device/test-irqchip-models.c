/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-irqchip-models.c - the test accelerator's PIC, IOAPIC, LAPIC page and PIT by their
 * registers, their reset, save and load; its vCPUs; its host.
 */
#include <string.h>
#include <unistd.h>

#include "../../kvm/accel.h"
#include "../../kvm/caps.h"
#include "../../kvm/iobus.h"
#include "../../kvm/irq.h"
#include "../../kvm/vcpu.h"
#include "../../kvm/vm.h"

typedef struct {
    Vm      *vm;
    IrqLine *line[IRQ_PINS];
} Fixture;

static void set_up(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;

    f->vm = vm_new(VM_ACCEL_TEST, NULL, NULL, &error);
    g_assert_no_error(error);
    for (guint i = 0; i < IRQ_PINS; i++)
        f->line[i] = irq_line_new(f->vm, i, "test");
}

static void tear_down(Fixture *f, gconstpointer data)
{
    for (guint i = 0; i < IRQ_PINS; i++)
        irq_line_free(f->line[i]);
    vm_free(f->vm);
}

static guint8 inb(Fixture *f, guint16 port)
{
    guint64 v = 0;

    g_assert_true(iobus_read(f->vm, IO_PIO, port, 1, &v));
    return (guint8)v;
}

static void outb(Fixture *f, guint16 port, guint8 value)
{
    g_assert_true(iobus_write(f->vm, IO_PIO, port, 1, value));
}

static guint32 readl(Fixture *f, guint64 addr)
{
    guint64 v = 0;

    g_assert_true(iobus_read(f->vm, IO_MMIO, addr, 4, &v));
    return (guint32)v;
}

static void writel(Fixture *f, guint64 addr, guint32 value)
{
    g_assert_true(iobus_write(f->vm, IO_MMIO, addr, 4, value));
}

static void pulse(Fixture *f, guint n)
{
    irq_line_set(f->line[n], TRUE);
    irq_line_set(f->line[n], FALSE);
}

static void step_ns(Fixture *f, guint64 ns)
{
    g_autofree char *line = g_strdup_printf("clock_step %" G_GUINT64_FORMAT, ns);
    g_autofree char *reply = vm_qtest_line(f->vm, line);

    g_assert_true(g_str_has_prefix(reply, "OK "));
}

/* ---- PIC ---- */

#define READ_IRR 0x0a
#define READ_ISR 0x0b
#define POLL 0x0c
#define EOI 0x20

/* As a PC's firmware does: edge, cascaded, vectors 0x08 and 0x70, 8086 mode, all unmasked. */
static void pics_start(Fixture *f, guint8 icw4)
{
    static const guint16 ports[2] = { 0x20, 0xa0 };

    for (guint i = 0; i < 2; i++) {
        outb(f, ports[i], 0x11);
        outb(f, ports[i] + 1, i ? 0x70 : 0x08);
        outb(f, ports[i] + 1, i ? 2 : 4);
        outb(f, ports[i] + 1, icw4);
        outb(f, ports[i] + 1, 0);
    }
}

static guint8 pic_get(Fixture *f, guint16 port, guint8 what)
{
    outb(f, port, what);
    return inb(f, port);
}

static void test_pic_registers(Fixture *f, gconstpointer data)
{
    pics_start(f, 1);
    outb(f, 0x21, 0xfb);
    g_assert_cmphex(inb(f, 0x21), ==, 0xfb);
    g_assert_cmphex(inb(f, 0xa1), ==, 0);
    irq_line_set(f->line[4], TRUE); /* masked: requested all the same */
    g_assert_cmphex(pic_get(f, 0x20, READ_IRR), ==, 0x10);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0);
    outb(f, 0x21, 0);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0x84);
    g_assert_cmphex(pic_get(f, 0x20, READ_IRR), ==, 0); /* edge: taken */
    g_assert_cmphex(pic_get(f, 0x20, READ_ISR), ==, 0x10);
    outb(f, 0x20, EOI);
    g_assert_cmphex(pic_get(f, 0x20, READ_ISR), ==, 0);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0); /* still high: no second edge */
    /* A request that went away before it was taken is none. */
    irq_line_set(f->line[4], FALSE);
    pulse(f, 4);
    g_assert_cmphex(pic_get(f, 0x20, READ_IRR), ==, 0);
}

static void test_pic_level(Fixture *f, gconstpointer data)
{
    pics_start(f, 1);
    outb(f, 0x4d0, 0xff);
    outb(f, 0x4d1, 0xff);
    g_assert_cmphex(inb(f, 0x4d0), ==, 0xf8); /* 0, 1, 2 are edge for ever */
    g_assert_cmphex(inb(f, 0x4d1), ==, 0xde); /* 8, 13 too */
    irq_line_set(f->line[5], TRUE);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0x85);
    outb(f, 0x20, EOI);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0x85); /* high: again */
    irq_line_set(f->line[5], FALSE);
    outb(f, 0x20, EOI);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0);
}

static void test_pic_priorities(Fixture *f, gconstpointer data)
{
    pics_start(f, 1);
    irq_line_set(f->line[6], TRUE);
    irq_line_set(f->line[3], TRUE);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0x83);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0); /* 6 waits for 3's end */
    irq_line_set(f->line[1], TRUE);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0x81); /* higher: nests */
    outb(f, 0x20, EOI);                                /* ends 1, the highest */
    g_assert_cmphex(pic_get(f, 0x20, READ_ISR), ==, 0x08);
    /* Special mask: masking 3 lets 6 through while 3 is in service. */
    outb(f, 0x21, 0x08);
    outb(f, 0x20, 0x68);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0x86);
    outb(f, 0x20, 0x48);
    outb(f, 0x20, 0x63); /* specific EOI of 3 */
    g_assert_cmphex(pic_get(f, 0x20, READ_ISR), ==, 0x40);
    outb(f, 0x20, 0x66);
    /* Rotation: 3 becomes the lowest, so 4 is the highest. */
    outb(f, 0x21, 0);
    irq_line_set(f->line[1], FALSE);
    outb(f, 0x20, 0xc3);
    irq_line_set(f->line[1], TRUE);
    irq_line_set(f->line[4], TRUE);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0x84);
    outb(f, 0x20, 0xa0); /* rotate on non-specific EOI: 4 the lowest */
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0x81);
}

static void test_pic_cascade(Fixture *f, gconstpointer data)
{
    pics_start(f, 1);
    irq_line_set(f->line[12], TRUE);
    g_assert_cmphex(pic_get(f, 0xa0, READ_IRR), ==, 0x10);
    g_assert_cmphex(pic_get(f, 0x20, READ_IRR), ==, 0x04);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0x82);
    g_assert_cmphex(pic_get(f, 0xa0, POLL), ==, 0x84);
    outb(f, 0xa0, EOI);
    outb(f, 0x20, EOI);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0);
    /* The board has no wire to IR2 itself. */
    irq_line_set(f->line[2], TRUE);
    g_assert_cmphex(pic_get(f, 0x20, READ_IRR), ==, 0);
}

static void test_pic_auto_eoi(Fixture *f, gconstpointer data)
{
    pics_start(f, 3);
    irq_line_set(f->line[7], TRUE);
    g_assert_cmphex(pic_get(f, 0x20, POLL), ==, 0x87);
    g_assert_cmphex(pic_get(f, 0x20, READ_ISR), ==, 0);
}

/* ---- IOAPIC and LAPIC ---- */

#define IOAPIC 0xfec00000
#define LAPIC 0xfee00000

static guint32 ioapic_get(Fixture *f, guint8 reg)
{
    writel(f, IOAPIC, reg);
    return readl(f, IOAPIC + 0x10);
}

static void ioapic_set(Fixture *f, guint8 reg, guint32 value)
{
    writel(f, IOAPIC, reg);
    writel(f, IOAPIC + 0x10, value);
}

static void expect_message(Fixture *f, guint64 address, guint32 data)
{
    guint64 a;
    guint32 d;

    g_assert_true(vm_test_take_msi(f->vm, &a, &d));
    g_assert_cmphex(a, ==, address);
    g_assert_cmphex(d, ==, data);
}

static void expect_no_message(Fixture *f)
{
    guint64 a;
    guint32 d;

    g_assert_false(vm_test_take_msi(f->vm, &a, &d));
}

static void test_ioapic_registers(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(ioapic_get(f, 1), ==, 0x00170020);
    ioapic_set(f, 0, 0xff000000);
    g_assert_cmphex(ioapic_get(f, 0), ==, 0x0f000000);
    g_assert_cmphex(ioapic_get(f, 2), ==, 0x0f000000);
    for (guint8 i = 0; i < IRQ_PINS; i++)
        g_assert_cmphex(ioapic_get(f, 0x10 + 2 * i), ==, 0x10000); /* masked */
    ioapic_set(f, 0x10, 0xffffffff);
    g_assert_cmphex(ioapic_get(f, 0x10), ==,
                    0x1afff); /* delivery status and remote IRR are the chip's */
    ioapic_set(f, 0x11, 0xffffffff);
    g_assert_cmphex(ioapic_get(f, 0x11), ==, 0xff000000);
    g_assert_cmphex(ioapic_get(f, 0x40), ==, 0); /* beyond pin 23 */
    g_assert_cmphex(readl(f, IOAPIC + 0x20), ==, 0);
}

static void test_ioapic_edge(Fixture *f, gconstpointer data)
{
    pulse(f, 10); /* masked: lost */
    expect_no_message(f);
    ioapic_set(f, 0x10 + 2 * 10 + 1, 3u << 24);
    ioapic_set(f, 0x10 + 2 * 10, 0x0931); /* logical, lowest priority, vector 0x31 */
    irq_line_set(f->line[10], TRUE);
    expect_message(f, 0xfee03004, 0x131);
    expect_no_message(f);
    irq_line_set(f->line[10], FALSE);
    irq_line_set(f->line[10], TRUE);
    expect_message(f, 0xfee03004, 0x131);
    /* Pending in the page: vector 0x31 is bit 17 of the second word. */
    g_assert_cmphex(readl(f, LAPIC + 0x210), ==, 1u << 17);
    writel(f, LAPIC + 0xb0, 0);
    g_assert_cmphex(readl(f, LAPIC + 0x210), ==, 0);
}

static void test_ioapic_level(Fixture *f, gconstpointer data)
{
    ioapic_set(f, 0x10 + 2 * 20, 0x8052);
    irq_line_set(f->line[20], TRUE);
    expect_message(f, 0xfee00000, 0x8052);
    g_assert_cmphex(ioapic_get(f, 0x10 + 2 * 20), ==, 0xc052); /* remote IRR */
    pulse(f, 20);
    irq_line_set(f->line[20], TRUE);
    expect_no_message(f); /* not before its EOI */
    writel(f, LAPIC + 0xb0, 0);
    expect_message(f, 0xfee00000, 0x8052); /* still high */
    irq_line_set(f->line[20], FALSE);
    writel(f, IOAPIC + 0x40, 0x52); /* the directed EOI register */
    expect_no_message(f);
    g_assert_cmphex(ioapic_get(f, 0x10 + 2 * 20), ==, 0x8052);
    /* High while masked: fires when unmasked. */
    ioapic_set(f, 0x10 + 2 * 20, 0x18052);
    irq_line_set(f->line[20], TRUE);
    expect_no_message(f);
    ioapic_set(f, 0x10 + 2 * 20, 0x8052);
    expect_message(f, 0xfee00000, 0x8052);
}

static void test_gsi_is_pin(Fixture *f, gconstpointer data)
{
    ioapic_set(f, 0x10 + 2 * 2, 0x20);
    ioapic_set(f, 0x10, 0x21);
    pulse(f, 0);
    expect_message(f, 0xfee00000, 0x21);
    pulse(f, 2);
    expect_message(f, 0xfee00000, 0x20);
    expect_no_message(f);
}

static void test_lapic(Fixture *f, gconstpointer data)
{
    g_assert_cmphex(readl(f, LAPIC + 0x30), ==, 0x50014);
    g_assert_cmphex(readl(f, LAPIC + 0xf0), ==, 0xff);
    g_assert_cmphex(readl(f, LAPIC + 0x350), ==, 0x10000);
    writel(f, LAPIC + 0xf0, 0x1ff);
    g_assert_cmphex(readl(f, LAPIC + 0xf0), ==, 0x1ff);
    writel(f, LAPIC + 0x30, 0);
    g_assert_cmphex(readl(f, LAPIC + 0x30), ==, 0x50014);
    writel(f, LAPIC, 0x77); /* an MSI written by hand */
    expect_message(f, 0xfee00000, 0x77);
    /* Records are a ring: the oldest go. */
    for (guint i = 0; i < 300; i++)
        writel(f, LAPIC, i & 0xff);
    expect_message(f, 0xfee00000, 300 - 256);
}

/* ---- PIT ---- */

/* Ticks of 1193182 Hz as ns, rounded up. */
static guint64 ticks(guint64 n)
{
    return (n * G_GUINT64_CONSTANT(1000000000) + 1193181) / 1193182;
}

static guint16 pit_latched(Fixture *f, guint channel)
{
    guint8 low;

    outb(f, 0x43, (guint8)(channel << 6));
    low = inb(f, (guint16)(0x40 + channel));
    return (guint16)(low | inb(f, (guint16)(0x40 + channel)) << 8);
}

static void test_pit_counts(Fixture *f, gconstpointer data)
{
    outb(f, 0x43, 0x30); /* channel 0, both bytes, mode 0 */
    outb(f, 0x40, 0x10);
    outb(f, 0x40, 0x27); /* 10000 */
    g_assert_cmpuint(pit_latched(f, 0), ==, 10000);
    step_ns(f, ticks(100));
    g_assert_cmpuint(pit_latched(f, 0), ==, 9900);
    /* A latch holds while time passes. */
    outb(f, 0x43, 0x00);
    step_ns(f, ticks(100));
    g_assert_cmpuint(inb(f, 0x40), ==, 9900 & 0xff);
    g_assert_cmpuint(inb(f, 0x40), ==, 9900 >> 8);
    g_assert_cmpuint(pit_latched(f, 0), ==, 9800);
    g_assert_false(irq_pin_level(f->vm, 0));
    step_ns(f, ticks(9800));
    g_assert_true(irq_pin_level(f->vm, 0)); /* terminal count */
    step_ns(f, ticks(1));
    g_assert_cmpuint(pit_latched(f, 0), ==, 0xffff); /* wraps and goes on */
    outb(f, 0x43, 0x30);
    g_assert_false(irq_pin_level(f->vm, 0));
}

static void test_pit_periodic(Fixture *f, gconstpointer data)
{
    guint64 a;
    guint32 d;
    guint n = 0;

    ioapic_set(f, 0x10, 0x20);
    outb(f, 0x43, 0x34); /* mode 2 */
    outb(f, 0x40, (guint8)(11932 & 0xff));
    outb(f, 0x40, 11932 >> 8);
    while (vm_test_take_msi(f->vm, &a, &d)) /* the output is high from the start */
        ;
    step_ns(f, 1000000000); /* 99.998 Hz */
    while (vm_test_take_msi(f->vm, &a, &d))
        n++;
    g_assert_cmpuint(n, ==, 99);
    /* Low for one tick before each reload. */
    outb(f, 0x43, 0x34);
    outb(f, 0x40, 100);
    outb(f, 0x40, 0);
    step_ns(f, ticks(98));
    g_assert_true(irq_pin_level(f->vm, 0));
    step_ns(f, ticks(1));
    g_assert_false(irq_pin_level(f->vm, 0));
    step_ns(f, ticks(1));
    g_assert_true(irq_pin_level(f->vm, 0));
}

static void test_pit_square_wave(Fixture *f, gconstpointer data)
{
    outb(f, 0x43, 0x16); /* low byte only, mode 3 */
    outb(f, 0x40, 100);
    g_assert_true(irq_pin_level(f->vm, 0));
    step_ns(f, ticks(50));
    g_assert_false(irq_pin_level(f->vm, 0));
    step_ns(f, ticks(50));
    g_assert_true(irq_pin_level(f->vm, 0));
    step_ns(f, ticks(10));
    outb(f, 0x43, 0x00);
    g_assert_cmpuint(inb(f, 0x40), ==, 80); /* counts by two */
}

static void test_pit_bcd_and_status(Fixture *f, gconstpointer data)
{
    outb(f, 0x43, 0x71); /* channel 1, both, mode 0, BCD */
    outb(f, 0x43, 0xe4); /* read back: status of channel 1 */
    g_assert_cmphex(inb(f, 0x41), ==, 0x71); /* output low, null count */
    outb(f, 0x41, 0x34);
    outb(f, 0x41, 0x12);
    step_ns(f, ticks(35));
    outb(f, 0x43, 0xc4); /* status and count */
    g_assert_cmphex(inb(f, 0x41), ==, 0x31);
    g_assert_cmphex(inb(f, 0x41), ==, 0x99);
    g_assert_cmphex(inb(f, 0x41), ==, 0x11);
}

static void test_port_61(Fixture *f, gconstpointer data)
{
    guint8 before, refresh;

    outb(f, 0x43, 0xb0); /* channel 2, mode 0: the calibration loop of many programs */
    outb(f, 0x42, 100);
    outb(f, 0x42, 0);
    outb(f, 0x61, 0x01);
    before = inb(f, 0x61);
    g_assert_cmphex(before & 0x2f, ==, 0x01);
    step_ns(f, ticks(100));
    g_assert_cmphex(inb(f, 0x61) & 0x2f, ==, 0x21);
    outb(f, 0x61, 0x02);
    g_assert_cmphex(inb(f, 0x61) & 0x0f, ==, 0x02);
    refresh = inb(f, 0x61) & 0x10;
    step_ns(f, 15085);
    g_assert_cmphex(inb(f, 0x61) & 0x10, !=, refresh);
}

/* ---- all models as one record ---- */

static void test_save_load(Fixture *f, gconstpointer data)
{
    g_autoptr(GVariant) state = NULL, again = NULL, after_reset = NULL;
    g_autoptr(GError) error = NULL;

    pics_start(f, 1);
    outb(f, 0x21, 0x55);
    ioapic_set(f, 0x10 + 2 * 20, 0x8052);
    irq_line_set(f->line[20], TRUE);
    outb(f, 0x43, 0x34);
    outb(f, 0x40, 0x12);
    outb(f, 0x40, 0x34);
    step_ns(f, ticks(50));
    state = vm_irqchip_save(f->vm, &error);
    g_assert_no_error(error);
    g_assert_true(g_variant_is_normal_form(state));

    vm_irqchip_reset(f->vm);
    g_assert_cmphex(inb(f, 0x21), ==, 0);
    g_assert_cmphex(ioapic_get(f, 0x10 + 2 * 20), ==, 0x10000);
    after_reset = vm_irqchip_save(f->vm, NULL);
    g_assert_false(g_variant_equal(state, after_reset));
    g_assert_true(vm_irqchip_load(f->vm, state, &error));
    g_assert_no_error(error);
    again = vm_irqchip_save(f->vm, NULL);
    g_assert_true(g_variant_equal(state, again));
    g_assert_cmphex(inb(f, 0x21), ==, 0x55);
    g_assert_cmpuint(pit_latched(f, 0), ==, 0x3412 - 50);
}

/* STATE with member NAME replaced, or removed where VALUE is NULL. */
static GVariant *with_member(GVariant *state, const char *name, GVariant *value)
{
    GVariantDict dict;

    g_variant_dict_init(&dict, state);
    g_variant_dict_remove(&dict, name);
    if (value)
        g_variant_dict_insert_value(&dict, name, value);
    return g_variant_ref_sink(g_variant_dict_end(&dict));
}

static void test_load_refuses(Fixture *f, gconstpointer data)
{
    g_autoptr(GVariant) state = vm_irqchip_save(f->vm, NULL), missing = NULL, wrong = NULL,
                        odd = NULL, now = NULL;
    g_autoptr(GVariant) one = NULL;
    g_autoptr(GVariant) text = g_variant_ref_sink(g_variant_new_string("no"));
    g_autoptr(GError) error = NULL;

    missing = with_member(state, "pit2.mode", NULL);
    outb(f, 0x21, 0x77);
    g_assert_false(vm_irqchip_load(f->vm, missing, &error));
    g_assert_cmpstr(error->message, ==, "Saved state lacks 'pit2.mode'");
    g_clear_error(&error);
    wrong = with_member(state, "apic.redir", g_variant_new_uint32(1));
    g_assert_false(vm_irqchip_load(f->vm, wrong, &error));
    g_assert_cmpstr(error->message, ==,
                    "Saved state: 'apic.redir' has type 'u' and 4 bytes; 192 bytes are wanted");
    g_clear_error(&error);
    g_assert_false(vm_irqchip_load(f->vm, text, &error));
    g_clear_error(&error);
    g_assert_cmphex(inb(f, 0x21), ==, 0x77); /* nothing changed */
    /* Values out of range do no harm. */
    one = with_member(state, "pit0.count", g_variant_new_uint32(0));
    odd = with_member(one, "pit0.loaded", g_variant_new_byte(9));
    g_assert_true(vm_irqchip_load(f->vm, odd, &error));
    step_ns(f, 1000);
    now = vm_irqchip_save(f->vm, NULL);
    g_assert_nonnull(now);
}

/* ---- vCPUs and the host ---- */

static void test_vcpus(Fixture *f, gconstpointer data)
{
    static const struct kvm_cpuid_entry2 entry = { .function = 1, .eax = 0x1234 };
    const VcpuModel model = { .cpuid = &entry, .n_cpuid = 1 };
    const VcpuBoot boot = { .mode = VCPU_BOOT_PROT32, .rip = 0x100000, .rbx = 0x7000 };
    g_autofree struct kvm_cpuid2 *cpuid = NULL;
    g_autoptr(GVariant) state = NULL;
    g_autofree char *dump = NULL;
    Vcpu *cpu[3];

    for (guint i = 0; i < 3; i++) {
        cpu[i] = vcpu_new(f->vm, i, i * 2, &model, NULL);
        g_assert_true(vcpu_start(cpu[i], NULL));
        g_assert_cmpint(vcpu_thread_id(cpu[i]), >, 0);
        g_assert_cmpint(vcpu_thread_id(cpu[i]), !=, getpid());
        for (guint k = 0; k < i; k++)
            g_assert_cmpint(vcpu_thread_id(cpu[i]), !=, vcpu_thread_id(cpu[k]));
        g_assert_true(vcpu_reset(cpu[i], i == 0, NULL));
    }
    g_assert_cmpuint(vcpu_apic_id(cpu[2]), ==, 4);
    g_assert_true(vcpu_get_cpuid(cpu[1], &cpuid, NULL));
    g_assert_cmpuint(cpuid->nent, ==, 1);
    g_assert_cmphex(cpuid->entries[0].eax, ==, 0x1234);
    vm_run(f->vm);
    g_assert_true(vm_running(f->vm));
    vm_hold(f->vm);
    vm_pause(f->vm);

    g_assert_true(vcpu_set_boot(cpu[0], &boot, NULL));
    vcpu_nmi(cpu[0]);
    state = vcpu_save(cpu[0], NULL);
    g_assert_true(vcpu_reset(cpu[0], TRUE, NULL));
    g_assert_true(vcpu_load(cpu[0], state, NULL));
    dump = vcpu_dump(cpu[0]);
    g_assert_nonnull(strstr(dump, "32-bit protected mode"));
    g_assert_nonnull(strstr(dump, "rip=0000000000100000"));
    for (guint i = 0; i < 3; i++)
        vcpu_free(cpu[i]);
}

static const struct kvm_cpuid_entry2 *leaf(const struct kvm_cpuid2 *c, guint32 function,
                                           guint32 index)
{
    for (guint i = 0; i < c->nent; i++)
        if (c->entries[i].function == function && c->entries[i].index == index)
            return &c->entries[i];
    g_test_message("no leaf 0x%x.%u", function, index);
    g_assert_not_reached();
}

/* x86-64-v4 of the psABI, and no leaf twice. */
static void test_host(Fixture *f, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    const struct kvm_cpuid2 *c = vm_supported_cpuid(f->vm, &error);
    const guint32 v4_ebx = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
    const guint32 v3_ecx = 1u << 12 | 1u << 22 | 1u << 26 | 1u << 28 | 1u << 29;
    const struct kvm_msr_entry *msrs;
    guint n;

    g_assert_no_error(error);
    g_assert_cmphex(leaf(c, 7, 0)->ebx & v4_ebx, ==, v4_ebx);
    g_assert_cmphex(leaf(c, 1, 0)->ecx & v3_ecx, ==, v3_ecx);
    g_assert_cmphex(leaf(c, 0x80000001, 0)->ecx & 0x21, ==, 0x21);
    g_assert_cmpuint(leaf(c, 0x80000008, 0)->eax & 0xff, ==, vm_phys_bits(f->vm));
    g_assert_cmphex(leaf(c, 0x40000000, 0)->ebx, ==, 0x4b4d564b);
    for (guint i = 0; i < c->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &c->entries[i];

        g_assert_true(leaf(c, e->function, e->index) == e);
        g_assert_cmpuint(e->function & 0x7fffffff, <=,
                         leaf(c, e->function & 0xc0000000, 0)->eax & 0x7fffffff);
    }
    /* XSAVE areas lie one after the other within the size that leaf 0xd names. */
    g_assert_cmpuint(leaf(c, 0xd, 9)->eax + leaf(c, 0xd, 9)->ebx, ==, leaf(c, 0xd, 0)->ecx);
    msrs = vm_feature_msrs(f->vm, &n, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(n, >=, 1);
    g_assert_cmphex(msrs[1].index, ==, 0x10a);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, fn) g_test_add("/models/" name, Fixture, NULL, set_up, fn, tear_down)
    ADD("pic/registers", test_pic_registers);
    ADD("pic/level", test_pic_level);
    ADD("pic/priorities", test_pic_priorities);
    ADD("pic/cascade", test_pic_cascade);
    ADD("pic/auto-eoi", test_pic_auto_eoi);
    ADD("ioapic/registers", test_ioapic_registers);
    ADD("ioapic/edge", test_ioapic_edge);
    ADD("ioapic/level", test_ioapic_level);
    ADD("ioapic/gsi-is-pin", test_gsi_is_pin);
    ADD("lapic", test_lapic);
    ADD("pit/counts", test_pit_counts);
    ADD("pit/periodic", test_pit_periodic);
    ADD("pit/square-wave", test_pit_square_wave);
    ADD("pit/bcd-and-status", test_pit_bcd_and_status);
    ADD("port-61", test_port_61);
    ADD("save-load", test_save_load);
    ADD("load-refuses", test_load_refuses);
    ADD("vcpus", test_vcpus);
    ADD("host", test_host);
    return g_test_run();
}
