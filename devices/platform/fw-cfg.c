/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fw-cfg.c - QEMU's documented firmware configuration interface (docs/specs/fw_cfg.rst there),
 * ports 0x510-0x51b.
 *
 * Items are byte strings under 14-bit keys; named files take keys from 0x20 in the order in
 * which they first appear and keep them, so that a selector stays good when tables are rebuilt
 * at reset. The directory lists them by name. Nothing is writable: a write through DMA is
 * answered with the error bit, one through the data port is ignored.
 *
 * The guest chooses every number in a DMA descriptor. Lengths run to 4 GiB and addresses to
 * 2^64, so each step is checked on its own: what an item does not have reads as zeros (the
 * interface says so), RAM is the only target, and what does not fit into it ends the transfer
 * with the error bit. The length bounds the work: it is that of filling RAM once.
 */
#include "../cpu/cpu.h"
#include "../mem/memory-backend.h"
#include "parts.h"

enum {
    KEY_SIGNATURE = 0x00,
    KEY_ID = 0x01,
    KEY_UUID = 0x02,
    KEY_RAM_SIZE = 0x03,
    KEY_NOGRAPHIC = 0x04,
    KEY_NB_CPUS = 0x05,
    KEY_BOOT_MENU = 0x0e,
    KEY_MAX_CPUS = 0x0f,
    KEY_FILE_DIR = 0x19,
    KEY_FILE_FIRST = 0x20,
    KEY_WRITE_CHANNEL = 0x4000, /* historic; ignored */
    KEY_ARCH_LOCAL = 0x8000,
};

enum {
    ID_TRADITIONAL = 1 << 0,
    ID_DMA = 1 << 1,
    DMA_ERROR = 1 << 0,
    DMA_READ = 1 << 1,
    DMA_SKIP = 1 << 2,
    DMA_SELECT = 1 << 3,
    DMA_WRITE = 1 << 4,
};

#define FILE_NAME_LEN 56
#define DIRECTORY_ENTRY_LEN 64
#define PORT_SELECTOR 0x510
#define PORT_DMA 0x514
#define DMA_SIGNATURE G_GUINT64_CONSTANT(0x51454d5520434647) /* "QEMU CFG" */

typedef struct {
    guint16 key;
    char    name[FILE_NAME_LEN]; /* "": not a file */
    GBytes *content;
} Item;

typedef struct {
    Device    dev;
    GArray   *items;   /* of Item, few dozens */
    guint16   next_key;
    guint16   selected;
    guint32   offset;
    guint64   dma_address; /* as far as its high half was written */
    IoRegion *ports, *dma;
} FwCfg;

static FwCfg *fw_cfg_of(DeviceSet *set)
{
    return (FwCfg *)device_set_part(set, PART_FW_CFG);
}

static void item_clear(gpointer data)
{
    g_clear_pointer(&((Item *)data)->content, g_bytes_unref);
}

static Item *find_key(FwCfg *f, guint16 key)
{
    for (guint i = 0; i < f->items->len; i++) {
        Item *item = &g_array_index(f->items, Item, i);
        if (item->key == key)
            return item;
    }
    return NULL;
}

static Item *find_file(FwCfg *f, const char *name)
{
    for (guint i = 0; i < f->items->len; i++) {
        Item *item = &g_array_index(f->items, Item, i);
        if (strcmp(item->name, name) == 0)
            return item;
    }
    return NULL;
}

/* ---- content ---- */

static void set_item(FwCfg *f, guint16 key, const char *name, GBytes *content)
{
    Item *item = find_key(f, key);

    if (!item) {
        Item fresh = { .key = key };
        g_strlcpy(fresh.name, name, sizeof fresh.name);
        g_array_append_val(f->items, fresh);
        item = &g_array_index(f->items, Item, f->items->len - 1);
    }
    g_clear_pointer(&item->content, g_bytes_unref);
    item->content = g_bytes_ref(content);
}

static void set_number(FwCfg *f, guint16 key, unsigned size, guint64 value)
{
    guint8 raw[8];

    le_put(raw, size, value);
    g_autoptr(GBytes) content = g_bytes_new(raw, size);
    set_item(f, key, "", content);
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const Item *const *)a)->name, (*(const Item *const *)b)->name);
}

