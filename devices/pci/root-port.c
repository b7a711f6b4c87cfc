/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * root-port.c - pcie-root-port: a PCI-to-PCI bridge (1.2, header type 1) with a PCI Express link of one
 * slot behind it (PCIe 7.5.3, hot plug 6.7). Windows are bar.c's and bus numbers are bus.c's; here
 * are the header, the link and the slot.
 *
 * Who controls the slot is a choice of the configuration. With native-hotplug the guest does, by the
 * slot registers; else ACPI does, and the port says that it is not hot-plug capable. Its slot control can not be written then; it says
 * that attention is off, and power on for a slot with a device.
 *
 * The slot's registers (native):
 *   presence   PDS follows what is plugged; a change sets PDC. Who plugs into a slot without power presses the button too, or
 *              Linux does not hear of it: where there is a button it waits for that
 *   power      PCC, a command of the guest. Off closes the bus: no access, no BAR, functions reset.
 *              A slot without a device comes out of reset without power, one with a device with it
 *   link       DLLLA is on while there are device and power and the link is not disabled; a
 *              change sets DLLSC
 *   command    any write to the control register is one, and is completed at once: CC
 *   button     ABP, pressed by pcie_slot_push_button(); the guest has noticed when it clears that
 *   lamp       what the guest tells people: blinking, it is on its way; off (and no power): take it out; on again
 *              after it blinked: it stays
 * The interrupt is their OR through the enables and HPIE; by MSI it is sent when that rises.
 *
 * The bus is open while there is power, the link is not disabled and the bridge does not hold it
 * in reset. All of this is derived from registers and presence, so a load restores it; but what is FRESH.
 */
#include "root-port.h"

#include "hotplug.h"
#include "pci-device.h"

enum {
    SLTCAP_NATIVE = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6, /* button, power, lamps, surprise, capable */
    SLTCTL_HPIE = 1 << 5,
    SLTCTL_ATTENTION_OFF = 3 << 6,
    SLTCTL_POWER_LAMP = 3 << 8,
    SLTCTL_POWER_LAMP_ON = 1 << 8,
    SLTCTL_POWER_OFF = 1 << 10,
    SLTCTL_MASK = 0x17ff,
    SLTSTA_ABP = 1 << 0,
    SLTSTA_PDC = 1 << 3,
    SLTSTA_CC = 1 << 4,
    SLTSTA_PDS = 1 << 6,
    SLTSTA_DLLSC = 1 << 8,
    SLTSTA_EVENTS = 0x011f,
    BRIDGE_RESET = 1 << 6,
    /* of the control register's upper byte */
    HIGH_LAMP = 3 << 0,
    HIGH_LAMP_ON = 1,
    HIGH_LAMP_BLINKS = 2,
    HIGH_POWER_OFF = 1 << 2,
    WORK_NOTICED = PCI_WORK_OWN,
    WORK_KEPT = PCI_WORK_OWN << 1,
    WORK_EJECTED = PCI_WORK_OWN << 2,
};

#define PRESS_NS G_GINT64_CONSTANT(1000000000)

typedef struct {
    PciDevice pci;
    PciBus   *bus;
    gboolean  native;
    gboolean  raised; /* what the slot's interrupt is; derived */
    /* Main thread: */
    gboolean  pressed;       /* the guest is asked, by the button */
    gboolean  press_later;   /* it shall be, when it has powered on */
    gint64    pressed_until; /* virtual clock: it is given time to begin to blink */
    gboolean  fresh;  /* what is in the slot was plugged without power, and has had none since */
} RootPort;

static const PciCapDesc caps[] = {
    { .name = "ssvid", .id = PCI_CAP_SUBSYSTEM, .length = 8, .offset = 0x40 },
    { .name = "msi", .id = PCI_CAP_MSI, .length = PCI_MSI_LENGTH, .offset = 0x48 },
    { .name = "exp", .id = PCI_CAP_EXPRESS, .length = PCI_EXPRESS_LENGTH, .offset = 0x60 },
    { .name = "aer", .id = PCI_EXT_CAP_AER, .length = PCI_AER_LENGTH, .version = 2, .offset = 0x100 },
    { .name = "acs", .id = PCI_EXT_CAP_ACS, .length = PCI_ACS_LENGTH, .version = 1, .offset = 0x148 },
};

