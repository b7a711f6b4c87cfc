/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * device.h - the device model: types, instances, plug states, reset, saving.
 *
 * Everything that plugs is a Device: the board, CPUs, DIMMs, the serial port, loaders, and the host
 * side back ends (memory, chardevs, I/O threads), which share the mechanism but are not guest visible.
 *
 * A type is a constant DeviceType; the table of all is devices/types.c. Its property rows are
 * generated from schema/devices/NAME.json (common/prop.h). An instance is a plain struct that begins with Device;
 * its effective configuration is the generated struct behind DEVICE_CONFIG().
 *
 * Plug states; a device may, in each:
 *   NEW            hold property values, nothing else
 *   CONFIGURED     every property row has its effective value and an origin; nothing outside was touched
 *   REALIZED       own host resources and reserved names; not reachable by the guest
 *   PUBLISHED      be reached by the guest: hooks run on vCPU threads under the device lock
 *   UNPLUG_PENDING as PUBLISHED, the guest was asked to let go
 *   UNPUBLISHED    not reachable any more; no hook runs
 * Id and address are free again only when the instance is gone.
 *
 * Threads: all functions here are for the main thread. The core takes the device's lock around region
 * hooks, timers, reset, quiesce, resume, save and load, so that a device's author takes none.
 */
#pragma once

#include <sys/types.h>

#include "../../common/error.h"
#include "../../common/lock.h"
#include "../../common/prop.h"
#include "../../common/util.h"
#include "../../kvm/iobus.h"
#include "../../kvm/irq.h"
#include "../../kvm/memory.h"
#include "../../kvm/vm.h"

typedef struct Device Device;
typedef struct DeviceType DeviceType;
typedef struct DeviceSet DeviceSet;
typedef struct AbiSink AbiSink;
typedef struct PlaceSink PlaceSink;

typedef enum { RESET_COLD, RESET_WARM, RESET_BEFORE_LOAD } ResetKind;

typedef enum {
    DEVICE_NEW,
    DEVICE_CONFIGURED,
    DEVICE_REALIZED,
    DEVICE_PUBLISHED,
    DEVICE_UNPLUG_PENDING,
    DEVICE_UNPUBLISHED,
} DeviceState;

/* ---- state rows: what is saved (docs/design/anchors.md section 4) ---- */

typedef enum {
    STATE_BOOL,  /* gboolean */
    STATE_U8,
    STATE_U16,
    STATE_U32,
    STATE_U64,
    STATE_I64,
    STATE_BYTES, /* an array inside the instance: SIZE bytes */
    STATE_BUF,   /* a StateBuf inside the instance */
    STATE_ARRAY, /* a GByteArray * inside the instance, made by realize: as many bytes as there are; post_load checks them */
} StateKind;

/* Bytes whose number is configuration: allocated by realize, LEN fixed until unrealize. A record must have as many. */
typedef struct {
    guint8 *data;
    guint32 len;
} StateBuf;

typedef struct {
    const char *name;
    StateKind   kind;
    guint32     offset; /* into the instance */
    guint32     size;   /* BYTES: length; else the member's size (checked) */
    const char *since;
    guint64     before; /* value of a field that the writer did not know (BYTES: every byte; ARRAY: it is empty) */
} StateDesc;

