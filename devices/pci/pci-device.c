/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pci-device.c - what all pluggable PCI functions have in common: a place on a bus, a header, a
 * capability list, interrupts, function level reset.
 *
 * Places. resolve finds the place and records it in the row `addr`, in one form ("1f.3") however it
 * was written, since the row is guest visible and the same place must hash the same. It touches
 * nothing; realize claims. Both run on the main thread one after the other, so what resolve found
 * free is free.
 *
 * A slot holds up to eight functions. The guest looks at functions 1 to 7 only if function 0 says
 * that it is not alone, so a combination that no guest could see is refused by name, as in QEMU.
 */
#include "pci-device.h"

#include "hotplug.h"

static const PciDeviceConfig *config_of(const Device *dev)
{
    return DEVICE_CONFIG(dev, PciDeviceConfig);
}

/* ---- addresses ---- */

/* A hexadecimal number up to MAX at *TEXT, with 0x or without; *TEXT is then behind it. */
static gboolean parse_hex(const char **text, guint max, guint *out)
{
    const char *p = *text;

    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X'))
        p += 2;
    if (g_ascii_xdigit_value(*p) < 0)
        return FALSE;
    for (*out = 0; g_ascii_xdigit_value(*p) >= 0 && *out <= max; p++)
        *out = *out << 4 | (guint)g_ascii_xdigit_value(*p);
    *text = p;
    return *out <= max;
}

static gboolean parse_addr(const char *text, guint *devfn)
{
    guint slot, function = 0;

    if (!parse_hex(&text, 31, &slot))
        return FALSE;
    if (*text == '.') {
        text++;
        if (!parse_hex(&text, 7, &function))
            return FALSE;
    }
    *devfn = slot << 3 | function;
    return *text == '\0';
}

static gboolean slot_free(const PciBus *bus, guint slot)
{
    for (guint f = 0; f < 8; f++) {
        if (pci_bus_claimed(bus, slot << 3 | f))
            return FALSE;
    }
    return TRUE;
}

/* Whether SLOT holds bridges that share it, and no other. */
static gboolean slot_of_bridges(const PciBus *bus, guint slot)
{
    const PciFunction *first = pci_bus_claimed(bus, slot << 3);

    if (!first || first->config[PCI_HEADER_TYPE] != (PCI_HEADER_BRIDGE | PCI_HEADER_MULTIFUNCTION))
        return FALSE;
    for (guint f = 1; f < 8; f++) {
        const PciFunction *fn = pci_bus_claimed(bus, slot << 3 | f);
        if (fn && (fn->config[PCI_HEADER_TYPE] & 0x7f) != PCI_HEADER_BRIDGE)
            return FALSE;
    }
    return TRUE;
}

static Place place_of(const char *bus, guint devfn)
{
    return (Place){ "PCI function", bus, devfn, "bus" };
}

void pci_device_places(const PropBag *bag, PlaceSink *sink)
{
    static const char *const rows[] = { "addr", NULL };
    const PciDeviceConfig *c = bag->config;
    guint devfn;

    if (c->addr && parse_addr(c->addr, &devfn))
        device_place(sink, rows, place_of(c->bus ? c->bus : "pcie.0", devfn));
}

/* Since when SLOT, or a function of it, is kept for another; who has multifunction can be function 0 of one whose others come. */
static guint64 slot_reserved(const Device *dev, const PciBus *bus, guint slot)
{
    guint64 latest = 0;

    for (guint f = 0; f < 8; f++) {
        guint64 since = device_place_since(dev, place_of(pci_bus_name(bus), slot << 3 | f));
        if (!(f && since == PLACE_NEVER && config_of(dev)->multifunction))
            latest = MAX(latest, since);
    }
    return latest;
}

static gboolean find_shared(PlaceSearch *search, const PciBus *bus, guint slot)
{
    for (guint f = 1; slot_of_bridges(bus, slot) && f < 8; f++) {
        if (!pci_bus_claimed(bus, slot << 3 | f) && device_place_try(search, slot << 3 | f, place_of(pci_bus_name(bus), slot << 3 | f)))
            return TRUE;
    }
    return FALSE;
}

static gboolean find_place(const Device *dev, const PciBus *bus, gboolean share, guint *devfn)
{
    PlaceSearch search = device_place_search(dev);

    for (guint slot = 0; slot < pci_bus_slots(bus); slot++) {
        if (slot_free(bus, slot) && device_place_offer(&search, slot << 3, slot_reserved(dev, bus, slot)))
            break;
        if (share && find_shared(&search, bus, slot))
            break;
    }
    *devfn = search.value;
    return search.found;
}

