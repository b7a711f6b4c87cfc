/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory.c - the map of guest-physical RAM.
 *
 * The map is an immutable sorted array with a reference count; memory->map points to the current
 * one. The hard part is taking a reference without a lock: between loading the pointer and
 * counting, the map could be freed. So a reader announces itself first, in one of two counters
 * ("gates"), and loads the pointer inside:
 *
 *   reader:  gate[epoch & 1]++    map = current    (copy bytes, or map->refs++)    gate--
 *   writer:  current = new;  twice: epoch++, wait until the gate in use is 0;  drop the old map
 *
 * All of these are sequentially consistent. A reader that loaded the old pointer did so before the
 * writer's store, so its gate was counted before that too: once each gate was seen at 0 after the
 * store, every such reader has left, and what it may have kept is in map->refs. Two gates with a
 * moving epoch are there so that new readers count elsewhere while the writer waits: it can not be
 * starved. A reader that picked its gate just before the epoch moved still increments before it
 * loads the pointer, hence gets the new map; it only lengthens the wait.
 *
 * Short copies run inside the gate and touch no reference count. Whoever keeps a pointer takes a
 * reference for a bounded batch. vm_memory_remove() waits for the gates, then for the references of
 * all maps that could contain the region; vm_memory_add() waits for nobody: a replaced map is kept
 * in `retired` until a later change finds it free.
 *
 * Only the main thread changes the map, so there is no lock at all.
 */
#include "accel.h"

#include <string.h>

#include "../common/error.h"
#include "../common/util.h"

#define PAGE_MASK G_GUINT64_CONSTANT(0xfff)

struct MemMap {
    gint      refs; /* atomic */
    guint     n;
    MemRegion regions[];
};

struct VmMemory {
    MemMap    *map;     /* atomic: the current map */
    guint      epoch;   /* atomic */
    gint       gate[2]; /* atomic */
    GPtrArray *retired; /* of MemMap, each with our reference; main thread */
    GArray    *slots;   /* of guint8 (enum below) by slot number; main thread */
    gboolean   deferring; /* main thread */
    MemRegion  early;     /* vm_memory_expect(): in KVM, not in the map. hva NULL: none. Main thread */
};

enum { SLOT_FREE, SLOT_PUT_OFF, SLOT_GIVEN };

/* ---- readers ---- */

static guint gate_enter(VmMemory *memory)
{
    guint gate = __atomic_load_n(&memory->epoch, __ATOMIC_SEQ_CST) & 1;

    __atomic_add_fetch(&memory->gate[gate], 1, __ATOMIC_SEQ_CST);
    return gate;
}

static void gate_leave(VmMemory *memory, guint gate)
{
    __atomic_sub_fetch(&memory->gate[gate], 1, __ATOMIC_SEQ_CST);
}

static MemMap *current_map(VmMemory *memory)
{
    return __atomic_load_n(&memory->map, __ATOMIC_SEQ_CST);
}

MemMap *vm_memory_ref_map(Vm *vm)
{
    guint gate = gate_enter(vm->memory);
    MemMap *map = current_map(vm->memory);

    __atomic_add_fetch(&map->refs, 1, __ATOMIC_RELAXED);
    gate_leave(vm->memory, gate);
    return map;
}

static void map_unref(MemMap *map)
{
    if (__atomic_sub_fetch(&map->refs, 1, __ATOMIC_ACQ_REL) == 0)
        g_free(map);
}

void vm_memory_unref_map(Vm *vm, MemMap *map)
{
    map_unref(map);
}

const MemRegion *mem_map_regions(const MemMap *map, guint *n)
{
    *n = map->n;
    return map->regions;
}