#define STATE_ROW(Type, field, KIND, since_) \
    { .name = #field, .kind = STATE_##KIND, .offset = G_STRUCT_OFFSET(Type, field), .size = sizeof(((Type *)0)->field), .since = since_ }
#define STATE_END { .name = NULL }
extern const StateDesc state_none[]; /* "this type has no run-time state", said explicitly */

/* ---- types ---- */

/* What becomes of the wish to take a device away from a guest. */
typedef enum {
    UNPLUG_REFUSED, /* the error says why */
    UNPLUG_AT_ONCE, /* the guest needs not be asked */
    UNPLUG_ASKED,   /* it was told, and will answer */
} UnplugAnswer;

typedef struct {
    /* Every hook runs on the main thread. Hooks that return gboolean fail with an error that names the device, the
     * property and both values. A NULL hook means "nothing to do". */

    /* Computes every AUTO row still unset (prop_bag_set_*() with ORIGIN_DEFAULT or ORIGIN_HOST), checks combinations. Touches nothing. */
    gboolean (*resolve)(Device *dev, GError **error);
    /* Names the places that BAG's rows say (device_place()): what no two devices can have and what is allocated where nobody says. BAG may
     * be a record's, in which rows are unset; there may be no such device. */
    void (*places)(const PropBag *bag, PlaceSink *sink);
    /* Whether this host can give what DEV's rows say, of which any may be unset. DEV was made from a record and will not be plugged. */
    gboolean (*host_check)(Device *dev, GError **error);
    /* Reserves and builds: opens host resources, finds links, claims slots. The last hook that may fail; undoes itself. */
    gboolean (*realize)(Device *dev, GError **error);
    /* Inserts regions and lines so that the guest reaches the device. A conflict of address ranges is
     * found by realize (device_claim_io()). */
    void (*publish)(Device *dev);
    /* Returns to the resolved configuration. Lock held. */
    void (*reset)(Device *dev, ResetKind kind);
    /* After every reset and before the first instruction, in PlugKind order (board first, loaders last): build tables,
     * load kernels, set the BSP's registers. Machine paused. */
    gboolean (*power_on)(Device *dev, GError **error);
    void (*quiesce)(Device *dev); /* lock held: no more host I/O is started; machine paused */
    void (*resume)(Device *dev);  /* lock held */
    /* The machine has started: refuses, or asks the guest to let go (with FORCE it is not asked), which may be a reminder. NULL:
     * removal is at once. What the guest answers goes to core/unplug.h. */
    UnplugAnswer (*unplug_request)(Device *dev, gboolean force, GError **error);
    void (*unpublish)(Device *dev); /* takes out what publish put in */
    void (*unrealize)(Device *dev); /* undoes realize; safe after a failed realize too */
    gboolean (*post_load)(Device *dev, GError **error); /* lock held: derived state, timers, line levels from loaded rows */
    /* Properties that are no rows but read while the machine runs: their names, NULL-terminated, or NULL; and one's value as JSON
     * text, which the caller frees. */
    const char *const *readouts;
    char *(*readout)(Device *dev, const char *name);
    /* qom-set has changed ROW, which is PROP_LIVE. Lock held. */
    void (*row_changed)(Device *dev, guint row);
    /* Adds fingerprint leaves beyond the property rows: abi_leaf() for config space, tables, CPUID ... */
    void (*abi)(Device *dev, AbiSink *sink);
} DeviceOps;

struct DeviceType {
    const char      *name;
    gsize            size;   /* of the instance struct */
    const DeviceOps *ops;
    const StateDesc *state;  /* never NULL */
};

/* All types, sorted by name (devices/types.c). */
extern const DeviceType *const device_types[];
const DeviceType *device_type_find(const char *name);

/* ---- instances ---- */

struct Device {
    const DeviceType *type;
    PropBag          *bag;    /* NULL for parts of the board, which read the board's */
    DeviceSet        *set;
    Device           *parent; /* parts: the board */
    char             *id;
    gboolean          id_given; /* by the manager (else DRIVER.N) */
    DeviceState       state;
    GMutex            lock;
    guint             seq;    /* plug order */
    struct UnplugJob *unplug; /* the guest was asked to let go (core/unplug.c), or NULL */
    guint             n_claims, n_uses, n_users; /* core/claims.c: claims it holds, devices it holds, and that hold it */
    gboolean          remembered; /* it goes by an unplug: its values become its record */
    gboolean          implicit; /* brought by the core (default board): not in the plain configuration */
    gint64            guest_error_at; /* rate limit of device_guest_error() */
    guint             guest_errors;   /* since the last line logged */
    GPtrArray        *abi_leaves;     /* cached fingerprint leaves (core/abi.c), or NULL */
    guint8            abi_node[32];   /* their node hash */
};

#define DEVICE_CONFIG(dev, Config) ((const Config *)(((const Device *)(dev))->bag->config))

/* Ids live in three name spaces, as in QEMU: devices, objects, chardevs. */
typedef enum { NS_DEVICE, NS_OBJECT, NS_CHARDEV } DeviceNs;
DeviceNs device_ns(const Device *dev);
PlugKind device_plug(const Device *dev);

/* A request of a disk failed on the host. */
typedef enum { DEVICE_IO_REPORT, DEVICE_IO_IGNORE, DEVICE_IO_STOP } DeviceIoAction;
typedef struct {
    Device        *dev;
    const char    *node;   /* the block node's name */
    gboolean       write;  /* whatever changes the disk, flushes too */
    DeviceIoAction action; /* STOP: vm_hold() was called, the request is done again when the machine goes on */
    int            error;  /* errno */
} DeviceIoError;

/* What the guest reported by _OST on a slot, and who is in it. */
typedef struct {
    gboolean    cpu;   /* a CPU's; else a DIMM's */
    guint       slot;
    const char *id;    /* NULL: it is empty */
    guint32     event, status;
} DeviceOst;

/* What the devices tell the machine. Called on any thread unless said otherwise; implementations post to the main thread. */
typedef struct {
    void (*guest_shutdown)(gpointer user);                   /* ACPI power-off: vm_hold() was called */
    void (*guest_reset)(gpointer user);                      /* 0xcf9, 0x64, ...: likewise */
    void (*debug_exit)(gpointer user, int status);           /* isa-debug-exit: the daemon ends with STATUS */
    void (*rtc_change)(gpointer user, gint64 offset_s, const char *qom_path); /* RTC_CHANGE */
    void (*io_error)(gpointer user, const DeviceIoError *error); /* main thread */
    /* DEV is of no use to the guest until that resets it (virtio: DEVICE_NEEDS_RESET): REASON is for people. Main thread. */
    void (*device_error)(gpointer user, Device *dev, const char *reason);
    void (*acpi_ost)(gpointer user, const DeviceOst *ost); /* main thread */
    void (*balloon_change)(gpointer user, guint64 actual); /* BALLOON_CHANGE: bytes that the guest has; main thread */
    void (*port_change)(gpointer user, const char *id, gboolean open); /* VSERPORT_CHANGE; main thread */
    /* Opens "/dev/fdset/N" from the descriptors that clients passed; main thread. */
    int (*open_fdset)(gpointer user, gint64 set, int flags, GError **error);
    /* The ends of device_unplug(): ID and PATH are those of the device, which exists no longer or goes on. Main thread. */
    void (*device_gone)(gpointer user, const char *id, const char *path);
    void (*unplug_failed)(gpointer user, const char *id, const char *path, const char *reason);
    void (*rx_filter_changed)(gpointer user, Device *nic); /* NIC_RX_FILTER_CHANGED; main thread, its lock held */
} DeviceObserver;

/* Opens PATH for DEV's property PROP: "/dev/fdset/N" is a descriptor passed by a client, anything else a file (MODE if it is made). The result is
 * close-on-exec. -1 with an error that names the device, the property and the path. */
int device_open_path(Device *dev, const char *prop, const char *path, int flags, mode_t mode, GError **error);

/* ---- the set of all devices of one machine (devices/core/set.c) ---- */

DeviceSet *device_set_new(Vm *vm, const DeviceObserver *observer, gpointer user);
void       device_set_free(DeviceSet *set); /* removes everything, youngest first */
Vm        *device_set_vm(const DeviceSet *set);
const DeviceObserver *device_set_observer(const DeviceSet *set, gpointer *user);

Device *device_set_find(const DeviceSet *set, DeviceNs ns, const char *id);
Device *device_set_board(const DeviceSet *set); /* NULL: none yet */
/* Walks in plug order; FN returns FALSE to stop. Parts are not walked. */
void    device_set_foreach(const DeviceSet *set, gboolean (*fn)(Device *, gpointer), gpointer user);
void    device_set_foreach_part(const DeviceSet *set, gboolean (*fn)(Device *, gpointer), gpointer user);
/* The parts of the board are found by type name. */
Device *device_set_part(const DeviceSet *set, const char *type_name);

/* ---- the plug path (devices/core/plug.c): NEW -> ... -> PUBLISHED ---- */

/* Takes BAG. Creates, resolves and realizes; the device is in the set, not yet published. Checks first: id free,
 * type known and pluggable in this phase, singleton. BAG->id NULL: DRIVER.N, lowest free. */
Device  *device_plug_realize(DeviceSet *set, PropBag *bag, GError **error);
void     device_plug_publish(Device *dev);
/* Undoes device_plug_realize() of a device that was never published. */
void     device_plug_rollback(Device *dev);
/* Takes a published device away at once (unpublish, unrealize, free), and tells nobody: for back ends; devices go by device_unplug().
 * Errors: in use by another (names it). */
gboolean device_remove(Device *dev, GError **error);

/* Several plugs as one: devices are published between the two (which nest), and what their guest is told is told at the end, when all
 * are there. Everything that can fail comes before, as realize does. */
void     device_plug_begin(DeviceSet *set);
void     device_plug_end(DeviceSet *set);
/* For whoever hears of devices that come and go (bus, hotplug controller): FN(USER) is called once at the end of the bracket, however often it
 * was asked for, and at once where there is none. Order of the first requests; no device lock held. USER that goes before cancels. */
void     device_plug_settle(DeviceSet *set, void (*fn)(gpointer user), gpointer user);
void     device_plug_settle_cancel(DeviceSet *set, gpointer user);

/* Whether the machine has run its first instruction: from then on only HOTPLUG types plug, and DIMMs are device memory. */
void     device_set_started(DeviceSet *set);
gboolean device_set_is_started(const DeviceSet *set);

/* A part of the board, realized with it; found by device_set_part(), saved and reset like any device; no rows of its own. */
Device  *device_part_new(Device *parent, const char *type_name, GError **error);
void     device_part_free(Device *part);

/* Links: a device that uses another holds it, so that removal of the used one is refused by name. */
Device  *device_link(Device *user, DeviceNs ns, const char *id, const char *type_prefix, const char *prop, GError **error);
void     device_unlink(Device *user, Device *used);
Device  *device_used_by(const Device *used); /* one that holds it, or NULL */

/* Claims an address range or an interrupt for the time of a device's life, so that conflicts are found in realize.
 * Released by the core when the device goes. */
gboolean device_claim_io(Device *dev, IoSpace space, guint64 base, guint64 size, const char *prop, GError **error);
gboolean device_claim_irq(Device *dev, guint gsi, const char *prop, GError **error);

/* In realize: takes the place in the boot order that DEV's row "bootindex" gives it, if it is set, for firmware that knows the
 * device by OF_PATH. An index that another device has is refused by name. Released by the core when the device goes. */
gboolean   device_claim_boot(Device *dev, const char *of_path, GError **error);
/* The paths of published devices, first to last. Free with g_ptr_array_unref(). */
GPtrArray *device_set_boot_order(DeviceSet *set);
/* The path of a PCI function, in the form that SeaBIOS and OVMF compare: DEVFNS are those of the N functions on the way from
 * pcie.0 to it, bridges first and itself last; NODE is its kind ("scsi" for virtio-blk and -scsi, "ethernet"); TAIL ("disk@0,0")
 * names what is on it, or NULL. Caller frees. */
char      *boot_path_pci(const guint8 *devfns, guint n, const char *node, const char *tail);

/* "/machine/peripheral/ID", "/machine/unattached/TYPE", "/objects/ID", "/chardevs/ID". Caller frees. */
char    *device_path(const Device *dev);
Device  *device_set_by_path(const DeviceSet *set, const char *path);

/* ---- reset, power-on, quiesce: the whole set ---- */
void     device_set_reset(DeviceSet *set, ResetKind kind);
gboolean device_set_power_on(DeviceSet *set, GError **error);
void     device_set_quiesce(DeviceSet *set);
void     device_set_resume(DeviceSet *set);

/* What one device at a time can have: VALUE of a KIND (a constant of the type's, "PCI function"), within SCOPE (a bus; "": there is one), which the
 * row SCOPE_ROW says, or NULL. */
typedef struct {
    const char *kind, *scope;
    guint64     value;
    const char *scope_row;
} Place;

/* For DeviceOps.places: ROWS (NULL-terminated) put the device there. */
void device_place(PlaceSink *sink, const char *const *rows, Place place);

/* Looks for a place for DEV among candidates that are free, in order: one that is reserved for nobody, else the longest reserved.
 *     PlaceSearch search = device_place_search(dev);
 *     for (...) if (is free && device_place_try(&search, i, place of i)) break;
 *     if (!search.found) ... else search.value */
typedef struct {
    const Device *dev;
    gboolean      found;
    guint         value;
    guint64       since; /* 0: not reserved */
} PlaceSearch;
PlaceSearch device_place_search(const Device *dev);
/* TRUE: no better one will come. */
gboolean    device_place_try(PlaceSearch *search, guint value, Place place);
/* The same for what consists of several places: SINCE is the latest of their device_place_since(). */
gboolean    device_place_offer(PlaceSearch *search, guint value, guint64 since);
#define PLACE_NEVER G_MAXUINT64 /* another device that is about to come is configured to be there */
/* Since when the place is reserved for another than DEV; 0: it is not. */
guint64     device_place_since(const Device *dev, Place place);

/* ---- saving (devices/core/state.c) ---- */
/* a{sv}: field name -> value, in row order. */
GVariant *device_save(Device *dev);
/* Strict: unknown fields are refused by name, missing ones take `before`; then post_load. Nothing changes on error. */
gboolean  device_load(Device *dev, GVariant *state, GError **error);

/* ---- the guest's mistakes ---- */
/* Logs at most one line a second per device, with the count of those held back. [any] */
void device_guest_error(Device *dev, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* ---- the guest ABI (devices/core/abi.c) ---- */
/* Drops the device's cached leaves: something that the guest can see changed. */
void abi_invalidate(Device *dev);
/* One leaf: item NAME of the device with these bytes; MASK (optional, same length) are the writable bits. */
void abi_leaf(AbiSink *sink, const char *name, const void *bytes, gsize len, const void *mask);
