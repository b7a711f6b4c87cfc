/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dimm.c - memory modules, and the layout of base RAM.
 *
 * Modules plugged before the first `cont` are base RAM: one after the other in slot order, from 0 up to the board's lowmem
 * and then on from 4 GiB; the module that crosses lowmem is mapped in two pieces. The layout is made
 * at that `cont`, when all modules are known. With firmware the range 0xc0000-0xfffff is left out: the host bridge shows
 * RAM or ROM there, as its PAM registers say. A `cont` that fails for another reason may be tried again with other modules, so
 * the layout can be made again until the machine has started.
 *
 * What comes later is device memory: mapped at its place in the board's region when it is plugged, told to the guest by the
 * ACPI controller (acpi/mem-hotplug.c), and taken away when the guest lets go. A machine rebuilt from its resolved configuration
 * has the same modules from the start; there the address says which they are.
 */
#include "memory-backend.h"

#include "../acpi/mem-hotplug.h"
#include "../core/record.h"
#include "../platform/board.h"

#define FOUR_GIB (G_GUINT64_CONSTANT(4) << 30)
/* Firmware's area. */
#define AREA G_GUINT64_CONSTANT(0xc0000)
#define AREA_END G_GUINT64_CONSTANT(0x100000)
#define MAX_ALIGN (G_GUINT64_CONSTANT(1) << 30)
#define MIN_ALIGN (G_GUINT64_CONSTANT(128) << 20) /* the least that Linux can add */
#define X64 "0x%" G_GINT64_MODIFIER "x"

typedef struct {
    guint64 gpa, size;
} Piece;

typedef struct {
    Device  dev;
    Device *backend;
    Piece   piece[3]; /* both sides of firmware's area, and above 4 GiB */
    guint   n_pieces; /* mapped */
    guint64 flat;     /* offset in the line of all modules; valid with pieces */
    gboolean hot;     /* device memory; else base RAM */
} Dimm;

static const PcDimmConfig *config_of(const Device *dev)
{
    return DEVICE_CONFIG(dev, PcDimmConfig);
}

guint64 dimm_size(Device *dimm)
{
    return memory_backend_size(((Dimm *)dimm)->backend);
}

guint dimm_slot(Device *dimm)
{
    return config_of(dimm)->slot;
}

Device *dimm_backend(Device *dimm)
{
    return ((Dimm *)dimm)->backend;
}

guint64 dimm_address(Device *dimm)
{
    const Dimm *d = (Dimm *)dimm;

    return d->n_pieces ? d->piece[0].gpa : G_MAXUINT64;
}

gboolean dimm_is_device_memory(Device *dimm)
{
    return ((Dimm *)dimm)->hot;
}

/* ---- the modules of a set ---- */

static gboolean is_dimm(Device *dev)
{
    return device_plug(dev) == PLUG_MEMORY;
}

static gboolean collect(Device *dev, gpointer list)
{
    if (is_dimm(dev))
        g_ptr_array_add(list, dev);
    return TRUE;
}

static gint by_slot(gconstpointer a, gconstpointer b)
{
    return (gint)dimm_slot(*(Device *const *)a) - (gint)dimm_slot(*(Device *const *)b);
}

/* In slot order. */
static GPtrArray *all_dimms(DeviceSet *set)
{
    GPtrArray *list = g_ptr_array_new();

    device_set_foreach(set, collect, list);
    g_ptr_array_sort(list, by_slot);
    return list;
}

/* Those of base RAM, or those of device memory, in slot order. */
static GPtrArray *dimms(DeviceSet *set, gboolean hot)
{
    GPtrArray *list = all_dimms(set);

    for (guint i = list->len; i > 0; i--) {
        if (((Dimm *)g_ptr_array_index(list, i - 1))->hot != hot)
            g_ptr_array_remove_index(list, i - 1);
    }
    return list;
}

