/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * board-resolve.c - the board's rows: computed defaults, combinations that can not be, and the
 * memory layout.
 *
 * Two moments. At plug time everything gets its value except what depends on how much base RAM
 * there will be. That is decided at the first cont by board_layout_commit(), by the same rule (a
 * given value wins, else it is computed), and recorded in the same rows: lowmem,
 * device-memory-base, pci-hole64-base. A later build may compute otherwise; a recorded machine
 * stays.
 */
#include <time.h>

#include "../../kvm/caps.h"
#include "parts.h"

#define MIB (G_GUINT64_CONSTANT(1) << 20)
#define GIB (G_GUINT64_CONSTANT(1) << 30)
#define FOUR_GIB (4 * GIB)
#define IOAPIC_BASE G_GUINT64_CONSTANT(0xfec00000)
#define X64 "0x%" G_GINT64_MODIFIER "x"

static guint64 align_up_gib(guint64 v)
{
    return (v + GIB - 1) & ~(GIB - 1);
}

static gboolean bad(const Device *dev, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
static gboolean bad(const Device *dev, GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    return error_set(error, "Device '%s': %s", dev->id, text);
}

static void set_auto(Device *dev, const char *name, guint64 value)
{
    if (!prop_bag_is_set(dev->bag, name))
        prop_bag_set_u(dev->bag, name, value, ORIGIN_DEFAULT);
}

/* ---- CPU topology ---- */

static gboolean resolve_topology(Device *dev, GError **error)
{
    const BoardConfig *c = DEVICE_CONFIG(dev, BoardConfig);

    set_auto(dev, "cpu-sockets", 1);
    set_auto(dev, "cpu-dies", 1);
    set_auto(dev, "cpu-threads", 1);
    guint64 others = (guint64)c->cpu_sockets * c->cpu_dies * c->cpu_threads;
    if (c->max_cpus % others == 0)
        set_auto(dev, "cpu-cores", c->max_cpus / others);
    else
        set_auto(dev, "cpu-cores", 1); /* refused below with all the values */
    if (others * c->cpu_cores != c->max_cpus)
        return bad(dev, error,
                   "cpu-sockets (%u) x cpu-dies (%u) x cpu-cores (%u) x cpu-threads (%u) is "
                   "%" G_GUINT64_FORMAT ", but max-cpus is %u",
                   c->cpu_sockets, c->cpu_dies, c->cpu_cores, c->cpu_threads,
                   others * c->cpu_cores, c->max_cpus);
    return TRUE;
}

/* ---- memory ---- */

gboolean board_resolve_memory(Device *dev, GError **error)
{
    const BoardConfig *c = DEVICE_CONFIG(dev, BoardConfig);
    guint host = vm_phys_bits(device_set_vm(dev->set));

    if (!prop_bag_is_set(dev->bag, "phys-bits"))
        prop_bag_set_u(dev->bag, "phys-bits", CLAMP(host, 36, 52), ORIGIN_HOST);
    if (c->phys_bits > host && prop_bag_origin(dev->bag, "phys-bits") != ORIGIN_HOST)
        return bad(dev, error, "phys-bits is %u, but the host's processor has %u", c->phys_bits,
                   host);
    set_auto(dev, "max-memory", MIN(1024 * GIB, G_GUINT64_CONSTANT(1) << (c->phys_bits - 2)));
    if (c->max_memory > G_GUINT64_CONSTANT(1) << c->phys_bits)
        return bad(dev, error, "max-memory is " X64 ", but phys-bits (%u) allows " X64,
                   c->max_memory, c->phys_bits, G_GUINT64_CONSTANT(1) << c->phys_bits);
    if (prop_bag_is_set(dev->bag, "lowmem") && c->lowmem % MIB)
        return bad(dev, error, "lowmem (" X64 ") is not a multiple of 1 MiB", c->lowmem);
    return TRUE;
}

static gboolean overlap(guint64 a, guint64 a_size, guint64 b, guint64 b_size)
{
    return a < b + b_size && b < a + a_size;
}

static gboolean check_holes(Device *dev, GError **error)
{
    const BoardConfig *c = DEVICE_CONFIG(dev, BoardConfig);

    if (c->ecam_size != 64 * MIB && c->ecam_size != 128 * MIB && c->ecam_size != 256 * MIB)
        return bad(dev, error, "ecam-size is " X64 ", but must be 64, 128 or 256 MiB",
                   c->ecam_size);
    if (c->ecam_base % c->ecam_size)
        return bad(dev, error, "ecam-base (0x%x) is not a multiple of ecam-size (" X64 ")",
                   c->ecam_base, c->ecam_size);
    if (c->ecam_base + c->ecam_size > IOAPIC_BASE)
        return bad(dev, error, "ecam-base (0x%x) plus ecam-size (" X64 ") ends beyond " X64,
                   c->ecam_base, c->ecam_size, IOAPIC_BASE);
    if (c->pci_hole32_base + c->pci_hole32_size > IOAPIC_BASE)
        return bad(dev, error,
                   "pci-hole32-base (0x%x) plus pci-hole32-size (" X64 ") ends beyond " X64,
                   c->pci_hole32_base, c->pci_hole32_size, IOAPIC_BASE);
    if (overlap(c->ecam_base, c->ecam_size, c->pci_hole32_base, c->pci_hole32_size))
        return bad(dev, error,
                   "the ECAM window at ecam-base (0x%x) overlaps the PCI window at "
                   "pci-hole32-base (0x%x)",
                   c->ecam_base, c->pci_hole32_base);
    return TRUE;
}

/* ---- strings and ports ---- */

static gboolean is_uuid(const char *s)
{
    for (guint i = 0; i < 36; i++) {
        gboolean dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !g_ascii_isxdigit(s[i]))
            return FALSE;
    }
    return s[36] == '\0';
}