static const PciTypeInfo root_port_info = {
    .vendor = 0x1b36,
    .device = 0x000c,
    .subsystem_vendor = 0x1b36,
    .class_code = 0x060400,
    .pin = 1,
    .bridge = TRUE,
    .caps = caps,
    .n_caps = G_N_ELEMENTS(caps),
};

static const PcieRootPortConfig *config_of(const Device *dev)
{
    return DEVICE_CONFIG(dev, PcieRootPortConfig);
}

/* ---- registers ---- */

static guint8 *express(RootPort *port, guint reg)
{
    return port->pci.fn.config + port->pci.express + reg;
}

static guint16 reg_get(RootPort *port, guint reg)
{
    return le16_get(express(port, reg));
}

static void reg_put(RootPort *port, guint reg, guint16 bits, gboolean on)
{
    guint16 v = reg_get(port, reg);

    le16_put(express(port, reg), on ? v | bits : v & (guint16)~bits);
}

static gboolean powered(RootPort *port)
{
    return !port->native || !(reg_get(port, PCIE_SLTCTL) & SLTCTL_POWER_OFF);
}

/* An enable of CTL lets the event of STA at the same bit through; DLLSC's is elsewhere. */
static gboolean slot_interrupt_wanted(RootPort *port)
{
    guint16 ctl = reg_get(port, PCIE_SLTCTL), sta = reg_get(port, PCIE_SLTSTA);
    guint16 enabled = (ctl & 0x1f) | (ctl & 1 << 12 ? SLTSTA_DLLSC : 0);

    return (ctl & SLTCTL_HPIE) && (sta & enabled & SLTSTA_EVENTS);
}

/* Lock held, as for the next three. */
static void slot_interrupt(RootPort *port)
{
    gboolean wanted = port->native && slot_interrupt_wanted(port);

    if (!pci_msi_enabled(&port->pci.msi) || wanted != port->raised)
        pci_device_interrupt(&port->pci, 0, wanted);
    else
        pci_intx_set(&port->pci.fn, FALSE);
    port->raised = wanted;
}

/* Link and bus follow power, presence, link disable and reset. TRUE if the bus opened or closed. */
static gboolean follow(RootPort *port)
{
    PciFunction *fn = &port->pci.fn;
    gboolean linked = powered(port) && !(reg_get(port, PCIE_LNKCTL) & PCIE_LNKCTL_DISABLE);
    gboolean open = linked && !(le16_get(fn->config + PCI_BRIDGE_CONTROL) & BRIDGE_RESET);
    gboolean present = pci_bus_n_visible(port->bus) > 0;
    gboolean was_active = !!(reg_get(port, PCIE_LNKSTA) & PCIE_LNKSTA_ACTIVE);

    reg_put(port, PCIE_SLTSTA, SLTSTA_PDS, present);
    if (!port->native) {
        reg_put(port, PCIE_SLTCTL, SLTCTL_POWER_LAMP, !present);
        reg_put(port, PCIE_SLTCTL, SLTCTL_POWER_LAMP_ON, TRUE);
    }
    reg_put(port, PCIE_LNKSTA, PCIE_LNKSTA_ACTIVE, present && linked);
    if (port->native && was_active != (present && linked))
        reg_put(port, PCIE_SLTSTA, SLTSTA_DLLSC, TRUE);
    if (open == pci_bus_is_open(port->bus))
        return FALSE;
    pci_bus_set_open(port->bus, open);
    return TRUE;
}

/* Power and lamp off: the device may be taken out (PCIe 6.7.1.1.2). Linux waits a second between the two, and is deaf meanwhile. What
 * is plugged within that second is not what it lets go of. */
