/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bus.c - buses, what is on them, and the way of a configuration access.
 *
 * The hard part is removal while a vCPU is inside the function's hook. Each access holds the host
 * mutex from lookup to completion, so pci_bus_remove(), which takes it too, returns when nobody
 * is inside. Hooks never come back here: a device lock is held in them (see bus.h), and what
 * they want changed they post.
 *
 * Bus numbers belong to the guest, which may write any nonsense into bridges. The table from
 * numbers to buses is made anew after such a write, by walking down from the root with the range
 * that is left to each subtree: a bridge passes on only numbers from secondary to subordinate
 * within the range of the one above, and where two claim the same number the lower function has
 * it. So there is no loop, and every number leads to one bus or to none.
 */
#include "host.h"

#define PCI_DEVFNS 256

/* ---- life ---- */

static void work_due(gpointer user);

static PciBus *bus_new(PciHost *host, const char *name, guint n_slots, gboolean hotplug)
{
    PciBus *bus = g_new0(PciBus, 1);

    bus->host = host;
    bus->name = g_strdup(name);
    bus->n_devfns = n_slots * 8;
    bus->hotplug = hotplug;
    bus->open = TRUE;
    bus->claimed = g_new0(PciFunction *, bus->n_devfns);
    bus->visible = g_new0(PciFunction *, bus->n_devfns);
    g_ptr_array_add(host->buses, bus);
    g_hash_table_insert(host->by_name, bus->name, bus);
    return bus;
}

PciBus *pci_bus_new(DeviceSet *set, const char *name)
{
    PciHost *host = g_new0(PciHost, 1);

    host->set = set;
    host->vm = device_set_vm(set);
    g_mutex_init(&host->lock);
    host->buses = g_ptr_array_new();
    host->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    host->work = deferred_new(host->vm, work_due, host);
    host->map = pci_map_new(host);
    host->intx = pci_intx_new(host);
    host->root = bus_new(host, name, PCI_DEVFNS / 8, TRUE);
    host->route[0] = host->root;
    return host->root;
}

PciBus *pci_bus_new_behind(PciFunction *bridge, const char *name, guint n_slots, gboolean hotplug)
{
    PciBus *bus = bus_new(bridge->bus->host, name, n_slots, hotplug);

    bus->parent = bridge->bus;
    bus->bridge = bridge;
    bridge->secondary = bus;
    return bus;
}

static void host_free(PciHost *host)
{
    g_assert(host->buses->len == 0);
    deferred_free(host->work);
    pci_map_free(host->map);
    pci_intx_free(host->intx);
    g_ptr_array_unref(host->buses);
    g_hash_table_unref(host->by_name);
    g_mutex_clear(&host->lock);
    g_free(host);
}

void pci_bus_free(PciBus *bus)
{
    if (!bus)
        return;
    PciHost *host = bus->host;
    for (guint i = 0; i < bus->n_devfns; i++)
        g_assert(!bus->claimed[i]);
    device_plug_settle_cancel(host->set, bus);
    g_mutex_lock(&host->lock);
    for (guint i = 0; i < G_N_ELEMENTS(host->route); i++) {
        if (host->route[i] == bus)
            host->route[i] = NULL;
    }
    g_mutex_unlock(&host->lock);
    g_ptr_array_remove(host->buses, bus);
    g_hash_table_remove(host->by_name, bus->name);
    if (bus->bridge)
        bus->bridge->secondary = NULL;
    if (bus == host->root)
        host_free(host);
    g_free(bus->claimed);
    g_free(bus->visible);
    g_free(bus->name);
    g_free(bus);
}

/* ---- looking ---- */

const char *pci_bus_name(const PciBus *bus)
{
    return bus->name;
}

DeviceSet *pci_bus_set(const PciBus *bus)
{
    return bus->host->set;
}

PciBus *pci_bus_find(DeviceSet *set, const char *name)
{
    PciBus *root = pci_root_bus(set);

    return root ? g_hash_table_lookup(root->host->by_name, name) : NULL;
}

PciFunction *pci_bus_bridge(const PciBus *bus)
{
    return bus->bridge;
}

PciBus *pci_bus_parent(const PciBus *bus)
{
    return bus->parent;
}

guint pci_bus_slots(const PciBus *bus)
{
    return bus->n_devfns / 8;
}

