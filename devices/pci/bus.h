/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bus.h - PCI functions and buses: configuration space as data, reached by ports 0xcf8/0xcfc and
 * ECAM, routed over bridges by the bus numbers that the guest wrote.
 *
 * Behaviour is three byte arrays (value, write mask, write-one-to-clear mask) built at realize;
 * they are also what the fingerprint hashes. A function that must act on a write has a hook,
 * called after the bytes changed.
 *
 * Locks. All buses of a machine share one mutex that is held around each access, and the owning
 * device's lock inside it (order: host, then device). So pci_bus_*() is never called under a
 * device lock, and pci_bus_remove() returns only when no access is in flight. Configuration
 * accesses are no data path: one mutex costs nothing.
 *
 * Work. What a guest's write sets in motion beyond the bytes (BARs move, functions are reset) is
 * requested by pci_request() and done on the main thread while no vCPU passes its safe point:
 * the guest finds it done with its next instruction.
 */
#pragma once

#include "../core/device.h"

/* What is stored of a function's space; the rest of an extended one reads as zero. */
#define PCI_CONFIG_STORED 512
#define PCI_BARS 6

/* Registers of the header (PCI 3.0 chapter 6.1, PCI-to-PCI bridge 1.2 chapter 3.2). */
enum {
    PCI_VENDOR = 0x00,
    PCI_DEVICE = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS = 0x0a,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_PRIMARY = 0x18,
    PCI_SECONDARY = 0x19,
    PCI_SUBORDINATE = 0x1a,
    PCI_IO_BASE = 0x1c,
    PCI_IO_LIMIT = 0x1d,
    PCI_MEMORY_BASE = 0x20,
    PCI_MEMORY_LIMIT = 0x22,
    PCI_PREFETCH_BASE = 0x24,
    PCI_PREFETCH_LIMIT = 0x26,
    PCI_PREFETCH_BASE_HIGH = 0x28,
    PCI_PREFETCH_LIMIT_HIGH = 0x2c,
    PCI_SUBSYSTEM_VENDOR = 0x2c,
    PCI_SUBSYSTEM = 0x2e,
    PCI_CAPABILITIES = 0x34,
    PCI_IRQ_LINE = 0x3c,
    PCI_IRQ_PIN = 0x3d,
    PCI_BRIDGE_CONTROL = 0x3e,
};

enum {
    PCI_COMMAND_IO = 1 << 0,
    PCI_COMMAND_MEMORY = 1 << 1,
    PCI_COMMAND_MASTER = 1 << 2,
    PCI_COMMAND_NO_INTX = 1 << 10,
    PCI_STATUS_INTX = 1 << 3,
    PCI_STATUS_CAPABILITIES = 1 << 4,
    PCI_HEADER_BRIDGE = 0x01,
    PCI_HEADER_MULTIFUNCTION = 0x80,
};

typedef struct PciFunction PciFunction;
typedef struct PciBus PciBus;
typedef struct PciHost PciHost; /* host.h: what the buses of a machine share */
typedef struct PciBar PciBar;   /* bar.h */

struct PciFunction {
    Device  *dev;    /* whose lock guards it */
    guint8   devfn;
    guint8   config[PCI_CONFIG_STORED], wmask[PCI_CONFIG_STORED], w1c[PCI_CONFIG_STORED];
    guint8   at_reset[PCI_CONFIG_STORED]; /* pci_function_seal(): the resolved configuration */
    guint16  config_size; /* 256 or 4096 */
    guint8   pm;          /* offset of the power management capability; 0: none */
    guint8   pirq;        /* where its interrupt pin ends: intx.c */
    gboolean intx;        /* the level it drives; lock */
    gboolean intx_wired;  /* what of it reaches the PIRQ; lock */
    gboolean intx_silent; /* MSI or MSI-X is on: the pin is not used; lock */
    PciBus  *bus;         /* where it is claimed */
    PciBus  *secondary;   /* a bridge's other side */
    PciBar  *bars;        /* PCI_BARS of them, or NULL */
    gint     numbers;     /* atomic; a bridge's secondary | subordinate << 8 */
    gint     work;        /* atomic; PCI_WORK_* that is requested */
    /* Before a read: brings bytes up to date. Lock held, vCPU thread. May be NULL. */
    void (*config_reading)(PciFunction *fn, guint16 offset, unsigned size);
    /* Lock held, vCPU thread. OLD_VALUE as before the write. A change of topology is posted. */
    void (*config_written)(PciFunction *fn, guint16 offset, unsigned size, guint32 old_value);
    /* Main thread, no lock held: the function's own PCI_WORK_* bits. May be NULL. */
    void (*work_due)(PciFunction *fn, guint work);
    /* Main thread, no lock held: a function appeared on the bus behind this bridge, or went. May be NULL. */
    void (*below_changed)(PciFunction *fn);
};

/* Fills in the header's constant part; everything read-only until a mask says otherwise. */
void pci_function_init(PciFunction *fn, Device *dev, guint8 devfn, guint16 vendor, guint16 device,
                       guint8 revision, guint32 class_code, guint16 subsys_vendor,
                       guint16 subsys_device);
guint32  pci_config_read(PciFunction *fn, guint16 offset, unsigned size);
void     pci_config_write(PciFunction *fn, guint16 offset, guint32 value, unsigned size);

/* Ends the building of a function: what CONFIG holds now is what reset restores and what the
 * fingerprint hashes. */
