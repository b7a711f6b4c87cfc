/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "schema.h"

#include <histedit.h>

unsigned char complete_line(EditLine *el, const Schema *schema);
