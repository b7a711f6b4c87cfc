/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dsdt-hotplug.c - the AML through which CPUs and memory come and go.
 *
 * The controller's event raises a GPE. Its handler walks the controller's pending events, tells the operating
 * system of each slot (Notify: 1 device check, 3 eject request) and clears it; the system then asks _STA, enumerates or
 * stops using the device, lets go by _EJ0, and reports by _OST how it went. A slot has a device object from the start,
 * so that nothing is loaded at run time; _STA says what is in it.
 *
 * Selector and data are two registers, hence a mutex around each use. Notify only queues: it is safe under the mutex.
 */
#include "aml.h"
#include "cpu-hotplug.h"
#include "mem-hotplug.h"
#include "view.h"

enum { NOTIFY_DEVICE_CHECK = 1, NOTIFY_EJECT_REQUEST = 3, STA_WORKING = 0x0f, FOREVER = 0xffff };

static void store(Aml *a, AmlTerm value, const char *target)
{
    aml_stmt(a, AML_STORE(value, AML_REF(target)));
}

/* "C01F": the object of CPU slot 31. */
static void slot_name(char name[5], char letter, guint slot)
{
    g_snprintf(name, 5, "%c%03X", letter, slot & 0xfff);
}

/* METHOD (Arg0: slot, Arg1: code): Notify on the slot's object. */
static void notify_method(Aml *a, const char *method, char letter, guint slots)
{
    aml_method(a, method, 2, FALSE);
    for (guint i = 0; i < slots; i++) {
        char name[5];

        slot_name(name, letter, i);
        aml_if(a, AML_LEQUAL(AML_ARG(0), AML_INT(i)));
        aml_stmt(a, AML_NOTIFY(AML_REF(name), AML_ARG(1)));
        aml_end(a);
    }
    aml_end(a);
}

/* A method of N_ARGS whose body selects slot Arg0 under MUTEX; select_end() closes it. */
static void select_begin(Aml *a, const char *method, guint n_args, const char *mutex, const char *selector)
{
    aml_method(a, method, n_args, TRUE);
    aml_acquire(a, mutex, FOREVER);
    store(a, AML_ARG(0), selector);
}

static void select_end(Aml *a, const char *mutex)
{
    aml_stmt(a, AML_RELEASE(AML_REF(mutex)));
    aml_end(a);
}

/* METHOD (slot): _STA of it, by the bit that says whether something is there. */
static void status_method(Aml *a, const char *method, const char *mutex, const char *selector, const char *there)
{
    select_begin(a, method, 1, mutex, selector);
    aml_stmt(a, AML_STORE(AML_INT(0), AML_LOCAL(0)));
    aml_if(a, AML_REF(there));
    aml_stmt(a, AML_STORE(AML_INT(STA_WORKING), AML_LOCAL(0)));
    aml_end(a);
    aml_stmt(a, AML_RELEASE(AML_REF(mutex)));
    aml_stmt(a, AML_RETURN(AML_LOCAL(0)));
    aml_end(a);
}

/* The methods of slot I that are calls: _STA, _EJ0, _OST. */
static void slot_methods(Aml *a, guint i, const char *sta, const char *ej0, const char *ost)
{
    aml_method(a, "_STA", 0, TRUE);
    aml_stmt(a, AML_RETURN(AML_CALL(sta, AML_INT(i))));
    aml_end(a);
    aml_method(a, "_EJ0", 1, TRUE);
    aml_stmt(a, AML_CALL(ej0, AML_INT(i)));
    aml_end(a);
    aml_method(a, "_OST", 3, TRUE);
    aml_stmt(a, AML_CALL(ost, AML_INT(i), AML_ARG(0), AML_ARG(1)));
    aml_end(a);
}

/* ---- CPUs: QEMU's docs/specs/acpi_cpu_hotplug.rst ---- */

static void cpu_registers(Aml *a, const BoardConfig *b)
{
    aml_region(a, "PRST", AML_IO, b->cpu_hotplug_base, CPU_HOTPLUG_REG_LEN);
    aml_field(a, "PRST", AML_BYTE_ACC, FALSE, AML_WRITE_ZEROS);
    aml_field_bits(a, NULL, 32);
    aml_field_bits(a, "CPEN", 1); /* there is one */
    aml_field_bits(a, "CINS", 1); /* events: read, or 1 to clear */
    aml_field_bits(a, "CRMV", 1);
    aml_field_bits(a, "CEJE", 1); /* 1: eject */
    aml_field_bits(a, NULL, 4);
    aml_field_bits(a, "CCMD", 8); /* 0: to the next event; 1, 2: data is _OST's event, status */
    aml_end(a);
    aml_field(a, "PRST", AML_DWORD_ACC, FALSE, AML_PRESERVE);
    aml_field_bits(a, "CSEL", 32);
    aml_field_bits(a, NULL, 32);
    aml_field_bits(a, "CDAT", 32);
    aml_end(a);
    aml_mutex(a, "CPLK");
}