/* Count, then entries of size, key, reserved, name: big endian. */
static void build_directory(FwCfg *f)
{
    g_autoptr(GPtrArray) files = g_ptr_array_new();

    for (guint i = 0; i < f->items->len; i++) {
        Item *item = &g_array_index(f->items, Item, i);
        if (item->name[0])
            g_ptr_array_add(files, item);
    }
    g_ptr_array_sort(files, by_name);
    gsize len = 4 + files->len * DIRECTORY_ENTRY_LEN;
    guint8 *raw = g_malloc0(len);
    le32_put(raw, GUINT32_SWAP_LE_BE(files->len));
    for (guint i = 0; i < files->len; i++) {
        const Item *item = g_ptr_array_index(files, i);
        guint8 *entry = raw + 4 + i * DIRECTORY_ENTRY_LEN;
        le32_put(entry, GUINT32_SWAP_LE_BE((guint32)g_bytes_get_size(item->content)));
        le16_put(entry + 4, GUINT16_SWAP_LE_BE(item->key));
        memcpy(entry + 8, item->name, FILE_NAME_LEN);
    }
    g_autoptr(GBytes) content = g_bytes_new_take(raw, len);
    set_item(f, KEY_FILE_DIR, "", content);
}

void fw_cfg_set_file(DeviceSet *set, const char *name, GBytes *content)
{
    FwCfg *f = fw_cfg_of(set);

    g_assert(name[0] && strlen(name) < FILE_NAME_LEN && g_bytes_get_size(content) <= G_MAXUINT32);
    LOCK_SCOPE(&f->dev.lock);
    const Item *known = find_file(f, name);
    g_assert(known || f->next_key < KEY_WRITE_CHANNEL);
    set_item(f, known ? known->key : f->next_key++, name, content);
    build_directory(f);
    abi_invalidate(f->dev.parent);
}

void fw_cfg_set_key(DeviceSet *set, guint16 key, GBytes *content)
{
    FwCfg *f = fw_cfg_of(set);

    g_assert(key < KEY_FILE_FIRST || key >= KEY_ARCH_LOCAL);
    LOCK_SCOPE(&f->dev.lock);
    set_item(f, key, "", content);
}

GBytes *fw_cfg_get_file(DeviceSet *set, const char *name)
{
    FwCfg *f = fw_cfg_of(set);

    LOCK_SCOPE(&f->dev.lock);
    const Item *item = find_file(f, name);
    return item ? item->content : NULL;
}

