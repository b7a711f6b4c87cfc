/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dsdt-slots.c - the AML through which PCI functions come and go (QEMU's docs/specs/acpi_pci_hotplug.rst, and
 * pci-hotplug.c on what the selector selects).
 *
 * Each slot that ACPI controls is a device object with an address, a number for people, _EJ0 and _DSM, which tells the acpi-index of
 * what is in it (PCI firmware specification 3.3, 4.6.7); behind a root port it lies within the port's object. The event's handler takes up and down of each group in use, and tells those whose bit is set
 * (Notify: 1 device check, 3 eject request). A machine with nothing hot-pluggable has none of it.
 *
 * The registers' reads take what they return, so each is read once, into a local variable.
 */
#include "aml.h"
#include "pci-hotplug.h"
#include "view.h"

enum { NOTIFY_DEVICE_CHECK = 1, NOTIFY_EJECT_REQUEST = 3, FOREVER = 0xffff, ON_ROOT = 32 };

static void store(Aml *a, AmlTerm value, const char *target)
{
    aml_stmt(a, AML_STORE(value, AML_REF(target)));
}

static void store_local(Aml *a, const char *source, guint local)
{
    aml_stmt(a, AML_STORE(AML_REF(source), AML_LOCAL(local)));
}

/* From the scope of PCI0: an object for DEVFN on the root bus. */
static void object_name(char name[5], guint devfn)
{
    g_snprintf(name, 5, "S%02X", devfn & 0xff);
}

static void registers(Aml *a, const BoardConfig *b)
{
    aml_region(a, "PCST", AML_IO, b->pci_hotplug_base, PCI_HOTPLUG_REG_LEN);
    aml_field(a, "PCST", AML_DWORD_ACC, FALSE, AML_WRITE_ZEROS);
    aml_field_bits(a, "PCIU", 32);
    aml_field_bits(a, "PCID", 32);
    aml_field_bits(a, "PCEJ", 32);
    aml_field_bits(a, NULL, 32);
    aml_field_bits(a, "PSEL", 32);
    aml_field_bits(a, "PIDX", 32);
    aml_end(a);
    aml_mutex(a, "PLCK");
}

/* PEJ0 (slot): lets go of it. */
static void eject_method(Aml *a)
{
    aml_method(a, "PEJ0", 1, TRUE);
    aml_acquire(a, "PLCK", FOREVER);
    aml_stmt(a, AML_SHR(AML_ARG(0), AML_INT(5), AML_REF("PSEL")));
    aml_stmt(a, AML_SHL(AML_INT(1), AML_AND(AML_ARG(0), AML_INT(31), AML_NONE), AML_REF("PCEJ")));
    aml_stmt(a, AML_RELEASE(AML_REF("PLCK")));
    aml_end(a);
}

/* PDSM (uuid, revision, function, slot): function 0 says which functions there are, function 7 gives the number that the device is
 * named by. One without a number has neither. */
static void naming_method(Aml *a)
{
    enum { FUNCTIONS = 1 << 0 | 1 << 7 };
    static const guint8 none[] = {0}, some[] = {FUNCTIONS};

    aml_method(a, "PDSM", 4, TRUE);
    aml_store_of(a);
    aml_buffer(a, none, sizeof none);
    aml_stmt(a, AML_LOCAL(0));
    aml_if(a, AML_LOR(AML_LNOT(AML_LEQUAL(AML_ARG(0), AML_UUID("e5c937d0-3553-4d7a-9117-ea4d19c3434d"))), AML_LLESS(AML_ARG(1), AML_INT(2))));
    aml_stmt(a, AML_RETURN(AML_LOCAL(0)));
    aml_end(a);
    aml_acquire(a, "PLCK", FOREVER);
    aml_stmt(a, AML_SHR(AML_ARG(3), AML_INT(5), AML_REF("PSEL")));
    aml_stmt(a, AML_AND(AML_ARG(3), AML_INT(31), AML_REF("PIDX")));
    store_local(a, "PIDX", 1);
    aml_stmt(a, AML_RELEASE(AML_REF("PLCK")));
    aml_if(a, AML_LAND(AML_LOCAL(1), AML_LNOT(AML_ARG(2))));
    aml_store_of(a);
    aml_buffer(a, some, sizeof some);
    aml_stmt(a, AML_LOCAL(0));
    aml_end(a);
    aml_if(a, AML_LAND(AML_LOCAL(1), AML_LEQUAL(AML_ARG(2), AML_INT(7))));
    aml_store_of(a);
    aml_package(a);
    aml_stmt(a, AML_INT(0));
    aml_stmt(a, AML_STR(""));
    aml_end(a);
    aml_stmt(a, AML_LOCAL(0));
    aml_stmt(a, AML_STORE(AML_LOCAL(1), AML_INDEX(AML_LOCAL(0), AML_INT(0), AML_NONE)));
    aml_end(a);
    aml_stmt(a, AML_RETURN(AML_LOCAL(0)));
    aml_end(a);
}