static gboolean check_slot(const Device *dev, const PciBus *bus, guint devfn, GError **error)
{
    const PciFunction *first = pci_bus_claimed(bus, devfn & 0xf8u);
    guint slot = devfn >> 3;

    if (slot >= pci_bus_slots(bus))
        return error_set(error,
                         "Property 'addr' of device '%s': bus '%s' has slots 0 to %x, not %x",
                         dev->id, pci_bus_name(bus), pci_bus_slots(bus) - 1, slot);
    if ((devfn & 7) && first && !(first->config[PCI_HEADER_TYPE] & PCI_HEADER_MULTIFUNCTION))
        return error_set(error,
                         "Property 'addr' of device '%s': device '%s' has slot %x of bus '%s' for "
                         "itself; it would need multifunction",
                         dev->id, first->dev->id, slot, pci_bus_name(bus));
    if ((devfn & 7) && device_set_is_started(dev->set) && pci_bus_visible(bus, devfn & 0xf8u))
        return error_set(error,
                         "Property 'addr' of device '%s': function 0 of slot %x of bus '%s' is "
                         "device '%s', and the guest looks for no other function any more",
                         dev->id, slot, pci_bus_name(bus), first->dev->id);
    for (guint f = 1; !(devfn & 7) && f < 8; f++) {
        const PciFunction *other = pci_bus_claimed(bus, devfn | f);
        if (other && !config_of(dev)->multifunction)
            return error_set(error,
                             "Property 'multifunction' of device '%s': it is off, but device '%s' "
                             "is function %x of slot %x of bus '%s' already",
                             dev->id, other->dev->id, f, slot, pci_bus_name(bus));
    }
    return TRUE;
}

static gboolean resolve_addr(Device *dev, const PciTypeInfo *info, const PciBus *bus,
                             GError **error)
{
    const PciDeviceConfig *c = config_of(dev);
    PropOrigin origin = prop_bag_origin(dev->bag, "addr");
    guint devfn;

    if (origin == ORIGIN_UNSET) {
        if (!find_place(dev, bus, info->bridge && c->multifunction, &devfn))
            return error_set(error, "Device '%s': bus '%s' has no free slot", dev->id,
                             pci_bus_name(bus));
        origin = ORIGIN_DEFAULT;
    } else if (!parse_addr(c->addr, &devfn)) {
        g_autofree char *given = error_quote(c->addr, -1);
        return error_set(error,
                         "Property 'addr' of device '%s' does not accept '%s': a slot 0 to 1f, or "
                         "'slot.function', in hexadecimal",
                         dev->id, given);
    }
    if (!check_slot(dev, bus, devfn, error))
        return FALSE;
    g_autofree char *text = g_strdup_printf("%02x.%x", devfn >> 3, devfn & 7);
    prop_bag_set_s(dev->bag, "addr", text, origin);
    return TRUE;
}

/* ---- the name that firmware gives it (ACPI's _DSM for PCI, PCI firmware specification 4.6.7) ---- */

typedef struct {
    const Device *self;
    const Device *holder; /* of the index that SELF asks for */
} IndexSearch;

static gboolean look_at_index(Device *dev, gpointer user)
{
    IndexSearch *s = user;

    if (dev != s->self && dev->bag && device_plug(dev) == PLUG_PCI && config_of(dev)->acpi_index == config_of(s->self)->acpi_index)
        s->holder = dev;
    return !s->holder;
}

static gboolean check_acpi_index(Device *dev, PciBus *bus, GError **error)
{
    const PciDeviceConfig *c = config_of(dev);
    IndexSearch s = { .self = dev };
    guint devfn;

    if (c->acpi_index == 0)
        return TRUE;
    g_assert(parse_addr(c->addr, &devfn));
    if (!(dev->bag->table->flags & TYPE_HOT_UNPLUG) || !pci_slot_is_named(bus, (guint8)devfn))
        return error_set(error,
                         "Property 'acpi-index' of device '%s': only function 0 of a slot that ACPI controls has a name, and %s %s of bus "
                         "'%s' is none",
                         dev->id, dev->type->name, c->addr, pci_bus_name(bus));
    device_set_foreach(dev->set, look_at_index, &s);
    return !s.holder || error_set(error, "Property 'acpi-index' of device '%s': %u is that of device '%s'", dev->id, c->acpi_index,
                                  s.holder->id);
}

