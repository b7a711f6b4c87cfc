/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bar.c - base address registers: see bar.h.
 *
 * The map is worked out as a whole: a walk over all buses, in order of precedence, gathers what the
 * registers ask for, drops what does not pass the windows or overlaps, and compares with what is
 * mapped. So there are no transitions to get wrong: moves, enables, bridges that open and close,
 * devices that come and go all end in the same state for the same registers. It costs one pass
 * over some hundreds of functions and happens a few times in a device's life.
 *
 * Registers are read under each function's lock; regions are changed with none held, since
 * taking one out waits for accesses in flight. What has to go goes first, so a range that
 * changes hands is free.
 */
#include "bar.h"

#include "host.h"

typedef struct {
    guint64  offset;
    unsigned size;
    gboolean match;
    guint64  value;
    int      fd;
} BarEvent;

typedef struct {
    PciFunction *fn;
    PciBar      *bar;
    PciBarPart   part;
    IoRegion    *region; /* main thread, as the rest */
    guint64      at;     /* where it is */
    gboolean     wanted;
    gboolean     decoded; /* was wanted at least once */
    guint64      want;   /* where it should be */
    guint64      refused; /* where it was tried and something fixed is; PCI_BAR_UNMAPPED: nowhere */
} Part;

struct PciBar {
    PciBarKind kind;
    gboolean   prefetch;
    guint64    size;
    GPtrArray *parts;  /* of Part */
    GArray    *events; /* of BarEvent */
};

typedef struct {
    guint64 first, last;
} Range;

struct PciMap {
    PciHost   *host;
    GPtrArray *mapped; /* of Part */
    struct {
        IoSpace space;
        Range   range;
        gboolean used;
    } fixed[PCI_FIXED__MAX];
};

/* ---- building ---- */

static void part_free(gpointer data)
{
    Part *part = data;

    g_assert(!part->region);
    g_free((char *)part->part.name);
    g_free(part);
}

static void put_mask(PciFunction *fn, guint reg, guint64 mask, guint8 flags, gboolean wide)
{
    le_put(fn->wmask + reg, wide ? 8 : 4, mask);
    fn->config[reg] = flags;
}

void pci_bar_init(PciFunction *fn, guint n, PciBarKind kind, gboolean prefetch, guint64 size)
{
    gboolean wide = kind == PCI_BAR_MEM64;

    g_assert(n + wide < PCI_BARS && (size & (size - 1)) == 0);
    g_assert(size >= (kind == PCI_BAR_IO ? 4 : 16));
    if (!fn->bars)
        fn->bars = g_new0(PciBar, PCI_BARS);
    PciBar *bar = &fn->bars[n];
    bar->kind = kind;
    bar->prefetch = prefetch;
    bar->size = size;
    bar->parts = g_ptr_array_new_with_free_func(part_free);
    bar->events = g_array_new(FALSE, FALSE, sizeof(BarEvent));
    if (kind == PCI_BAR_IO)
        put_mask(fn, PCI_BAR0 + n * 4, ~(size - 1), 0x01, FALSE);
    else
        put_mask(fn, PCI_BAR0 + n * 4, ~(size - 1), (wide ? 0x04 : 0) | (prefetch ? 0x08 : 0),
                 wide);
    fn->wmask[PCI_COMMAND] |= kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
}

void pci_bar_add_part(PciFunction *fn, guint n, const PciBarPart *part)
{
    PciBar *bar = &fn->bars[n];
    Part *p = g_new0(Part, 1);

    g_assert(part->size > 0 && range_within(part->offset, part->size, bar->size));
    p->fn = fn;
    p->bar = bar;
    p->part = *part;
    p->part.name = g_strdup(part->name);
    p->refused = PCI_BAR_UNMAPPED;
    g_ptr_array_add(bar->parts, p);
}

static gboolean part_holds(const Part *part, const BarEvent *event)
{
    return range_within(event->offset - part->part.offset, 1, part->part.size);
}

static IoSpace bar_space(const PciBar *bar)
{
    return bar->kind == PCI_BAR_IO ? IO_PIO : IO_MMIO;
}

/* Into KVM, or out of it, if the part it lies in is mapped. */
static void event_apply(const PciFunction *fn, const PciBar *bar, const BarEvent *e, gboolean add)
{
    Vm *vm = device_set_vm(fn->dev->set);

    for (guint i = 0; i < bar->parts->len; i++) {
        const Part *part = g_ptr_array_index(bar->parts, i);
        if (!part->region || !part_holds(part, e))
            continue;
        guint64 at = part->at + (e->offset - part->part.offset);
        if (add)
            iobus_eventfd_add(vm, bar_space(bar), at, e->size, e->match, e->value, e->fd);
        else
            iobus_eventfd_remove(vm, bar_space(bar), at, e->size, e->match, e->value, e->fd);
    }
}