/* ---- a slot ---- */

static void slot_object(Aml *a, const char *name, guint32 address, const AcpiPciSlot *slot)
{
    aml_device(a, name);
    aml_name(a, "_ADR", AML_INT(address));
    aml_name(a, "_SUN", AML_INT(slot->sun));
    aml_method(a, "_EJ0", 1, TRUE);
    aml_stmt(a, AML_CALL("PEJ0", AML_INT(slot->number)));
    aml_end(a);
    aml_method(a, "_DSM", 4, TRUE);
    aml_stmt(a, AML_RETURN(AML_CALL("PDSM", AML_ARG(0), AML_ARG(1), AML_ARG(2), AML_INT(slot->number))));
    aml_end(a);
    aml_end(a);
}

static void slot_of_group(Aml *a, const AcpiPciSlot *slot)
{
    char name[5];
    guint devfn = slot->number - ON_ROOT;

    if (slot->number < ON_ROOT) {
        object_name(name, slot->number << 3);
        slot_object(a, name, (guint32)slot->number << 16, slot);
        return;
    }
    object_name(name, devfn);
    aml_device(a, name);
    aml_name(a, "_ADR", AML_INT((guint32)(devfn >> 3) << 16 | (devfn & 7)));
    slot_object(a, "S00", 0, slot);
    aml_end(a);
}

/* ---- telling ---- */

static void notify_slot(Aml *a, const AcpiPciSlot *slot)
{
    char name[5], path[16];
    gboolean on_root = slot->number < ON_ROOT;

    object_name(name, on_root ? slot->number << 3 : slot->number - ON_ROOT);
    g_snprintf(path, sizeof path, on_root ? "%s" : "^%s.S00", name);
    aml_if(a, AML_AND(AML_ARG(0), AML_INT(1u << slot->number % 32), AML_NONE));
    aml_stmt(a, AML_NOTIFY(AML_REF(path), AML_ARG(1)));
    aml_end(a);
}

static void group_name(char name[5], guint group)
{
    g_snprintf(name, 5, "PNT%c", 'A' + group % 26);
}

/* PNTx (bits, code) for the N slots at SLOTS, all of one group. */
static void notify_method(Aml *a, const AcpiPciSlot *slots, guint n)
{
    char name[5];

    group_name(name, slots->number / 32u);
    aml_method(a, name, 2, TRUE);
    aml_if(a, AML_ARG(0));
    for (guint i = 0; i < n; i++)
        notify_slot(a, &slots[i]);
    aml_end(a);
    aml_end(a);
}

static void tell(Aml *a, const char *method, const char *reg, guint code)
{
    store_local(a, reg, 0);
    aml_stmt(a, AML_CALL(method, AML_LOCAL(0), AML_INT(code)));
}

/* How many of the N slots at SLOTS are of the first one's group. */
static guint group_length(const AcpiPciSlot *slots, guint n)
{
    guint len = 1;

    while (len < n && slots[len].number / 32 == slots->number / 32)
        len++;
    return len;
}

static void scan_method(Aml *a, const AcpiPciSlot *slots, guint n)
{
    aml_method(a, "PSCN", 0, TRUE);
    aml_acquire(a, "PLCK", FOREVER);
    for (guint i = 0; i < n; i += group_length(slots + i, n - i)) {
        char name[5];

        group_name(name, slots[i].number / 32u);
        store(a, AML_INT(slots[i].number / 32u), "PSEL");
        tell(a, name, "PCIU", NOTIFY_DEVICE_CHECK);
        tell(a, name, "PCID", NOTIFY_EJECT_REQUEST);
    }
    aml_stmt(a, AML_RELEASE(AML_REF("PLCK")));
    aml_end(a);
}

void acpi_dsdt_slots(Aml *a, const AcpiView *v)
{
    const AcpiPciSlot *slots = (const AcpiPciSlot *)v->pci_slots->data;
    guint n = v->pci_slots->len;

    if (n == 0)
        return;
    aml_scope(a, "\\_SB.PCI0");
    registers(a, v->board);
    eject_method(a);
    naming_method(a);
    for (guint i = 0; i < n; i++)
        slot_of_group(a, &slots[i]);
    for (guint i = 0; i < n; i += group_length(slots + i, n - i))
        notify_method(a, slots + i, group_length(slots + i, n - i));
    scan_method(a, slots, n);
    aml_end(a);
}
