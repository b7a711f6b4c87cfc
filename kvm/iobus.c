/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iobus.c - dispatch of port and memory-mapped accesses.
 *
 * Both spaces stand in one immutable table: regions sorted by address, and the eventfds that KVM
 * would not take. The main thread builds a new table for each change and swaps the pointer. The
 * hard part is to know when the old one, and the owner of a removed region, may be freed, without a
 * lock on the path of every access. Each dispatching thread has a record with a hazard pointer, as
 * in Michael's scheme:
 *
 *   reader:  h = table; record->hazard = h; again if table != h;  hooks;  record->hazard = NULL
 *   writer:  table = new;  for each record: wait until record->hazard != old;  free old
 *
 * The reader's announcement, its second look and the writer's swap and scan are sequentially
 * consistent. In that one order either the announcement precedes the writer's scan of this record
 * (the writer sees it and waits), or it follows the scan, hence the swap, and the second look finds
 * another table. Clearing is a release that pairs with the scan's load, so everything a hook did
 * happens before the owner is freed. The writer waits on every change, so there is never more than
 * one old table. The price for a reader is one exchange instruction (some 20 cycles) beside an exit
 * that costs thousands.
 *
 * Waiting can not deadlock: changes are made on the main thread without a device lock, and a hook
 * never blocks but for its device lock. A hook may dispatch again (depth > 0): it goes on with the
 * announced table.
 *
 * A record belongs to one thread and one Vm; the thread finds it through a thread-local list (there
 * is one Vm in the daemon, tests have several). A thread that never registered gets a record for
 * the time of one access: right, but slow.
 *
 * The last region hit is remembered per record and space. The table's number, not its address, says
 * whether it is still good: a new table may be allocated where the old one was.
 */
#include "accel.h"

#include <string.h>

#include "../common/error.h"
#include "../common/util.h"

#define PIO_LAST G_GUINT64_CONSTANT(0xffff)

struct IoRegion {
    guint64  base, last; /* inclusive */
    gpointer opaque;
    GMutex  *lock;
    IoOps    ops; /* with the sizes filled in */
    IoSpace  space;
    guint32  flags;
    guint32  sizes; /* bit N: the hooks take an access of N bytes */
    guint64  align; /* offset bits that, below the size, must be 0 */
    gboolean coalesced; /* the accelerator took it */
    char    *name;
};

typedef struct {
    guint64   base, last;
    IoRegion *region;
} Entry;

typedef struct {
    guint64  addr;
    unsigned size; /* 0: any */
    gboolean match;
    guint64  value;
    int      fd;
} Event;

typedef struct {
    guint    n_entries, n_events;
    Entry   *entries;
    guint64 *lasts;  /* the entries' ends once more: what the search walks */
    Event   *events; /* those that the bus serves itself, sorted by address */
} SpaceTable;

typedef struct {
    guint64    number; /* unique within the bus */
    SpaceTable space[2];
} BusTable;

typedef struct BusRecord BusRecord;
struct BusRecord {
    VmBus       *bus;
    BusTable    *hazard;  /* atomic: the table in use; written by its thread */
    unsigned     depth;   /* nested dispatches */
    guint64      cached;  /* number of the table that `last` belongs to */
    const Entry *last[2];
    BusRecord   *next_of_thread;
};

struct VmBus {
    BusTable  *table;   /* atomic */
    GMutex     lock;    /* records */
    GPtrArray *records; /* of BusRecord */
    guint64    number;  /* of the last table made; main thread */
};

/* The calling thread's records. Thread-local, not shared: see the head comment. */
static _Thread_local BusRecord *thread_records;

static const char *const space_names[] = { [IO_PIO] = "port", [IO_MMIO] = "MMIO" };

/* ---- records ---- */

static BusRecord *record_find(const VmBus *bus)
{
    BusRecord *r = thread_records;

    while (r && r->bus != bus)
        r = r->next_of_thread;
    return r;
}

void iobus_thread_enter(Vm *vm)
{
    BusRecord *r = g_new0(BusRecord, 1);

    g_assert(!record_find(vm->bus));
    r->bus = vm->bus;
    r->next_of_thread = thread_records;
    thread_records = r;
    g_mutex_lock(&vm->bus->lock);
    g_ptr_array_add(vm->bus->records, r);
    g_mutex_unlock(&vm->bus->lock);
}

void iobus_thread_leave(Vm *vm)
{
    BusRecord **link = &thread_records, *r;

    while (*link && (*link)->bus != vm->bus)
        link = &(*link)->next_of_thread;
    r = *link;
    g_assert(r && r->depth == 0);
    *link = r->next_of_thread;
    g_mutex_lock(&vm->bus->lock);
    g_ptr_array_remove_fast(vm->bus->records, r);
    g_mutex_unlock(&vm->bus->lock);
    g_free(r);
}

