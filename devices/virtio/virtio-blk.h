/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-blk.h - the virtio disk as queries see it.
 */
#pragma once

#include "../backend/block.h"

gboolean virtio_blk_is(const Device *dev);
Device  *virtio_blk_node(Device *dev);
/* Requests of each kind that were the guest's mistake. */
void     virtio_blk_invalid(Device *dev, guint64 counts[BLOCK_N_OPS]);
/* The errno of a request that failed and waits for the machine to go on; 0: there is none. */
int      virtio_blk_parked_error(Device *dev);
