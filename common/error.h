/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * error.h - the caller's mistakes. A GError of this domain carries the QMP error class in its
 * code; a GError of any other domain (GFileError, ...) is a GenericError on the wire. Three kinds
 * of failure are never mixed: the caller's fault is a GError, the guest's fault goes through
 * device_guest_error(), our own bug is g_assert().
 *
 * Messages name the thing, the value given and the value allowed, and quote at most 200 bytes of
 * input: pass foreign text through error_quote().
 */
#pragma once

#include <glib.h>

typedef enum {
    ERROR_GENERIC,           /* "GenericError" */
    ERROR_COMMAND_NOT_FOUND, /* "CommandNotFound" */
    ERROR_DEVICE_NOT_ACTIVE, /* "DeviceNotActive" */
    ERROR_DEVICE_NOT_FOUND,  /* "DeviceNotFound" */
    ERROR_KVM_MISSING_CAP,   /* "KVMMissingCap" */
} ErrorClass;

#define ERROR_DOMAIN (error_domain())
GQuark error_domain(void);

/* The wire name of an error's class. */
const char *error_class_name(const GError *error);

/* A printable copy of foreign TEXT, cut after 200 bytes with "..."; control characters and broken
 * UTF-8 escaped. Caller frees. LEN may be -1 for a NUL-terminated string. */
char *error_quote(const char *text, gssize len);

/* g_set_error with ERROR_GENERIC; returns FALSE so that `return error_set(error, ...)` reads well. */
gboolean error_set(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
gboolean error_set_class(GError **error, ErrorClass cls, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* The same with ": strerror(ERR)" appended. */
gboolean error_set_errno(GError **error, int err, const char *format, ...) G_GNUC_PRINTF(3, 4);
