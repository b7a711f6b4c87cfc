/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * claims.c - what a device reserves while it lives: address ranges, interrupt pins, and other devices.
 *
 * Claims are checked in realize, so that publish, which can not fail, never meets a conflict. Links keep a used device
 * from being removed under its user. Each device counts its own, so that one that has none, or whose are the latest, is
 * gone without a look at all the others'.
 */
#include "set.h"

static gboolean conflict(Device *dev, const Claim *wanted, const Claim *held, const char *prop, GError **error)
{
    if (wanted->irq)
        return error_set(error, "Property '%s' of device '%s': interrupt %" G_GUINT64_FORMAT " is in use by device '%s'",
                         prop, dev->id, wanted->first, held->dev->id);
    return error_set(error,
                     "Property '%s' of device '%s': %s 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER
                     "x overlap 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER "x of device '%s'",
                     prop, dev->id, wanted->space == IO_PIO ? "ports" : "addresses", wanted->first, wanted->last,
                     held->first, held->last, held->dev->id);
}

static gboolean claim(Device *dev, const Claim *wanted, const char *prop, GError **error)
{
    GArray *claims = dev->set->claims;

    for (guint i = 0; i < claims->len; i++) {
        const Claim *held = &g_array_index(claims, Claim, i);
        if (held->irq == wanted->irq && held->space == wanted->space && held->first <= wanted->last &&
            wanted->first <= held->last)
            return conflict(dev, wanted, held, prop, error);
    }
    g_array_append_vals(claims, wanted, 1);
    dev->n_claims++;
    return TRUE;
}

gboolean device_claim_io(Device *dev, IoSpace space, guint64 base, guint64 size, const char *prop, GError **error)
{
    guint64 top = space == IO_PIO ? 0xffff : G_MAXUINT64;

    if (size == 0 || base > top || size - 1 > top - base)
        return error_set(error,
                         "Property '%s' of device '%s': %s 0x%" G_GINT64_MODIFIER "x + 0x%" G_GINT64_MODIFIER
                         "x end beyond 0x%" G_GINT64_MODIFIER "x",
                         prop, dev->id, space == IO_PIO ? "ports" : "addresses", base, size, top);
    return claim(dev, &(Claim){ .dev = dev, .space = space, .first = base, .last = base + size - 1 }, prop, error);
}

gboolean device_claim_irq(Device *dev, guint gsi, const char *prop, GError **error)
{
    if (gsi >= IRQ_PINS)
        return error_set(error, "Property '%s' of device '%s': interrupt %u is not one of 0 to %d", prop, dev->id, gsi,
                         IRQ_PINS - 1);
    return claim(dev, &(Claim){ .dev = dev, .irq = TRUE, .first = gsi, .last = gsi }, prop, error);
}

void device_release_claims(Device *dev)
{
    GArray *claims = dev->set->claims;

    for (guint i = claims->len; i > 0 && dev->n_claims > 0; i--) {
        if (g_array_index(claims, Claim, i - 1).dev != dev)
            continue;
        g_array_remove_index(claims, i - 1);
        dev->n_claims--;
    }
}

/* ---- links ---- */

Device *device_link(Device *user, DeviceNs ns, const char *id, const char *type_prefix, const char *prop, GError **error)
{
    Device *used = device_set_find(user->set, ns, id);

    if (!used) {
        g_autofree char *given = error_quote(id, -1);
        error_set_class(error, ERROR_DEVICE_NOT_FOUND, "Property '%s' of device '%s': there is no %s '%s'", prop,
                        user->id, type_prefix, given);
        return NULL;
    }
    if (!g_str_has_prefix(used->type->name, type_prefix)) {
        error_set(error, "Property '%s' of device '%s': '%s' is a %s, not a %s", prop, user->id, used->id,
                  used->type->name, type_prefix);
        return NULL;
    }
    g_array_append_vals(user->set->links, &(Link){ .user = user, .used = used }, 1);
    user->n_uses++;
    used->n_users++;
    return used;
}

void device_unlink(Device *user, Device *used)
{
    GArray *links = user->set->links;

    for (guint i = links->len; i > 0 && user->n_uses > 0; i--) {
        const Link *link = &g_array_index(links, Link, i - 1);
        if (link->user != user || (used && link->used != used))
            continue;
        user->n_uses--;
        link->used->n_users--;
        g_array_remove_index(links, i - 1);
    }
}

/* DEV goes, and with it what it holds; at the machine's end also what still holds it. */
void device_release_links(Device *dev)
{
    GArray *links = dev->set->links;

    device_unlink(dev, NULL);
    for (guint i = links->len; i > 0 && dev->n_users > 0; i--) {
        const Link *link = &g_array_index(links, Link, i - 1);
        if (link->used == dev)
            device_unlink(link->user, dev);
        i = MIN(i, links->len + 1);
    }
}

Device *device_used_by(const Device *used)
{
    for (guint i = 0; used->n_users > 0 && i < used->set->links->len; i++) {
        const Link *link = &g_array_index(used->set->links, Link, i);
        if (link->used == used)
            return link->user;
    }
    return NULL;
}