static guint64 sum(DeviceSet *set, gboolean hot)
{
    g_autoptr(GPtrArray) list = dimms(set, hot);
    guint64 total = 0;

    for (guint i = 0; i < list->len; i++)
        total += dimm_size(g_ptr_array_index(list, i));
    return total;
}

guint64 mem_total(DeviceSet *set)
{
    return sum(set, FALSE);
}

guint64 mem_plugged(DeviceSet *set)
{
    return sum(set, TRUE);
}

Device *mem_device_dimm(DeviceSet *set, guint slot)
{
    g_autoptr(GPtrArray) list = dimms(set, TRUE);

    for (guint i = 0; i < list->len; i++) {
        if (dimm_slot(g_ptr_array_index(list, i)) == slot)
            return g_ptr_array_index(list, i);
    }
    return NULL;
}

guint64 mem_below_4g(DeviceSet *set)
{
    guint64 total = mem_total(set);

    return MIN(total, board_lowmem(set, total));
}

guint64 mem_above_4g(DeviceSet *set)
{
    return mem_total(set) - mem_below_4g(set);
}

/* ---- plugging a module ---- */

/* Who is in each of SLOTS slots. */
static Device **slot_holders(DeviceSet *set, guint slots)
{
    Device **holders = g_new0(Device *, slots + 1);
    g_autoptr(GPtrArray) list = all_dimms(set);

    for (guint i = 0; i < list->len; i++) {
        Device *dimm = g_ptr_array_index(list, i);
        if (dimm_slot(dimm) < slots)
            holders[dimm_slot(dimm)] = dimm;
    }
    return holders;
}

static Place place_of(guint slot)
{
    return (Place){ "memory slot", "", slot, NULL };
}

static void places(const PropBag *bag, PlaceSink *sink)
{
    static const char *const rows[] = { "slot", NULL };

    if (prop_bag_is_set(bag, "slot"))
        device_place(sink, rows, place_of(((const PcDimmConfig *)bag->config)->slot));
}

static gboolean said(const PropBag *bag, const char *name)
{
    return prop_bag_is_set(bag, name) && prop_bag_origin(bag, name) != ORIGIN_DEFAULT;
}

static gboolean is_hot(Device *dev)
{
    const Device *board = device_set_board(dev->set);

    return device_set_is_started(dev->set) || (said(dev->bag, "addr") && said(board->bag, "device-memory-base") &&
                                               config_of(dev)->addr >= board_config(dev->set)->device_memory_base);
}

static gboolean resolve(Device *dev, GError **error)
{
    const Device *backend = device_set_find(dev->set, NS_OBJECT, config_of(dev)->memdev);
    guint slots = board_config(dev->set)->memory_slots, slot;
    g_autofree Device **holders = slot_holders(dev->set, slots);

    if (!prop_bag_is_set(dev->bag, "slot")) {
        PlaceSearch search = device_place_search(dev);
        for (slot = 0; slot < slots; slot++) {
            if (!holders[slot] && device_place_try(&search, slot, place_of(slot)))
                break;
        }
        if (!search.found)
            return error_set(error, "Device '%s': all %u memory slots of the board are taken", dev->id, slots);
        prop_bag_set_u(dev->bag, "slot", search.value, ORIGIN_DEFAULT);
    }
    ((Dimm *)dev)->hot = is_hot(dev);
    if (backend && g_str_has_prefix(backend->type->name, "memory-backend"))
        prop_bag_set_u(dev->bag, "size", memory_backend_size((Device *)backend), ORIGIN_DEFAULT);
    slot = config_of(dev)->slot;
    if (slot >= slots)
        return error_set(error, "Property 'slot' of device '%s': %u, and the board's slots are those below memory-slots %u",
                         dev->id, slot, slots);
    if (holders[slot])
        return error_set(error, "Property 'slot' of device '%s': slot %u has device '%s' in it", dev->id, slot,
                         holders[slot]->id);
    return TRUE;
}

