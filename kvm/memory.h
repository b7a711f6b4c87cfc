/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * memory.h - guest-physical memory that the guest executes from: one KVM slot per region.
 *
 * The map is an immutable sorted array, swapped as a whole; readers on any thread take it without a
 * lock. Regions never overlap. What is not in the map is MMIO (kvm/iobus.h). Device DMA goes
 * through these functions and so reaches RAM only.
 */
#pragma once

#include "vm.h"

enum {
    MEM_READONLY = 1 << 0, /* guest writes exit as MMIO (KVM_MEM_READONLY) */
    MEM_DIRTY_LOG = 1 << 1,
};

typedef struct {
    guint64 gpa, size; /* page aligned */
    guint8 *hva;
    guint32 flags;
    guint   slot;      /* KVM slot number */
} MemRegion;

/* Adds a region; takes no ownership of the host memory, which must stay mapped until after
 * vm_memory_remove(). Errors: overlap, KVM out of slots, alignment; each names both ranges. */
gboolean vm_memory_add(Vm *vm, guint64 gpa, void *hva, guint64 size, guint32 flags, GError **error);
/* Removes the region that starts at GPA; returns when no reader holds the old map. */
void     vm_memory_remove(Vm *vm, guint64 gpa);

/* Before the first start, with no region there: this one will probably be added, so KVM gets its slot already, which costs less now than
 * later (kvm.c). Devices do not see it. If it is added as said, it is there at once; if others come or vm_memory_commit(), KVM loses it.
 * vm_memory_forget(): before the memory at HVA goes. */
void     vm_memory_expect(Vm *vm, guint64 gpa, void *hva, guint64 size);
void     vm_memory_forget(Vm *vm, const void *hva);

/* Between the two, machine paused, memory appears in the map, where devices and loaders reach it, and not yet in KVM, where
 * nobody can miss it: the wait that the kernel has for the first slot (kvm.c) passes while tables and kernels are written.
 * Commit gives KVM what is there by then. Error: KVM refuses one; that and the later ones stay put off until they are removed. */
void     vm_memory_defer(Vm *vm);
gboolean vm_memory_commit(Vm *vm, GError **error);

/* [any] The current map, in address order. Valid until vm_memory_unref_map(). */
typedef struct MemMap MemMap;
MemMap          *vm_memory_ref_map(Vm *vm);
void             vm_memory_unref_map(Vm *vm, MemMap *map);
const MemRegion *mem_map_regions(const MemMap *map, guint *n);
/* [any] Within one map: the region that contains GPA, or NULL; direct pointer if [gpa, gpa+len) lies in one region, else NULL. */
const MemRegion *mem_map_find(const MemMap *map, guint64 gpa);
void            *mem_map_ptr(const MemMap *map, guint64 gpa, gsize len);

/* [any] Copies bytes; a range may span adjacent regions. FALSE, with nothing written, if any byte is not RAM. */
gboolean vm_memory_read(Vm *vm, guint64 gpa, void *buf, gsize len);
gboolean vm_memory_write(Vm *vm, guint64 gpa, const void *buf, gsize len); /* a READONLY region is not RAM to a writer */
gboolean vm_memory_fill(Vm *vm, guint64 gpa, guint8 byte, gsize len);
/* Direct pointer if [gpa, gpa+len) lies in one region, else NULL. Main thread, or with a map reference. */
void    *vm_memory_ptr(Vm *vm, guint64 gpa, gsize len);
