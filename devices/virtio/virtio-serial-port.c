/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtio-serial-port.c - the ports of a virtio console: devices of their own between a slot of the hub and a chardev.
 *
 * A port has no state: what the guest knows of it is the hub's, under the hub's lock. It holds the hub by a link, so the hub
 * can not go before its ports. Its number is taken in realize, and the guest hears of it in publish. Removal asks nobody: the
 * guest is told that the port has gone, and what it had sent and nobody had taken is dropped.
 */
#include "../../schema/generated/devices.h"
#include "virtio-serial-priv.h"

static const VirtioSerialPortConfig *config_of(const SerialPort *port)
{
    return DEVICE_CONFIG(port, VirtioSerialPortConfig);
}

static GMutex *hub_lock(const SerialPort *port)
{
    return &port->hub->virtio.pci.dev.lock;
}

extern const DeviceType virtconsole_type;
extern const DeviceType virtserialport_type;

/* ---- the manager ---- */

void serial_port_event(SerialPort *port, gboolean open)
{
    gpointer user;
    const DeviceObserver *observer = device_set_observer(port->dev.set, &user);

    if (port->told == open)
        return;
    port->told = open;
    if (observer && observer->port_change)
        observer->port_change(user, port->dev.id, open);
}

/* ---- the chardev; main thread ---- */

static gsize can_receive(gpointer user)
{
    SerialPort *port = user;
    LOCK_SCOPE(hub_lock(port));

    return port->published ? serial_room(port->hub, port->nr) : 0;
}

static void receive(gpointer user, const guint8 *data, gsize len)
{
    SerialPort *port = user;
    LOCK_SCOPE(hub_lock(port));

    serial_receive(port->hub, port->nr, data, len);
}

static void writable(gpointer user)
{
    SerialPort *port = user;
    LOCK_SCOPE(hub_lock(port));

    if (port->published)
        serial_transmit(port->hub, port->nr);
}

static void opened(gpointer user, gboolean open)
{
    SerialPort *port = user;
    LOCK_SCOPE(hub_lock(port));

    port->host_open = open;
    if (port->published)
        serial_host_changed(port->hub, port->nr);
}

static const ChardevFrontend frontend = {
    .can_receive = can_receive,
    .receive = receive,
    .writable = writable,
    .opened = opened,
};

/* ---- resolve: which bus, which number ---- */

static Place place_of(const char *bus, guint nr)
{
    return (Place){ "port", bus, nr, "bus" };
}

static void port_places(const PropBag *bag, PlaceSink *sink)
{
    static const char *const rows[] = { "nr", NULL };
    const VirtioSerialPortConfig *c = bag->config;

    if (prop_bag_is_set(bag, "nr") && prop_bag_is_set(bag, "bus"))
        device_place(sink, rows, place_of(c->bus, c->nr));
}

/* Port 0 is a console's alone. */
static gboolean free_number(const Device *port, const VirtioSerial *hub, gboolean console, guint *nr)
{
    PlaceSearch search = device_place_search(port);
    g_autofree char *bus = g_strdup_printf("%s.0", hub->virtio.pci.dev.id);

    for (guint i = console ? 0 : 1; i < serial_config(hub)->max_ports; i++) {
        if (!hub->owners[i] && device_place_try(&search, i, place_of(bus, i)))
            break;
    }
    *nr = search.value;
    return search.found;
}

typedef struct {
    const Device *port;
    VirtioSerial *found;
    gboolean      console;
} HubSearch;

static gboolean hub_with_room(Device *dev, gpointer user)
{
    HubSearch *search = user;
    guint nr;

    if (dev->type != &virtio_serial_pci_type || !free_number(search->port, (VirtioSerial *)dev, search->console, &nr))
        return TRUE;
    search->found = (VirtioSerial *)dev;
    return FALSE;
}

/* The hub that the bus "ID.0" is of. */
static VirtioSerial *find_hub(const SerialPort *port, GError **error)
{
    const char *bus = config_of(port)->bus;
    g_autofree char *id = g_str_has_suffix(bus, ".0") ? g_strndup(bus, strlen(bus) - 2) : NULL;
    Device *dev = id ? device_set_find(port->dev.set, NS_DEVICE, id) : NULL;

    if (dev && dev->type == &virtio_serial_pci_type)
        return (VirtioSerial *)dev;
    g_autofree char *given = error_quote(bus, -1);
    error_set(error, "Property 'bus' of device '%s': there is no bus '%s' of a virtio-serial device", port->dev.id, given);
    return NULL;
}

