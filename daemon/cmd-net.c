/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmd-net.c - network back ends and cards. netdev_add says in QEMU's words what object-add says by property rows; the
 * functions here translate.
 *
 * Descriptors. A name is one that the client's session got by getfd; it is used up when the back end is there, not before, so
 * that a command that fails can be given again. Until then the back end has duplicates. A number is an inherited descriptor.
 */
#include <errno.h>
#include <fcntl.h>

#include "../common/util.h"
#include "../devices/backend/netdev.h"
#include "../devices/virtio/virtio-net.h"
#include "../schema/generated/devices.h"
#include "handlers.h"
#include "net-user.h"

/* ---- descriptors ---- */

static void close_fd(gpointer fd)
{
    auto_fd_close(*(int *)fd);
}

static int dup_named(QmpRequest *req, const char *name, GError **error)
{
    int fd, copy;

    if (!req->session) {
        error_set(error, "netdev_add: '%s' is a descriptor's name, and there is no session that has it", name);
        return -1;
    }
    fd = qmp_session_take_fd(req->session, name, error);
    if (fd < 0)
        return -1;
    copy = fcntl(fd, F_DUPFD, 3); /* as if inherited: the back end takes no descriptor that somebody has */
    if (copy < 0)
        error_set_errno(error, errno, "netdev_add: descriptor '%s' can not be duplicated", name);
    qmp_session_store_fd(req->session, name, fd);
    return copy;
}

/* The descriptors that NAMES, with colons between them, stand for: their numbers as text, those to close on failure into OPENED. */
static char *find_fds(QmpRequest *req, const char *names, GArray *opened, GError **error)
{
    g_auto(GStrv) list = g_strsplit(names, ":", -1);
    g_autoptr(GString) numbers = g_string_new(NULL);

    for (guint i = 0; list[i]; i++) {
        guint64 number;

        if (g_ascii_isdigit(list[i][0])) {
            if (!g_ascii_string_to_unsigned(list[i], 10, 3, G_MAXINT, &number, error))
                return NULL;
        } else {
            int fd = dup_named(req, list[i], error);
            if (fd < 0)
                return NULL;
            g_array_append_val(opened, fd);
            number = (guint64)fd;
        }
        g_string_append_printf(numbers, "%s%d", i ? ":" : "", (int)number);
    }
    return g_string_free(g_steal_pointer(&numbers), FALSE);
}

static void use_up_names(QmpRequest *req, const char *names)
{
    g_auto(GStrv) list = g_strsplit(names ? names : "", ":", -1);

    for (guint i = 0; list[i]; i++) {
        if (*list[i] && !g_ascii_isdigit(list[i][0]))
            qmp_session_close_fd(req->session, list[i], NULL);
    }
}

/* ---- netdev_add ---- */

static gboolean check_script(const char *name, const char *value, GError **error)
{
    g_autofree char *given = error_quote(value ? value : "", -1);

    return !value || !*value || strcmp(value, "no") == 0 ||
           error_set(error, "Parameter '%s' is '%s', and may be 'no': the daemon runs no scripts", name, given);
}

static gboolean check_length(const char *name, const char *value, gsize max, GError **error)
{
    return !value || (*value && strlen(value) <= max) ||
           error_set(error, "Parameter '%s' has %zu bytes, and may have 1 to %zu", name, strlen(value), max);
}

static gboolean check_tap(const NetdevTapOptions *t, GError **error)
{
    if (t->has_vhost && t->vhost)
        return error_set(error, "Parameter 'vhost' is true, and may be false: the data path is the daemon's");
    if (t->has_queues && (t->queues < 1 || t->queues > NET_MAX_QUEUES))
        return error_set(error, "Parameter 'queues' is %u, and may be 1 to %d", t->queues, NET_MAX_QUEUES);
    if (t->has_sndbuf && t->sndbuf > G_MAXINT32)
        return error_set(error, "Parameter 'sndbuf' is %" G_GUINT64_FORMAT ", and may be 0 to %d", t->sndbuf, G_MAXINT32);
    return check_script("script", t->script, error) && check_script("downscript", t->downscript, error) &&
           check_length("ifname", t->ifname, 15, error) && check_length("fd", t->fd, 255, error) &&
           check_length("fds", t->fds, 1023, error);
}

static gboolean tap_from_args(QmpRequest *req, PropBag *bag, const NetdevTapOptions *t, GArray *opened, GError **error)
{
    const char *names = t->fds ? t->fds : t->fd;

    if (!check_tap(t, error))
        return FALSE;
    handler_say_s(bag, "ifname", t->ifname);
    handler_say_s(bag, "fd", t->fd);
    handler_say_s(bag, "fds", t->fds);
    handler_say_u(bag, t->has_sndbuf && t->sndbuf, "sndbuf", t->sndbuf);
    handler_say_u(bag, t->has_vnet_hdr, "vnet_hdr", (guint64)t->vnet_hdr);
    handler_say_u(bag, t->has_queues, "queues", t->queues);
    if (names) {
        g_autofree char *numbers = find_fds(req, names, opened, error);
        if (!numbers)
            return FALSE;
        prop_bag_set_s(bag, "fd-numbers", numbers, ORIGIN_DEFAULT);
    }
    return TRUE;
}