/* What the board can never have, whatever else is plugged; the rest is checked with the layout. */
static gboolean check_limits(Dimm *d, GError **error)
{
    DeviceSet *set = d->dev.set;
    const BoardConfig *board = board_config(set);
    guint64 total = mem_total(set) + dimm_size(&d->dev);
    guint64 low = board_lowmem(set, total);
    guint64 top = total > low ? FOUR_GIB + (total - low) : total;

    if (total > board->max_memory)
        return error_set(error,
                         "Device '%s': with its %" G_GUINT64_FORMAT " bytes memory would be %" G_GUINT64_FORMAT
                         " bytes, and the board's max-memory is %" G_GUINT64_FORMAT,
                         d->dev.id, dimm_size(&d->dev), total, board->max_memory);
    if (top > G_GUINT64_CONSTANT(1) << board->phys_bits)
        return error_set(error,
                         "Device '%s': with its %" G_GUINT64_FORMAT " bytes memory would end at 0x%" G_GINT64_MODIFIER
                         "x, beyond the guest's physical addresses of %u bits",
                         d->dev.id, dimm_size(&d->dev), top, board->phys_bits);
    return TRUE;
}

static void unmap(Dimm *d)
{
    if (d->n_pieces > 0 && !d->hot)
        board_shadow_unmap(d->dev.set);
    for (guint i = 0; i < d->n_pieces; i++)
        vm_memory_remove(device_set_vm(d->dev.set), d->piece[i].gpa);
    d->n_pieces = 0;
}

/* Maps [off, off + size) of D's memory at GPA as its next piece. */
static gboolean map_piece(Dimm *d, guint64 gpa, guint64 off, guint64 size, GError **error)
{
    if (size == 0)
        return TRUE;
    if (!vm_memory_add(device_set_vm(d->dev.set), gpa, memory_backend_hva(d->backend) + off, size, 0, error)) {
        g_prefix_error(error, "Device '%s': ", d->dev.id);
        return FALSE;
    }
    d->piece[d->n_pieces++] = (Piece){ gpa, size };
    return TRUE;
}

/* ---- device memory ---- */

/* The other module of device memory that overlaps [at, at + size), or NULL. */
static Device *in_the_way(Dimm *d, guint64 at, guint64 size)
{
    g_autoptr(GPtrArray) list = dimms(d->dev.set, TRUE);

    for (guint i = 0; i < list->len; i++) {
        Dimm *other = g_ptr_array_index(list, i);
        if (other != d && at < other->piece[0].gpa + other->piece[0].size && other->piece[0].gpa < at + size)
            return &other->dev;
    }
    return NULL;
}

/* A power of two that divides SIZE, within limits: what huge pages and guests' memory blocks want. */
static guint64 alignment(guint64 size)
{
    return CLAMP(size & -size, MIN_ALIGN, MAX_ALIGN);
}

static guint64 align_up(guint64 v, guint64 to)
{
    return (v + to - 1) / to * to;
}

/* Where modules that are not plugged were, and are to be again. What is no place in device memory was that of another machine. */
static void append_kept(const Dimm *d, const BoardConfig *b, GArray *pieces)
{
    g_autoptr(GPtrArray) records = device_set_records(d->dev.set);
    guint64 end = b->device_memory_base + b->max_memory;

    for (guint i = 0; i < records->len; i++) {
        const DeviceRecord *record = g_ptr_array_index(records, i);
        const PcDimmConfig *c = record->bag->config;
        if (record->bag->table->plug == PLUG_MEMORY && !device_set_find(d->dev.set, NS_DEVICE, record->id) &&
            prop_bag_is_set(record->bag, "addr") && prop_bag_is_set(record->bag, "size") && c->addr >= b->device_memory_base &&
            c->addr <= end && c->size <= end - c->addr)
            g_array_append_vals(pieces, &(Piece){ c->addr, c->size }, 1);
    }
}

static gint by_address(gconstpointer a, gconstpointer b)
{
    guint64 x = ((const Piece *)a)->gpa, y = ((const Piece *)b)->gpa;

    return x < y ? -1 : x > y;
}

