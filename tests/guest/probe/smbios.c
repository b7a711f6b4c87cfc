/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SMBIOS: the 64-bit anchor `_SM3_`, else the 32-bit one, in the last 64 KiB below 1 MiB; then all
 * structures with their bytes and strings. A structure's string set ends with two zero bytes, also
 * when it has no string.
 */
#include "probe.h"

struct smbios {
    const char *anchor;
    u64 addr, table;
    u32 max, count;
    u8 major, minor;
    bool checksum_ok;
};

/* Version 3 has no count of structures: type 127 and the size end the list. */
static bool read_anchor(struct smbios *s, const u8 *p)
{
    if (!memcmp(p, "_SM3_", 5)) {
        *s = (struct smbios){.anchor = "_SM3_", .major = p[7], .minor = p[8]};
        s->max = get32(p + 12);
        s->table = get64(p + 16);
        s->count = ~0u;
    } else if (!memcmp(p, "_SM_", 4)) {
        *s = (struct smbios){.anchor = "_SM_", .major = p[6], .minor = p[7]};
        s->max = get16(p + 22);
        s->table = get32(p + 24);
        s->count = get16(p + 28);
    } else {
        return false;
    }
    s->addr = (uintptr_t)p;
    s->checksum_ok = byte_sum(p, s->anchor[3] == '3' ? p[6] : p[5]) == 0;
    return true;
}

/* The 64-bit anchor wins wherever it stands. */
static bool find_anchor(struct smbios *s)
{
    bool found = false;

    for (u64 at = 0xf0000; at < 0x100000; at += 16) {
        const u8 *p = phys_ptr(at, 32);
        if ((get32(p) & 0xffffff) != 0x4d535f || !read_anchor(s, p))
            continue;
        found = true;
        if (s->anchor[3] == '3')
            break;
    }
    return found;
}

/* The place behind the string set. */
static const u8 *print_strings(const u8 *p, const u8 *end, u32 handle)
{
    for (u32 n = 1; p < end && *p; n++) {
        size_t len = 0;
        while (p + len < end && p[len]) {
            len++;
        }
        emit("smbios-string handle=%#x n=%u text=", handle, n);
        emit_quoted((const char *)p, len);
        emit("\n");
        p += len + 1;
        if (p < end && !*p)
            return p + 1;
    }
    return p + 2;
}

static void print_table(const struct smbios *s, const u8 *p)
{
    const u8 *end = p + s->max;

    for (u32 i = 0; i < s->count && p + 4 <= end && p[1] >= 4 && p + p[1] <= end; i++) {
        u8 type = p[0];
        u32 handle = get16(p + 2);
        emit("smbios type=%u handle=%#x len=%u data=", type, handle, p[1]);
        emit_hex(p, p[1]);
        emit("\n");
        p = print_strings(p + p[1], end, handle);
        if (type == 127)
            break;
    }
}

void smbios_section(void)
{
    struct smbios s = {0};
    const u8 *table;

    if (!find_anchor(&s)) {
        emit("smbios present=0\n");
        return;
    }
    emit("smbios present=1 anchor=%s addr=%#llx version=%u.%u table=%#llx max=%u checksum=%s\n",
         s.anchor, s.addr, s.major, s.minor, s.table, s.max, s.checksum_ok ? "ok" : "bad");
    table = phys_ptr(s.table, s.max);
    if (table)
        print_table(&s, table);
}
