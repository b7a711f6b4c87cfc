/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * smbios.c - SMBIOS 3.0 structures (DMTF DSP0134) from the board's rows.
 *
 * A structure is a formatted area, then its strings, which the area refers to by number from 1; an empty string
 * has number 0 and is left out. Structures are filled in as byte arrays at the offsets of the specification.
 */
#include "view.h"

#include "../../common/util.h"

enum {
    TYPE_BIOS = 0,
    TYPE_SYSTEM = 1,
    TYPE_CHASSIS = 3,
    TYPE_PROCESSOR = 4,
    TYPE_MEMORY_ARRAY = 16,
    TYPE_MEMORY_DEVICE = 17,
    TYPE_MAPPED_ADDRESS = 19,
    TYPE_BOOT = 32,
    TYPE_END = 127,
};

enum { MAX_STRINGS = 6, MAX_AREA = 0x30, ARRAY_HANDLE = 0x1000 };

typedef struct {
    guint8      area[MAX_AREA];
    const char *strings[MAX_STRINGS];
    guint       n_strings;
} Structure;

static void begin(Structure *s, guint8 type, guint8 len, guint16 handle)
{
    memset(s, 0, sizeof *s);
    s->area[0] = type;
    s->area[1] = len;
    le16_put(s->area + 2, handle);
}

/* TEXT must live until finish(). */
static void string(Structure *s, guint offset, const char *text)
{
    if (!text || *text == '\0')
        return;
    g_assert(s->n_strings < MAX_STRINGS);
    s->strings[s->n_strings++] = text;
    s->area[offset] = s->n_strings;
}

static void finish(const Structure *s, GByteArray *out)
{
    g_byte_array_append(out, s->area, s->area[1]);
    for (guint i = 0; i < s->n_strings; i++)
        g_byte_array_append(out, (const guint8 *)s->strings[i], strlen(s->strings[i]) + 1);
    g_byte_array_append(out, (const guint8 *)"\0", s->n_strings ? 1 : 2);
}

static void put_bios(const BoardConfig *b, GByteArray *out)
{
    Structure s;

    begin(&s, TYPE_BIOS, 0x18, 0);
    string(&s, 0x04, b->smbios_bios_vendor);
    string(&s, 0x05, b->smbios_bios_version);
    le16_put(s.area + 0x06, 0xe800);
    string(&s, 0x08, b->smbios_bios_date);
    le64_put(s.area + 0x0a, 1 << 3); /* characteristics are not given ... */
    s.area[0x12] = 1 << 0;           /* ... but ACPI is there */
    s.area[0x13] = 1 << 4;           /* a virtual machine */
    memset(s.area + 0x14, 0xff, 4);  /* releases: none */
    finish(&s, out);
}

/* The first three fields of a UUID are little endian (7.2.1). A UUID that can not be read is all zeros: "not present". */
static void put_uuid(guint8 out[16], const char *text)
{
    static const guint8 order[16] = {6, 4, 2, 0, 11, 9, 16, 14, 19, 21, 24, 26, 28, 30, 32, 34};

    if (strlen(text) != 36)
        return;
    for (guint i = 0; i < 16; i++)
        if (!g_ascii_isxdigit(text[order[i]]) || !g_ascii_isxdigit(text[order[i] + 1]))
            return;
    for (guint i = 0; i < 16; i++)
        out[i] = g_ascii_xdigit_value(text[order[i]]) << 4 | g_ascii_xdigit_value(text[order[i] + 1]);
}

static void put_system(const BoardConfig *b, GByteArray *out)
{
    Structure s;

    begin(&s, TYPE_SYSTEM, 0x1b, 0x100);
    string(&s, 0x04, b->smbios_manufacturer);
    string(&s, 0x05, b->smbios_product);
    string(&s, 0x06, b->smbios_version);
    string(&s, 0x07, b->smbios_serial);
    put_uuid(s.area + 0x08, b->uuid);
    s.area[0x18] = 6; /* woken by the power switch */
    string(&s, 0x19, b->smbios_sku);
    string(&s, 0x1a, b->smbios_family);
    finish(&s, out);
}