/* ---- resolve ---- */

static void set_auto(Device *dev, const char *name, guint64 value)
{
    if (!prop_bag_is_set(dev->bag, name))
        prop_bag_set_u(dev->bag, name, value, ORIGIN_DEFAULT);
}

static PciBus *find_bus(const Device *dev, GError **error)
{
    const char *name = config_of(dev)->bus;
    PciBus *bus = pci_bus_find(dev->set, name);

    if (!bus) {
        g_autofree char *given = error_quote(name, -1);
        error_set_class(error, ERROR_DEVICE_NOT_FOUND,
                        "Property 'bus' of device '%s': there is no PCI bus '%s'", dev->id, given);
    } else if (device_set_is_started(dev->set) && !pci_bus_hotplug(bus)) {
        error_set(error, "Property 'bus' of device '%s': bus '%s' does not support hotplugging",
                  dev->id, name);
        return NULL;
    }
    return bus;
}

gboolean pci_device_resolve(Device *dev, const PciTypeInfo *info, GError **error)
{
    PciBus *bus = find_bus(dev, error);

    if (!bus || !resolve_addr(dev, info, bus, error) || !check_acpi_index(dev, bus, error))
        return FALSE;
    set_auto(dev, "vendor-id", info->vendor);
    set_auto(dev, "device-id", info->device);
    set_auto(dev, "revision", info->revision);
    set_auto(dev, "subsystem-vendor-id", info->subsystem_vendor);
    set_auto(dev, "subsystem-device-id", info->subsystem);
    if (!prop_bag_is_set(dev->bag, "capabilities")) {
        g_autofree char *text = pci_caps_plan(info->caps, info->n_caps);
        prop_bag_set_s(dev->bag, "capabilities", text, ORIGIN_DEFAULT);
    }
    return pci_caps_check(dev, config_of(dev)->capabilities, info->caps, info->n_caps, error);
}

/* ---- realize ---- */

/* A function that sends messages does not use its pin. */
static void pin_update(PciDevice *pci)
{
    pci->fn.intx_silent = pci_msix_enabled(&pci->msix) || pci_msi_enabled(&pci->msi);
    pci_intx_update(&pci->fn);
}

static void config_written(PciFunction *fn, guint16 offset, unsigned size, guint32 old_value)
{
    PciDevice *pci = (PciDevice *)fn->dev;

    pci_msi_config_written(&pci->msi, offset, size);
    pci_msix_config_written(&pci->msix, offset, size);
    pin_update(pci);
    if (pci->express && pci_touches(offset, size, pci->express + PCIE_DEVCTL, 2) &&
        !pci->info->bridge && pcie_take_flr(fn, pci->express))
        pci_request(fn, PCI_WORK_RESET);
    if (pci->config_written)
        pci->config_written(pci, offset, size, old_value);
}

static void build_header(PciDevice *pci, guint devfn)
{
    const PciDeviceConfig *c = config_of(&pci->dev);
    const PciTypeInfo *info = pci->info;
    PciFunction *fn = &pci->fn;

    pci_function_init(fn, &pci->dev, (guint8)devfn, c->vendor_id, c->device_id, c->revision,
                      info->class_code, info->bridge ? 0 : c->subsystem_vendor_id,
                      info->bridge ? 0 : c->subsystem_device_id);
    fn->config[PCI_HEADER_TYPE] = (info->bridge ? PCI_HEADER_BRIDGE : 0) |
                                  (c->multifunction ? PCI_HEADER_MULTIFUNCTION : 0);
    fn->config[PCI_IRQ_PIN] = info->pin;
    fn->wmask[PCI_IRQ_LINE] = 0xff;
    fn->wmask[0x0c] = 0xff; /* cache line size */
    le16_put(fn->wmask + PCI_COMMAND,
             PCI_COMMAND_MASTER | 1 << 6 | 1 << 8 | (info->pin ? PCI_COMMAND_NO_INTX : 0));
    le16_put(fn->w1c + PCI_STATUS, 0xf900);
    fn->config_written = config_written;
}

