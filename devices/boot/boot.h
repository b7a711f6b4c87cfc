/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * boot.h - the parts of the kernel loader: files, formats, guest RAM. Pure functions of a file and a list of RAM regions, so that
 * tests and the fuzzer run them without a machine.
 *
 * A kernel is read twice. boot_kernel_open() reads and checks headers: what it accepts has segments that lie in the file, below
 * 4 GiB and apart from each other. boot_load() puts it into RAM and fails only for want of RAM (or a file that shrank).
 *
 * Main thread. Errors name the file, the field, the value found and the value expected.
 */
#pragma once

#include "../../common/error.h"
#include "../../common/util.h"
#include "../../kvm/memory.h"
#include "../../kvm/vcpu.h"
#include "../mem/memory-backend.h"
#include "../platform/board.h"

/* ---- files (image.c) ---- */

typedef struct {
    int     fd;   /* -1: none */
    char   *name; /* for messages: "Property 'kernel' of device 'id': '/path'" */
    guint64 size;
} BootFile;

/* Takes FD and NAME, also when it fails: it must be a regular file that is not empty. */
gboolean boot_file_take(BootFile *f, int fd, char *name, GError **error);
void     boot_file_close(BootFile *f); /* also of one that is closed or {.fd = -1} */
/* Reads exactly LEN bytes; PART names them: "ELF header". */
gboolean boot_file_read(const BootFile *f, guint64 offset, void *buf, gsize len, const char *part, GError **error);
/* Checks that [offset, offset + len) lies in the file. */
gboolean boot_file_has(const BootFile *f, guint64 offset, guint64 len, const char *part, GError **error);

/* ---- kernels ---- */

typedef enum { BOOT_ANY, BOOT_PVH, BOOT_LINUX, BOOT_MULTIBOOT } BootProtocol; /* order of the property's enum */

#define BOOT_MAX_SEGMENTS 32

typedef struct {
    guint64 gpa, mem_len; /* what follows the file's bytes is zeroed */
    guint64 offset, file_len;
} BootSegment;

enum { LINUX_HEADER_START = 0x1f1, LINUX_HEADER_END = 0x290 };

typedef struct {
    BootFile     file;
    BootProtocol protocol; /* found: not ANY */
    guint        n_segments;
    BootSegment  segments[BOOT_MAX_SEGMENTS];
    guint64      entry;       /* physical, below 4 GiB; LINUX: relative to the load address */
    guint32      cmdline_max; /* bytes without the NUL */
    /* LINUX: where it may go (Documentation/arch/x86/boot.rst) and its setup header */
    guint64      preferred, alignment, init_size, initrd_max;
    gboolean     relocatable;
    guint8       header[LINUX_HEADER_END]; /* file offsets; from LINUX_HEADER_START on */
    guint        header_end;
} BootKernel;

/* Takes FD and NAME as boot_file_take() and checks; PROTOCOL ANY takes the first of PVH, Linux, multiboot that the file offers.
 * On failure K is closed. */
gboolean boot_kernel_open(BootKernel *k, int fd, char *name, BootProtocol protocol, GError **error);
void     boot_kernel_close(BootKernel *k);
/* Adds a segment after checking it against the file, 4 GiB and the others. */
gboolean boot_kernel_add_segment(BootKernel *k, const BootSegment *s, GError **error);
gboolean boot_kernel_contains(const BootKernel *k, guint64 gpa);

/* Formats. HEAD: the first bytes of the file, N of them, up to BOOT_HEAD_LEN. */
#define BOOT_HEAD_LEN 8192
typedef struct {
    gboolean has_pvh;
    guint64  pvh_entry, entry; /* physical */
} BootElf;
gboolean boot_is_elf(const guint8 *head, gsize n);
gboolean boot_elf_parse(BootKernel *k, const guint8 *head, gsize n, BootElf *elf, GError **error);
gboolean boot_is_bzimage(const guint8 *head, gsize n);
gboolean boot_bzimage_parse(BootKernel *k, const guint8 *head, gsize n, GError **error);
/* Offset of a multiboot 1 header, or -1. */
gint     boot_multiboot_find(const guint8 *head, gsize n);
/* An ELF file is parsed already, unless the header has addresses of its own, which win. */
gboolean boot_multiboot_wants_elf(const guint8 *head, gint offset);
gboolean boot_multiboot_parse(BootKernel *k, const guint8 *head, gint offset, GError **error);

