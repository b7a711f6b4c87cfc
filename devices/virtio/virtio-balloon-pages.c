/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-balloon-pages.c - the queues of the memory balloon that pages come through (virtio 1.2 sections 5.5.6.1, .6 and .7).
 *
 * The hard part is to let go of memory that is the guest's, and of nothing else, while it runs. Page numbers are looked up in the memory
 * map, which is held meanwhile; only memory of memory-backend objects is given back, so firmware's and what is no RAM is not
 * touched. The pages of a chain are sorted first: neighbours go together, which costs the host one call. What a page is
 * after deflation is undefined (zero, or what its file has), so there is nothing to do but to hear of it.
 *
 * Free page reporting gives ranges as device-writable buffers: they are whole pages of the guest, and those of the host
 * that lie within are let go. Not so with a poison value other than 0: the guest expects to find it there.
 */
#include "../../schema/generated/devices.h"
#include "../mem/memory-backend.h"
#include "virtio-balloon-priv.h"

#define CHAINS_A_VISIT 16

static VirtioBalloon *balloon_of(VirtioDevice *vd)
{
    return (VirtioBalloon *)vd->dev;
}

static DeviceSet *set_of(const VirtioBalloon *b)
{
    return b->virtio.pci.dev.set;
}

/* Serves at most CHAINS_A_VISIT chains by ONE, and comes back for the rest. */
static void serve(VirtioDevice *vd, guint index, void (*one)(VirtioBalloon *b, VirtQueue *vq, const VqChain *c))
{
    VirtioBalloon *b = balloon_of(vd);
    VirtQueue *vq = vd->queues[index].vq;
    VqChain chain = { .iov = b->iov, .max_iov = BALLOON_MAX_SEGMENTS };
    guint left = CHAINS_A_VISIT;

    if (!vq_begin(vq))
        return;
    do {
        vq_kicks_off(vq);
        while (left > 0 && vq_pop(vq, &chain) == VQ_CHAIN) {
            left--;
            one(b, vq, &chain);
            vq_push(vq, &chain, 0);
        }
    } while (vq_kicks_on(vq) && left > 0);
    vq_flush(vq);
    if (vq_should_notify(vq))
        virtio_notify_queue(vd, index);
    if (vq_pending(vq))
        virtio_kick(vd, index);
    vq_end(vq);
}

/* ---- inflate and deflate ---- */

static int compare_pfns(const void *a, const void *b)
{
    guint32 x = *(const guint32 *)a, y = *(const guint32 *)b;

    return x < y ? -1 : x > y;
}

/* Lets N pages from PFN on go, as far as they are RAM. */
static void release_run(VirtioBalloon *b, const MemMap *map, guint32 pfn, guint n)
{
    guint64 at = (guint64)pfn * BALLOON_PAGE, end = at + (guint64)n * BALLOON_PAGE;

    while (at < end) {
        const MemRegion *r = mem_map_find(map, at);
        guint64 len = r ? MIN(end, r->gpa + r->size) - at : BALLOON_PAGE;
        if (!r || (r->flags & MEM_READONLY))
            device_guest_error(&b->virtio.pci.dev, "the page at 0x%" G_GINT64_MODIFIER "x for the balloon is no RAM", at);
        else
            memory_backend_discard(set_of(b), r->hva + (at - r->gpa), len);
        at += len;
    }
}

static gboolean read_pfns(VirtioBalloon *b, VirtQueue *vq, const VqChain *c, guint *n)
{
    if (c->n_in > 0 || c->out_len > sizeof b->pfns) {
        vq_break(vq, "a list of %" G_GUINT64_FORMAT " bytes of page numbers with %u writable segments", c->out_len, c->n_in);
        return FALSE;
    }
    *n = (guint)(iov_read(c->iov, c->n_out, 0, b->pfns, sizeof b->pfns) / sizeof b->pfns[0]);
    return TRUE;
}

static void inflate_one(VirtioBalloon *b, VirtQueue *vq, const VqChain *c)
{
    guint n, first = 0;

    if (!read_pfns(b, vq, c, &n))
        return;
    qsort(b->pfns, n, sizeof b->pfns[0], compare_pfns);
    MemMap *map = vm_memory_ref_map(device_set_vm(set_of(b)));
    for (guint i = 1; i <= n; i++) {
        if (i < n && b->pfns[i] - b->pfns[i - 1] <= 1)
            continue; /* its neighbour, or itself once more */
        release_run(b, map, b->pfns[first], b->pfns[i - 1] - b->pfns[first] + 1);
        first = i;
    }
    vm_memory_unref_map(device_set_vm(set_of(b)), map);
}

static void deflate_one(VirtioBalloon *b, VirtQueue *vq, const VqChain *c)
{
    guint n;

    read_pfns(b, vq, c, &n);
}

void balloon_inflate(VirtioDevice *vd, guint index)
{
    serve(vd, index, inflate_one);
}

void balloon_deflate(VirtioDevice *vd, guint index)
{
    serve(vd, index, deflate_one);
}

/* ---- free page reporting ---- */

static guint32 poison(const VirtioBalloon *b)
{
    return virtio_has(&b->virtio.vd, BALLOON_F_PAGE_POISON) ? le32_get(b->virtio.vd.config + BALLOON_POISON) : 0;
}

static void report_one(VirtioBalloon *b, VirtQueue *vq, const VqChain *c)
{
    if (c->n_out > 0) {
        vq_break(vq, "a report of free pages with %u readable segments", c->n_out);
        return;
    }
    for (guint i = 0; i < c->n_in && poison(b) == 0; i++) {
        guintptr at = (guintptr)c->iov[i].iov_base, end = at + c->iov[i].iov_len;
        at = (at + BALLOON_PAGE - 1) & ~(guintptr)(BALLOON_PAGE - 1);
        end &= ~(guintptr)(BALLOON_PAGE - 1);
        if (at < end)
            memory_backend_discard(set_of(b), (guint8 *)at, end - at);
    }
}

void balloon_report(VirtioDevice *vd, guint index)
{
    serve(vd, index, report_one);
}

/* ---- free page hints: readable buffers are commands, writable ones free pages ---- */

static void hint_command(VirtioBalloon *b, const VqChain *c)
{
    guint8 id[4] = { 0 };

    iov_read(c->iov, c->n_out, 0, id, sizeof id);
    guint32 current = le32_get(b->virtio.vd.config + BALLOON_HINT_ID);
    b->hint_live = current >= HINT_FIRST && le32_get(id) == current; /* else a stop, or an answer that comes late */
}

static void hint_one(VirtioBalloon *b, VirtQueue *vq, const VqChain *c)
{
    if ((c->n_out > 0) == (c->n_in > 0) || (c->n_out > 0 && c->out_len != 4)) {
        vq_break(vq, "a hint with %" G_GUINT64_FORMAT " readable and %" G_GUINT64_FORMAT " writable bytes", c->out_len, c->in_len);
        return;
    }
    if (c->n_out > 0)
        hint_command(b, c);
    else if (b->hint_live)
        b->hinted += c->in_len;
}

void balloon_hint(VirtioDevice *vd, guint index)
{
    serve(vd, index, hint_one);
}