gboolean pci_device_realize(Device *dev, const PciTypeInfo *info, GError **error)
{
    PciDevice *pci = (PciDevice *)dev;
    const PciDeviceConfig *c = config_of(dev);
    PciBus *bus = find_bus(dev, error);
    guint devfn;

    if (!bus)
        return FALSE;
    PciFunction *bridge = pci_bus_bridge(bus);
    if (bridge && !device_link(dev, NS_DEVICE, bridge->dev->id, bridge->dev->type->name, "bus", error))
        return FALSE;
    g_assert(parse_addr(c->addr, &devfn));
    pci->info = info;
    build_header(pci, devfn);
    pci_caps_build(&pci->fn, c->capabilities, info->caps, info->n_caps);
    return pci_bus_claim(bus, &pci->fn, error);
}

guint16 pci_device_cap(const Device *dev, const char *name)
{
    return pci_caps_offset(config_of(dev)->capabilities, name);
}

void pci_device_seal(Device *dev)
{
    pci_function_seal(&((PciDevice *)dev)->fn);
}

/* ---- the rest of life ---- */

void pci_device_publish(Device *dev)
{
    PciDevice *pci = (PciDevice *)dev;

    pci_bus_publish(pci->fn.bus, &pci->fn);
    pci_slot_arrived(&pci->fn);
}

void pci_device_unpublish(Device *dev)
{
    PciDevice *pci = (PciDevice *)dev;
    PciBus *bus = pci->fn.bus;
    gboolean seen = pci_bus_visible(bus, pci->fn.devfn) != NULL;

    g_mutex_lock(&dev->lock);
    pci_intx_set(&pci->fn, FALSE);
    g_mutex_unlock(&dev->lock);
    pci_bus_remove(bus, &pci->fn);
    if (seen)
        pci_slot_left(bus, pci->fn.devfn);
}

void pci_device_unrealize(Device *dev)
{
    PciDevice *pci = (PciDevice *)dev;

    if (pci->fn.bus)
        pci_bus_remove(pci->fn.bus, &pci->fn);
    pci_msix_free(&pci->msix);
    pci_msi_free(&pci->msi);
    pci_bars_free(&pci->fn);
}

void pci_device_reset(Device *dev)
{
    PciDevice *pci = (PciDevice *)dev;

    pci_function_reset(&pci->fn);
    pci_msi_update(&pci->msi);
    pci_msix_reset(&pci->msix);
    pci->fn.intx = FALSE;
    pin_update(pci);
    if (pci->fn.secondary)
        pci_bus_numbers_changed(&pci->fn);
    pci_request_lazily(&pci->fn);
}

void pci_device_quiesce(Device *dev)
{
    pci_msix_quiesce(&((PciDevice *)dev)->msix);
}

void pci_device_post_load(Device *dev)
{
    PciDevice *pci = (PciDevice *)dev;

    pci_function_post_load(&pci->fn);
    pci_msi_update(&pci->msi);
    pci_msix_post_load(&pci->msix);
    pin_update(pci);
    if (pci->fn.secondary)
        pci_bus_numbers_changed(&pci->fn);
    pci_request_lazily(&pci->fn);
}

void pci_device_abi(Device *dev, AbiSink *sink)
{
    guint32 index = config_of(dev)->acpi_index;

    pci_function_abi(&((PciDevice *)dev)->fn, sink, "");
    if (index)
        abi_leaf(sink, "acpi-index", (guint8[]){ (guint8)index, (guint8)(index >> 8) }, 2, NULL);
}

void pci_device_interrupt(PciDevice *pci, guint n, gboolean level)
{
    if (pci_msix_enabled(&pci->msix) || pci_msi_enabled(&pci->msi)) {
        pci_intx_set(&pci->fn, FALSE);
        if (level && pci_msix_enabled(&pci->msix))
            pci_msix_notify(&pci->msix, n);
        else if (level)
            pci_msi_notify(&pci->msi, n);
        return;
    }
    pci_intx_set(&pci->fn, level);
}

/* ---- boot order ---- */

gboolean pci_device_claim_boot(PciDevice *pci, const char *node, const char *tail, GError **error)
{
    guint8 devfns[256]; /* there are no more buses */
    guint at = G_N_ELEMENTS(devfns);

    for (const PciFunction *fn = &pci->fn; fn && at > 0; fn = pci_bus_bridge(fn->bus))
        devfns[--at] = fn->devfn;
    g_autofree char *path = boot_path_pci(devfns + at, G_N_ELEMENTS(devfns) - at, node, tail);
    return device_claim_boot(&pci->dev, path, error);
}
