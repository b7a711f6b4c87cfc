/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* iothread.h - the `iothread` object as devices and queries see it. */
#pragma once

#include "../../kvm/iothread.h"
#include "../core/device.h"

IoThread *iothread_object_thread(Device *object);