static gboolean is_released(guint high)
{
    return (high & (HIGH_LAMP | HIGH_POWER_OFF)) == (HIGH_LAMP | HIGH_POWER_OFF);
}

static void slot_commanded(RootPort *port, guint was, guint is)
{
    guint work = 0;

    if ((is & ~was) & HIGH_POWER_OFF)
        work |= PCI_WORK_RESET_BELOW;
    if (!(is & HIGH_POWER_OFF))
        port->fresh = FALSE;
    if (is_released(is) && !is_released(was) && !port->fresh)
        work |= WORK_EJECTED;
    if ((was & HIGH_LAMP) == HIGH_LAMP_BLINKS && (is & (HIGH_LAMP | HIGH_POWER_OFF)) == HIGH_LAMP_ON)
        work |= WORK_KEPT;
    if (work)
        pci_request(&port->pci.fn, work);
}

/* A write to the slot's control and status registers. */
static void slot_written(RootPort *port, guint16 offset, unsigned size, guint32 old_value)
{
    guint16 control = port->pci.express + PCIE_SLTCTL, status = port->pci.express + PCIE_SLTSTA;

    if (pci_touches(offset, size, control, 2))
        reg_put(port, PCIE_SLTSTA, SLTSTA_CC, TRUE);
    if (pci_touches(offset, size, control + 1, 1))
        slot_commanded(port, old_value >> (control + 1 - offset) * 8 & 0xff, express(port, PCIE_SLTCTL)[1]);
    if (pci_touches(offset, size, status, 1) && (old_value >> (status - offset) * 8 & SLTSTA_ABP) &&
        !(reg_get(port, PCIE_SLTSTA) & SLTSTA_ABP))
        pci_request(&port->pci.fn, WORK_NOTICED);
}

static void config_written(PciDevice *pci, guint16 offset, unsigned size, guint32 old_value)
{
    RootPort *port = (RootPort *)pci;
    guint16 control = PCI_BRIDGE_CONTROL;
    gboolean was_open = pci_bus_is_open(port->bus);

    reg_put(port, PCIE_LNKCTL, PCIE_LNKCTL_RETRAIN, FALSE); /* done before it could be read */
    if (port->native)
        slot_written(port, offset, size, old_value);
    if (pci_touches(offset, size, control, 1) &&
        (pci->fn.config[control] & BRIDGE_RESET) && was_open)
        pci_request(&pci->fn, PCI_WORK_RESET_BELOW);
    if (follow(port))
        pci_request(&pci->fn, 0);
    slot_interrupt(port);
}

/* ---- what is plugged behind: main thread, no lock held ---- */

static void below_changed(PciFunction *fn)
{
    RootPort *port = (RootPort *)fn->dev;
    gboolean present = pci_bus_n_visible(port->bus) > 0;

    LOCK_SCOPE(&fn->dev->lock);
    gboolean was_present = !!(reg_get(port, PCIE_SLTSTA) & SLTSTA_PDS);
    if (port->native && present != was_present)
        reg_put(port, PCIE_SLTSTA, SLTSTA_PDC, TRUE);
    if (present != was_present)
        port->pressed = port->press_later = FALSE;
    port->fresh = present && (was_present ? port->fresh : !powered(port));
    if (port->native && port->fresh && !was_present)
        reg_put(port, PCIE_SLTSTA, SLTSTA_ABP, TRUE);
    follow(port);
    slot_interrupt(port);
}

/* Presses the button, once in a while: a second time calls the first one off. */
static void press(RootPort *port)
{
    gint64 now = vm_clock_ns(device_set_vm(port->pci.dev.set));

    if (port->pressed && now < port->pressed_until)
        return;
    port->pressed = TRUE;
    port->pressed_until = now + PRESS_NS;
    pcie_slot_push_button(port->bus);
}

/* It has blinked and goes on: if that was for powering on, it could not be asked until now. */
static gboolean asked_again(RootPort *port)
{
    gboolean later = port->press_later;

    port->pressed = port->press_later = FALSE;
    if (later)
        press(port);
    return later;
}

