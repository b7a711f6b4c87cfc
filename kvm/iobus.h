/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * iobus.h - dispatch of port and memory-mapped accesses to region hooks.
 *
 * Two spaces, each with an immutable sorted table that is swapped as a whole. A dispatching thread
 * announces the table it reads; iobus_remove() returns only when no access is in flight in the old
 * table, so that the region's owner may be freed. Ranges are kept with inclusive ends, so a region
 * may end at 2^64-1.
 *
 * Topology changes (add, remove, move) are made on the main thread and never under a device
 * lock: a hook that wants one posts it (vm_post()).
 */
#pragma once

#include "vm.h"

typedef enum { IO_PIO, IO_MMIO } IoSpace;

typedef struct {
    /* SIZE is 1, 2, 4 or 8 and within [min_size, max_size]; OFFSET is relative to the region and aligned to
     * SIZE unless UNALIGNED. An access of another size is split or widened by the bus (little endian); the part
     * of an access outside any region reads as ones and is dropped on write. */
    guint64 (*read)(gpointer opaque, guint64 offset, unsigned size);
    void (*write)(gpointer opaque, guint64 offset, guint64 value, unsigned size);
    guint8   min_size, max_size; /* 0: 1 and 8 (4 for ports) */
    gboolean unaligned;          /* the hooks take any alignment */
    /* A read narrower than min_size reads min_size bytes and takes its part; a write narrower
     * than min_size is dropped. */
} IoOps;

enum {
    IO_COALESCED = 1 << 0, /* writes have no side effect that anybody waits for: KVM may queue them (address latches) */
};

typedef struct IoRegion IoRegion;

/* Adds [base, base+size-1] (SIZE 0 with BASE 0 means the whole space). LOCK is held around the hooks; NULL: the
 * hooks are thread safe themselves, and the caller says why. Fails on overlap (the error names both owners) and
 * beyond the end of the space.
 * NAME is for messages, logs and qtest; copied. */
IoRegion *iobus_add(Vm *vm, IoSpace space, guint64 base, guint64 size, const IoOps *ops, gpointer opaque, GMutex *lock,
                    guint32 flags, const char *name, GError **error);
/* Main thread, LOCK not held. */
void      iobus_remove(Vm *vm, IoRegion *region);

/* [any] One access as a CPU makes it. Returns FALSE if no region claimed any byte (reads then give ones). */
gboolean iobus_read(Vm *vm, IoSpace space, guint64 addr, unsigned size, guint64 *value);
gboolean iobus_write(Vm *vm, IoSpace space, guint64 addr, unsigned size, guint64 value);

/* ---- ioeventfd: a write of SIZE bytes (0: any size; MATCH: of VALUE only) signals FD instead of exiting ---- */
/* Where KVM refuses, the bus itself signals the fd, so that nothing fails half-way. */
void iobus_eventfd_add(Vm *vm, IoSpace space, guint64 addr, unsigned size, gboolean match, guint64 value, int fd);
void iobus_eventfd_remove(Vm *vm, IoSpace space, guint64 addr, unsigned size, gboolean match, guint64 value, int fd);
