/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all files of the probe guest share: access to ports, MSRs and memory, the line printer, and
 * one block of declarations per file. There is no libc and one address space, mapped one to one.
 *
 * Most files are compiled twice, for long mode and (symbols prefixed m32_) for 32-bit protected
 * mode. Structures shared by the two (struct boot) lay out the same in both: no pointers, no
 * size_t, 64-bit members at multiples of eight.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef long long s64;
typedef unsigned long long u64; /* not uint64_t: one printf length for both modes */

#define PROBE_VERSION 1
#define COM1 0x3f8
#define COM2 0x2f8
#define MAX_CPUS 320
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- the machine ---------------------------------------------------------------------------- */

static inline u8 inb(u16 port)
{
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline u16 inw(u16 port)
{
    u16 v;
    __asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline u32 inl(u16 port)
{
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline void outb(u16 port, u8 v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outw(u16 port, u16 v)
{
    __asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outl(u16 port, u32 v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline u64 rdmsr(u32 index)
{
    u32 lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(index));
    return (u64)hi << 32 | lo;
}

static inline void wrmsr(u32 index, u64 v)
{
    __asm__ volatile("wrmsr" : : "c"(index), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline u64 rdtsc(void)
{
    u32 lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (u64)hi << 32 | lo;
}

static inline void cpu_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

/* Device registers: always one access of exactly this size. */
static inline u32 mmio_read32(uintptr_t addr)
{
    return *(volatile u32 *)addr;
}

static inline void mmio_write32(uintptr_t addr, u32 v)
{
    *(volatile u32 *)addr = v;
}

/* Table fields have no alignment. */
static inline u16 get16(const void *p)
{
    u16 v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

static inline u32 get32(const void *p)
{
    u32 v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

static inline u64 get64(const void *p)
{
    u64 v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

struct cpuid {
    u32 eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
    struct cpuid r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(sub));
    return r;
}

/* n / d without libgcc, which 32-bit code would need for a 64-bit division. */
static inline u64 udiv64(u64 n, u32 d)
{
#ifdef __x86_64__
    return n / d;
#else
    u32 hi = (u32)(n >> 32), lo = (u32)n, qhi = hi / d, qlo, rem = hi % d;
    __asm__("divl %3" : "=a"(qlo), "+d"(rem) : "0"(lo), "r"(d) : "cc");
    return (u64)qhi << 32 | qlo;
#endif
}

/* ---- string.c ------------------------------------------------------------------------------- */

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
bool str_equal(const char *a, const char *b);
/* The rest of s when it begins with prefix, else NULL. */
const char *str_after(const char *s, const char *prefix);
/* Decimal or 0x hex; stops at the first other character, which *end gets when not NULL. */
u64 str_number(const char *s, const char **end);
void str_copy(char *to, const char *from, size_t size);

/* ---- console.c ------------------------------------------------------------------------------ */

void console_init(void);
/* printf's %s %c %u %x %d with 0, width, # and ll; a newline sends the line. */
void emit(const char *format, ...) __attribute__((format(printf, 1, 2)));
void emit_quoted(const char *s, size_t max);
void emit_hex(const void *data, size_t n);
void console_drain(void);
/* One character from COM1, or -1. */
int console_poll(void);

/* ---- boot.c: what the loader said, collected in 32-bit mode --------------------------------- */

#define MAX_RANGES 128
#define SRC_PVH 0
#define SRC_MULTIBOOT 1
#define SRC_FWCFG 2

struct range {
    u64 base, size;
    u32 type, source;
};

#define MAX_MODULES 8

struct module {
    u64 base, size;
    char cmdline[64];
};

struct boot {
    u64 rsdp;
    u64 info; /* address of the start info or multiboot information */
    u32 multiboot, magic, version, flags;
    u32 modules, ranges;
    u32 mem_lower, mem_upper; /* KiB, multiboot only */
    u32 mode, gib_pages;
    u32 no_long_mode, truncated;
    struct range range[MAX_RANGES];
    struct module module[MAX_MODULES];
    char cmdline[2048];
    char loader[64];
};

#ifdef __x86_64__
extern struct boot boot __asm__("m32_boot");
#else
extern struct boot boot;
#endif
extern char image_start[] __asm__("image_start"), image_end[] __asm__("image_end");

/* ---- map.c ---------------------------------------------------------------------------------- */

/*
 * The address of guest-physical memory, or NULL where this mode can not reach it. Above 4 GiB and
 * without 1 GiB pages the mapping is one of a few windows, reused in turn: do not keep it.
 */
void *phys_ptr(u64 addr, u64 len);

/* ---- options.c ------------------------------------------------------------------------------ */

#define SECTION_LIST(X)                                                                            \
    X(cpuid) X(memmap) X(acpi) X(pci) X(serial) X(rtc) X(irq) X(smp) X(cpuhp) X(serve) X(wait)

#define SECTION_ENUM(name) SECTION_##name,
enum section { SECTION_LIST(SECTION_ENUM) SECTION_COUNT };
#undef SECTION_ENUM

struct options {
    u32 sections;        /* bit per enum section */
    bool pci_full;       /* pci=full */
    bool x2apic;         /* apic=x2 */
    bool slot_intx;      /* slots=intx: native slots interrupt by the port's pin, not by MSI */
    bool sci;            /* sci: wait for a PM timer overflow, up to 2.5 s */
    u16 serial_base;     /* serial=0x2f8 */
    u32 work;            /* work=N */
    u32 cpuhp_wait;      /* cpuhp=wait:N */
    u32 cpuhp_timeout;   /* timeout=SECONDS */
    char end[48];        /* end=HOW; empty in an interactive line: do not end */
};

extern struct options options;
extern const char *const section_names[SECTION_COUNT];
void options_defaults(void);
void options_parse(const char *line, bool interactive);
bool options_has_word(const char *line, const char *word);

/* ---- clock.c -------------------------------------------------------------------------------- */

struct deadline {
    u32 last;
    u64 passed, limit;
};

extern const char *clock_name;
void clock_init(void);
u32 clock_hz(void);
u32 clock_read(void);
u32 clock_delta(u32 from, u32 to);
void deadline_start(struct deadline *d, u32 us);
bool deadline_passed(struct deadline *d);
void delay_us(u32 us);
/* Let channel 2 of the PIT run down once; false without a PIT. */
bool pit_oneshot(u16 count);

/* ---- acpi.c, madt.c, smbios.c --------------------------------------------------------------- */

struct gas {
    u8 space, bits, offset, access;
    u64 addr;
};

struct acpi {
    u64 rsdp, fadt, madt, mcfg, dsdt, facs;
    const char *rsdp_source;
    u32 pm1a_evt, pm1a_cnt, pm_tmr, gpe0, smi_cmd, flags;
    u8 gpe0_len, pm1_evt_len, acpi_enable, century, reset_value, pm_tmr_len;
    u16 sci, boot_arch;
    struct gas reset, sleep_control;
    bool has_s5;
    u8 s5_a;
    u64 ecam;
    u8 ecam_first, ecam_last;
    u64 ioapic;
    u32 ioapic_gsi;
    u32 isa_gsi[16];
    u16 isa_flags[16];
};

#define FADT_HW_REDUCED (1u << 20)
#define FADT_RESET_REG (1u << 10)
#define FADT_TMR_32 (1u << 8)

extern struct acpi acpi;
void acpi_init(void);
void acpi_section(void);
void acpi_enable(void);
u8 byte_sum(const void *data, size_t n);
void madt_read(const u8 *madt);
void madt_print(const u8 *madt);
void srat_print(const u8 *srat);
void smbios_section(void);

/* ---- smp.c (the table also in 32-bit mode) -------------------------------------------------- */

struct cpu {
    u32 apic_id, uid, flags;
    volatile u32 online, ipis, parked, work_seen;
    u32 id_leaf1, id_leafb, id_lapic, id_signature;
};

extern struct cpu cpus[MAX_CPUS];
extern u32 cpu_count;
/* The entry of this APIC id, added when it is new; NULL when the table is full. */
struct cpu *cpu_find(u32 apic_id, bool add);

#ifdef __x86_64__
bool smp_start(struct cpu *cpu);
void smp_park(struct cpu *cpu);
void smp_park_all(void);
void smp_print_ids(struct cpu *cpu);
void smp_section(void);
void ap_main(void);

/* ---- lapic.c, trap.c, irq.c, cpuhp.c: long mode only ---------------------------------------- */

enum {
    LAPIC_ID = 0x20,
    LAPIC_VERSION = 0x30,
    LAPIC_TPR = 0x80,
    LAPIC_EOI = 0xb0,
    LAPIC_SVR = 0xf0,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_LVT_LINT0 = 0x350,
    LAPIC_LVT_LINT1 = 0x360,
    LAPIC_TIMER_INIT = 0x380,
    LAPIC_TIMER_NOW = 0x390,
    LAPIC_TIMER_DIV = 0x3e0,
};

#define LVT_MASKED 0x10000u
#define ICR_INIT 0x4500u
#define ICR_SIPI 0x4600u
#define ICR_FIXED 0x4000u

/* Vectors, grouped by who sends them. */
enum {
    VEC_PIC = 0x30, /* 16 of the 8259 pair */
    VEC_TIMER = 0x40,
    VEC_PIT,
    VEC_SERIAL,
    VEC_RTC,
    VEC_SCI,
    VEC_SELF,
    VEC_CALL,
    VEC_SPURIOUS = 0xff,
};

struct frame {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error, rip, cs, rflags, rsp, ss;
};

typedef void (*trap_handler)(void);
extern volatile u32 irq_count[256];
void trap_init(void);
void trap_load(void);
void trap_set(u8 vector, trap_handler handler);
void trap_dispatch(struct frame *frame);
bool rdmsr_safe(u32 index, u64 *value);
static inline void irq_enable(void)
{
    __asm__ volatile("sti" : : : "memory");
}
static inline void irq_disable(void)
{
    __asm__ volatile("cli" : : : "memory");
}

extern bool lapic_x2;
void lapic_init(bool x2);
u32 lapic_read(u32 reg);
void lapic_write(u32 reg, u32 v);
u32 lapic_id(void);
void lapic_ipi(u32 apic_id, u32 command);

void irq_section(void);
/* Opens the pin of GSI to this processor; FLAGS as in a MADT override (polarity, trigger). */
void ioapic_route(u32 gsi, u8 vector, u16 flags);
/* Sleep until COM1 has a character, or some 50 ms. */
void irq_wait_serial(void);
void cpuhp_section(void);
/* hotplug.h has what it serves. */
void serve_section(void);
#endif

/* ---- the rest ------------------------------------------------------------------------------- */

void cpuid_section(void);
void memmap_section(void);
void fwcfg_section(void);
/* Up to max ranges of fw_cfg's e820 table; how many there were. */
u32 fwcfg_e820(struct range *out, u32 max);
void pci_section(void);
/* The lines of one function; false where there is none. */
bool pci_report(u16 bdf);
u32 pci_read32(u16 bdf, u8 off);
void serial_section(void);
void rtc_section(void);
bool rtc_present(void);
u8 rtc_read(u8 index);
void rtc_write(u8 index, u8 v);
void wait_section(void);
void run_sections(void);
/* Options and sections of an interactive line, and its ending. */
void run_line(const char *line);
void end_run(const char *how) __attribute__((noreturn));
void probe_main(void);

#endif