static void work_due(PciFunction *fn, guint work)
{
    RootPort *port = (RootPort *)fn->dev;
    PciSlot slot = { port->bus, 0 };

    if (work & WORK_NOTICED)
        pci_slot_noticed(&slot);
    if ((work & WORK_KEPT) && !asked_again(port))
        pci_slot_keep(&slot, "the guest keeps the slot in use");
    if (work & WORK_EJECTED)
        pci_slot_eject(&slot);
}

/* ---- building ---- */

static void build_header(PciFunction *fn)
{
    guint8 *c = fn->config, *w = fn->wmask;

    fn->wmask[PCI_COMMAND] |= PCI_COMMAND_IO | PCI_COMMAND_MEMORY;
    memset(w + PCI_PRIMARY, 0xff, 3);
    le16_put(fn->w1c + 0x1e, 0xf900); /* secondary status */
    c[PCI_IO_BASE] = w[PCI_IO_BASE] = w[PCI_IO_LIMIT] = 0xf0;
    /* Bases above their limits: windows are closed until the guest sets them. */
    le16_put(c + PCI_MEMORY_BASE, 0xfff0);
    le16_put(w + PCI_MEMORY_BASE, 0xfff0);
    le16_put(w + PCI_MEMORY_LIMIT, 0xfff0);
    le16_put(c + PCI_PREFETCH_BASE, 0xfff1); /* 64-bit */
    le16_put(c + PCI_PREFETCH_LIMIT, 0x0001);
    le16_put(w + PCI_PREFETCH_BASE, 0xfff0);
    le16_put(w + PCI_PREFETCH_LIMIT, 0xfff0);
    le32_put(w + PCI_PREFETCH_BASE_HIGH, G_MAXUINT32);
    le32_put(w + PCI_PREFETCH_LIMIT_HIGH, G_MAXUINT32);
    le16_put(w + PCI_BRIDGE_CONTROL, 0x0003 | BRIDGE_RESET); /* parity, SERR#, reset */
}

static void build_slot(RootPort *port, const PcieRootPortConfig *c)
{
    PciFunction *fn = &port->pci.fn;
    guint16 exp = port->pci.express;
    PcieDesc desc = {
        .kind = PCIE_ROOT_PORT,
        .speed = c->link_speed,
        .width = c->link_width,
        .port = c->port,
        .slot = TRUE,
        .slot_caps = (guint32)c->slot << 19 | (port->native ? SLTCAP_NATIVE : 0),
    };

    pcie_cap_init(fn, exp, &desc);
    le16_put(fn->config + exp + PCIE_SLTCTL,
             SLTCTL_ATTENTION_OFF | SLTCTL_POWER_LAMP | (port->native ? SLTCTL_POWER_OFF : 0));
    if (!port->native)
        return;
    le16_put(fn->wmask + exp + PCIE_SLTCTL, SLTCTL_MASK);
    le16_put(fn->w1c + exp + PCIE_SLTSTA, SLTSTA_EVENTS);
}

static void build_rest(RootPort *port, const PcieRootPortConfig *c)
{
    PciFunction *fn = &port->pci.fn;
    guint16 at;

    if ((at = pci_device_cap(&port->pci.dev, "ssvid")))
        pci_subsystem_init(fn, at, c->base.subsystem_vendor_id, c->base.subsystem_device_id);
    if ((at = pci_device_cap(&port->pci.dev, "msi")))
        pci_msi_init(&port->pci.msi, fn, at, 1);
    if ((at = pci_device_cap(&port->pci.dev, "aer")))
        pci_aer_init(fn, at);
    if ((at = pci_device_cap(&port->pci.dev, "acs")))
        pci_acs_init(fn, at);
}

/* ---- slot numbers ---- */

#define MAX_SLOTS 8192

typedef struct {
    const Device *self;
    Device       *holder; /* of the slot that SELF asks for */
    guint8        used[MAX_SLOTS / 8]; /* in SELF's chassis */
} SlotSearch;