/* The index of the first region that ends after GPA. */
static guint map_search(const MemMap *map, guint64 gpa)
{
    guint lo = 0, hi = map->n;

    while (lo < hi) {
        guint mid = lo + (hi - lo) / 2;

        if (map->regions[mid].gpa + (map->regions[mid].size - 1) < gpa)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const MemRegion *mem_map_find(const MemMap *map, guint64 gpa)
{
    guint i = map_search(map, gpa);

    return i < map->n && map->regions[i].gpa <= gpa ? &map->regions[i] : NULL;
}

void *mem_map_ptr(const MemMap *map, guint64 gpa, gsize len)
{
    const MemRegion *r = mem_map_find(map, gpa);

    return r && range_within(gpa - r->gpa, len, r->size) ? r->hva + (gpa - r->gpa) : NULL;
}

/* TRUE if every byte of the range is RAM; WRITE: that may be written. */
static gboolean map_covers(const MemMap *map, guint64 gpa, gsize len, gboolean write)
{
    for (guint i = map_search(map, gpa); len > 0; i++) {
        guint64 room;

        if (i >= map->n || map->regions[i].gpa > gpa || (write && (map->regions[i].flags & MEM_READONLY)))
            return FALSE;
        room = map->regions[i].size - (gpa - map->regions[i].gpa);
        if (len <= room)
            return TRUE;
        gpa += room; /* wraps to 0 at the end of the space, where the search is over */
        len -= room;
    }
    return TRUE;
}

typedef enum { COPY_READ, COPY_WRITE, COPY_FILL } CopyKind;

static void copy_piece(CopyKind kind, guint8 *hva, guint8 *buf, guint8 byte, gsize len)
{
    switch (kind) {
    case COPY_READ:
        memcpy(buf, hva, len);
        break;
    case COPY_WRITE:
        memcpy(hva, buf, len);
        break;
    case COPY_FILL:
        memset(hva, byte, len);
        break;
    }
}

/* Checks the whole range before the first byte moves. */
static gboolean memory_copy(Vm *vm, CopyKind kind, guint64 gpa, guint8 *buf, guint8 byte, gsize len)
{
    guint gate = gate_enter(vm->memory);
    const MemMap *map = current_map(vm->memory);
    gboolean ok = map_covers(map, gpa, len, kind != COPY_READ);

    for (guint i = map_search(map, gpa); ok && len > 0; i++) {
        const MemRegion *r = &map->regions[i];
        gsize piece = MIN(len, r->size - (gpa - r->gpa));

        copy_piece(kind, r->hva + (gpa - r->gpa), buf, byte, piece);
        gpa += piece;
        len -= piece;
        if (buf)
            buf += piece;
    }
    gate_leave(vm->memory, gate);
    return ok;
}

gboolean vm_memory_read(Vm *vm, guint64 gpa, void *buf, gsize len)
{
    return memory_copy(vm, COPY_READ, gpa, buf, 0, len);
}

gboolean vm_memory_write(Vm *vm, guint64 gpa, const void *buf, gsize len)
{
    return memory_copy(vm, COPY_WRITE, gpa, (guint8 *)buf, 0,
                       len); /* only read: see copy_piece() */
}

gboolean vm_memory_fill(Vm *vm, guint64 gpa, guint8 byte, gsize len)
{
    return memory_copy(vm, COPY_FILL, gpa, NULL, byte, len);
}

void *vm_memory_ptr(Vm *vm, guint64 gpa, gsize len)
{
    guint gate = gate_enter(vm->memory);
    void *p = mem_map_ptr(current_map(vm->memory), gpa, len);

    gate_leave(vm->memory, gate);
    return p;
}

/* ---- changes: main thread ---- */

static MemMap *map_new(guint n)
{
    MemMap *map = g_malloc0(sizeof(MemMap) + n * sizeof(MemRegion));

    map->refs = 1;
    map->n = n;
    return map;
}

static void wait_a_little(guint *spins)
{
    if (++*spins < 100)
        g_thread_yield();
    else
        g_usleep(50);
}

/* After this no reader is inside a gate with a map older than the current one. */
static void gates_drain(VmMemory *memory)
{
    guint spins = 0;

    for (guint pass = 0; pass < 2; pass++) {
        guint gate = __atomic_fetch_add(&memory->epoch, 1, __ATOMIC_SEQ_CST) & 1;

        while (__atomic_load_n(&memory->gate[gate], __ATOMIC_SEQ_CST) != 0)
            wait_a_little(&spins);
    }
}

/* Frees the retired maps that nobody holds; with WAIT, all of them. */
static void reap_retired(VmMemory *memory, gboolean wait)
{
    guint spins = 0;

    for (guint i = memory->retired->len; i-- > 0;) {
        MemMap *map = g_ptr_array_index(memory->retired, i);

        while (wait && __atomic_load_n(&map->refs, __ATOMIC_ACQUIRE) > 1)
            wait_a_little(&spins);
        if (__atomic_load_n(&map->refs, __ATOMIC_ACQUIRE) == 1) {
            map_unref(map);
            g_ptr_array_remove_index_fast(memory->retired, i);
        }
    }
}

static void map_publish(VmMemory *memory, MemMap *map, gboolean wait)
{
    g_ptr_array_add(memory->retired, current_map(memory));
    __atomic_store_n(&memory->map, map, __ATOMIC_SEQ_CST);
    gates_drain(memory);
    reap_retired(memory, wait);
}

static guint8 *slot_state(VmMemory *memory, guint slot)
{
    return &g_array_index(memory->slots, guint8, slot);
}

static guint slot_take(VmMemory *memory)
{
    guint slot = 0;

    while (slot < memory->slots->len && *slot_state(memory, slot) != SLOT_FREE)
        slot++;
    if (slot == memory->slots->len)
        g_array_set_size(memory->slots, slot + 1);
    *slot_state(memory, slot) = SLOT_PUT_OFF;
    return slot;
}

static gboolean slot_set(Vm *vm, const MemRegion *region, GError **error)
{
    if (!vm->ops->memory_slot(vm, region, FALSE, error))
        return FALSE;
    *slot_state(vm->memory, region->slot) = SLOT_GIVEN;
    return TRUE;
}

static void slot_give(VmMemory *memory, guint slot)
{
    *slot_state(memory, slot) = SLOT_FREE;
}

static gboolean check_alignment(const MemRegion *region, GError **error)
{
    guint64 last;

    if (region->size == 0 || ((region->gpa | region->size | (guintptr)region->hva) & PAGE_MASK))
        return error_set(
            error,
            "Memory at 0x%" G_GINT64_MODIFIER "x, size 0x%" G_GINT64_MODIFIER
            "x: address, size and host memory must be multiples of 4096, the size not 0",
            region->gpa, region->size);
    if (__builtin_add_overflow(region->gpa, region->size - 1, &last))
        return error_set(error,
                         "Memory at 0x%" G_GINT64_MODIFIER "x, size 0x%" G_GINT64_MODIFIER
                         "x: reaches beyond the 64-bit address space",
                         region->gpa, region->size);
    return TRUE;
}

static gboolean check_overlap(const MemRegion *a, const MemRegion *b, GError **error)
{
    guint64 a_last = a->gpa + (a->size - 1), b_last = b->gpa + (b->size - 1);

    if (a->gpa > b_last || b->gpa > a_last)
        return TRUE;
    return error_set(error,
                     "Memory at 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER
                     "x overlaps memory at 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER "x",
                     a->gpa, a_last, b->gpa, b_last);
}

/* KVM loses the early region: it was not what was added in the end. */
static void drop_early(Vm *vm)
{
    VmMemory *memory = vm->memory;
    g_autoptr(GError) error = NULL;

    if (!memory->early.hva)
        return;
    if (!vm->ops->memory_slot(vm, &memory->early, TRUE, &error))
        g_warning("%s", error->message);
    slot_give(memory, memory->early.slot);
    memory->early.hva = NULL;
}

static gboolean take_early(VmMemory *memory, MemRegion *region)
{
    const MemRegion *e = &memory->early;

    if (e->hva != region->hva || e->gpa != region->gpa || e->size != region->size || e->flags != region->flags)
        return FALSE;
    region->slot = e->slot;
    memory->early.hva = NULL;
    return TRUE;
}

/* Gives REGION a slot; KVM gets it now, has it already, or gets it from vm_memory_commit(). */
static gboolean give_slot(Vm *vm, MemRegion *region, GError **error)
{
    VmMemory *memory = vm->memory;

    if (take_early(memory, region))
        return TRUE;
    if (!memory->deferring)
        drop_early(vm);
    region->slot = slot_take(memory);
    if (memory->deferring || slot_set(vm, region, error))
        return TRUE;
    slot_give(memory, region->slot);
    return FALSE;
}

void vm_memory_expect(Vm *vm, guint64 gpa, void *hva, guint64 size)
{
    VmMemory *memory = vm->memory;
    MemRegion region = { .gpa = gpa, .size = size, .hva = hva };

    if (memory->early.hva || current_map(memory)->n > 0 || !check_alignment(&region, NULL))
        return;
    if (give_slot(vm, &region, NULL))
        memory->early = region;
}

void vm_memory_forget(Vm *vm, const void *hva)
{
    if (vm->memory->early.hva == hva)
        drop_early(vm);
}

gboolean vm_memory_add(Vm *vm, guint64 gpa, void *hva, guint64 size, guint32 flags, GError **error)
{
    VmMemory *memory = vm->memory;
    const MemMap *old = current_map(memory);
    MemRegion region = { .gpa = gpa, .size = size, .hva = hva, .flags = flags };
    MemMap *map;
    guint at;

    if (!check_alignment(&region, error))
        return FALSE;
    at = map_search(old, gpa);
    if (at < old->n && !check_overlap(&region, &old->regions[at], error))
        return FALSE;
    if (!give_slot(vm, &region, error))
        return FALSE;
    map = map_new(old->n + 1);
    memcpy(map->regions, old->regions, at * sizeof(MemRegion));
    map->regions[at] = region;
    memcpy(map->regions + at + 1, old->regions + at, (old->n - at) * sizeof(MemRegion));
    map_publish(memory, map, FALSE);
    return TRUE;
}

void vm_memory_remove(Vm *vm, guint64 gpa)
{
    VmMemory *memory = vm->memory;
    const MemMap *old = current_map(memory);
    guint at = map_search(old, gpa);
    g_autoptr(GError) error = NULL;
    MemRegion region;
    MemMap *map;

    g_assert(at < old->n && old->regions[at].gpa == gpa);
    region = old->regions[at];
    map = map_new(old->n - 1);
    memcpy(map->regions, old->regions, at * sizeof(MemRegion));
    memcpy(map->regions + at, old->regions + at + 1, (map->n - at) * sizeof(MemRegion));
    /* The guest loses it first, so that it sees no page that a device can not reach any more. */
    if (*slot_state(memory, region.slot) == SLOT_GIVEN && !vm->ops->memory_slot(vm, &region, TRUE, &error))
        g_warning("%s", error->message);
    map_publish(memory, map, TRUE);
    slot_give(memory, region.slot);
}

void vm_memory_defer(Vm *vm)
{
    g_assert(!vm_running(vm));
    vm->memory->deferring = TRUE;
}

gboolean vm_memory_commit(Vm *vm, GError **error)
{
    VmMemory     *memory = vm->memory;
    const MemMap *map = current_map(memory);

    memory->deferring = FALSE;
    drop_early(vm);
    for (guint i = 0; i < map->n; i++) {
        if (*slot_state(memory, map->regions[i].slot) == SLOT_PUT_OFF && !slot_set(vm, &map->regions[i], error))
            return FALSE;
    }
    return TRUE;
}

void vm_memory_init(Vm *vm)
{
    VmMemory *memory = g_new0(VmMemory, 1);

    memory->map = map_new(0);
    memory->retired = g_ptr_array_new();
    memory->slots = g_array_new(FALSE, TRUE, sizeof(guint8));
    vm->memory = memory;
}

/* Regions may be left: their memory belongs to others and KVM's slots go with the VM. */
void vm_memory_exit(Vm *vm)
{
    VmMemory *memory = vm->memory;

    reap_retired(memory, TRUE);
    g_ptr_array_unref(memory->retired);
    map_unref(memory->map);
    g_array_unref(memory->slots);
    g_clear_pointer(&vm->memory, g_free);
}