static inline BusTable *record_announce(BusRecord *r)
{
    BusTable *table;

    if (r->depth++ > 0)
        return r->hazard;
    do {
        table = __atomic_load_n(&r->bus->table, __ATOMIC_ACQUIRE);
        __atomic_store_n(&r->hazard, table, __ATOMIC_SEQ_CST);
    } while (__atomic_load_n(&r->bus->table, __ATOMIC_SEQ_CST) != table);
    return table;
}

static inline void record_release(BusRecord *r)
{
    if (--r->depth == 0)
        __atomic_store_n(&r->hazard, NULL, __ATOMIC_RELEASE);
}

/* ---- dispatch ---- */

/* Without a branch on the comparison: N shrinks to the one entry that may hold ADDR. */
static const Entry *table_search(const SpaceTable *space, guint64 addr)
{
    const guint64 *base = space->lasts;
    const Entry *e;

    if (space->n_entries == 0)
        return NULL;
    for (gsize n = space->n_entries, half; n > 1; n -= half) {
        half = n / 2;
        base = base[half - 1] < addr ? base + half : base;
    }
    e = &space->entries[base - space->lasts];
    return e->base <= addr && addr <= e->last ? e : NULL;
}

static inline const Entry *record_lookup(BusRecord *r, const BusTable *table, IoSpace space,
                                         guint64 addr)
{
    const Entry *e;

    if (r->cached != table->number) {
        r->cached = table->number;
        r->last[IO_PIO] = r->last[IO_MMIO] = NULL;
    }
    e = r->last[space];
    if (e && addr - e->base <= e->last - e->base)
        return e;
    e = table_search(&table->space[space], addr);
    if (e)
        r->last[space] = e;
    return e;
}

/* The low SIZE (1..8) bytes: ones() without its case for more. */
static inline guint64 mask_of(unsigned size)
{
    return G_MAXUINT64 >> (64 - 8 * size);
}

static guint64 hook_read(const IoRegion *region, guint64 offset, unsigned size)
{
    guint64 v;

    if (region->lock)
        g_mutex_lock(region->lock);
    v = region->ops.read(region->opaque, offset, size);
    if (region->lock)
        g_mutex_unlock(region->lock);
    return v & mask_of(size);
}

static void hook_write(const IoRegion *region, guint64 offset, guint64 value, unsigned size)
{
    if (region->lock)
        g_mutex_lock(region->lock);
    region->ops.write(region->opaque, offset, value & mask_of(size), size);
    if (region->lock)
        g_mutex_unlock(region->lock);
}

/* TRUE if the hooks take the access as it is. SIZE must be 1..8. */
static inline gboolean region_fits(const IoRegion *region, guint64 offset, unsigned size)
{
    return (region->sizes >> size & 1) && (offset & (size - 1) & region->align) == 0 &&
           size - 1 <= region->last - region->base - offset;
}

/* The largest piece that begins at OFFSET and is at most LEFT bytes, of a size the hooks take; may
 * be below min_size. */
static unsigned piece_size(const IoRegion *region, guint64 offset, unsigned left)
{
    unsigned size = region->ops.max_size;

    while (size > 1 && (size > left || size - 1 > region->last - region->base - offset ||
                        (!region->ops.unaligned && (offset & (size - 1)) != 0)))
        size /= 2;
    return size;
}

/* Reads the part of a min_size wide register that begins at OFFSET; *GOT bytes of it. */
static guint64 read_widened(const IoRegion *region, guint64 offset, unsigned left, unsigned *got)
{
    unsigned min = region->ops.min_size, skip = offset & (min - 1);

    *got = MIN(left, min - skip);
    return hook_read(region, offset - skip, min) >> (skip * 8);
}

static G_GNUC_NO_INLINE gboolean read_split(BusRecord *r, const BusTable *table, IoSpace space,
                                            guint64 addr, unsigned size, guint64 *value)
{
    gboolean claimed = FALSE;
    guint64 v = ones(size);

    for (unsigned done = 0, piece; done < size && done <= G_MAXUINT64 - addr; done += piece) {
        guint64 at = addr + done, part;
        const Entry *e = record_lookup(r, table, space, at);

        piece = 1;
        if (!e)
            continue;
        claimed = TRUE;
        piece = piece_size(e->region, at - e->base, size - done);
        if (piece >= e->region->ops.min_size)
            part = hook_read(e->region, at - e->base, piece);
        else
            part = read_widened(e->region, at - e->base, size - done, &piece);
        v &= ~(ones(piece) << (done * 8));
        v |= (part & ones(piece)) << (done * 8);
    }
    *value = v;
    return claimed;
}

