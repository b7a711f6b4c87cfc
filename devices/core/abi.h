/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi.h - the guest-ABI fingerprint: a Merkle tree over everything that the guest can see
 * (docs/design/compat-hints.md section 3).
 *
 *   root = SHA-256 over (device id, device node) in id order; device node = SHA-256 over the type's name and (item name, leaf) in
 *   name order; leaf = SHA-256 over length-prefixed name, bytes and mask.
 * Every guest-visible property row is the leaf "prop:NAME"; the type's abi hook adds the rest. Device nodes are
 * cached and dropped by abi_invalidate() when a property changes.
 */
#pragma once

#include "device.h"

#define ABI_HASH_LEN 32

typedef struct {
    char   *device; /* id */
    char   *item;
    guint8  hash[ABI_HASH_LEN];
    GBytes *bytes;  /* canonical content */
    GBytes *mask;   /* NULL: none */
} AbiLeaf;

void abi_leaf_free(AbiLeaf *leaf);

/* Fills ROOT; LEAVES (optional) gets a GPtrArray of AbiLeaf in (device, item) order. */
void abi_fingerprint(DeviceSet *set, guint8 root[ABI_HASH_LEN], GPtrArray **leaves);