/* CEJC (slot): lets go of it. COST (slot, event, status): _OST. */
static void cpu_answers(Aml *a)
{
    select_begin(a, "CEJC", 1, "CPLK", "CSEL");
    store(a, AML_INT(1), "CEJE");
    select_end(a, "CPLK");

    select_begin(a, "COST", 3, "CPLK", "CSEL");
    store(a, AML_INT(1), "CCMD");
    store(a, AML_ARG(1), "CDAT");
    store(a, AML_INT(2), "CCMD");
    store(a, AML_ARG(2), "CDAT");
    select_end(a, "CPLK");
}

/* If the selected slot has the event FLAG: tells CODE and clears it; the scan goes on. */
static void cpu_event(Aml *a, const char *flag, guint code)
{
    aml_if(a, AML_REF(flag));
    aml_stmt(a, AML_CALL("CTFY", AML_REF("CDAT"), AML_INT(code)));
    store(a, AML_INT(1), flag);
    aml_stmt(a, AML_STORE(AML_INT(1), AML_LOCAL(0)));
    aml_end(a);
}

static void cpu_scan(Aml *a)
{
    aml_method(a, "CSCN", 0, TRUE);
    aml_acquire(a, "CPLK", FOREVER);
    aml_stmt(a, AML_STORE(AML_INT(1), AML_LOCAL(0)));
    aml_while(a, AML_LOCAL(0));
    aml_stmt(a, AML_STORE(AML_INT(0), AML_LOCAL(0)));
    store(a, AML_INT(0), "CCMD");
    cpu_event(a, "CINS", NOTIFY_DEVICE_CHECK);
    cpu_event(a, "CRMV", NOTIFY_EJECT_REQUEST);
    aml_end(a);
    select_end(a, "CPLK");
}

static void cpu_slot(Aml *a, guint i, const AcpiCpu *cpu)
{
    char name[5];
    guint8 madt[16];
    guint len = acpi_madt_cpu(madt, i, cpu->apic_id, MADT_ENABLED);

    slot_name(name, 'C', i);
    aml_device(a, name);
    aml_name(a, "_HID", AML_STR("ACPI0007"));
    aml_name(a, "_UID", AML_INT(i)); /* as in the MADT */
    aml_name_of(a, "_MAT");
    aml_buffer(a, madt, len);
    slot_methods(a, i, "CSTA", "CEJC", "COST");
    aml_end(a);
}

static void cpus(Aml *a, const AcpiView *v)
{
    aml_device(a, "\\_SB.CPUS");
    aml_name(a, "_HID", AML_STR("ACPI0010")); /* processor container */
    aml_name(a, "_CID", AML_EISAID("PNP0A05"));
    cpu_registers(a, v->board);
    notify_method(a, "CTFY", 'C', v->cpus->len);
    status_method(a, "CSTA", "CPLK", "CSEL", "CPEN");
    cpu_answers(a);
    cpu_scan(a);
    for (guint i = 0; i < v->cpus->len; i++)
        cpu_slot(a, i, &g_array_index(v->cpus, AcpiCpu, i));
    aml_end(a);
}

/* ---- memory: QEMU's docs/specs/acpi_mem_hotplug.rst ---- */

static void mem_registers(Aml *a, const BoardConfig *b)
{
    aml_region(a, "MHPR", AML_IO, b->memory_hotplug_base, MEM_HOTPLUG_REG_LEN);
    aml_field(a, "MHPR", AML_DWORD_ACC, FALSE, AML_PRESERVE); /* as read */
    aml_field_bits(a, "MRBL", 32);
    aml_field_bits(a, "MRBH", 32);
    aml_field_bits(a, "MRLL", 32);
    aml_field_bits(a, "MRLH", 32);
    aml_field_bits(a, "MPXD", 32);
    aml_end(a);
    aml_field(a, "MHPR", AML_BYTE_ACC, FALSE, AML_WRITE_ZEROS);
    aml_field_bits(a, NULL, 0x14 * 8);
    aml_field_bits(a, "MEN", 1);
    aml_field_bits(a, "MINS", 1);
    aml_field_bits(a, "MRMV", 1);
    aml_field_bits(a, "MEJE", 1);
    aml_end(a);
    aml_field(a, "MHPR", AML_DWORD_ACC, FALSE, AML_PRESERVE); /* as written */
    aml_field_bits(a, "MSEL", 32);
    aml_field_bits(a, "MOEV", 32);
    aml_field_bits(a, "MOSC", 32);
    aml_end(a);
    aml_mutex(a, "MLCK");
}

static void mem_answers(Aml *a)
{
    select_begin(a, "MEJC", 1, "MLCK", "MSEL");
    store(a, AML_INT(1), "MEJE");
    select_end(a, "MLCK");

    select_begin(a, "MOST", 3, "MLCK", "MSEL");
    store(a, AML_ARG(1), "MOEV");
    store(a, AML_ARG(2), "MOSC");
    select_end(a, "MLCK");
}

/* LOW | HIGH << 32 into TARGET. */
static void join(Aml *a, const char *low, const char *high, AmlTerm target)
{
    aml_stmt(a, AML_OR(AML_SHL(AML_REF(high), AML_INT(32), AML_NONE), AML_REF(low), target));
}