static gboolean look_at_slot(Device *dev, gpointer user)
{
    SlotSearch *s = user;
    const PcieRootPortConfig *mine = config_of(s->self), *other = config_of(dev);

    if (dev == s->self || dev->type != s->self->type || other->chassis != mine->chassis)
        return TRUE;
    s->used[other->slot / 8] |= (guint8)(1u << other->slot % 8);
    if (other->slot == mine->slot)
        s->holder = dev;
    return TRUE;
}

static Place number_of(guint chassis, guint slot)
{
    return (Place){ "physical slot number", "", (guint64)chassis << 32 | slot, "chassis" };
}

static void root_port_places(const PropBag *bag, PlaceSink *sink)
{
    static const char *const rows[] = { "slot", NULL };
    const PcieRootPortConfig *c = bag->config;

    pci_device_places(bag, sink);
    if (prop_bag_is_set(bag, "slot"))
        device_place(sink, rows, number_of(c->chassis, c->slot));
}

static gboolean resolve_slot(Device *dev, GError **error)
{
    const PcieRootPortConfig *c = config_of(dev);
    SlotSearch s = { .self = dev };
    PlaceSearch place = device_place_search(dev);

    device_set_foreach(dev->set, look_at_slot, &s);
    if (!prop_bag_is_set(dev->bag, "slot")) {
        for (guint slot = 0; slot < MAX_SLOTS; slot++) {
            if (!(s.used[slot / 8] >> slot % 8 & 1) && device_place_try(&place, slot, number_of(c->chassis, slot)))
                break;
        }
        prop_bag_set_u(dev->bag, "slot", place.value, ORIGIN_DEFAULT); /* there are more than ports */
        return TRUE;
    }
    return !s.holder ||
           error_set(error,
                     "Property 'slot' of device '%s': slot %u of chassis %u is that of device '%s'",
                     dev->id, c->slot, c->chassis, s.holder->id);
}

/* ---- the device ---- */

static gboolean root_port_resolve(Device *dev, GError **error)
{
    const PcieRootPortConfig *c = config_of(dev);

    if (strcmp(c->base.bus, "pcie.0") != 0) {
        g_autofree char *given = error_quote(c->base.bus, -1);
        return error_set(error,
                         "Property 'bus' of device '%s': a root port plugs into 'pcie.0', not "
                         "into '%s'",
                         dev->id, given);
    }
    if (!pci_device_resolve(dev, &root_port_info, error) || !resolve_slot(dev, error))
        return FALSE;
    if (!pci_caps_offset(c->base.capabilities, "exp"))
        return error_set(error,
                         "Property 'capabilities' of device '%s': a root port has 'exp', and '%s' "
                         "does not name it",
                         dev->id, c->base.capabilities);
    return c->hotplug || !c->native_hotplug ||
           error_set(error,
                     "Property 'native-hotplug' of device '%s' is on, but 'hotplug' is off",
                     dev->id);
}

static gboolean root_port_realize(Device *dev, GError **error)
{
    RootPort *port = (RootPort *)dev;
    const PcieRootPortConfig *c = config_of(dev);
    PciFunction *fn = &port->pci.fn;

    if (!pci_device_realize(dev, &root_port_info, error))
        return FALSE;
    port->native = c->native_hotplug;
    port->pci.express = (guint8)pci_device_cap(dev, "exp");
    port->pci.config_written = config_written;
    fn->below_changed = below_changed;
    fn->work_due = work_due;
    port->bus = pci_bus_new_behind(fn, dev->id, 1, c->hotplug);
    build_header(fn);
    build_slot(port, c);
    build_rest(port, c);
    pci_device_seal(dev);
    follow(port);
    return TRUE;
}