/* RFC 4122 order: as the text spells it. The row was checked. */
static void set_uuid(FwCfg *f, const char *text)
{
    guint8 raw[16];
    guint n = 0;

    for (const char *p = text; *p && n < sizeof raw; p += 2) {
        if (*p == '-')
            p++;
        raw[n++] = (guint8)(g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
    }
    g_autoptr(GBytes) content = g_bytes_new(raw, sizeof raw);
    set_item(f, KEY_UUID, "", content);
}

static void set_constants(FwCfg *f, const BoardConfig *c)
{
    g_autoptr(GBytes) signature = g_bytes_new_static("QEMU", 4);

    set_item(f, KEY_SIGNATURE, "", signature);
    set_number(f, KEY_ID, 4, ID_TRADITIONAL | (c->fw_cfg_dma ? ID_DMA : 0));
    set_uuid(f, c->uuid);
    set_number(f, KEY_NOGRAPHIC, 2, 1);
    set_number(f, KEY_BOOT_MENU, 2, 0);
    build_directory(f);
}

static GBytes *e820_bytes(DeviceSet *set)
{
    g_autoptr(GArray) map = mem_e820(set);
    GByteArray *raw = g_byte_array_new();

    for (guint i = 0; i < map->len; i++) {
        const E820Entry *e = &g_array_index(map, E820Entry, i);
        guint8 entry[20];
        le64_put(entry, e->addr);
        le64_put(entry + 8, e->len);
        le32_put(entry + 16, e->type);
        g_byte_array_append(raw, entry, sizeof entry);
    }
    return g_byte_array_free_to_bytes(raw);
}

/* What depends on what is plugged. MAX_CPUS is a bound for APIC ids, as SeaBIOS uses it. */
static gboolean fw_cfg_power_on(Device *dev, GError **error)
{
    FwCfg *f = (FwCfg *)dev;
    g_autoptr(GBytes) e820 = e820_bytes(dev->set);
    guint slots = cpu_slots_count(dev->set);
    CpuSlot last;

    cpu_slot_get(dev->set, slots - 1, &last);
    fw_cfg_set_file(dev->set, "etc/e820", e820);
    LOCK_SCOPE(&dev->lock);
    set_number(f, KEY_RAM_SIZE, 8, mem_below_4g(dev->set) + mem_above_4g(dev->set));
    set_number(f, KEY_NB_CPUS, 2, cpu_plugged_count(dev->set));
    set_number(f, KEY_MAX_CPUS, 2, MIN(last.apic_id + 1, 0xffff));
    return TRUE;
}

/* ---- selector and data port ---- */

static void select_item(FwCfg *f, guint16 key)
{
    f->selected = key & (guint16)~KEY_WRITE_CHANNEL;
    f->offset = 0;
}

/* What is left of the selected item; NULL at its end, or if there is none. */
static const guint8 *remaining(FwCfg *f, gsize *len)
{
    const Item *item = find_key(f, f->selected);
    const guint8 *data = item ? g_bytes_get_data(item->content, len) : NULL;

    if (!data || f->offset >= *len) {
        *len = 0;
        return NULL;
    }
    *len -= f->offset;
    return data + f->offset;
}

static guint64 port_read(gpointer opaque, guint64 offset, unsigned size)
{
    FwCfg *f = opaque;
    gsize len;

    if (size != 1)
        return ones(size);
    const guint8 *data = remaining(f, &len);
    if (!data)
        return 0;
    f->offset++;
    return *data;
}

static void port_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    if (offset == 0 && size == 2)
        select_item(opaque, (guint16)value);
}

static const IoOps port_ops = {
    .read = port_read, .write = port_write, .min_size = 1, .max_size = 2
};

/* ---- DMA ---- */

/* One descriptor's transfer; FALSE sets the error bit. */
static gboolean transfer(FwCfg *f, guint32 control, guint64 address, guint32 length)
{
    Vm *vm = device_set_vm(f->dev.set);
    gsize have;
    const guint8 *data = remaining(f, &have);
    guint32 n = (guint32)MIN(have, length);

    if (length == 0)
        return TRUE;
    if (control & DMA_READ) {
        if (address > G_MAXUINT64 - length)
            return FALSE;
        if (n && !vm_memory_write(vm, address, data, n))
            return FALSE;
        if (length > n && !vm_memory_fill(vm, address + n, 0, length - n))
            return FALSE;
    } else if (control & DMA_WRITE) {
        return FALSE; /* no item is writable */
    } else if (!(control & DMA_SKIP)) {
        return TRUE; /* select only */
    }
    f->offset += n; /* stays within the item */
    return TRUE;
}

static void dma_run(FwCfg *f)
{
    Vm *vm = device_set_vm(f->dev.set);
    guint64 at = f->dma_address;
    guint8 raw[16], status[4] = { 0 };

    f->dma_address = 0;
    if (!vm_memory_read(vm, at, raw, sizeof raw)) {
        device_guest_error(&f->dev, "DMA descriptor at 0x%" G_GINT64_MODIFIER "x is not in RAM",
                           at);
        return;
    }
    guint32 control = GUINT32_SWAP_LE_BE(le32_get(raw));
    if (control & DMA_SELECT)
        select_item(f, (guint16)(control >> 16));
    if (!transfer(f, control, GUINT64_SWAP_LE_BE(le64_get(raw + 8)),
                  GUINT32_SWAP_LE_BE(le32_get(raw + 4)))) {
        status[3] = DMA_ERROR;
        device_guest_error(&f->dev, "DMA transfer refused (control 0x%x)", control);
    }
    vm_memory_write(vm, at, status, sizeof status);
}