/* ---- firmware (firmware.c) ---- */

/* Reads and checks the whole image. */
GBytes *firmware_image_read(const BootFile *f, GError **error);
/* fw_cfg's "bootorder": one path a line, then HALT if STRICT, with a NUL at the end; empty if there is nothing to say. */
GBytes *firmware_boot_order(GPtrArray *paths, gboolean strict);

/* ---- guest RAM (ram.c) ---- */

typedef struct {
    const MemRegion *regions; /* in address order */
    guint            n;
} BootRam;

gboolean boot_ram_has(const BootRam *ram, guint64 gpa, guint64 len);
/* These need a range that boot_ram_has(). */
void     boot_ram_write(const BootRam *ram, guint64 gpa, const void *bytes, gsize len);
void     boot_ram_zero(const BootRam *ram, guint64 gpa, guint64 len);
gboolean boot_ram_read_file(const BootRam *ram, guint64 gpa, const BootFile *f, guint64 offset, guint64 len, GError **error);

/* ---- loading (load.c, and one function a protocol) ---- */

typedef struct {
    BootRam         ram;
    GArray         *map;    /* E820Entry in address order, as mem_e820() gives it; boot_load() adds its ranges */
    guint64         low_end; /* end of RAM below 4 GiB */
    AcpiTables     *acpi;   /* not yet relocated */
    GByteArray     *smbios; /* structures */
    GByteArray     *mp;     /* MP configuration table */
    const BootFile *initrd; /* NULL: none */
    const char     *cmdline;
} BootMachine;

/* What a protocol tells its kernel. */
typedef struct {
    guint64 load;        /* LINUX: load address */
    guint64 initrd, initrd_len; /* len 0: none */
    guint64 rsdp;
} BootPlaces;

/* Where the structures for the kernel stand; nothing else may be loaded there. */
enum {
    BOOT_BDA = 0x400,
    BOOT_DATA = 0x1000, /* GDT */
    BOOT_STACK = 0x3000, /* grows down */
    BOOT_INFO = 0x7000, /* zero page, start info or multiboot info, and lists */
    BOOT_PAGE_TABLES = 0xa000,
    BOOT_CMDLINE = 0x10000,
    BOOT_CMDLINE_MAX = 8191,
    BOOT_DATA_END = 0x12000,
    BOOT_EBDA = 0x9fc00,
    BOOT_RSDP = 0xf0000,
    BOOT_SMBIOS_ANCHOR = 0xf0040,
    BOOT_MP_POINTER = BOOT_EBDA + 16, /* the EBDA's first byte is its size */
    BOOT_MP_TABLE = 0xf0100,          /* up to 6 KiB */
    BOOT_ONE_MIB = 0x100000,
    BOOT_MAX_MAP = 64, /* entries that every protocol's list has room for */
};

/* Loads K and all it needs into RAM; OUT is how its CPU starts. M's tables are relocated: once per BootMachine. */
gboolean boot_load(const BootKernel *k, BootMachine *m, VcpuBoot *out, GError **error);

/* Writes TYPE over [addr, addr+len) of a map, which stays sorted. TYPE 0: takes the range out. */
void boot_map_set(GArray *map, guint64 addr, guint64 len, guint32 type);

void boot_pvh_enter(const BootKernel *k, const BootMachine *m, const BootPlaces *p, VcpuBoot *out);
void boot_linux_enter(const BootKernel *k, const BootMachine *m, const BootPlaces *p, VcpuBoot *out);
void boot_multiboot_enter(const BootKernel *k, const BootMachine *m, const BootPlaces *p, VcpuBoot *out);