static void put_chassis(const BoardConfig *b, GByteArray *out)
{
    Structure s;

    begin(&s, TYPE_CHASSIS, 0x16, 0x300);
    string(&s, 0x04, b->smbios_chassis_manufacturer);
    s.area[0x05] = 1; /* other */
    string(&s, 0x06, b->smbios_chassis_version);
    string(&s, 0x07, b->smbios_chassis_serial);
    string(&s, 0x08, b->smbios_chassis_asset);
    memset(s.area + 0x09, 3, 3); /* boot-up, power supply, thermal state: safe */
    s.area[0x0c] = 2;            /* security status: unknown */
    string(&s, 0x15, b->smbios_chassis_sku);
    finish(&s, out);
}

/* The first CPU of the N slots from FIRST on; NULL: they are empty. Slots of a socket are neighbours, and those of a core within it. */
static const AcpiCpu *first_cpu(const AcpiView *v, guint first, guint n)
{
    for (guint i = first; i < first + n && i < v->cpus->len; i++) {
        if (g_array_index(v->cpus, AcpiCpu, i).plugged)
            return &g_array_index(v->cpus, AcpiCpu, i);
    }
    return NULL;
}

/* Cores of SOCKET with a CPU in at least one thread. */
static guint cores_enabled(const AcpiView *v, guint socket, guint cores, guint threads)
{
    guint n = 0;

    for (guint core = 0; core < cores; core++)
        n += first_cpu(v, (socket * cores + core) * threads, threads) != NULL;
    return n;
}

/* Counts stand in a byte that says 255 for "see the word". */
static void put_count(Structure *s, guint byte_at, guint word_at, guint n)
{
    s->area[byte_at] = MIN(n, 255);
    le16_put(s->area + word_at, n);
}

static void put_processor(const AcpiView *v, guint socket, GByteArray *out)
{
    const BoardConfig *b = v->board;
    guint threads = MAX(b->cpu_threads, 1), cores = MAX(b->cpu_cores, 1) * MAX(b->cpu_dies, 1);
    guint enabled = cores_enabled(v, socket, cores, threads);
    const AcpiCpu *cpu = first_cpu(v, socket * cores * threads, cores * threads);
    g_autofree char *name = g_strdup_printf("CPU %u", socket);
    Structure s;

    begin(&s, TYPE_PROCESSOR, 0x30, 0x400 + socket);
    string(&s, 0x04, name);
    s.area[0x05] = 3; /* central processor */
    s.area[0x06] = 1; /* family: other */
    string(&s, 0x07, b->smbios_cpu_manufacturer);
    le32_put(s.area + 0x08, cpu ? cpu->signature : 0);
    le32_put(s.area + 0x0c, cpu ? cpu->features : 0);
    string(&s, 0x10, b->smbios_cpu_version);
    le16_put(s.area + 0x14, b->smbios_cpu_max_speed);
    le16_put(s.area + 0x16, b->smbios_cpu_current_speed);
    s.area[0x18] = enabled ? 1 << 6 | 1 : 0; /* populated and enabled */
    s.area[0x19] = 1;                        /* upgrade: other */
    memset(s.area + 0x1a, 0xff, 6);          /* no cache structures */
    put_count(&s, 0x23, 0x2a, cores);
    put_count(&s, 0x24, 0x2c, enabled);
    put_count(&s, 0x25, 0x2e, cores * threads);
    le16_put(s.area + 0x26, 1 << 2 | (cores > 1) << 3 | (threads > 1) << 4); /* 64 bits */
    le16_put(s.area + 0x28, 1);
    finish(&s, out);
}

static void put_memory_array(const AcpiView *v, GByteArray *out)
{
    guint64 kib = MAX(v->board->max_memory, v->below_4g + v->above_4g) >> 10;
    Structure s;

    begin(&s, TYPE_MEMORY_ARRAY, 0x17, ARRAY_HANDLE);
    s.area[0x04] = 3; /* on the system board */
    s.area[0x05] = 3; /* system memory */
    s.area[0x06] = 3; /* no error correction */
    le32_put(s.area + 0x07, kib < 0x80000000 ? kib : 0x80000000);
    le16_put(s.area + 0x0b, 0xfffe);
    le16_put(s.area + 0x0d, v->board->memory_slots);
    le64_put(s.area + 0x0f, kib < 0x80000000 ? 0 : kib << 10);
    finish(&s, out);
}

