/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dsdt.c - the DSDT: what a guest can not find out by probing.
 *
 * The shape is Q35's, because guests' tables of quirks and firmware know it. Interrupt routing is the part that needs care:
 * in PIC mode the eight PIRQ lines go where the LPC bridge's registers say (link devices LNKA-LNKH that a guest
 * programs), in APIC mode to the fixed GSIs 16-23 (GSIA-GSIH). _PIC tells which of the two _PRT returns. Slots 0 to 24 and 30
 * rotate over PIRQE-H, 25 to 29 and 31 over PIRQA-D.
 */
#include "../pci/bus.h"
#include "aml.h"
#include "cpu-hotplug.h"
#include "mem-hotplug.h"
#include "pci-hotplug.h"
#include "view.h"

static const guint32 pic_choices[] = {5, 10, 11};

/* ---- PCI host bridge ---- */

static void host_bridge_windows(Aml *a, const AcpiView *v)
{
    const BoardConfig *b = v->board;
    guint32 hole32_last = b->pci_hole32_base + (guint32)b->pci_hole32_size - 1;

    aml_name_of(a, "_CRS");
    aml_resources(a);
    aml_res_bus(a, 0, v->last_bus);
    aml_res_io(a, 0xcf8, 8);
    aml_res_word_io(a, 0, 0xcf7);
    aml_res_word_io(a, 0xd00, 0xffff);
    aml_res_dword_memory(a, FALSE, b->pci_hole32_base, hole32_last);
    if (v->pci64_len > 0)
        aml_res_qword_memory(a, TRUE, v->pci64, v->pci64 + v->pci64_len - 1);
    aml_end(a);
}

/* _OSC (PCI firmware specification 4.5.1): all of PCI Express is the guest's, except SHPC, which does not exist. */
static void host_bridge_osc(Aml *a)
{
    enum { UNKNOWN_UUID = 4, UNKNOWN_REVISION = 8, MASKED = 16 };
    enum { GRANTED = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 }; /* native hot plug, PME, AER, capability, LTR */
    AmlTerm status = AML_REF("CDW1"), control = AML_REF("CDW3");

    aml_method(a, "_OSC", 4, TRUE);
    aml_create_field(a, 32, AML_ARG(3), AML_INT(0), "CDW1");
    aml_if(a, AML_LNOT(AML_LEQUAL(AML_ARG(0), AML_UUID("33db4d5b-1ff7-401c-9657-7441c03dd766"))));
    aml_stmt(a, AML_OR(status, AML_INT(UNKNOWN_UUID), status));
    aml_stmt(a, AML_RETURN(AML_ARG(3)));
    aml_end(a);
    aml_create_field(a, 32, AML_ARG(3), AML_INT(8), "CDW3");
    aml_stmt(a, AML_AND(control, AML_INT(GRANTED), AML_LOCAL(0)));
    aml_if(a, AML_LNOT(AML_LEQUAL(AML_ARG(1), AML_INT(1))));
    aml_stmt(a, AML_OR(status, AML_INT(UNKNOWN_REVISION), status));
    aml_end(a);
    aml_if(a, AML_LNOT(AML_LEQUAL(control, AML_LOCAL(0))));
    aml_stmt(a, AML_OR(status, AML_INT(MASKED), status));
    aml_end(a);
    aml_stmt(a, AML_STORE(AML_LOCAL(0), control));
    aml_stmt(a, AML_RETURN(AML_ARG(3)));
    aml_end(a);
}

static void routing_table(Aml *a, const char *name, const char *link_prefix)
{
    aml_name_of(a, name);
    aml_package(a);
    for (guint slot = 0; slot < 32; slot++) {
        for (guint pin = 0; pin < 4; pin++) {
            char link[5] = {link_prefix[0], link_prefix[1], link_prefix[2], 'A' + pci_pirq(slot, pin), 0};

            aml_package(a);
            aml_stmt(a, AML_INT(slot << 16 | 0xffff));
            aml_stmt(a, AML_INT(pin));
            aml_stmt(a, AML_REF(link));
            aml_stmt(a, AML_INT(0));
            aml_end(a);
        }
    }
    aml_end(a);
}

static void host_bridge_routing(Aml *a)
{
    routing_table(a, "PRTP", "LNK");
    routing_table(a, "PRTA", "GSI");
    aml_method(a, "_PRT", 0, FALSE);
    aml_if(a, AML_REF("\\PICF"));
    aml_stmt(a, AML_RETURN(AML_REF("PRTA")));
    aml_end(a);
    aml_stmt(a, AML_RETURN(AML_REF("PRTP")));
    aml_end(a);
}

/* ---- behind the LPC bridge ---- */

typedef struct {
    guint16 base;
    guint8  len;
} Ports;

