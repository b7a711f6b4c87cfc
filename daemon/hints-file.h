/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hints-file.h - the envelope of a compat-hints file (docs/design/compat-hints.md section 2): sections with names, types and checksums.
 *
 * All numbers are little endian. A header, a table of sections, the sections (each at a multiple of 8), SHA-256 over all of that:
 *
 *   header   magic (8), version (2), oldest reader (2), sections (4), length of the file (8), producer (48, padded with NUL)
 *   section  name (24, padded), GVariant type (40, padded), offset (8), length (8), SHA-256 (32)
 *
 * This must be read for ever, by every build: a new version may only append to it. Main thread or any other: no state.
 */
#pragma once

#include <glib.h>

#define HINTS_MAX_BYTES (16u << 20)
#define HINTS_MAX_SECTIONS 64

typedef struct {
    char     *name;
    GVariant *content; /* in normal form; NULL: SECTION's type is none that the caller asked for */
    char     *type;
} HintsSection;

typedef struct {
    guint      version;
    char      *producer;  /* information only */
    GPtrArray *sections;  /* of HintsSection, in the order of the file */
} HintsFile;

HintsFile *hints_file_new(void);
void       hints_file_free(HintsFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HintsFile, hints_file_free)

/* CONTENT, sunk if it floats, becomes section NAME. */
void       hints_file_add(HintsFile *file, const char *name, GVariant *content);
/* The content of section NAME, which must be of TYPE; NULL without an error: there is none. Borrowed. */
GVariant  *hints_file_section(const HintsFile *file, const char *name, const char *type, GError **error);

/* The same file gives the same bytes. */
GBytes    *hints_file_encode(const HintsFile *file);
/* Everything is checked before anything is read: length, checksums, ranges, types, normal form. */
HintsFile *hints_file_decode(GBytes *bytes, GError **error);