gboolean board_rtc_offset(const char *base, gint64 now_s, gint64 *offset_s)
{
    *offset_s = 0;
    if (strcmp(base, "utc") == 0)
        return TRUE;
    if (strcmp(base, "localtime") == 0) {
        time_t now = (time_t)now_s;
        struct tm tm;
        *offset_s = localtime_r(&now, &tm) ? tm.tm_gmtoff : 0;
        return TRUE;
    }
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) date = g_date_time_new_from_iso8601(base, utc);
    if (!date)
        return FALSE;
    *offset_s = g_date_time_to_unix(date) - now_s;
    return TRUE;
}

static gboolean check_rest(Device *dev, GError **error)
{
    const BoardConfig *c = DEVICE_CONFIG(dev, BoardConfig);
    gint64 unused;

    if (!is_uuid(c->uuid)) {
        g_autofree char *given = error_quote(c->uuid, -1);
        return bad(dev, error, "uuid '%s' is not of the form 12345678-1234-1234-1234-123456789abc",
                   given);
    }
    if (!board_rtc_offset(c->rtc_base, 0, &unused)) {
        g_autofree char *given = error_quote(c->rtc_base, -1);
        return bad(dev, error,
                   "rtc-base '%s' is not 'utc', 'localtime' or a date such as 2026-01-31T12:30:00",
                   given);
    }
    const PropTable *cpu = prop_table_find(c->cpu_type);
    if (!cpu || cpu->plug != PLUG_CPU || (cpu->flags & TYPE_ABSTRACT)) {
        g_autofree char *given = error_quote(c->cpu_type, -1);
        return bad(dev, error, "cpu-type '%s' is not a type of CPU that can be plugged, such as host-x86_64-cpu", given);
    }
    if (c->pm_base % 128)
        return bad(dev, error, "pm-base (0x%x) is not a multiple of 128", c->pm_base);
    return TRUE;
}

gboolean board_resolve(Device *dev, GError **error)
{
    return resolve_topology(dev, error) && board_resolve_memory(dev, error) && check_holes(dev, error) &&
           check_rest(dev, error);
}

/* ---- the layout ---- */

typedef struct {
    guint64 lowmem, device_base, hole64;
} Layout;

/* What row NAME says. A value that is only remembered gives way where base RAM, as it is configured now, needs the room. */
static gboolean says(const Device *dev, const char *name, guint64 value, guint64 least)
{
    PropOrigin origin = prop_bag_origin(dev->bag, name);

    return origin == ORIGIN_CONFIG || (origin != ORIGIN_UNSET && value >= least);
}