gboolean pci_bus_hotplug(const PciBus *bus)
{
    return bus->hotplug;
}

void pci_bus_set_open(PciBus *bus, gboolean open)
{
    g_atomic_int_set(&bus->open, open);
}

gboolean pci_bus_is_open(const PciBus *bus)
{
    return g_atomic_int_get(&bus->open);
}

PciFunction *pci_bus_claimed(const PciBus *bus, guint devfn)
{
    return devfn < bus->n_devfns ? bus->claimed[devfn] : NULL;
}

PciFunction *pci_bus_visible(const PciBus *bus, guint devfn)
{
    return devfn < bus->n_devfns ? bus->visible[devfn] : NULL;
}

guint pci_bus_n_visible(const PciBus *bus)
{
    return (guint)g_atomic_int_get(&bus->n_visible);
}

void pci_bus_numbers_changed(PciFunction *bridge)
{
    g_atomic_int_set(&bridge->numbers, le16_get(bridge->config + PCI_SECONDARY));
    g_atomic_int_set(&bridge->secondary->host->stale, TRUE);
}

/* ---- coming and going ---- */

static void tell_bridge(gpointer user)
{
    const PciBus *bus = user;

    bus->bridge->below_changed(bus->bridge);
}

/* Several functions of a slot that come together are one event. */
static void below_changed(PciBus *bus)
{
    if (bus->bridge && bus->bridge->below_changed)
        device_plug_settle(bus->host->set, tell_bridge, bus);
}

gboolean pci_bus_claim(PciBus *bus, PciFunction *fn, GError **error)
{
    g_assert(fn->devfn < bus->n_devfns);
    const PciFunction *holder = bus->claimed[fn->devfn];

    if (holder)
        return error_set(error, "Device '%s': PCI slot %s:%02x.%x is in use by device '%s'",
                         fn->dev->id, bus->name, fn->devfn >> 3, fn->devfn & 7, holder->dev->id);
    bus->claimed[fn->devfn] = fn;
    fn->bus = bus;
    pci_intx_claim(fn);
    return TRUE;
}

/* Host lock held. */
static void show(PciBus *bus, PciFunction *fn)
{
    g_assert(bus->claimed[fn->devfn] == fn);
    bus->visible[fn->devfn] = fn;
    g_atomic_int_inc(&bus->n_visible);
}

/* Those that were published before function 0, which is just being so: the guest finds the slot complete. Host lock held. */
static void show_waiting(PciBus *bus, guint8 first)
{
    for (guint f = 1; f < 8; f++) {
        PciFunction *fn = bus->claimed[first | f];
        if (fn && !bus->visible[first | f] && fn->dev->state == DEVICE_PUBLISHED)
            show(bus, fn);
    }
}

void pci_bus_publish(PciBus *bus, PciFunction *fn)
{
    gboolean alone = (fn->devfn & 7) && !bus->visible[fn->devfn & 0xf8];

    if (alone && device_set_is_started(bus->host->set))
        return; /* a guest that is told of a slot looks at its function 0 */
    g_mutex_lock(&bus->host->lock);
    show(bus, fn);
    if (!(fn->devfn & 7))
        show_waiting(bus, fn->devfn);
    g_atomic_int_set(&bus->host->stale, TRUE);
    g_mutex_unlock(&bus->host->lock);
    below_changed(bus);
}

void pci_bus_remove(PciBus *bus, PciFunction *fn)
{
    PciHost *host = bus->host;

    if (fn->bus != bus)
        return; /* a realize that failed before its claim */
    g_mutex_lock(&host->lock);
    gboolean seen = bus->visible[fn->devfn] != NULL;
    bus->visible[fn->devfn] = bus->claimed[fn->devfn] = NULL;
    if (seen)
        g_atomic_int_add(&bus->n_visible, -1);
    g_atomic_int_set(&host->stale, TRUE);
    g_mutex_unlock(&host->lock);
    fn->bus = NULL;
    if (!seen)
        return;
    if (pci_bars_decoded(fn))
        pci_map_update(host->map);
    below_changed(bus);
}

/* ---- accesses ---- */