static G_GNUC_NO_INLINE gboolean write_split(BusRecord *r, const BusTable *table, IoSpace space,
                                             guint64 addr, unsigned size, guint64 value)
{
    gboolean claimed = FALSE;

    for (unsigned done = 0, piece; done < size && done <= G_MAXUINT64 - addr; done += piece) {
        guint64 at = addr + done;
        const Entry *e = record_lookup(r, table, space, at);

        piece = 1;
        if (!e)
            continue;
        claimed = TRUE;
        piece = piece_size(e->region, at - e->base, size - done);
        if (piece >= e->region->ops.min_size)
            hook_write(e->region, at - e->base, value >> (done * 8), piece);
    }
    return claimed;
}

/* Signals the eventfds that a write matches; TRUE if there was one, which then takes the place of
 * the hook, as in KVM. */
static gboolean signal_events(const SpaceTable *space, guint64 addr, unsigned size, guint64 value)
{
    gboolean hit = FALSE;
    guint lo = 0, hi = space->n_events;

    while (lo < hi) {
        guint mid = lo + (hi - lo) / 2;

        if (space->events[mid].addr < addr)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < space->n_events && space->events[lo].addr == addr; lo++) {
        const Event *ev = &space->events[lo];
        guint64 one = 1;

        if ((ev->size != 0 && ev->size != size) || (ev->match && ev->value != (value & ones(size))))
            continue;
        hit = TRUE;
        /* A full counter (EAGAIN) is a signal already. */
        if (write(ev->fd, &one, sizeof one) < 0)
            continue;
    }
    return hit;
}

static gboolean dispatch_read(BusRecord *r, IoSpace space, guint64 addr, unsigned size,
                              guint64 *value)
{
    const BusTable *table = record_announce(r);
    const Entry *e = record_lookup(r, table, space, addr);
    gboolean claimed = TRUE;

    if (e && region_fits(e->region, addr - e->base, size))
        *value = hook_read(e->region, addr - e->base, size);
    else
        claimed = read_split(r, table, space, addr, size, value);
    record_release(r);
    return claimed;
}

static gboolean dispatch_write(BusRecord *r, IoSpace space, guint64 addr, unsigned size,
                               guint64 value)
{
    const BusTable *table = record_announce(r);
    gboolean claimed = TRUE;
    const Entry *e;

    if (table->space[space].n_events > 0 &&
        signal_events(&table->space[space], addr, size, value)) {
        record_release(r);
        return TRUE;
    }
    e = record_lookup(r, table, space, addr);
    if (e && region_fits(e->region, addr - e->base, size))
        hook_write(e->region, addr - e->base, value, size);
    else
        claimed = write_split(r, table, space, addr, size, value);
    record_release(r);
    return claimed;
}

gboolean iobus_read(Vm *vm, IoSpace space, guint64 addr, unsigned size, guint64 *value)
{
    BusRecord *r = record_find(vm->bus);
    gboolean claimed;

    g_assert(size >= 1 && size <= 8);
    if (G_LIKELY(r))
        return dispatch_read(r, space, addr, size, value);
    iobus_thread_enter(vm);
    claimed = dispatch_read(record_find(vm->bus), space, addr, size, value);
    iobus_thread_leave(vm);
    return claimed;
}

gboolean iobus_write(Vm *vm, IoSpace space, guint64 addr, unsigned size, guint64 value)
{
    BusRecord *r = record_find(vm->bus);
    gboolean claimed;

    g_assert(size >= 1 && size <= 8);
    if (G_LIKELY(r))
        return dispatch_write(r, space, addr, size, value);
    iobus_thread_enter(vm);
    claimed = dispatch_write(record_find(vm->bus), space, addr, size, value);
    iobus_thread_leave(vm);
    return claimed;
}

/* ---- changes: main thread ---- */

static BusTable *table_copy(VmBus *bus)
{
    const BusTable *old = bus->table;
    BusTable *table = g_new0(BusTable, 1);

    table->number = ++bus->number;
    for (guint i = 0; i < G_N_ELEMENTS(table->space); i++) {
        const SpaceTable *from = &old->space[i];
        SpaceTable *to = &table->space[i];

        *to = *from;
        /* One more of each: room for what is added. */
        to->entries = g_new(Entry, from->n_entries + 1);
        to->lasts = g_new(guint64, from->n_entries + 1);
        to->events = g_new(Event, from->n_events + 1);
        if (from->n_entries > 0)
            memcpy(to->entries, from->entries, from->n_entries * sizeof(Entry));
        if (from->n_events > 0)
            memcpy(to->events, from->events, from->n_events * sizeof(Event));
    }
    return table;
}