/* A module's size: MiB in 15 bits, KiB if it is no multiple, or "see the extended size" (7.18.4). */
static void put_module_size(Structure *s, guint64 size)
{
    guint64 mib = size >> 20;

    if (size & 0xfffff && (size >> 10) < 0x7fff) {
        le16_put(s->area + 0x0c, 0x8000 | (size >> 10));
    } else if (mib < 0x7fff) {
        le16_put(s->area + 0x0c, mib);
    } else {
        le16_put(s->area + 0x0c, 0x7fff);
        le32_put(s->area + 0x1c, MIN(mib, 0x7fffffff));
    }
}

/* Also of an empty slot, which has size 0: the table is as long however many modules there are, since its length stands in fw_cfg's
 * directory from power-on. */
static void put_memory_device(const AcpiView *v, guint slot, guint64 size, GByteArray *out)
{
    g_autofree char *name = g_strdup_printf("DIMM %u", slot);
    Structure s;

    begin(&s, TYPE_MEMORY_DEVICE, 0x28, 0x1100 + slot);
    le16_put(s.area + 0x04, ARRAY_HANDLE);
    le16_put(s.area + 0x06, 0xfffe);
    le16_put(s.area + 0x08, 0xffff); /* widths: unknown */
    le16_put(s.area + 0x0a, 0xffff);
    put_module_size(&s, size);
    s.area[0x0e] = 9; /* form factor: DIMM */
    string(&s, 0x10, name);
    s.area[0x12] = 7; /* RAM */
    le16_put(s.area + 0x13, 1 << 1);
    string(&s, 0x17, v->board->smbios_memory_manufacturer);
    finish(&s, out);
}

/* Addresses are in KiB, the last inclusive, or in bytes where that does not fit 32 bits (7.20). */
static void put_mapped(GByteArray *out, guint16 handle, guint64 base, guint64 len)
{
    guint64 last = base + len - 1;
    Structure s;

    if (len == 0)
        return;
    begin(&s, TYPE_MAPPED_ADDRESS, 0x1f, handle);
    if (last >> 10 < 0xffffffff) {
        le32_put(s.area + 0x04, base >> 10);
        le32_put(s.area + 0x08, last >> 10);
    } else {
        memset(s.area + 0x04, 0xff, 8);
        le64_put(s.area + 0x0f, base);
        le64_put(s.area + 0x17, last);
    }
    le16_put(s.area + 0x0c, ARRAY_HANDLE);
    s.area[0x0e] = 1;
    finish(&s, out);
}

GByteArray *smbios_build_view(const AcpiView *v)
{
    GByteArray *out = g_byte_array_new();
    Structure s;

    put_bios(v->board, out);
    put_system(v->board, out);
    put_chassis(v->board, out);
    for (guint i = 0; i < MAX(v->board->cpu_sockets, 1); i++)
        put_processor(v, i, out);
    put_memory_array(v, out);
    for (guint slot = 0, i = 0; slot < v->board->memory_slots; slot++) {
        const AcpiDimm *dimm = i < v->dimms->len ? &g_array_index(v->dimms, AcpiDimm, i) : NULL;
        gboolean here = dimm && dimm->slot == slot;

        put_memory_device(v, slot, here ? dimm->size : 0, out);
        i += here;
    }
    put_mapped(out, 0x1300, 0, v->below_4g);
    put_mapped(out, 0x1301, G_GUINT64_CONSTANT(1) << 32, v->above_4g);
    begin(&s, TYPE_BOOT, 0x0b, 0x2000); /* boot status: no errors */
    finish(&s, out);
    begin(&s, TYPE_END, 4, 0x7f00);
    finish(&s, out);
    return out;
}

/* The 64-bit entry point (5.2.2). */
void smbios_anchor(guint64 address, gsize table_len, guint8 out[24])
{
    guint8 sum = 0;

    memset(out, 0, 24);
    memcpy(out, "_SM3_", 5);
    out[6] = 24;
    out[7] = 3; /* version 3.0.0 */
    out[10] = 1;
    le32_put(out + 12, table_len);
    le64_put(out + 16, address);
    for (guint i = 0; i < 24; i++)
        sum += out[i];
    out[5] = -sum;
}