/* MCRS (slot): its _CRS, one range. Integers have 64 bits (DSDT revision 2). */
static void mem_resources(Aml *a)
{
    select_begin(a, "MCRS", 1, "MLCK", "MSEL");
    aml_store_of(a);
    aml_resources(a);
    aml_res_qword_own_memory(a, 0, 0);
    aml_end(a);
    aml_stmt(a, AML_LOCAL(0));
    aml_create_field(a, 64, AML_LOCAL(0), AML_INT(AML_QWORD_FIRST), "MMIN");
    aml_create_field(a, 64, AML_LOCAL(0), AML_INT(AML_QWORD_LAST), "MMAX");
    aml_create_field(a, 64, AML_LOCAL(0), AML_INT(AML_QWORD_LENGTH), "MLEN");
    join(a, "MRBL", "MRBH", AML_REF("MMIN"));
    join(a, "MRLL", "MRLH", AML_REF("MLEN"));
    aml_stmt(a, AML_SUBTRACT(AML_ADD(AML_REF("MMIN"), AML_REF("MLEN"), AML_NONE), AML_INT(1), AML_REF("MMAX")));
    aml_stmt(a, AML_RELEASE(AML_REF("MLCK")));
    aml_stmt(a, AML_RETURN(AML_LOCAL(0)));
    aml_end(a);
}

static void mem_event(Aml *a, const char *flag, guint code)
{
    aml_if(a, AML_REF(flag));
    aml_stmt(a, AML_CALL("MTFY", AML_LOCAL(0), AML_INT(code)));
    store(a, AML_INT(1), flag);
    aml_end(a);
}

static void mem_scan(Aml *a, guint slots)
{
    aml_method(a, "MSCN", 0, TRUE);
    aml_acquire(a, "MLCK", FOREVER);
    aml_stmt(a, AML_STORE(AML_INT(0), AML_LOCAL(0)));
    aml_while(a, AML_LLESS(AML_LOCAL(0), AML_INT(slots)));
    aml_stmt(a, AML_STORE(AML_LOCAL(0), AML_REF("MSEL")));
    mem_event(a, "MINS", NOTIFY_DEVICE_CHECK);
    mem_event(a, "MRMV", NOTIFY_EJECT_REQUEST);
    aml_stmt(a, AML_INCREMENT(AML_LOCAL(0)));
    aml_end(a);
    select_end(a, "MLCK");
}

static void mem_slot(Aml *a, guint i)
{
    char name[5];

    slot_name(name, 'M', i);
    aml_device(a, name);
    aml_name(a, "_HID", AML_EISAID("PNP0C80"));
    aml_name(a, "_UID", AML_INT(i));
    aml_method(a, "_CRS", 0, TRUE);
    aml_stmt(a, AML_RETURN(AML_CALL("MCRS", AML_INT(i))));
    aml_end(a);
    aml_method(a, "_PXM", 0, TRUE);
    aml_stmt(a, AML_RETURN(AML_CALL("MPXM", AML_INT(i))));
    aml_end(a);
    slot_methods(a, i, "MSTA", "MEJC", "MOST");
    aml_end(a);
}

static void memory(Aml *a, const AcpiView *v)
{
    guint slots = v->board->memory_slots;

    aml_device(a, "\\_SB.MHPC");
    aml_name(a, "_HID", AML_EISAID("PNP0A06")); /* a container */
    aml_name(a, "_UID", AML_STR("Memory slots"));
    mem_registers(a, v->board);
    notify_method(a, "MTFY", 'M', slots);
    status_method(a, "MSTA", "MLCK", "MSEL", "MEN");
    mem_answers(a);
    mem_resources(a);
    select_begin(a, "MPXM", 1, "MLCK", "MSEL");
    aml_stmt(a, AML_STORE(AML_REF("MPXD"), AML_LOCAL(0)));
    aml_stmt(a, AML_RELEASE(AML_REF("MLCK")));
    aml_stmt(a, AML_RETURN(AML_LOCAL(0)));
    aml_end(a);
    mem_scan(a, slots);
    for (guint i = 0; i < slots; i++)
        mem_slot(a, i);
    aml_end(a);
}

/* ---- all together ---- */

/* A handler of an edge: the status bit is cleared before it runs, so that what comes meanwhile calls it again. */
static void gpe(Aml *a, const char *method, const char *scan)
{
    aml_method(a, method, 0, FALSE);
    aml_stmt(a, AML_REF(scan));
    aml_end(a);
}

void acpi_dsdt_hotplug(Aml *a, const AcpiView *v)
{
    cpus(a, v);
    if (v->device_memory)
        memory(a, v);
    acpi_dsdt_slots(a, v);
    aml_scope(a, "\\_GPE");
    if (v->pci_slots->len > 0)
        gpe(a, "_E01", "\\_SB.PCI0.PSCN");
    gpe(a, "_E02", "\\_SB.CPUS.CSCN");
    if (v->device_memory)
        gpe(a, "_E03", "\\_SB.MHPC.MSCN");
    aml_end(a);
}