static void table_free(BusTable *table)
{
    for (guint i = 0; i < G_N_ELEMENTS(table->space); i++) {
        g_free(table->space[i].entries);
        g_free(table->space[i].lasts);
        g_free(table->space[i].events);
    }
    g_free(table);
}

static void record_wait(const BusRecord *r, const BusTable *old)
{
    guint spins = 0;

    while (__atomic_load_n(&r->hazard, __ATOMIC_SEQ_CST) == old) {
        if (++spins < 100)
            g_thread_yield();
        else
            g_usleep(20);
    }
}

/* Makes TABLE the current one; returns when no access is in flight in the old one. */
static void table_swap(VmBus *bus, BusTable *table)
{
    BusTable *old = bus->table;
    const BusRecord *own = record_find(bus);

    g_assert(!own || own->depth == 0); /* from within a hook: post it */
    for (guint i = 0; i < G_N_ELEMENTS(table->space); i++)
        for (guint k = 0; k < table->space[i].n_entries; k++)
            table->space[i].lasts[k] = table->space[i].entries[k].last;
    __atomic_store_n(&bus->table, table, __ATOMIC_SEQ_CST);
    g_mutex_lock(&bus->lock);
    for (guint i = 0; i < bus->records->len; i++)
        record_wait(g_ptr_array_index(bus->records, i), old);
    g_mutex_unlock(&bus->lock);
    table_free(old);
}

/* A guest may program a BAR to anywhere, so this is an error and not our bug. */
static gboolean check_range(const IoRegion *region, GError **error)
{
    if (region->base <= region->last && (region->space == IO_MMIO || region->last <= PIO_LAST))
        return TRUE;
    return error_set(error,
                     "%s range of '%s' from 0x%" G_GINT64_MODIFIER "x to 0x%" G_GINT64_MODIFIER
                     "x is outside the address space",
                     space_names[region->space], region->name, region->base, region->last);
}

/* Where [base, last] belongs, or an error that names both owners. */
static gboolean table_place(const SpaceTable *space, const IoRegion *region, guint *at,
                            GError **error)
{
    guint i = 0;
    const IoRegion *other;

    while (i < space->n_entries && space->entries[i].last < region->base)
        i++;
    *at = i;
    if (i == space->n_entries || space->entries[i].base > region->last)
        return TRUE;
    other = space->entries[i].region;
    return error_set(error,
                     "%s range 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER
                     "x of '%s' overlaps 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER
                     "x of '%s'",
                     space_names[region->space], region->base, region->last, region->name,
                     other->base, other->last, other->name);
}

static void region_free(IoRegion *region)
{
    g_free(region->name);
    g_free(region);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IoRegion, region_free)

/* What stands in for a hook that is not there. */
static guint64 read_ones(gpointer opaque, guint64 offset, unsigned size)
{
    return ones(size);
}

static void write_nothing(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
}

static void check_ops(const IoRegion *region)
{
    const IoOps *ops = &region->ops;

    g_assert(ops->min_size <= ops->max_size && ops->max_size <= 8);
    g_assert((ops->min_size & (ops->min_size - 1)) == 0 &&
             (ops->max_size & (ops->max_size - 1)) == 0);
    /* A widened access must not leave the region. */
    g_assert(((region->last - region->base + 1) & (ops->min_size - 1)) == 0);
}

static IoRegion *region_new(IoSpace space, guint64 base, guint64 size, const IoOps *ops,
                            const char *name)
{
    IoRegion *region = g_new0(IoRegion, 1);
    guint64 whole = space == IO_PIO ? PIO_LAST : G_MAXUINT64;

    g_assert(size > 0 || base == 0);
    region->space = space;
    region->base = base;
    region->last = size > 0 ? base + (size - 1) : whole;
    region->ops = *ops;
    if (!region->ops.read)
        region->ops.read = read_ones;
    if (!region->ops.write)
        region->ops.write = write_nothing;
    if (region->ops.min_size == 0)
        region->ops.min_size = 1;
    if (region->ops.max_size == 0)
        region->ops.max_size = space == IO_PIO ? 4 : 8;
    for (unsigned n = region->ops.min_size; n <= region->ops.max_size; n *= 2)
        region->sizes |= 1u << n;
    region->align = region->ops.unaligned ? 0 : 7;
    region->name = g_strdup(name);
    check_ops(region);
    return region;
}