/* A slot with a device in it has power from the start. */
static void slot_reset(RootPort *port)
{
    if (port->native && pci_bus_n_visible(port->bus) > 0) {
        reg_put(port, PCIE_SLTCTL, SLTCTL_POWER_LAMP | SLTCTL_POWER_OFF, FALSE);
        reg_put(port, PCIE_SLTCTL, SLTCTL_POWER_LAMP_ON, TRUE);
    }
    port->fresh = FALSE;
    port->pressed = port->press_later = FALSE;
    follow(port);
    reg_put(port, PCIE_SLTSTA, SLTSTA_EVENTS, FALSE);
    slot_interrupt(port);
}

static void root_port_reset(Device *dev, ResetKind kind)
{
    pci_device_reset(dev);
    slot_reset((RootPort *)dev);
}

static void root_port_unrealize(Device *dev)
{
    RootPort *port = (RootPort *)dev;

    g_clear_pointer(&port->bus, pci_bus_free);
    pci_device_unrealize(dev);
}

/* What was reported before the save is not reported again. */
static gboolean root_port_post_load(Device *dev, GError **error)
{
    RootPort *port = (RootPort *)dev;
    guint16 events;

    pci_device_post_load(dev);
    events = reg_get(port, PCIE_SLTSTA) & SLTSTA_EVENTS;
    follow(port);
    reg_put(port, PCIE_SLTSTA, SLTSTA_EVENTS & ~events, FALSE);
    port->raised = port->native && slot_interrupt_wanted(port);
    return TRUE;
}

static const StateDesc root_port_state[] = { PCI_DEVICE_ROWS(RootPort, "0.2"), STATE_ROW(RootPort, fresh, BOOL, "0.2"), STATE_END };

static const DeviceOps root_port_ops = {
    .places = root_port_places,
    .resolve = root_port_resolve,
    .realize = root_port_realize,
    .publish = pci_device_publish,
    .reset = root_port_reset,
    .quiesce = pci_device_quiesce,
    .unpublish = pci_device_unpublish,
    .unrealize = root_port_unrealize,
    .post_load = root_port_post_load,
    .abi = pci_device_abi,
};

const DeviceType pcie_root_port_type = {
    .name = "pcie-root-port",
    .size = sizeof(RootPort),
    .ops = &root_port_ops,
    .state = root_port_state,
};

/* ---- for the hot plug code ---- */

static RootPort *port_of(const PciBus *bus)
{
    PciFunction *bridge = pci_bus_bridge(bus);

    return bridge && bridge->dev->type == &pcie_root_port_type ? (RootPort *)bridge->dev : NULL;
}

gboolean pcie_slot_is(const PciBus *bus)
{
    return port_of(bus) != NULL;
}

gboolean pcie_slot_native(const PciBus *bus)
{
    const RootPort *port = port_of(bus);
    return port && port->native;
}

gboolean pcie_slot_link(const PciBus *bus, guint8 *speed, guint8 *width)
{
    const RootPort *port = port_of(bus);

    if (!port)
        return FALSE;
    *speed = config_of(&port->pci.dev)->link_speed;
    *width = config_of(&port->pci.dev)->link_width;
    return TRUE;
}

gboolean pcie_slot_powered(const PciBus *bus)
{
    RootPort *port = port_of(bus);

    if (!port)
        return TRUE;
    LOCK_SCOPE(&port->pci.dev.lock);
    return powered(port);
}

void pcie_slot_push_button(PciBus *bus)
{
    RootPort *port = port_of(bus);

    g_assert(port && port->native);
    LOCK_SCOPE(&port->pci.dev.lock);
    reg_put(port, PCIE_SLTSTA, SLTSTA_ABP, TRUE);
    slot_interrupt(port);
}

gboolean pcie_slot_ask(PciBus *bus)
{
    RootPort *port = port_of(bus);

    g_assert(port && port->native);
    g_mutex_lock(&port->pci.dev.lock);
    guint high = express(port, PCIE_SLTCTL)[1];
    g_mutex_unlock(&port->pci.dev.lock);
    if ((high & HIGH_LAMP) == HIGH_LAMP_BLINKS)
        port->press_later = !port->pressed;
    else if (high & HIGH_POWER_OFF)
        return FALSE;
    else
        press(port);
    return TRUE;
}