static void isa_device(Aml *a, const char *name, const char *hid, const Ports *ports, guint n_ports, guint irq)
{
    aml_device(a, name);
    aml_name(a, "_HID", AML_EISAID(hid));
    aml_name_of(a, "_CRS");
    aml_resources(a);
    for (guint i = 0; i < n_ports; i++)
        aml_res_io(a, ports[i].base, ports[i].len);
    aml_res_irq(a, 1 << irq);
    aml_end(a);
    aml_end(a);
}

static void serial_port(Aml *a, const AcpiSerial *port)
{
    char name[5] = {'C', 'O', 'M', '1' + port->index, 0};

    aml_device(a, name);
    aml_name(a, "_HID", AML_EISAID("PNP0501"));
    aml_name(a, "_UID", AML_INT(port->index + 1));
    aml_name(a, "_STA", AML_INT(0x0f));
    aml_name_of(a, "_CRS");
    aml_resources(a);
    aml_res_io(a, port->iobase, 8);
    aml_res_irq(a, 1 << port->irq);
    aml_end(a);
    aml_end(a);
}

static void lpc_bridge(Aml *a, const AcpiView *v)
{
    static const Ports rtc[] = {{0x70, 2}}, pit[] = {{0x40, 4}}, pic[] = {{0x20, 2}, {0xa0, 2}, {0x4d0, 2}};

    aml_device(a, "ISA");
    aml_name(a, "_ADR", AML_INT(0x001f0000));
    aml_region(a, "PIRQ", AML_PCI_CONFIG, 0x60, 0x0c);
    isa_device(a, "PIC", "PNP0000", pic, G_N_ELEMENTS(pic), 2);
    isa_device(a, "TMR", "PNP0100", pit, G_N_ELEMENTS(pit), 0);
    isa_device(a, "RTC", "PNP0B00", rtc, G_N_ELEMENTS(rtc), 8);
    for (guint i = 0; i < v->n_serial; i++)
        serial_port(a, &v->serial[i]);
    aml_end(a);
}

/* fw_cfg by the id that guests' drivers know; 0x0b: present, but nothing to show to a user. */
static void fw_cfg(Aml *a)
{
    aml_device(a, "FWCF");
    aml_name(a, "_HID", AML_STR("QEMU0002"));
    aml_name(a, "_STA", AML_INT(0x0b));
    aml_name_of(a, "_CRS");
    aml_resources(a);
    aml_res_io(a, 0x510, 12);
    aml_end(a);
    aml_end(a);
}

static void host_bridge(Aml *a, const AcpiView *v)
{
    aml_device(a, "PCI0");
    aml_name(a, "_HID", AML_EISAID("PNP0A08"));
    aml_name(a, "_CID", AML_EISAID("PNP0A03"));
    aml_name(a, "_UID", AML_INT(0));
    aml_name(a, "_BBN", AML_INT(0));
    host_bridge_windows(a, v);
    host_bridge_osc(a);
    host_bridge_routing(a);
    lpc_bridge(a, v);
    fw_cfg(a);
    aml_end(a);
}

/* ---- interrupt links ---- */

static void link_registers(Aml *a)
{
    char name[5] = "PRQA";

    aml_field(a, "\\_SB.PCI0.ISA.PIRQ", AML_BYTE_ACC, FALSE, AML_PRESERVE);
    for (guint i = 0; i < 8; i++) {
        if (i == 4)
            aml_field_bits(a, NULL, 32); /* serial interrupt control and reserved */
        name[3] = 'A' + i;
        aml_field_bits(a, name, 8);
    }
    aml_end(a);
}

/* IQST: _STA of a link with register value Arg0. IQCR: its _CRS in IQBF; an Interrupt descriptor has its number at byte 5. The
 * field is made in the method: SeaBIOS, which looks for devices in the DSDT, knows no CreateDWordField outside of one. */
static void link_helpers(Aml *a)
{
    aml_method(a, "IQST", 1, FALSE);
    aml_if(a, AML_AND(AML_ARG(0), AML_INT(0x80), AML_NONE));
    aml_stmt(a, AML_RETURN(AML_INT(0x09)));
    aml_end(a);
    aml_stmt(a, AML_RETURN(AML_INT(0x0b)));
    aml_end(a);

    aml_name_of(a, "IQBF");
    aml_resources(a);
    aml_res_interrupt(a, AML_IRQ_SHARED, (const guint32[]){0}, 1);
    aml_end(a);
    aml_method(a, "IQCR", 1, TRUE);
    aml_create_field(a, 32, AML_REF("IQBF"), AML_INT(5), "IQNR");
    aml_stmt(a, AML_STORE(AML_INT(0), AML_REF("IQNR")));
    aml_if(a, AML_LNOT(AML_AND(AML_ARG(0), AML_INT(0x80), AML_NONE)));
    aml_stmt(a, AML_AND(AML_ARG(0), AML_INT(0x0f), AML_REF("IQNR")));
    aml_end(a);
    aml_stmt(a, AML_RETURN(AML_REF("IQBF")));
    aml_end(a);
}