/* What D has to keep clear of, lowest first; with KEPT also what is kept for others. */
static GArray *pieces_of_others(const Dimm *d, const BoardConfig *b, gboolean kept)
{
    GArray *pieces = g_array_new(FALSE, FALSE, sizeof(Piece));
    g_autoptr(GPtrArray) list = dimms(d->dev.set, TRUE);

    for (guint i = 0; i < list->len; i++)
        g_array_append_vals(pieces, &((const Dimm *)g_ptr_array_index(list, i))->piece[0], 1);
    if (kept)
        append_kept(d, b, pieces);
    g_array_sort(pieces, by_address);
    return pieces;
}

/* The lowest free place, or G_MAXUINT64. */
static guint64 lowest_free(const Dimm *d, const BoardConfig *b, gboolean kept)
{
    guint64 size = dimm_size((Device *)&d->dev), to = alignment(size), end = b->device_memory_base + b->max_memory;
    guint64 at = align_up(b->device_memory_base, to);
    g_autoptr(GArray) pieces = pieces_of_others(d, b, kept);

    for (guint i = 0; i < pieces->len; i++) {
        const Piece *p = &g_array_index(pieces, Piece, i);
        if (at + size <= p->gpa)
            break;
        if (p->gpa + p->size > at)
            at = align_up(p->gpa + p->size, to);
    }
    return at + size <= end ? at : G_MAXUINT64;
}

static gboolean check_addr(Dimm *d, const BoardConfig *b, GError **error)
{
    guint64 at = config_of(&d->dev)->addr, size = dimm_size(&d->dev), end = b->device_memory_base + b->max_memory;
    Device *other = in_the_way(d, at, size);

    if (at % 4096)
        return error_set(error, "Property 'addr' of device '%s': " X64 " is not a multiple of 4096", d->dev.id, at);
    if (at < b->device_memory_base || at > end || size > end - at)
        return error_set(error, "Property 'addr' of device '%s': " X64 " with size " X64 " is not within device memory, " X64 " to " X64,
                         d->dev.id, at, size, b->device_memory_base, end - 1);
    if (other)
        return error_set(error, "Property 'addr' of device '%s': " X64 " with size " X64 " overlaps device '%s' at " X64, d->dev.id,
                         at, size, other->id, dimm_address(other));
    return TRUE;
}

/* The address that was configured; else the one that is remembered, unless it was base RAM's or another module was told to be there; else the
 * lowest free. */
static gboolean choose_addr(Dimm *d, const BoardConfig *b, GError **error)
{
    g_autoptr(GError) reason = NULL;

    if (said(d->dev.bag, "addr")) {
        if (check_addr(d, b, &reason))
            return TRUE;
        if (prop_bag_origin(d->dev.bag, "addr") == ORIGIN_CONFIG) {
            g_propagate_error(error, g_steal_pointer(&reason));
            return FALSE;
        }
        g_message("%s; it gets another one", reason->message);
    }
    guint64 at = lowest_free(d, b, TRUE);
    if (at == G_MAXUINT64)
        at = lowest_free(d, b, FALSE);
    if (at == G_MAXUINT64)
        return error_set(error, "Device '%s': device memory has no room for its %" G_GUINT64_FORMAT " bytes in one piece", d->dev.id,
                         dimm_size(&d->dev));
    prop_bag_set_u(d->dev.bag, "addr", at, ORIGIN_DEFAULT);
    return TRUE;
}

/* Reserves D's place and maps it. The guest has no word of it before the module is published. */
static gboolean place_hot(Dimm *d, GError **error)
{
    DeviceSet *set = d->dev.set;
    const BoardConfig *b = board_config(set);
    guint64 size = dimm_size(&d->dev), have = mem_total(set) + mem_plugged(set);

    if (size > b->max_memory || have > b->max_memory - size)
        return error_set(error,
                         "Device '%s': with its %" G_GUINT64_FORMAT " bytes memory would be %" G_GUINT64_FORMAT
                         " bytes, and the board's max-memory is %" G_GUINT64_FORMAT,
                         d->dev.id, size, have + size, b->max_memory);
    return choose_addr(d, b, error) && memory_backend_ready(d->backend, error) && map_piece(d, config_of(&d->dev)->addr, 0, size, error);
}

