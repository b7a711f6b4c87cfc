/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ost.c - see ost.h. Codes are of tables 6.15 to 6.20; what the specification leaves open or reserves counts as a failure, as
 * the event was not carried out.
 */
#include "ost.h"

#include "../core/unplug.h"

enum {
    EVENT_BUS_CHECK = 0x00,
    EVENT_DEVICE_CHECK = 0x01,
    EVENT_EJECT_REQUEST = 0x03,  /* we asked */
    EVENT_EJECT_BY_OSPM = 0x103, /* the guest's own wish */
    EVENT_INSERTION = 0x200,
};

enum {
    STATUS_SUCCESS = 0,
    STATUS_EJECT_IN_PROGRESS = 0x84,
    STATUS_INSERT_IN_PROGRESS = 0x80,
};

static const char *eject_reason(guint32 status)
{
    switch (status) {
    case 0x01:
        return "non-specific failure";
    case 0x02:
        return "unrecognized notify code";
    case 0x80:
        return "ejection not supported";
    case 0x81:
        return "device in use";
    case 0x82:
        return "device busy";
    case 0x83:
        return "ejection dependency busy";
    default:
        return "unknown status";
    }
}

static void eject_report(Device *dev, guint32 status)
{
    if (status == STATUS_SUCCESS)
        return; /* the ejection itself is what counts */
    if (status == STATUS_EJECT_IN_PROGRESS) {
        device_unplug_noticed(dev);
        return;
    }
    g_autofree char *reason = g_strdup_printf("the guest refused: %s (_OST status 0x%x)", eject_reason(status), status);
    device_unplug_refused(dev, reason);
}

void ost_tell(DeviceSet *set, const DeviceOst *ost)
{
    gpointer user;
    const DeviceObserver *observer = device_set_observer(set, &user);

    if (observer && observer->acpi_ost)
        observer->acpi_ost(user, ost);
}

void ost_report(Device *dev, guint32 event, guint32 status)
{
    switch (event) {
    case EVENT_EJECT_REQUEST:
    case EVENT_EJECT_BY_OSPM:
        eject_report(dev, status);
        break;
    case EVENT_BUS_CHECK:
    case EVENT_DEVICE_CHECK:
    case EVENT_INSERTION:
        if (status != STATUS_SUCCESS && status != STATUS_INSERT_IN_PROGRESS)
            device_guest_error(dev, "insertion failed in the guest (_OST status 0x%x)", status);
        break;
    default:
        break;
    }
}
