/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rng.h - host sources of random bytes ("rng-random" objects) as devices see them. */
#pragma once

#include "../core/device.h"

/* Fills BUF with LEN random bytes of SOURCE, NULL: of the host kernel's generator. Never blocks for long: 64 KiB take some
 * 0.2 ms. [any] */
void rng_fill(Device *source, void *buf, gsize len);
