/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fw_cfg device by its documented interface: selector at 0x510, data at 0x511 byte by byte,
 * and DMA by a descriptor whose address goes to 0x514 and 0x518, everything big endian.
 */
#include "probe.h"

#define FW_SELECTOR 0x510
#define FW_DATA 0x511
#define FW_DMA_HIGH 0x514
#define FW_DMA_LOW 0x518

#define FW_SIGNATURE 0x00
#define FW_ID 0x01
#define FW_DIR 0x19

#define DMA_ERROR 0x01u
#define DMA_READ 0x02u
#define DMA_SELECT 0x08u

struct dma {
    u32 control, length;
    u64 address;
} __attribute__((packed));

struct file {
    u32 size;
    u16 key, reserved;
    char name[56];
} __attribute__((packed));

static volatile struct dma dma __attribute__((aligned(16)));

static void read_bytes(void *to, size_t n)
{
    u8 *p = to;

    for (size_t i = 0; i < n; i++) {
        p[i] = inb(FW_DATA);
    }
}

/* The signature itself tells; no ACPI or PCI description is needed. */
static bool present(void)
{
    char signature[4];

    outw(FW_SELECTOR, FW_SIGNATURE);
    read_bytes(signature, sizeof signature);
    return !memcmp(signature, "QEMU", 4);
}

static u32 read_id(void)
{
    u8 id[4];

    outw(FW_SELECTOR, FW_ID);
    read_bytes(id, sizeof id);
    return get32(id); /* the one little-endian item */
}

/*
 * The write of the low half starts it. The device clears the control word when it is through, most
 * often before the write has even returned.
 */
static bool dma_read(u16 key, void *to, u32 n)
{
    dma.address = __builtin_bswap64((uintptr_t)to);
    dma.length = __builtin_bswap32(n);
    dma.control = __builtin_bswap32((u32)key << 16 | DMA_SELECT | DMA_READ);
    outl(FW_DMA_HIGH, 0);
    outl(FW_DMA_LOW, __builtin_bswap32((u32)(uintptr_t)&dma));
    for (u32 i = 0; i < 100000; i++) {
        u32 control = __builtin_bswap32(dma.control);
        if (control & DMA_ERROR)
            return false;
        if (!control)
            return true;
    }
    return false;
}

/* Four bytes of eight: what is behind the end must stay as it was. */
static const char *test_dma(void)
{
    static u8 buffer[8];

    memset(buffer, 0x5a, sizeof buffer);
    if (!dma_read(FW_SIGNATURE, buffer, 4))
        return "error";
    return memcmp(buffer, "QEMU\x5a\x5a\x5a\x5a", 8) ? "bad" : "ok";
}

/* Reads directory entry i of the selected directory in turn. */
static u32 dir_begin(void)
{
    u32 count;

    outw(FW_SELECTOR, FW_DIR);
    read_bytes(&count, sizeof count);
    return __builtin_bswap32(count);
}

static void dir_next(struct file *f)
{
    read_bytes(f, sizeof *f);
    f->size = __builtin_bswap32(f->size);
    f->key = __builtin_bswap16(f->key);
}

void fwcfg_section(void)
{
    struct file f;
    u32 count, id;

    if (!present()) {
        emit("fwcfg present=0\n");
        return;
    }
    id = read_id();
    emit("fwcfg present=1 id=%#x dma=%s\n", id, id & 2 ? test_dma() : "absent");
    count = dir_begin();
    for (u32 i = 0; i < count && i < 256; i++) {
        dir_next(&f);
        emit("fwcfg-file key=%#x size=%u name=", f.key, f.size);
        emit_quoted(f.name, sizeof f.name);
        emit("\n");
    }
}

u32 fwcfg_e820(struct range *out, u32 max)
{
    struct file f = {0};
    u32 count, n = 0;
    u8 entry[20];

    if (!present())
        return 0;
    count = dir_begin();
    for (u32 i = 0; i < count && i < 256; i++) {
        dir_next(&f);
        if (str_equal(f.name, "etc/e820"))
            break;
    }
    if (!str_equal(f.name, "etc/e820"))
        return 0;
    /* Selecting rewinds the item, and leaves the directory. */
    outw(FW_SELECTOR, f.key);
    for (; n < max && (n + 1) * sizeof entry <= f.size; n++) {
        read_bytes(entry, sizeof entry);
        out[n] = (struct range){.base = get64(entry), .size = get64(entry + 8),
                                .type = get32(entry + 16), .source = SRC_FWCFG};
    }
    return n;
}