void pci_bar_add_event(PciFunction *fn, guint n, guint64 offset, unsigned size, gboolean match,
                       guint64 value, int fd)
{
    PciBar *bar = &fn->bars[n];
    BarEvent event = { offset, size, match, value, fd };

    g_array_append_val(bar->events, event);
    event_apply(fn, bar, &event, TRUE);
}

void pci_bar_remove_event(PciFunction *fn, guint n, guint64 offset, unsigned size, gboolean match,
                          guint64 value, int fd)
{
    PciBar *bar = &fn->bars[n];

    for (guint i = 0; i < bar->events->len; i++) {
        BarEvent e = g_array_index(bar->events, BarEvent, i);
        if (e.offset == offset && e.size == size && e.match == match && e.value == value &&
            e.fd == fd) {
            event_apply(fn, bar, &e, FALSE);
            g_array_remove_index_fast(bar->events, i);
            return;
        }
    }
    g_assert_not_reached();
}

void pci_bars_free(PciFunction *fn)
{
    for (guint i = 0; fn->bars && i < PCI_BARS; i++) {
        g_clear_pointer(&fn->bars[i].parts, g_ptr_array_unref);
        g_clear_pointer(&fn->bars[i].events, g_array_unref);
    }
    g_clear_pointer(&fn->bars, g_free);
}

PciBarKind pci_bar_kind(const PciFunction *fn, guint n, gboolean *prefetch, guint64 *size)
{
    if (!fn->bars || n >= PCI_BARS)
        return PCI_BAR_NONE;
    *prefetch = fn->bars[n].prefetch;
    *size = fn->bars[n].size;
    return fn->bars[n].kind;
}

/* ---- what the registers say: lock held ---- */

/* Power state D3hot decodes nothing (PCI power management 1.2 section 5.4.1). */
static guint16 effective_command(const PciFunction *fn)
{
    if (fn->pm && (fn->config[fn->pm + 4] & 3) == 3)
        return 0;
    return le16_get(fn->config + PCI_COMMAND);
}