IoRegion *iobus_add(Vm *vm, IoSpace space, guint64 base, guint64 size, const IoOps *ops,
                    gpointer opaque, GMutex *lock, guint32 flags, const char *name, GError **error)
{
    g_autoptr(IoRegion) region = region_new(space, base, size, ops, name);
    BusTable *table;
    SpaceTable *st;
    guint at;

    region->opaque = opaque;
    region->lock = lock;
    region->flags = flags;
    if (!check_range(region, error) ||
        !table_place(&vm->bus->table->space[space], region, &at, error))
        return NULL;
    table = table_copy(vm->bus);
    st = &table->space[space];
    memmove(st->entries + at + 1, st->entries + at, (st->n_entries - at) * sizeof(Entry));
    st->entries[at] = (Entry){ region->base, region->last, region };
    st->n_entries++;
    table_swap(vm->bus, table);
    if (flags & IO_COALESCED && vm->ops->coalesce)
        region->coalesced =
            vm->ops->coalesce(vm, space, base, region->last - region->base + 1, TRUE);
    return g_steal_pointer(&region);
}

void iobus_remove(Vm *vm, IoRegion *region)
{
    BusTable *table = table_copy(vm->bus);
    SpaceTable *st = &table->space[region->space];
    guint at = 0;

    while (at < st->n_entries && st->entries[at].region != region)
        at++;
    g_assert(at < st->n_entries);
    if (region->coalesced)
        vm->ops->coalesce(vm, region->space, region->base, region->last - region->base + 1, FALSE);
    memmove(st->entries + at, st->entries + at + 1, (st->n_entries - at - 1) * sizeof(Entry));
    st->n_entries--;
    table_swap(vm->bus, table);
    region_free(region);
}

/* ---- ioeventfd ---- */

static gboolean event_equal(const Event *a, const Event *b)
{
    return a->addr == b->addr && a->size == b->size && a->match == b->match && a->fd == b->fd &&
           (!a->match || a->value == b->value);
}

void iobus_eventfd_add(Vm *vm, IoSpace space, guint64 addr, unsigned size, gboolean match,
                       guint64 value, int fd)
{
    Event event = { addr, size, match, value, fd };
    BusTable *table;
    SpaceTable *st;
    guint at = 0;

    if (vm->ops->ioeventfd && vm->ops->ioeventfd(vm, space, addr, size, match, value, fd, TRUE))
        return;
    table = table_copy(vm->bus);
    st = &table->space[space];
    while (at < st->n_events && st->events[at].addr <= addr)
        at++;
    memmove(st->events + at + 1, st->events + at, (st->n_events - at) * sizeof(Event));
    st->events[at] = event;
    st->n_events++;
    table_swap(vm->bus, table);
}

void iobus_eventfd_remove(Vm *vm, IoSpace space, guint64 addr, unsigned size, gboolean match,
                          guint64 value, int fd)
{
    Event event = { addr, size, match, value, fd };
    const SpaceTable *old = &vm->bus->table->space[space];
    BusTable *table;
    SpaceTable *st;
    guint at = 0;

    while (at < old->n_events && !event_equal(&old->events[at], &event))
        at++;
    if (at == old->n_events) {
        g_assert(vm->ops->ioeventfd);
        vm->ops->ioeventfd(vm, space, addr, size, match, value, fd, FALSE);
        return;
    }
    table = table_copy(vm->bus);
    st = &table->space[space];
    memmove(st->events + at, st->events + at + 1, (st->n_events - at - 1) * sizeof(Event));
    st->n_events--;
    table_swap(vm->bus, table);
}

/* ---- life cycle ---- */

void vm_bus_init(Vm *vm)
{
    VmBus *bus = g_new0(VmBus, 1);

    bus->table = g_new0(BusTable, 1);
    bus->table->number = ++bus->number;
    bus->records = g_ptr_array_new();
    g_mutex_init(&bus->lock);
    vm->bus = bus;
    iobus_thread_enter(vm);
}

void vm_bus_exit(Vm *vm)
{
    VmBus *bus = vm->bus;

    iobus_thread_leave(vm);
    g_assert(bus->records->len == 0); /* vCPU threads are joined */
    for (guint i = 0; i < G_N_ELEMENTS(bus->table->space); i++)
        g_assert(bus->table->space[i].n_entries == 0 && bus->table->space[i].n_events == 0);
    table_free(bus->table);
    g_ptr_array_unref(bus->records);
    g_mutex_clear(&bus->lock);
    g_clear_pointer(&vm->bus, g_free);
}
