/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * caps.c - capability lists: where they are (the row's text) and what stands in them.
 *
 * A text comes from pci_caps_plan() or from a file of hints, so it is checked like foreign input
 * before anything is built from it; building then asserts nothing.
 */
#include "caps.h"

#include "bar.h"

#define FIRST_CAP 0x40
#define FIRST_EXT 0x100

typedef struct {
    const PciCapDesc *desc;
    guint16           offset;
} Placed;

/* In order of offsets. Each takes 4 bytes at least, so no more fit. */
typedef struct {
    Placed at[PCI_CONFIG_STORED / 4];
    guint  n;
} Places;

/* ---- places ---- */

static gboolean free_at(const Places *places, guint offset, guint length)
{
    for (guint i = 0; i < places->n; i++) {
        const Placed *p = &places->at[i];
        if (offset < p->offset + (guint)p->desc->length && p->offset < offset + length)
            return FALSE;
    }
    return TRUE;
}

static void insert(Places *places, const PciCapDesc *desc, guint16 offset)
{
    guint i = places->n++;

    g_assert(i < G_N_ELEMENTS(places->at));
    for (; i > 0 && places->at[i - 1].offset > offset; i--)
        places->at[i] = places->at[i - 1];
    places->at[i] = (Placed){ desc, offset };
}

static void append_hex(GString *text, guint v)
{
    guint shift = 12;

    while (shift > 0 && !(v >> shift))
        shift -= 4;
    for (;; shift -= 4) {
        g_string_append_c(text, "0123456789abcdef"[v >> shift & 15]);
        if (shift == 0)
            return;
    }
}

char *pci_caps_plan(const PciCapDesc *caps, guint n)
{
    GString *text = g_string_sized_new(128);
    Places places;

    places.n = 0;
    for (guint i = 0; i < n; i++) {
        guint16 offset = caps[i].offset;
        if (offset == 0)
            offset = caps[i].version ? FIRST_EXT : FIRST_CAP;
        while (!free_at(&places, offset, caps[i].length))
            offset += 4;
        insert(&places, &caps[i], offset);
    }
    for (guint i = 0; i < places.n; i++) {
        if (i > 0)
            g_string_append_c(text, ',');
        g_string_append(text, places.at[i].desc->name);
        g_string_append_c(text, '@');
        append_hex(text, places.at[i].offset);
    }
    return g_string_free(text, FALSE);
}

static const PciCapDesc *find(const PciCapDesc *caps, guint n, const char *name, gsize len)
{
    for (guint i = 0; i < n; i++) {
        if (strncmp(caps[i].name, name, len) == 0 && caps[i].name[len] == '\0')
            return &caps[i];
    }
    return NULL;
}

/* The LEN characters at TEXT as a hexadecimal number of at most three digits. */
static gboolean parse_offset(const char *text, gsize len, guint16 *out)
{
    guint v = 0;

    if (len < 1 || len > 3)
        return FALSE;
    for (gsize i = 0; i < len; i++) {
        gint digit = g_ascii_xdigit_value(text[i]);
        if (digit < 0)
            return FALSE;
        v = v << 4 | (guint)digit;
    }
    *out = (guint16)v;
    return TRUE;
}

/* One "name@offset" of the text, LEN characters. */
static gboolean parse(const char *item, gsize len, const PciCapDesc *caps, guint n, Placed *out)
{
    const char *at = memchr(item, '@', len);

    if (!at || !parse_offset(at + 1, len - (gsize)(at + 1 - item), &out->offset))
        return FALSE;
    out->desc = find(caps, n, item, (gsize)(at - item));
    return out->desc != NULL;
}

static gboolean in_place(const Placed *p)
{
    guint first = p->desc->version ? FIRST_EXT : FIRST_CAP;
    guint end = p->desc->version ? PCI_CONFIG_STORED : FIRST_EXT;

    return p->offset % 4 == 0 && p->offset >= first && p->offset + p->desc->length <= end;
}

static gboolean twice(const Places *places, const Placed *p)
{
    for (guint i = 0; i < places->n; i++) {
        if (places->at[i].desc == p->desc)
            return TRUE;
    }
    return FALSE;
}

/* The places that TEXT names. FALSE: the item that is wrong is the *LEN characters at *BAD. */
static gboolean read_text(const char *text, const PciCapDesc *caps, guint n, Places *out, const char **bad, gsize *bad_len)
{
    const char *item = *text ? text : NULL;

    out->n = 0;
    while (item) {
        gsize len = strcspn(item, ",");
        Placed p;
        if (!parse(item, len, caps, n, &p) || !in_place(&p) || twice(out, &p) || !free_at(out, p.offset, p.desc->length)) {
            *bad = item;
            *bad_len = len;
            return FALSE;
        }
        insert(out, p.desc, p.offset);
        item = item[len] ? item + len + 1 : NULL;
    }
    return TRUE;
}

gboolean pci_caps_check(const Device *dev, const char *text, const PciCapDesc *caps, guint n,
                        GError **error)
{
    const Placed *ext = NULL;
    const char *bad;
    gsize bad_len;
    Places places;

    if (!read_text(text, caps, n, &places, &bad, &bad_len)) {
        g_autofree char *given = error_quote(bad, (gssize)bad_len);
        return error_set(error,
                         "Property 'capabilities' of device '%s': '%s' is not a capability of "
                         "this type at a free offset",
                         dev->id, given);
    }
    for (guint i = 0; i < places.n && !ext; i++) {
        if (places.at[i].desc->version)
            ext = &places.at[i];
    }
    if (ext && ext->offset != FIRST_EXT)
        return error_set(error,
                         "Property 'capabilities' of device '%s': the first extended capability "
                         "is at 0x%x, and must be at 0x%x",
                         dev->id, ext->offset, FIRST_EXT);
    return TRUE;
}

guint16 pci_caps_offset(const char *text, const char *name)
{
    gsize len = strlen(name);

    for (const char *item = text; item; item = strchr(item, ',')) {
        item += *item == ',';
        if (strncmp(item, name, len) == 0 && item[len] == '@')
            return (guint16)g_ascii_strtoull(item + len + 1, NULL, 16);
    }
    return 0;
}

void pci_caps_build(PciFunction *fn, const char *text, const PciCapDesc *caps, guint n)
{
    guint16 last = 0, last_ext = 0;
    const char *bad;
    gsize bad_len;
    Places places;

    read_text(text, caps, n, &places, &bad, &bad_len); /* checked: all of it is good */
    for (guint i = 0; i < places.n; i++) {
        const Placed *p = &places.at[i];
        if (p->desc->version) {
            le32_put(fn->config + p->offset, p->desc->id | (guint32)p->desc->version << 16);
            if (last_ext)
                le16_put(fn->config + last_ext + 2,
                         (guint16)(le16_get(fn->config + last_ext + 2) | p->offset << 4));
            last_ext = p->offset;
            fn->config_size = 4096;
        } else {
            fn->config[p->offset] = (guint8)p->desc->id;
            fn->config[last ? last + 1 : PCI_CAPABILITIES] = (guint8)p->offset;
            last = p->offset;
            fn->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
        }
    }
}

/* ---- contents ---- */

void pci_pm_init(PciFunction *fn, guint16 offset)
{
    le16_put(fn->config + offset + 2, 0x0003); /* version 1.2 */
    le16_put(fn->config + offset + 4, 0x0008); /* no soft reset */
    fn->wmask[offset + 4] = 0x03;
    fn->pm = (guint8)offset;
}

void pci_subsystem_init(PciFunction *fn, guint16 offset, guint16 vendor, guint16 device)
{
    le16_put(fn->config + offset + 4, vendor);
    le16_put(fn->config + offset + 6, device);
}

void pci_serial_init(PciFunction *fn, guint16 offset, guint64 serial)
{
    le64_put(fn->config + offset + 4, serial);
}

void pci_aer_init(PciFunction *fn, guint16 offset)
{
    enum { UNCORRECTABLE = 0x007ff030, FATAL = 0x00462030, INTERNAL = 0x00400000 };
    enum { CORRECTABLE = 0x0000f1c1, ADVISORY_INTERNAL_OVERFLOW = 0x0000e000 };
    guint8 *c = fn->config + offset, *w = fn->wmask + offset, *w1c = fn->w1c + offset;

    le32_put(w1c + 0x04, UNCORRECTABLE); /* status, mask, severity */
    le32_put(w + 0x08, UNCORRECTABLE);
    le32_put(c + 0x08, INTERNAL);
    le32_put(w + 0x0c, UNCORRECTABLE);
    le32_put(c + 0x0c, FATAL);
    le32_put(w1c + 0x10, CORRECTABLE); /* status, mask */
    le32_put(w + 0x14, CORRECTABLE);
    le32_put(c + 0x14, ADVISORY_INTERNAL_OVERFLOW);
    le32_put(c + 0x18, 0x000000a0); /* ECRC generation and check can be switched */
    le32_put(w + 0x18, 0x00000140);
    le32_put(w + 0x2c, 0x00000007); /* root error command, root error status */
    le32_put(w1c + 0x30, 0x0000007f);
}

void pci_acs_init(PciFunction *fn, guint16 offset)
{
    enum { SV = 1, TB = 2, RR = 4, CR = 8, UF = 16, DT = 64 };

    le16_put(fn->config + offset + 4, SV | TB | RR | CR | UF | DT);
    le16_put(fn->wmask + offset + 6, SV | TB | RR | CR | UF | DT);
}

/* ---- PCI Express ---- */

static void device_registers(PciFunction *fn, guint16 offset, const PcieDesc *desc)
{
    guint8 *c = fn->config + offset, *w = fn->wmask + offset;

    le32_put(c + PCIE_DEVCAP, 1u << 15 | (desc->flr ? 1u << 28 : 0)); /* role-based errors */
    le16_put(c + PCIE_DEVCTL, 0x2810); /* relaxed ordering, no snoop, 512-byte read requests */
    le16_put(w + PCIE_DEVCTL, desc->flr ? 0xf8ff : 0x78ff);
    le16_put(fn->w1c + offset + PCIE_DEVSTA, 0x000f);
    le16_put(w + PCIE_DEVCTL2, 0x001f); /* completion timeout */
}

static void link_registers(PciFunction *fn, guint16 offset, const PcieDesc *desc)
{
    guint8 *c = fn->config + offset, *w = fn->wmask + offset;
    gboolean downstream = desc->kind == PCIE_ROOT_PORT;
    guint32 caps = desc->speed | (guint32)desc->width << 4 | 0x0400 /* L0s */ |
                   (guint32)desc->port << 24;

    if (downstream)
        caps |= 1u << 20; /* reports whether the link is active */
    le32_put(c + PCIE_LNKCAP, caps);
    le16_put(w + PCIE_LNKCTL, downstream ? 0x00fb : 0x00cb);
    le16_put(c + PCIE_LNKSTA, (guint16)(desc->speed | desc->width << 4));
    le32_put(c + PCIE_LNKCAP2, ((1u << desc->speed) - 1) << 1);
    le16_put(c + PCIE_LNKCTL2, desc->speed);
    le16_put(w + PCIE_LNKCTL2, 0x000f);
}

void pcie_cap_init(PciFunction *fn, guint16 offset, const PcieDesc *desc)
{
    guint16 flags = (guint16)(2 | desc->kind << 4 | (desc->slot ? 1 << 8 : 0));

    fn->config_size = 4096;
    le16_put(fn->config + offset + PCIE_FLAGS, flags);
    device_registers(fn, offset, desc);
    if (desc->kind != PCIE_INTEGRATED_ENDPOINT)
        link_registers(fn, offset, desc);
    if (desc->slot)
        le32_put(fn->config + offset + PCIE_SLTCAP, desc->slot_caps);
    if (desc->kind == PCIE_ROOT_PORT) {
        le16_put(fn->wmask + offset + PCIE_ROOTCTL, 0x000f);
        le32_put(fn->w1c + offset + PCIE_ROOTSTA, 1u << 16); /* PME status */
    }
}

gboolean pcie_take_flr(PciFunction *fn, guint16 offset)
{
    guint8 *devctl = fn->config + offset + PCIE_DEVCTL;
    gboolean asked = le16_get(devctl) & PCIE_DEVCTL_FLR;

    le16_put(devctl, le16_get(devctl) & (guint16)~PCIE_DEVCTL_FLR);
    return asked;
}