void     pci_function_seal(PciFunction *fn);
/* Back to the sealed bytes; the hook is not called. Lock held. */
void     pci_function_reset(PciFunction *fn);
/* After a load of CONFIG: bits that no guest can change come from the sealed bytes, whatever the
 * record said. Lock held. */
void     pci_function_post_load(PciFunction *fn);
/* Fingerprint leaves PREFIX "config" (bytes with write mask) and PREFIX "config-w1c". */
void     pci_function_abi(const PciFunction *fn, AbiSink *sink, const char *prefix);
/* A state row for the first SIZE bytes of the configuration of FIELD, a PciFunction within Type. */
#define PCI_STATE_ROW(Type, field_, size_, since_)                                                 \
    {                                                                                              \
        .name = "config", .kind = STATE_BYTES, .offset = G_STRUCT_OFFSET(Type, field_.config),     \
        .size = (size_), .since = since_                                                           \
    }

/* TRUE if a write of SIZE bytes at OFFSET touches the LEN bytes at REG. */
static inline gboolean pci_touches(guint16 offset, unsigned size, guint16 reg, unsigned len)
{
    return offset < reg + len && reg < offset + size;
}

/* ---- buses ---- */

PciBus  *pci_root_bus(DeviceSet *set); /* pcie.0, the host bridge's; NULL without a board */
const char *pci_bus_name(const PciBus *bus);
DeviceSet *pci_bus_set(const PciBus *bus);
PciBus  *pci_bus_new(DeviceSet *set, const char *name);
/* The bus behind BRIDGE, which must be claimed. It answers for devices below N_SLOTS (a PCI Express link: 1). */
PciBus  *pci_bus_new_behind(PciFunction *bridge, const char *name, guint n_slots, gboolean hotplug);
void     pci_bus_free(PciBus *bus);
/* The bus with this name: "pcie.0", or the id of a bridge; NULL: none. */
PciBus  *pci_bus_find(DeviceSet *set, const char *name);
PciFunction *pci_bus_bridge(const PciBus *bus); /* NULL: the root bus */
PciBus  *pci_bus_parent(const PciBus *bus);
guint    pci_bus_slots(const PciBus *bus);
gboolean pci_bus_hotplug(const PciBus *bus); /* takes devices after the first cont */
/* Whether accesses pass to the bus: FALSE while its slot is without power, its link is down or it is held in reset. [any] */
void     pci_bus_set_open(PciBus *bus, gboolean open);
gboolean pci_bus_is_open(const PciBus *bus);

/* Claims bus:devfn; errors name the function that has it. Takes effect for the guest with
 * pci_bus_publish(), in a machine that has started with that of the slot's function 0 at the earliest. */
gboolean pci_bus_claim(PciBus *bus, PciFunction *fn, GError **error);
void     pci_bus_publish(PciBus *bus, PciFunction *fn);
void     pci_bus_remove(PciBus *bus, PciFunction *fn); /* returns when no access is in flight */
/* A bridge's bus numbers changed otherwise than by a write: reset, load. Lock held. */
void     pci_bus_numbers_changed(PciFunction *bridge);
PciFunction *pci_bus_claimed(const PciBus *bus, guint devfn); /* NULL: free [main] */
PciFunction *pci_bus_visible(const PciBus *bus, guint devfn); /* NULL: none that the guest sees [main] */
guint    pci_bus_n_visible(const PciBus *bus);                /* [any] */
/* [any] Accesses by number, as ECAM and 0xcf8 make them; all ones where there is nothing. */
guint32 pci_bus_config_read(PciBus *bus, guint8 bus_nr, guint8 devfn, guint16 offset,
                            unsigned size);
void pci_bus_config_write(PciBus *bus, guint8 bus_nr, guint8 devfn, guint16 offset, guint32 value,
                          unsigned size);

/* ---- work on the main thread ---- */

enum {
    PCI_WORK_RESET = 1 << 0,       /* the function is reset: its type's reset hook, RESET_WARM */
    PCI_WORK_RESET_BELOW = 1 << 1, /* every function behind the bridge is */
    PCI_WORK_OWN = 1 << 8,         /* first of the bits for work_due() */
};
/* [any] WORK (0: none) for the function, and the BARs of all functions go where their registers have
 * them, before any vCPU goes on. */
void pci_request(PciFunction *fn, guint work);
/* The same without holding vCPUs: for reset and load hooks, which run while the machine stands. */
void pci_request_lazily(PciFunction *fn);
/* Main thread, no device lock held: does now what is requested, and maps BARs. */
void pci_sync(DeviceSet *set);

/* What firmware does for bridges on the root bus, for a kernel that is started without any: bus numbers and windows (assign.c).
 * Main thread, machine paused, after reset. */
void pci_assign_bridges(DeviceSet *set);

/* ---- interrupt pins (intx.c) ---- */

/* The PIRQ (0 is A) of pin PIN (0 is INTA) of SLOT on the root bus; _PRT says the same. */
guint pci_pirq(guint slot, guint pin);
/* The level of the function's pin. Lock held, any thread. */
void  pci_intx_set(PciFunction *fn, gboolean level);
/* Command, level or presence changed: passes on what follows. Lock held. */
void  pci_intx_update(PciFunction *fn);
/* The LPC bridge's routing registers of PIRQ A to H: an ISA interrupt, or bit 7. [any] */
void  pci_intx_route(PciBus *root, const guint8 routes[8]);