static guint64 dma_read(gpointer opaque, guint64 offset, unsigned size)
{
    guint8 signature[8];

    le64_put(signature, GUINT64_SWAP_LE_BE(DMA_SIGNATURE));
    return le_get(signature + offset, size);
}

/* Big endian, high half first; the low half starts the transfer. */
static void dma_write(gpointer opaque, guint64 offset, guint64 value, unsigned size)
{
    FwCfg *f = opaque;
    guint32 half = GUINT32_SWAP_LE_BE((guint32)value);

    if (size != 4)
        return;
    if (offset == 0) {
        f->dma_address = (guint64)half << 32;
        return;
    }
    f->dma_address |= half;
    dma_run(f);
}

static const IoOps dma_ops = { .read = dma_read, .write = dma_write, .min_size = 1, .max_size = 4 };

/* ---- the device ---- */

static gboolean fw_cfg_realize(Device *dev, GError **error)
{
    FwCfg *f = (FwCfg *)dev;

    f->items = g_array_new(FALSE, FALSE, sizeof(Item));
    g_array_set_clear_func(f->items, item_clear);
    f->next_key = KEY_FILE_FIRST;
    f->selected = KEY_SIGNATURE;
    set_constants(f, board_config(dev->set));
    return device_claim_io(dev, IO_PIO, PORT_SELECTOR, 2, "fw_cfg", error) &&
           device_claim_io(dev, IO_PIO, PORT_DMA, 8, "fw-cfg-dma", error);
}

static void fw_cfg_publish(Device *dev)
{
    FwCfg *f = (FwCfg *)dev;
    Vm *vm = device_set_vm(dev->set);
    g_autoptr(GError) error = NULL;

    f->ports =
        iobus_add(vm, IO_PIO, PORT_SELECTOR, 2, &port_ops, f, &dev->lock, 0, "fw_cfg", &error);
    g_assert_no_error(error); /* claimed in realize */
    if (board_config(dev->set)->fw_cfg_dma)
        f->dma =
            iobus_add(vm, IO_PIO, PORT_DMA, 8, &dma_ops, f, &dev->lock, 0, "fw_cfg-dma", &error);
    g_assert_no_error(error);
}

static void fw_cfg_unpublish(Device *dev)
{
    FwCfg *f = (FwCfg *)dev;
    Vm *vm = device_set_vm(dev->set);

    if (f->dma)
        iobus_remove(vm, f->dma);
    iobus_remove(vm, f->ports);
}

static void fw_cfg_unrealize(Device *dev)
{
    g_clear_pointer(&((FwCfg *)dev)->items, g_array_unref);
}

static void fw_cfg_reset(Device *dev, ResetKind kind)
{
    FwCfg *f = (FwCfg *)dev;

    select_item(f, KEY_SIGNATURE);
    f->dma_address = 0;
}

static void fw_cfg_abi(Device *dev, AbiSink *sink)
{
    gsize len;
    gconstpointer raw = g_bytes_get_data(find_key((FwCfg *)dev, KEY_FILE_DIR)->content, &len);

    abi_leaf(sink, "directory", raw, len, NULL);
}

static const StateDesc fw_cfg_state[] = {
    STATE_ROW(FwCfg, selected, U16, "0.1"),
    STATE_ROW(FwCfg, offset, U32, "0.1"),
    STATE_ROW(FwCfg, dma_address, U64, "0.1"),
    STATE_END,
};

static const DeviceOps fw_cfg_ops = {
    .realize = fw_cfg_realize,
    .publish = fw_cfg_publish,
    .reset = fw_cfg_reset,
    .power_on = fw_cfg_power_on,
    .unpublish = fw_cfg_unpublish,
    .unrealize = fw_cfg_unrealize,
    .abi = fw_cfg_abi,
};

const DeviceType fw_cfg_type = {
    .name = PART_FW_CFG,
    .size = sizeof(FwCfg),
    .ops = &fw_cfg_ops,
    .state = fw_cfg_state,
};
