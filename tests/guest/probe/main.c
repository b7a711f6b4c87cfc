/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The probe guest: a program that looks at its machine, says what it sees on COM1 line by line, and
 * ends in a chosen way. README.md has the words of the command line and the grammar of the output.
 * One ELF file holds both modes; entry.S says how.
 */
#include "virtio.h"

#ifdef __x86_64__
#define LONG_MODE_ONLY(fn) fn
#else
#define LONG_MODE_ONLY(fn) NULL
#endif

/* NULL: not in this mode. */
static void (*const section_fns[SECTION_COUNT])(void) = {
    [SECTION_cpuid] = cpuid_section,
    [SECTION_memmap] = memmap_section,
    [SECTION_acpi] = acpi_section,
    [SECTION_pci] = pci_section,
    [SECTION_serial] = serial_section,
    [SECTION_rtc] = rtc_section,
    [SECTION_irq] = LONG_MODE_ONLY(irq_section),
    [SECTION_smp] = LONG_MODE_ONLY(smp_section),
    [SECTION_cpuhp] = LONG_MODE_ONLY(cpuhp_section),
    [SECTION_serve] = LONG_MODE_ONLY(serve_section),
    [SECTION_wait] = wait_section,
};

void run_sections(void)
{
    for (u32 i = 0; i < SECTION_COUNT; i++) {
        if (!(options.sections >> i & 1))
            continue;
        if (!section_fns[i]) {
            emit("skipped section=%s reason=mode32\n", section_names[i]);
            continue;
        }
        emit("begin section=%s\n", section_names[i]);
        section_fns[i]();
        emit("done section=%s\n", section_names[i]);
    }
}

/*
 * Long mode sleeps between characters, but not at once in the middle of a line: the next ones are on
 * their way, and going to sleep takes longer. 32-bit mode has no interrupts and polls.
 */
#define LOOKS 50

static void read_line(char *line, u32 size)
{
    u32 n = 0, looks = 0;

    for (;;) {
        int c = console_poll();
        if (c == '\r' || c == '\n') {
            if (n)
                break;
        } else if (c >= 0 && n + 1 < size) {
            line[n++] = (char)c;
            looks = LOOKS;
        } else if (c < 0 && looks) {
            looks--;
        } else if (c < 0) {
#ifdef __x86_64__
            irq_wait_serial();
#else
            cpu_pause();
#endif
        }
    }
    line[n] = 0;
}

/* The loops that take lines are sections too, but not of a line. */
void run_line(const char *line)
{
#ifdef __x86_64__
    if (virtio_obey(line))
        return;
#endif
    options_parse(line, true);
    options.sections &= ~(1u << SECTION_wait | 1u << SECTION_serve);
    if (!options.sections && !options.end[0]) {
        emit("error unknown_line=");
        emit_quoted(line, 512);
        emit("\n");
    }
    run_sections();
    if (options.end[0])
        end_run(options.end);
}

/* Never returns: `end=HOW` is the way out. */
void wait_section(void)
{
    static char line[512];

    for (u32 n = 0;; n++) {
        emit("ready n=%u\n", n);
        read_line(line, sizeof line);
        run_line(line);
    }
}

/* The sum of the first bytes tells whether they are those of the file that was given. */
#define MODULE_SUM 4096

static void print_modules(void)
{
    for (u32 i = 0; i < boot.modules && i < MAX_MODULES; i++) {
        const struct module *m = &boot.module[i];
        u32 sum = 0, n = m->size < MODULE_SUM ? (u32)m->size : MODULE_SUM;
        const u8 *p = phys_ptr(m->base, n);
        for (u32 at = 0; p && at < n; at++) {
            sum += p[at];
        }
        emit("module n=%u base=%#llx size=%#llx sum=%u cmdline=", i, m->base, m->size, sum);
        emit_quoted(m->cmdline, sizeof m->cmdline);
        emit("\n");
    }
}

static void print_banner(void)
{
    emit("probe version=%u boot=%s mode=%u cmdline=", PROBE_VERSION,
         boot.multiboot ? "multiboot" : "pvh", boot.mode);
    emit_quoted(boot.cmdline, sizeof boot.cmdline);
    emit("\n");
    emit("boot magic=%#x info=%#llx version=%u flags=%#x modules=%u rsdp=%#llx loader=", boot.magic,
         boot.info, boot.version, boot.flags, boot.modules, boot.rsdp);
    emit_quoted(boot.loader, sizeof boot.loader);
    emit(" image=%#llx image_end=%#llx gib_pages=%u no_long_mode=%u clock=%s\n",
         (u64)(uintptr_t)image_start, (u64)(uintptr_t)image_end, boot.gib_pages, boot.no_long_mode,
         clock_name);
    print_modules();
}

#ifdef __x86_64__
/* An xAPIC id has eight bits, and 255 is the broadcast. */
static bool wants_x2apic(void)
{
    for (u32 i = 0; i < cpu_count; i++) {
        if (cpus[i].apic_id > 254)
            return true;
    }
    return options.x2apic;
}
#endif

void probe_main(void)
{
    console_init();
    options_defaults();
    options_parse(boot.cmdline, false);
    /* The clock needs the FADT, the local APIC needs the CPU list, the banner names the clock. */
    acpi_init();
    clock_init();
#ifdef __x86_64__
    trap_init();
    lapic_init(wants_x2apic());
#endif
    print_banner();
    run_sections();
    end_run(options.end);
}
