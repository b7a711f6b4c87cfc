/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rng.h - host sources of random bytes (objects "rng-...") as devices see them. All on the main thread. */
#pragma once

#include "../core/device.h"

/* How many bytes there are of SOURCE, NULL: of the host kernel's generator, which always has LEN. 0: none yet; it is asked for up to LEN. */
gsize rng_ready(Device *source, gsize len);
/* LEN of those into BUF. 64 KiB of the kernel's take some 0.2 ms. */
void  rng_fill(Device *source, void *buf, gsize len);
/* FN(user) is called once, when there are bytes after there were none. */
void  rng_wait(Device *source, void (*fn)(gpointer user), gpointer user);
void  rng_wait_cancel(Device *source, gpointer user); /* before USER is freed */