/* The numbers FIRST to LAST are BUS's to give out to its bridges. Host lock held. */
static void route_below(PciHost *host, const PciBus *bus, guint first, guint last)
{
    for (guint i = bus->n_devfns; i > 0; i--) { /* the lowest comes last and so wins */
        const PciFunction *fn = bus->visible[i - 1];
        if (!fn || !fn->secondary)
            continue;
        guint numbers = (guint)g_atomic_int_get(&fn->numbers);
        guint secondary = numbers & 0xff, subordinate = MIN(numbers >> 8 & 0xff, last);
        if (secondary < first || secondary > subordinate)
            continue;
        for (guint nr = secondary; nr <= subordinate; nr++)
            host->route[nr] = nr == secondary ? fn->secondary : NULL;
        if (secondary < subordinate)
            route_below(host, fn->secondary, secondary + 1, subordinate);
    }
}

/* Whether every bridge on the way lets accesses pass. */
static gboolean reaches(const PciBus *bus)
{
    for (; bus; bus = bus->parent) {
        if (!pci_bus_is_open(bus))
            return FALSE;
    }
    return TRUE;
}

/* Host lock held. */
static PciFunction *lookup(PciHost *host, guint8 bus_nr, guint8 devfn)
{
    if (g_atomic_int_compare_and_exchange(&host->stale, TRUE, FALSE)) {
        memset(host->route + 1, 0, sizeof host->route - sizeof host->route[0]);
        route_below(host, host->root, 1, 255);
    }
    const PciBus *bus = host->route[bus_nr];
    if (!bus || devfn >= bus->n_devfns || !reaches(bus))
        return NULL;
    return bus->visible[devfn];
}

guint32 pci_bus_config_read(PciBus *bus, guint8 bus_nr, guint8 devfn, guint16 offset, unsigned size)
{
    LOCK_SCOPE(&bus->host->lock);
    PciFunction *fn = lookup(bus->host, bus_nr, devfn);

    if (!fn)
        return (guint32)ones(size);
    LOCK_SCOPE(&fn->dev->lock);
    return pci_config_read(fn, offset, size);
}

void pci_bus_config_write(PciBus *bus, guint8 bus_nr, guint8 devfn, guint16 offset, guint32 value,
                          unsigned size)
{
    LOCK_SCOPE(&bus->host->lock);
    PciFunction *fn = lookup(bus->host, bus_nr, devfn);

    if (!fn)
        return;
    LOCK_SCOPE(&fn->dev->lock);
    pci_config_write(fn, offset, value, size);
}

/* ---- work ---- */

static void reset_function(PciFunction *fn)
{
    LOCK_SCOPE(&fn->dev->lock);
    if (fn->dev->type->ops->reset)
        fn->dev->type->ops->reset(fn->dev, RESET_WARM);
}

static void reset_below(const PciBus *bus)
{
    for (guint i = 0; bus && i < bus->n_devfns; i++) {
        PciFunction *fn = bus->visible[i];
        if (!fn)
            continue;
        reset_function(fn);
        reset_below(fn->secondary);
    }
}

static void function_work(PciFunction *fn)
{
    guint work = (guint)g_atomic_int_and((guint *)&fn->work, 0);

    if (work & PCI_WORK_RESET)
        reset_function(fn);
    if (work & PCI_WORK_RESET_BELOW)
        reset_below(fn->secondary);
    if (work >= PCI_WORK_OWN && fn->work_due)
        fn->work_due(fn, work);
}

static void work_due(gpointer user)
{
    PciHost *host = user;

    for (guint b = 0; b < host->buses->len; b++) {
        const PciBus *bus = g_ptr_array_index(host->buses, b);
        for (guint i = 0; i < bus->n_devfns && pci_bus_n_visible(bus); i++) {
            if (bus->visible[i] && g_atomic_int_get(&bus->visible[i]->work))
                function_work(bus->visible[i]);
        }
    }
    pci_intx_sync(host->intx);
    pci_map_update(host->map);
}

void pci_request(PciFunction *fn, guint work)
{
    if (!fn->bus)
        return; /* not plugged in: a function of a test */
    g_atomic_int_or((guint *)&fn->work, work);
    deferred_schedule_held(fn->bus->host->work);
}

void pci_request_lazily(PciFunction *fn)
{
    if (fn->bus)
        deferred_schedule(fn->bus->host->work);
}

void pci_sync(DeviceSet *set)
{
    PciBus *root = pci_root_bus(set);

    if (root)
        work_due(root->host);
}