static PropBag *bag_from_args(QmpRequest *req, const NetdevOptions *args, GArray *opened, GError **error)
{
    g_autofree char *type = g_strdup_printf("netdev-%s", net_client_driver_names[args->type]);
    g_autoptr(PropBag) bag = prop_bag_new(prop_table_find(type));

    if (!prop_id_valid(args->id)) {
        g_autofree char *given = error_quote(args->id, -1);
        error_set(error, "Parameter 'id' expects an identifier, got '%s'", given);
        return NULL;
    }
    bag->id = g_strdup(args->id);
    switch (args->type) {
    case NET_CLIENT_DRIVER_TAP:
        return tap_from_args(req, bag, args->u.tap, opened, error) ? g_steal_pointer(&bag) : NULL;
    case NET_CLIENT_DRIVER_USER:
        return net_user_from_args(bag, args->u.user, error) ? g_steal_pointer(&bag) : NULL;
    default:
        g_assert_not_reached();
    }
}

gboolean cmd_netdev_add(Machine *m, QmpRequest *req, const NetdevOptions *args, GError **error)
{
    g_autoptr(GArray) opened = g_array_new(FALSE, FALSE, sizeof(int));
    PropBag *bag;

    g_array_set_clear_func(opened, close_fd);
    if (!machine_check_alive(m, "netdev_add", error) || !(bag = bag_from_args(req, args, opened, error)) ||
        !machine_plug(m, bag, error))
        return FALSE;
    g_array_set_clear_func(opened, NULL); /* the back end's now */
    if (args->type == NET_CLIENT_DRIVER_TAP)
        use_up_names(req, args->u.tap->fds ? args->u.tap->fds : args->u.tap->fd);
    return TRUE;
}

gboolean cmd_netdev_del(Machine *m, QmpRequest *req, const NetdevDelArgs *args, GError **error)
{
    Device *dev = device_set_find(m->devices, NS_OBJECT, args->id);
    g_autofree char *given = error_quote(args->id, -1);

    if (!dev || !netdev_is(dev))
        return error_set_class(error, ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", given);
    return device_remove(dev, error);
}

/* ---- cards ---- */

gboolean cmd_set_link(Machine *m, QmpRequest *req, const SetLinkArgs *args, GError **error)
{
    Device *dev = device_set_find(m->devices, NS_DEVICE, args->name);
    g_autofree char *given = error_quote(args->name, -1);

    if (dev && virtio_net_is(dev)) {
        virtio_net_set_link(dev, args->up);
        return TRUE;
    }
    dev = device_set_find(m->devices, NS_OBJECT, args->name);
    if (!dev || !netdev_is(dev))
        return error_set_class(error, ERROR_DEVICE_NOT_FOUND, "Device '%s' not found", given);
    netdev_set_link((Netdev *)dev, args->up);
    return TRUE;
}

static char *mac_text(const guint8 *mac)
{
    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

static GPtrArray *mac_list(const NetFilter *f, gboolean multicast)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    guint first = multicast ? f->n_unicast : 0, end = multicast ? f->n_unicast + f->n_multicast : f->n_unicast;

    for (guint i = first; i < end; i++)
        g_ptr_array_add(list, mac_text(f->macs + 6 * i));
    return list;
}

static RxState rx_state(gboolean none, gboolean all)
{
    return none ? RX_STATE_NONE : all ? RX_STATE_ALL : RX_STATE_NORMAL;
}

static RxFilterInfo *filter_info(Device *dev)
{
    RxFilterInfo *info = g_new0(RxFilterInfo, 1);
    NetFilter f;
    gboolean vlans;

    virtio_net_filter(dev, &f, &vlans);
    info->name = g_strdup(dev->id);
    info->promiscuous = f.promisc;
    info->multicast = rx_state(f.no_multicast, f.all_multicast || f.multicast_overflow);
    info->unicast = rx_state(f.no_unicast, f.all_unicast || f.unicast_overflow);
    info->vlan = vlans ? RX_STATE_NORMAL : RX_STATE_ALL;
    info->broadcast_allowed = !f.no_broadcast;
    info->multicast_overflow = f.multicast_overflow;
    info->unicast_overflow = f.unicast_overflow;
    info->main_mac = mac_text(f.mac);
    info->vlan_table = g_array_new(FALSE, FALSE, sizeof(gint64));
    for (gint64 i = 0; vlans && i < 4096; i++) {
        if (f.vlans[i / 8] & (1 << (i % 8)))
            g_array_append_val(info->vlan_table, i);
    }
    info->unicast_table = mac_list(&f, FALSE);
    info->multicast_table = mac_list(&f, TRUE);
    return info;
}

typedef struct {
    const char *name; /* NULL: all */
    GPtrArray  *list;
} FilterQuery;

static gboolean add_filter(Device *dev, gpointer user)
{
    FilterQuery *q = user;

    if (virtio_net_is(dev) && (!q->name || strcmp(q->name, dev->id) == 0))
        g_ptr_array_add(q->list, filter_info(dev));
    return TRUE;
}

gboolean cmd_query_rx_filter(Machine *m, QmpRequest *req, const QueryRxFilterArgs *args, GPtrArray **ret, GError **error)
{
    g_autoptr(GPtrArray) list = REPLY_LIST(rx_filter_info_free);
    FilterQuery q = { args->name, list };
    g_autofree char *given = error_quote(args->name ? args->name : "", -1);

    device_set_foreach(m->devices, add_filter, &q);
    if (args->name && list->len == 0)
        return error_set(error, "invalid net client name: %s", given);
    *ret = g_steal_pointer(&list);
    return TRUE;
}
