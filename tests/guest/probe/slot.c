/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Slots of PCI Express root ports that the guest controls (PCIe 6.7, 7.5.3.9 to 11): the ports of
 * bus 0 that say hot-plug capable. Each interrupts by MSI, or (slots=intx) by its pin.
 *
 * The handler takes the status register's events by writing them back, until none is left: with
 * MSI the next message comes only after all were gone. Status and control share a dword, and zeros
 * are no commands but values: both are written by halves.
 *
 * A write to the control register is a command, and its end an event too. The events that come
 * while a command is waited for stay for later, so nothing is served within another service.
 */
#include "hotplug.h"

enum { CAP_MSI = 0x05, CAP_EXPRESS = 0x10 };
enum { EXP_FLAGS = 0x02, LNKSTA = 0x12, SLTCAP = 0x14, SLTCTL = 0x18, SLTSTA = 0x1a };
enum {
    STA_BUTTON = 1 << 0,
    STA_PRESENCE = 1 << 3,
    STA_COMPLETED = 1 << 4,
    STA_PRESENT = 1 << 6,
    STA_LINK = 1 << 8,
    STA_EVENTS = 0x011f,
    /* Button, presence, completed, all, link. */
    CTL_ENABLE = 1 << 0 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 12,
    CTL_LAMP = 3 << 8,
    CTL_LAMP_ON = 1 << 8,
    CTL_LAMP_BLINKS = 2 << 8,
    CTL_LAMP_OFF = 3 << 8,
    CTL_POWER_OFF = 1 << 10,
    CAP_HOTPLUG = 1 << 6,
    LINK_ACTIVE = 1 << 13,
};

#define MAX_PORTS 32
#define LEVEL_HIGH 0x0d

struct port {
    u16 bdf;
    u8 express, msi;
    u8 secondary;
    volatile u16 events;
};

static struct port ports[MAX_PORTS];
static u32 port_count;

/* ---- registers ------------------------------------------------------------------------------ */

static u16 get(const struct port *p, u8 reg)
{
    return pci_read16(p->bdf, (u8)(p->express + reg));
}

static bool powered(const struct port *p)
{
    return !(get(p, SLTCTL) & CTL_POWER_OFF);
}

static bool present(const struct port *p)
{
    return (get(p, SLTSTA) & STA_PRESENT) != 0;
}

static void emit_bdf(const char *section, const struct port *p)
{
    emit("%s bdf=%02x:%02x.%u", section, p->bdf >> 8, p->bdf >> 3 & 31, p->bdf & 7);
}

/* All ports share the vector. */
static void slot_handler(void)
{
    for (struct port *p = ports; p < ports + port_count; p++) {
        u16 events;
        while ((events = get(p, SLTSTA) & STA_EVENTS)) {
            p->events |= events;
            pci_write16(p->bdf, (u8)(p->express + SLTSTA), events);
        }
    }
}

/* Interrupts are on while it waits: the end of the command is to come as one. */
static void command(struct port *p, u16 clear, u16 set)
{
    struct deadline d;
    u16 ctl = (get(p, SLTCTL) & (u16)~clear) | set;

    p->events &= (u16)~STA_COMPLETED;
    pci_write16(p->bdf, (u8)(p->express + SLTCTL), ctl);
    irq_enable();
    for (deadline_start(&d, 1000000); !(p->events & STA_COMPLETED) && !deadline_passed(&d);) {
        cpu_pause();
    }
    irq_disable();
    emit_bdf("slot-command", p);
    emit(" ctl=%#x completed=%s\n", ctl, p->events & STA_COMPLETED ? "ok" : "bad");
    p->events &= (u16)~STA_COMPLETED;
}

/* ---- finding the ports ---------------------------------------------------------------------- */

/* The offset of a capability; 0: there is none. */
static u8 capability(u16 bdf, u8 id)
{
    u8 at = pci_read32(bdf, 0x34) & 0xfc;

    for (u32 i = 0; at && i < 48; i++) {
        u16 head = pci_read16(bdf, at);
        if ((head & 0xff) == id)
            return at;
        at = (u8)(head >> 8 & 0xfc);
    }
    return 0;
}

static void look_at(u16 bdf)
{
    struct port *p = &ports[port_count];

    if (pci_read16(bdf, 0) == 0xffff || (pci_read32(bdf, 0x0c) >> 16 & 0x7f) != 1)
        return;
    *p = (struct port){.bdf = bdf, .express = capability(bdf, CAP_EXPRESS)};
    if (!p->express || (get(p, EXP_FLAGS) >> 4 & 0x1f) != 0x14) /* a root port with a slot */
        return;
    if (!(get(p, SLTCAP) & CAP_HOTPLUG) || port_count == MAX_PORTS - 1)
        return;
    p->msi = capability(bdf, CAP_MSI);
    p->secondary = pci_read32(bdf, 0x18) >> 8 & 0xff;
    port_count++;
}

static void find_ports(void)
{
    for (u32 dev = 0; dev < 32; dev++) {
        bool multi = pci_read32((u16)(dev << 3), 0x0c) >> 16 & 0x80;
        for (u32 fn = 0; fn < (multi ? 8 : 1); fn++) {
            look_at((u16)(dev << 3 | fn));
        }
    }
}

/* ---- interrupts ----------------------------------------------------------------------------- */

static void message_enable(const struct port *p)
{
    u16 control = pci_read16(p->bdf, (u8)(p->msi + 2));

    pci_write32(p->bdf, (u8)(p->msi + 4), 0xfee00000u | lapic_id() << 12);
    if (control & 0x80)
        pci_write32(p->bdf, (u8)(p->msi + 8), 0);
    pci_write16(p->bdf, (u8)(p->msi + (control & 0x80 ? 12 : 8)), VEC_SLOT);
    pci_write16(p->bdf, (u8)(p->msi + 2), control | 1);
}