static gboolean resolve_number(SerialPort *port, const VirtioSerial *hub, GError **error)
{
    Device *dev = &port->dev;
    guint nr, n = serial_config(hub)->max_ports;

    if (!prop_bag_is_set(dev->bag, "nr")) {
        if (!free_number(dev, hub, port->console, &nr))
            return error_set(error, "Device '%s': no port of '%s' is free, it has %u", dev->id, hub->virtio.pci.dev.id, n);
        prop_bag_set_u(dev->bag, "nr", nr, ORIGIN_DEFAULT);
    }
    nr = config_of(port)->nr;
    if (nr >= n)
        return error_set(error, "Property 'nr' of device '%s' is %u, and '%s' has %u ports", dev->id, nr,
                         hub->virtio.pci.dev.id, n);
    if (nr == 0 && !port->console)
        return error_set(error, "Property 'nr' of device '%s' is 0, which is a console's", dev->id);
    if (hub->owners[nr])
        return error_set(error, "Property 'nr' of device '%s' is %u, which is the number of device '%s'", dev->id, nr,
                         hub->owners[nr]->dev.id);
    port->nr = nr;
    return TRUE;
}

static gboolean port_resolve(Device *dev, GError **error)
{
    SerialPort *port = (SerialPort *)dev;
    HubSearch search = { .port = dev, .console = dev->type == &virtconsole_type };

    port->console = search.console;
    if (!prop_bag_is_set(dev->bag, "bus")) {
        device_set_foreach(dev->set, hub_with_room, &search);
        if (!search.found)
            return error_set(error, "Device '%s': there is no virtio-serial device with a free port", dev->id);
        g_autofree char *bus = g_strdup_printf("%s.0", search.found->virtio.pci.dev.id);
        prop_bag_set_s(dev->bag, "bus", bus, ORIGIN_DEFAULT);
    }
    const VirtioSerial *hub = find_hub(port, error);
    return hub && resolve_number(port, hub, error);
}

/* ---- life cycle ---- */

static gboolean open_chardev(SerialPort *port, GError **error)
{
    Device *dev = &port->dev;
    const char *id = config_of(port)->chardev;
    Device *chardev = device_link(dev, NS_CHARDEV, id, "chardev", "chardev", error);

    if (!chardev)
        return FALSE;
    if (!chardev_attach(chardev, &frontend, port, error)) {
        g_prefix_error(error, "Property 'chardev' of device '%s': ", dev->id);
        return FALSE;
    }
    port->chardev = chardev;
    if (!port->console)
        chardev_set_frontend_open(chardev, FALSE);
    return TRUE;
}

static gboolean port_realize(Device *dev, GError **error)
{
    SerialPort *port = (SerialPort *)dev;
    VirtioSerial *hub = find_hub(port, error);

    if (!hub || !device_link(dev, NS_DEVICE, hub->virtio.pci.dev.id, "virtio-serial-pci", "bus", error))
        return FALSE;
    port->hub = hub;
    hub->owners[port->nr] = port;
    return !config_of(port)->chardev || open_chardev(port, error);
}

static void port_publish(Device *dev)
{
    SerialPort *port = (SerialPort *)dev;
    LOCK_SCOPE(hub_lock(port));

    port->published = TRUE;
    port->hub->ports[port->nr] = port;
    serial_port_added(port->hub, port->nr);
    if (port->chardev)
        chardev_accept_input(port->chardev);
}

static void port_unpublish(Device *dev)
{
    SerialPort *port = (SerialPort *)dev;

    {
        LOCK_SCOPE(hub_lock(port));
        port->published = FALSE;
        port->hub->ports[port->nr] = NULL;
        serial_port_removed(port->hub, port->nr);
        serial_transmit(port->hub, port->nr);
    }
    serial_port_event(port, FALSE);
}

static void port_unrealize(Device *dev)
{
    SerialPort *port = (SerialPort *)dev;

    if (port->chardev)
        chardev_detach(port->chardev);
    if (port->hub)
        port->hub->owners[port->nr] = NULL;
}

static const DeviceOps ops = {
    .resolve = port_resolve,
    .places = port_places,
    .realize = port_realize,
    .publish = port_publish,
    .unpublish = port_unpublish,
    .unrealize = port_unrealize,
};

const DeviceType virtconsole_type = { "virtconsole", sizeof(SerialPort), &ops, state_none };
const DeviceType virtserialport_type = { "virtserialport", sizeof(SerialPort), &ops, state_none };