static Layout layout_compute(const Device *dev, guint64 base_ram)
{
    const BoardConfig *c = DEVICE_CONFIG(dev, BoardConfig);
    Layout l = {
        .lowmem = c->lowmem,
        .device_base = c->device_memory_base,
        .hole64 = c->pci_hole64_base,
    };

    if (!prop_bag_is_set(dev->bag, "lowmem"))
        l.lowmem = MIN(base_ram <= 2816 * MIB ? 2816 * MIB : 2048 * MIB,
                       MIN(c->ecam_base, c->pci_hole32_base));
    guint64 top = base_ram > l.lowmem ? FOUR_GIB + base_ram - l.lowmem : FOUR_GIB;
    if (!says(dev, "device-memory-base", c->device_memory_base, top))
        l.device_base = align_up_gib(top);
    if (!says(dev, "pci-hole64-base", c->pci_hole64_base, l.device_base + c->max_memory))
        l.hole64 = align_up_gib(l.device_base + c->max_memory);
    return l;
}

/* Every term is at most 2^53 (the rows' ranges), so no sum wraps. */
static gboolean layout_check(Device *dev, const Layout *l, guint64 base_ram, GError **error)
{
    const BoardConfig *c = DEVICE_CONFIG(dev, BoardConfig);
    guint64 limit = G_GUINT64_CONSTANT(1) << c->phys_bits;
    guint64 low_top = MIN(base_ram, l->lowmem);
    guint64 top = base_ram > l->lowmem ? FOUR_GIB + base_ram - l->lowmem : FOUR_GIB;

    if (low_top > MIN(c->ecam_base, c->pci_hole32_base))
        return bad(dev, error,
                   "lowmem (" X64
                   ") reaches into the windows at ecam-base (0x%x) and pci-hole32-base (0x%x)",
                   l->lowmem, c->ecam_base, c->pci_hole32_base);
    if (l->device_base < top)
        return bad(dev, error,
                   "device-memory-base (" X64 ") is below the end of base RAM (" X64 ")",
                   l->device_base, top);
    if (l->device_base + c->max_memory > limit)
        return bad(dev, error,
                   "device memory at " X64 " with max-memory " X64 " ends beyond " X64
                   ", the limit of phys-bits (%u)",
                   l->device_base, c->max_memory, limit, c->phys_bits);
    if (c->pci_hole64_size && l->hole64 < l->device_base + c->max_memory)
        return bad(dev, error,
                   "pci-hole64-base (" X64 ") is below the end of device memory (" X64 ")",
                   l->hole64, l->device_base + c->max_memory);
    if (c->pci_hole64_size && l->hole64 + c->pci_hole64_size > limit)
        return bad(dev, error,
                   "pci-hole64-base " X64 " with pci-hole64-size " X64 " ends beyond " X64
                   ", the limit of phys-bits (%u)",
                   l->hole64, c->pci_hole64_size, limit, c->phys_bits);
    return TRUE;
}

guint64 board_lowmem(DeviceSet *set, guint64 base_ram)
{
    return layout_compute(device_set_board(set), base_ram).lowmem;
}

gboolean board_layout_check(DeviceSet *set, guint64 base_ram, GError **error)
{
    Device *dev = device_set_board(set);
    const BoardConfig *c = board_config(set);

    if (base_ram > c->max_memory)
        return bad(dev, error, "base RAM is " X64 " bytes, but max-memory is " X64, base_ram,
                   c->max_memory);
    Layout l = layout_compute(dev, base_ram);
    return layout_check(dev, &l, base_ram, error);
}

static void settle(Device *dev, const char *name, guint64 value)
{
    guint row = (guint)prop_table_row(dev->bag->table, name);

    if (dev->bag->origin[row] == ORIGIN_UNSET || prop_bag_get_u(dev->bag, row) != value)
        prop_bag_set_u(dev->bag, name, value, ORIGIN_DEFAULT);
}

void board_layout_commit(DeviceSet *set, guint64 base_ram)
{
    Device *dev = device_set_board(set);
    Layout l = layout_compute(dev, base_ram);

    set_auto(dev, "lowmem", l.lowmem);
    settle(dev, "device-memory-base", l.device_base);
    settle(dev, "pci-hole64-base", l.hole64);
    abi_invalidate(dev);
}