/* Q35's wiring: slots 0 to 24 rotate over PIRQE to H, later ones are A to D; 30 is E to H. */
static u32 pin_gsi(const struct port *p)
{
    u32 slot = p->bdf >> 3, pin = (pci_read32(p->bdf, 0x3c) >> 8 & 0xff) - 1;

    if (slot < 25 || slot == 30)
        return 16 + 4 + (slot < 24 ? slot + pin : pin) % 4;
    return 16 + pin % 4;
}

/* Memory and bus mastering, the latter for messages and for what is behind. */
static void port_start(struct port *p)
{
    bool by_message = p->msi && !options.slot_intx;

    pci_write16(p->bdf, 4, (pci_read16(p->bdf, 4) | 0x06) & (u16)~0x400);
    if (by_message)
        message_enable(p);
    else
        ioapic_route(pin_gsi(p), VEC_SLOT, LEVEL_HIGH);
    command(p, 0, CTL_ENABLE);
}

static void slot_start(void)
{
    find_ports();
    trap_set(VEC_SLOT, slot_handler);
    for (struct port *p = ports; p < ports + port_count; p++) {
        port_start(p);
    }
    slot_status();
}

/* ---- what is done --------------------------------------------------------------------------- */

static bool wait_link(const struct port *p)
{
    struct deadline d;

    for (deadline_start(&d, 1000000); !(get(p, LNKSTA) & LINK_ACTIVE);) {
        if (deadline_passed(&d))
            return false;
        cpu_pause();
    }
    return true;
}

/* All functions behind it, as they are at first sight. */
static u32 report_behind(const struct port *p)
{
    u32 functions = 0;

    for (u32 fn = 0; fn < 8; fn++) {
        functions += pci_report((u16)(p->secondary << 8 | fn));
    }
    return functions;
}

static void found(struct port *p)
{
    bool link = wait_link(p);
    u32 functions = link ? report_behind(p) : 0;

    emit_bdf("slot-inserted", p);
    emit(" link=%u functions=%u status=%s\n", link, functions, functions ? "ok" : "bad");
}

static void power_on(struct port *p)
{
    command(p, CTL_LAMP, CTL_LAMP_BLINKS);
    command(p, CTL_POWER_OFF, 0);
    found(p);
    command(p, CTL_LAMP, CTL_LAMP_ON);
    emit_bdf("slot-on", p);
    emit(" present=%u\n", present(p));
}

static void power_off(struct port *p)
{
    command(p, 0, CTL_POWER_OFF);
    command(p, CTL_LAMP, CTL_LAMP_OFF);
    emit_bdf("slot-off", p);
    emit(" present=%u seen=%u\n", present(p), pci_read16((u16)(p->secondary << 8), 0) != 0xffff);
}

/* The button, in a slot that has power. */
static void asked(struct port *p)
{
    emit_bdf("slot-asked", p);
    emit("\n");
    if (temper == SILENT)
        return;
    command(p, CTL_LAMP, CTL_LAMP_BLINKS);
    if (temper == WILLING) {
        power_off(p);
        return;
    }
    command(p, CTL_LAMP, CTL_LAMP_ON);
    emit_bdf("slot-refused", p);
    emit("\n");
}

static void lost(struct port *p)
{
    emit_bdf("slot-lost", p);
    emit("\n");
    power_off(p);
}

/* What was gone before it could be looked at is no reason to do anything. */
static void serve(struct port *p, u16 events)
{
    bool on = powered(p), there = present(p);

    if (on && !there && (events & STA_PRESENCE))
        lost(p);
    else if (!on && there && (events & STA_BUTTON))
        power_on(p);
    else if (on && there && (events & STA_PRESENCE))
        found(p);
    else if (on && there && (events & STA_BUTTON))
        asked(p);
}

static bool slot_work(void)
{
    bool worked = false;

    for (struct port *p = ports; p < ports + port_count; p++) {
        u16 events = p->events;
        p->events = 0;
        if (!events)
            continue;
        emit_bdf("slot-event", p);
        emit(" button=%u presence=%u link=%u present=%u\n", events & STA_BUTTON,
             events / STA_PRESENCE & 1, events / STA_LINK & 1, present(p));
        serve(p, events);
        worked = true;
    }
    return worked;
}

const struct source slot_source = {slot_start, slot_work};

/* ---- orders --------------------------------------------------------------------------------- */

void slot_status(void)
{
    for (struct port *p = ports; p < ports + port_count; p++) {
        emit_bdf("slot", p);
        emit(" n=%u number=%u secondary=%u present=%u powered=%u link=%u ctl=%#x sta=%#x irq=%u\n",
             (u32)(p - ports), pci_read32(p->bdf, (u8)(p->express + SLTCAP)) >> 19, p->secondary,
             present(p), powered(p), get(p, LNKSTA) / LINK_ACTIVE & 1, get(p, SLTCTL),
             get(p, SLTSTA), irq_count[VEC_SLOT]);
    }
}

/* N on, N off, N blink, N lamp: the guest's own wish, or its late answer. */
void slot_order(const char *args)
{
    u32 n = order_number(&args);

    if (n >= port_count)
        emit("error no_slot=%u\n", n);
    else if (str_equal(args, "on"))
        power_on(&ports[n]);
    else if (str_equal(args, "off"))
        power_off(&ports[n]);
    else if (str_equal(args, "blink"))
        command(&ports[n], CTL_LAMP, CTL_LAMP_BLINKS);
    else if (str_equal(args, "lamp"))
        command(&ports[n], CTL_LAMP, CTL_LAMP_ON);
    else
        emit("error unknown_slot_order=1\n");
}