static void link_begin(Aml *a, const char *prefix, guint i, guint uid)
{
    char name[5] = {prefix[0], prefix[1], prefix[2], 'A' + i, 0};

    aml_device(a, name);
    aml_name(a, "_HID", AML_EISAID("PNP0C0F"));
    aml_name(a, "_UID", AML_INT(uid));
}

static void link_interrupts(Aml *a, const char *name, const guint32 *gsis, guint n)
{
    aml_name_of(a, name);
    aml_resources(a);
    aml_res_interrupt(a, AML_IRQ_SHARED, gsis, n);
    aml_end(a);
}

static void pic_link(Aml *a, guint i)
{
    char reg[5] = {'P', 'R', 'Q', 'A' + i, 0};

    link_begin(a, "LNK", i, i);
    link_interrupts(a, "_PRS", pic_choices, G_N_ELEMENTS(pic_choices));
    aml_method(a, "_STA", 0, FALSE);
    aml_stmt(a, AML_RETURN(AML_CALL("IQST", AML_REF(reg))));
    aml_end(a);
    aml_method(a, "_DIS", 0, FALSE);
    aml_stmt(a, AML_OR(AML_REF(reg), AML_INT(0x80), AML_REF(reg)));
    aml_end(a);
    aml_method(a, "_CRS", 0, FALSE);
    aml_stmt(a, AML_RETURN(AML_CALL("IQCR", AML_REF(reg))));
    aml_end(a);
    aml_method(a, "_SRS", 1, TRUE);
    aml_create_field(a, 32, AML_ARG(0), AML_INT(5), "IRQN");
    aml_stmt(a, AML_STORE(AML_REF("IRQN"), AML_REF(reg)));
    aml_end(a);
    aml_end(a);
}

/* Fixed: there is one choice, and setting it does nothing. */
static void gsi_link(Aml *a, guint i)
{
    guint32 gsi = 16 + i;

    link_begin(a, "GSI", i, gsi);
    link_interrupts(a, "_PRS", &gsi, 1);
    link_interrupts(a, "_CRS", &gsi, 1);
    aml_method(a, "_SRS", 1, FALSE);
    aml_end(a);
    aml_end(a);
}

static void interrupt_links(Aml *a)
{
    link_registers(a);
    link_helpers(a);
    for (guint i = 0; i < 8; i++)
        pic_link(a, i);
    for (guint i = 0; i < 8; i++)
        gsi_link(a, i);
}

/* What the board decodes outside of PCI: guests place nothing there, and believe the MCFG table only if ECAM stands here. */
static void motherboard(Aml *a, const BoardConfig *b)
{
    aml_device(a, "MBRD");
    aml_name(a, "_HID", AML_EISAID("PNP0C02"));
    aml_name(a, "_UID", AML_INT(0));
    aml_name_of(a, "_CRS");
    aml_resources(a);
    aml_res_memory32(a, TRUE, b->ecam_base, b->ecam_size);
    aml_res_io(a, b->pm_base, 0x80);
    aml_res_io(a, b->cpu_hotplug_base, CPU_HOTPLUG_REG_LEN);
    aml_res_io(a, b->memory_hotplug_base, MEM_HOTPLUG_REG_LEN);
    aml_res_io(a, b->pci_hotplug_base, PCI_HOTPLUG_REG_LEN);
    aml_end(a);
    aml_end(a);
}

void acpi_dsdt_body(const AcpiView *v, GByteArray *out)
{
    Aml aml = AML_INIT(out), *a = &aml;

    aml_name(a, "PICF", AML_INT(0));
    aml_method(a, "_PIC", 1, FALSE);
    aml_stmt(a, AML_STORE(AML_ARG(0), AML_REF("PICF")));
    aml_end(a);
    aml_scope(a, "\\_SB");
    host_bridge(a, v);
    interrupt_links(a);
    motherboard(a, v->board);
    aml_end(a);
    acpi_dsdt_hotplug(a, v);
    /* SLP_TYP of PM1a and PM1b; two reserved. */
    aml_name_of(a, "_S5");
    aml_package(a);
    aml_stmt(a, AML_INT(v->board->s5_sleep_type));
    for (guint i = 0; i < 3; i++)
        aml_stmt(a, AML_INT(0));
    aml_end(a);
    g_assert(a->depth == 0);
}