static gboolean told(const Device *dev)
{
    return ((const Dimm *)dev)->hot && device_set_is_started(dev->set);
}

/* A single module without firmware's area below 1 MiB is what most machines start with: its first piece is known now. */
static void expect(Dimm *d)
{
    DeviceSet *set = d->dev.set;
    guint64 size = dimm_size(&d->dev);

    if (!d->hot && mem_total(set) == size && !board_has_rom(set))
        vm_memory_expect(device_set_vm(set), 0, memory_backend_hva(d->backend), MIN(size, board_lowmem(set, size)));
}

static void publish(Device *dev)
{
    expect((Dimm *)dev);
    if (told(dev))
        mem_hotplug_notify(dev->set, dimm_slot(dev));
}

static void unpublish(Device *dev)
{
    if (told(dev))
        mem_hotplug_gone(dev->set, dimm_slot(dev));
}

static UnplugAnswer unplug_request(Device *dev, gboolean force, GError **error)
{
    if (!((Dimm *)dev)->hot) {
        error_set(error, "Device '%s' is base RAM, which does not support hot unplug, and the machine has started", dev->id);
        return UNPLUG_REFUSED;
    }
    if (force)
        return UNPLUG_AT_ONCE;
    mem_hotplug_request_remove(dev->set, dimm_slot(dev));
    return UNPLUG_ASKED;
}

/* ---- the device ---- */

static gboolean realize(Device *dev, GError **error)
{
    Dimm *d = (Dimm *)dev;
    const char *memdev = config_of(dev)->memdev;
    Device *backend = device_set_find(dev->set, NS_OBJECT, memdev);
    const Device *user = backend ? device_used_by(backend) : NULL;

    if (user)
        return error_set(error, "Property 'memdev' of device '%s': memory object '%s' is in use by device '%s'",
                         dev->id, memdev, user->id);
    d->backend = device_link(dev, NS_OBJECT, memdev, "memory-backend", "memdev", error);
    if (!d->backend)
        return FALSE;
    return d->hot ? place_hot(d, error) : check_limits(d, error);
}

static void unrealize(Device *dev)
{
    Dimm *d = (Dimm *)dev;

    unmap(d);
    if (d->backend)
        vm_memory_forget(device_set_vm(dev->set), memory_backend_hva(d->backend));
}

static void abi(Device *dev, AbiSink *sink)
{
    const Dimm *d = (const Dimm *)dev;
    guint8 map[sizeof d->piece];

    for (guint i = 0; i < d->n_pieces; i++) {
        le64_put(map + 16 * i, d->piece[i].gpa);
        le64_put(map + 16 * i + 8, d->piece[i].size);
    }
    abi_leaf(sink, "memory-map", map, 16 * d->n_pieces, NULL);
}

/* ---- layout ---- */

/* The first SIZE bytes at FLAT, without firmware's area. */
static gboolean map_below(Dimm *d, guint64 flat, guint64 size, GError **error)
{
    guint64 end = flat + size, first = MIN(end, AREA), second = MAX(flat, AREA_END);

    if (!board_has_rom(d->dev.set))
        return map_piece(d, flat, 0, size, error);
    return (first <= flat || map_piece(d, flat, 0, first - flat, error)) &&
           (end <= second || map_piece(d, second, second - flat, end - second, error));
}

