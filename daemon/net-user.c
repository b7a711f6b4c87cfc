/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net-user.c - netdev_add {"type": "user"}: QEMU's words are the rows' own names, but for its lists, which a row holds as text
 * with commas. A comma within an element would make two of it, and is in no valid element.
 */
#include "net-user.h"

#include <string.h>

#include "../common/error.h"
#include "handlers.h"

static gboolean say_s(PropBag *bag, const char *name, const char *value, GError **error)
{
    const PropDesc *row = &bag->table->rows[prop_table_row(bag->table, name)];
    gsize len = value ? strlen(value) : 0;

    if (!value)
        return TRUE;
    if (len < row->min || len > row->max)
        return error_set(error, "Parameter '%s' has %zu bytes, and may have %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, name,
                         len, row->min, row->max);
    prop_bag_set_s(bag, name, value, ORIGIN_CONFIG);
    return TRUE;
}

static gboolean say_list(PropBag *bag, const char *name, const GPtrArray *list, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);

    if (!list || !list->len)
        return TRUE;
    for (guint i = 0; i < list->len; i++) {
        const char *element = ((const String *)g_ptr_array_index(list, i))->str;

        if (!*element || strchr(element, ',')) {
            g_autofree char *given = error_quote(element, -1);
            return error_set(error, "Parameter '%s' has the element '%s', which may be neither empty nor hold a comma", name,
                             given);
        }
        g_string_append_printf(text, "%s%s", i ? "," : "", element);
    }
    return say_s(bag, name, text->str, error);
}

static gboolean say_prefixlen(PropBag *bag, const NetdevUserOptions *u, GError **error)
{
    const PropDesc *row = &bag->table->rows[prop_table_row(bag->table, "ipv6-prefixlen")];

    if (!u->has_ipv6_prefixlen)
        return TRUE;
    if (u->ipv6_prefixlen < 0 || (guint64)u->ipv6_prefixlen > row->max)
        return error_set(error, "Parameter 'ipv6-prefixlen' is %" G_GINT64_FORMAT ", and may be 0 to %" G_GUINT64_FORMAT,
                         u->ipv6_prefixlen, row->max);
    prop_bag_set_u(bag, "ipv6-prefixlen", (guint64)u->ipv6_prefixlen, ORIGIN_CONFIG);
    return TRUE;
}

gboolean net_user_from_args(PropBag *bag, const NetdevUserOptions *u, GError **error)
{
    handler_say_u(bag, u->has_restrict_, "restrict", (guint64)u->restrict_);
    handler_say_u(bag, u->has_ipv4, "ipv4", (guint64)u->ipv4);
    handler_say_u(bag, u->has_ipv6, "ipv6", (guint64)u->ipv6);
    return say_s(bag, "net", u->net, error) && say_s(bag, "host", u->host, error) && say_s(bag, "dns", u->dns, error) &&
           say_s(bag, "dhcpstart", u->dhcpstart, error) && say_s(bag, "hostname", u->hostname, error) &&
           say_s(bag, "domainname", u->domainname, error) && say_s(bag, "tftp", u->tftp, error) &&
           say_s(bag, "tftp-server-name", u->tftp_server_name, error) && say_s(bag, "bootfile", u->bootfile, error) &&
           say_s(bag, "ipv6-prefix", u->ipv6_prefix, error) && say_prefixlen(bag, u, error) &&
           say_s(bag, "ipv6-host", u->ipv6_host, error) && say_s(bag, "ipv6-dns", u->ipv6_dns, error) &&
           say_list(bag, "dnssearch", u->dnssearch, error) && say_list(bag, "hostfwd", u->hostfwd, error);
}