guint64 pci_bar_address(const PciFunction *fn, guint n)
{
    const PciBar *bar = &fn->bars[n];
    const guint8 *reg = fn->config + PCI_BAR0 + n * 4;
    gboolean io = bar->kind == PCI_BAR_IO;
    guint64 base = bar->kind == PCI_BAR_MEM64 ? le64_get(reg) : le32_get(reg);

    if (!(effective_command(fn) & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return PCI_BAR_UNMAPPED;
    base &= ~(bar->size - 1) & ~(guint64)(io ? 3 : 15);
    guint64 last = base + (bar->size - 1);
    /* Zero is "not placed"; all ones, in either half, is a guest that measures the size. */
    if (base == 0 || last == G_MAXUINT32 || last == G_MAXUINT64 || (io && last > 0xffff))
        return PCI_BAR_UNMAPPED;
    return base;
}

/* What a bridge passes on, and those above it. */
typedef struct Windows Windows;
struct Windows {
    const Windows *above;
    Range          io, memory, prefetch; /* first > last: closed */
};

static const Range closed = { 1, 0 };

void pci_bridge_window(const PciFunction *fn, PciWindow which, guint64 *base, guint64 *limit)
{
    const guint8 *c = fn->config;

    switch (which) {
    case PCI_WINDOW_IO:
        *base = (guint64)(c[PCI_IO_BASE] & 0xf0) << 8;
        *limit = (guint64)(c[PCI_IO_LIMIT] & 0xf0) << 8 | 0xfff;
        break;
    case PCI_WINDOW_MEMORY:
        *base = (guint64)(le16_get(c + PCI_MEMORY_BASE) & 0xfff0) << 16;
        *limit = (guint64)(le16_get(c + PCI_MEMORY_LIMIT) & 0xfff0) << 16 | 0xfffff;
        break;
    case PCI_WINDOW_PREFETCH:
        *base = (guint64)le32_get(c + PCI_PREFETCH_BASE_HIGH) << 32 |
                (guint64)(le16_get(c + PCI_PREFETCH_BASE) & 0xfff0) << 16;
        *limit = (guint64)le32_get(c + PCI_PREFETCH_LIMIT_HIGH) << 32 |
                 (guint64)(le16_get(c + PCI_PREFETCH_LIMIT) & 0xfff0) << 16 | 0xfffff;
        break;
    }
}

static void windows_read(Windows *w, const PciFunction *fn)
{
    guint16 command = effective_command(fn);

    w->io = w->memory = w->prefetch = closed;
    if (command & PCI_COMMAND_IO)
        pci_bridge_window(fn, PCI_WINDOW_IO, &w->io.first, &w->io.last);
    if (command & PCI_COMMAND_MEMORY) {
        pci_bridge_window(fn, PCI_WINDOW_MEMORY, &w->memory.first, &w->memory.last);
        pci_bridge_window(fn, PCI_WINDOW_PREFETCH, &w->prefetch.first, &w->prefetch.last);
    }
}

static gboolean covers(const Range *window, const Range *r)
{
    return window->first <= r->first && r->last <= window->last;
}

static gboolean passes(const Windows *w, IoSpace space, const Range *r)
{
    for (; w; w = w->above) {
        if (space == IO_PIO ? !covers(&w->io, r)
                            : !covers(&w->memory, r) && !covers(&w->prefetch, r))
            return FALSE;
    }
    return TRUE;
}

/* ---- gathering ---- */

typedef struct {
    GPtrArray *wanted;   /* of Part */
    GArray    *taken[2]; /* of Range, sorted, a space each */
} Gather;

/* Takes the range unless something has a byte of it. */
static gboolean take(GArray *taken, const Range *r)
{
    guint lo = 0, hi = taken->len;

    while (lo < hi) { /* the first range that ends at or after FIRST */
        guint mid = lo + (hi - lo) / 2;
        if (g_array_index(taken, Range, mid).last < r->first)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo < taken->len && g_array_index(taken, Range, lo).first <= r->last)
        return FALSE;
    g_array_insert_val(taken, lo, *r);
    return TRUE;
}

static void gather_bar(Gather *g, PciFunction *fn, guint n, const Windows *windows)
{
    const PciBar *bar = &fn->bars[n];
    guint64 base = bar->kind == PCI_BAR_NONE ? PCI_BAR_UNMAPPED : pci_bar_address(fn, n);

    for (guint i = 0; base != PCI_BAR_UNMAPPED && i < bar->parts->len; i++) {
        Part *part = g_ptr_array_index(bar->parts, i);
        Range r = { base + part->part.offset, base + part->part.offset + part->part.size - 1 };
        if (!passes(windows, bar_space(bar), &r) || !take(g->taken[bar_space(bar)], &r))
            continue;
        part->wanted = part->decoded = TRUE;
        part->want = r.first;
        g_ptr_array_add(g->wanted, part);
    }
}

static void gather_bus(Gather *g, const PciBus *bus, const Windows *windows)
{
    if (!pci_bus_is_open(bus) || pci_bus_n_visible(bus) == 0)
        return;
    for (guint i = 0; i < bus->n_devfns; i++) {
        PciFunction *fn = bus->visible[i];
        if (!fn || (!fn->bars && !fn->secondary))
            continue;
        Windows mine = { .above = windows };
        g_mutex_lock(&fn->dev->lock);
        for (guint n = 0; fn->bars && n < PCI_BARS; n++)
            gather_bar(g, fn, n, windows);
        if (fn->secondary)
            windows_read(&mine, fn);
        g_mutex_unlock(&fn->dev->lock);
        if (fn->secondary)
            gather_bus(g, fn->secondary, &mine);
    }
}

/* ---- the map ---- */

static void part_events(const Part *part, gboolean add)
{
    for (guint i = 0; i < part->bar->events->len; i++) {
        const BarEvent *e = &g_array_index(part->bar->events, BarEvent, i);
        if (part_holds(part, e))
            event_apply(part->fn, part->bar, e, add);
    }
}

static void part_unmap(PciMap *map, Part *part)
{
    part_events(part, FALSE);
    iobus_remove(map->host->vm, part->region);
    part->region = NULL;
}

static void part_map(PciMap *map, Part *part)
{
    g_autoptr(GError) error = NULL;
    const PciBarPart *p = &part->part;

    part->region = iobus_add(map->host->vm, bar_space(part->bar), part->want, p->size, p->ops,
                             p->opaque, p->lockless ? NULL : &part->fn->dev->lock, 0, p->name,
                             &error);
    if (!part->region) {
        if (part->refused != part->want)
            device_guest_error(part->fn->dev, "BAR: %s", error->message);
        part->refused = part->want;
        return;
    }
    part->at = part->want;
    part->refused = PCI_BAR_UNMAPPED;
    part_events(part, TRUE);
    g_ptr_array_add(map->mapped, part);
}

/* Takes out what is not wanted, or elsewhere. */
static void unmap_stale(PciMap *map)
{
    for (guint i = map->mapped->len; i > 0; i--) {
        Part *part = g_ptr_array_index(map->mapped, i - 1);
        if (part->wanted && part->want == part->at)
            continue;
        part_unmap(map, part);
        g_ptr_array_remove_index_fast(map->mapped, i - 1);
    }
}

void pci_map_update(PciMap *map)
{
    g_autoptr(GPtrArray) wanted = g_ptr_array_new();
    g_autoptr(GArray) ports = g_array_new(FALSE, FALSE, sizeof(Range));
    g_autoptr(GArray) memory = g_array_new(FALSE, FALSE, sizeof(Range));
    Gather g = { .wanted = wanted, .taken = { [IO_PIO] = ports, [IO_MMIO] = memory } };

    for (guint i = 0; i < map->mapped->len; i++)
        ((Part *)g_ptr_array_index(map->mapped, i))->wanted = FALSE;
    for (guint i = 0; i < PCI_FIXED__MAX; i++) {
        if (map->fixed[i].used)
            take(g.taken[map->fixed[i].space], &map->fixed[i].range);
    }
    gather_bus(&g, map->host->root, NULL);
    unmap_stale(map);
    for (guint i = 0; i < wanted->len; i++) {
        Part *part = g_ptr_array_index(wanted, i);
        if (!part->region)
            part_map(map, part);
    }
}

void pci_reserve(PciBus *root, PciFixed which, IoSpace space, guint64 base, guint64 size)
{
    PciMap *map = root->host->map;

    map->fixed[which].used = size > 0;
    map->fixed[which].space = space;
    map->fixed[which].range = (Range){ base, base + (size - 1) };
    pci_map_update(map);
}

gboolean pci_bars_decoded(const PciFunction *fn)
{
    for (guint n = 0; fn->bars && n < PCI_BARS; n++) {
        const GPtrArray *parts = fn->bars[n].parts;
        for (guint i = 0; parts && i < parts->len; i++) {
            if (((const Part *)g_ptr_array_index(parts, i))->decoded)
                return TRUE;
        }
    }
    return FALSE;
}

/* ---- writes ---- */

static gboolean decode_enabled(const PciFunction *fn)
{
    return le16_get(fn->config + PCI_COMMAND) & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
}

/* The byte at REG of what a write of SIZE bytes at OFFSET changed. */
static guint8 changed_at(guint16 offset, unsigned size, guint32 changed, guint16 reg)
{
    return pci_touches(offset, size, reg, 1) ? (guint8)(changed >> (reg - offset) * 8) : 0;
}

/* Whether a write that changed these bits can have moved a BAR of the function or of one behind it. */
static gboolean may_move(const PciFunction *fn, guint16 offset, unsigned size, guint32 changed)
{
    gboolean populated = fn->secondary && pci_bus_n_visible(fn->secondary) > 0;
    guint bars = fn->secondary ? 2 : PCI_BARS;

    if (!fn->bars && !populated)
        return FALSE;
    if (changed_at(offset, size, changed, PCI_COMMAND) & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY))
        return TRUE;
    if (fn->pm && (changed_at(offset, size, changed, fn->pm + 4) & 3))
        return TRUE;
    if (!decode_enabled(fn))
        return FALSE;
    return (fn->bars && pci_touches(offset, size, PCI_BAR0, bars * 4)) ||
           (populated && pci_touches(offset, size, PCI_IO_BASE, 2)) ||
           (populated && pci_touches(offset, size, PCI_MEMORY_BASE, 16));
}

void pci_decode_written(PciFunction *fn, guint16 offset, unsigned size, guint32 old_value)
{
    guint32 changed = pci_config_read(fn, offset, size) ^ old_value;

    if (!changed)
        return;
    if (fn->secondary && pci_touches(offset, size, PCI_PRIMARY, 3))
        pci_bus_numbers_changed(fn);
    if (may_move(fn, offset, size, changed))
        pci_request(fn, 0);
}

/* ---- life ---- */

PciMap *pci_map_new(PciHost *host)
{
    PciMap *map = g_new0(PciMap, 1);

    map->host = host;
    map->mapped = g_ptr_array_new();
    return map;
}

void pci_map_free(PciMap *map)
{
    g_assert(map->mapped->len == 0);
    g_ptr_array_unref(map->mapped);
    g_free(map);
}