guint8 *mem_base_ptr(DeviceSet *set, guint64 gpa, guint64 len)
{
    g_autoptr(GPtrArray) list = dimms(set, FALSE);

    for (guint i = 0; i < list->len; i++) {
        const Dimm *d = g_ptr_array_index(list, i);

        if (d->n_pieces > 0 && gpa >= d->flat && range_within(gpa - d->flat, len, memory_backend_size(d->backend)))
            return memory_backend_hva(d->backend) + (gpa - d->flat);
    }
    return NULL;
}

static gboolean record_address(Device *dev, GError **error)
{
    guint64 addr = dimm_address(dev);

    if (said(dev->bag, "addr") && config_of(dev)->addr == addr)
        return TRUE;
    if (prop_bag_origin(dev->bag, "addr") == ORIGIN_CONFIG) { /* what is only remembered gives way to the sizes that are configured now */
        if (config_of(dev)->addr != addr)
            return error_set(error,
                             "Property 'addr' of device '%s': 0x%" G_GINT64_MODIFIER
                             "x, and as base RAM in slot %u it is at 0x%" G_GINT64_MODIFIER "x",
                             dev->id, config_of(dev)->addr, dimm_slot(dev), addr);
        return TRUE;
    }
    prop_bag_set_u(dev->bag, "addr", addr, ORIGIN_DEFAULT);
    return TRUE;
}

/* Places D at FLAT, its offset in the line of all modules. */
static gboolean place(Dimm *d, guint64 flat, guint64 lowmem, GError **error)
{
    guint64 size = dimm_size(&d->dev);
    guint64 below = flat < lowmem ? MIN(size, lowmem - flat) : 0;
    guint64 above_at = FOUR_GIB + MAX(flat, lowmem) - lowmem;

    d->flat = flat;
    return memory_backend_ready(d->backend, error) && map_below(d, flat, below, error) &&
           map_piece(d, above_at, below, size - below, error) && record_address(&d->dev, error);
}

/* What an earlier layout computed is computed again: other modules may be plugged by now. */
static void forget_layout(Device *board)
{
    static const char *const rows[] = { "lowmem", "device-memory-base", "pci-hole64-base" };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (prop_bag_origin(board->bag, rows[i]) == ORIGIN_DEFAULT)
            prop_bag_unset(board->bag, (guint)prop_table_row(board->bag->table, rows[i]));
    }
}

void mem_layout_undo(DeviceSet *set)
{
    g_autoptr(GPtrArray) list = dimms(set, FALSE);

    forget_layout(device_set_board(set));
    for (guint i = 0; i < list->len; i++) {
        Device *dev = g_ptr_array_index(list, i);
        unmap((Dimm *)dev);
        if (prop_bag_origin(dev->bag, "addr") == ORIGIN_DEFAULT)
            prop_bag_unset(dev->bag, (guint)prop_table_row(dev->bag->table, "addr"));
        abi_invalidate(dev);
    }
}

static gboolean lay_out(DeviceSet *set, guint64 total, GError **error)
{
    g_autoptr(GPtrArray) list = dimms(set, FALSE);
    guint64 flat = 0;

    for (guint i = 0; i < list->len; i++) {
        Dimm *d = g_ptr_array_index(list, i);
        if (!place(d, flat, board_lowmem(set, total), error))
            return FALSE;
        flat += dimm_size(&d->dev);
        abi_invalidate(&d->dev);
    }
    return TRUE;
}

gboolean mem_layout_base_ram(DeviceSet *set, GError **error)
{
    guint64 total = mem_total(set);

    mem_layout_undo(set);
    if (!board_layout_check(set, total, error) || !lay_out(set, total, error)) {
        mem_layout_undo(set);
        return FALSE;
    }
    board_layout_commit(set, total); /* tables are made from these rows at power-on */
    return TRUE;
}

static const DeviceOps ops = {
    .resolve = resolve,
    .places = places,
    .realize = realize,
    .publish = publish,
    .unplug_request = unplug_request,
    .unpublish = unpublish,
    .unrealize = unrealize,
    .abi = abi,
};

const DeviceType pc_dimm_type = { "pc-dimm", sizeof(Dimm), &ops, state_none };
