/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * unplug.c - the request to let go of a device, from asking to its one end.
 *
 *   device_unplug() --(cold, forced, nobody to ask)--------------------------------> gone
 *        |
 *   REQUESTED --(guest looks)--> NOTIFIED --(ejects)------------------------------> gone
 *        |                          |-------(says no)--> failed: PUBLISHED again
 *        |-----------(timeout)------'------------------> failed: PUBLISHED again
 *        '--(asked again)--> the same request   '--(forced, reset, power-off)-----> gone
 *
 * A guest may answer late, or eject what nobody asked for: it has let go then, and to keep the device would leave us with
 * something that the guest does not see. So an eject always ends in "gone"; a request that has already failed by its timeout
 * stays failed, and device_gone() comes for the eject. The timer runs on the virtual clock: a stopped guest can not answer.
 *
 * Id, slot and address are free when device_gone() is called and not before, since the device is destroyed first.
 */
#include "unplug.h"

#include "set.h"

#define NS_PER_MS G_GINT64_CONSTANT(1000000)

struct UnplugJob {
    UnplugPhase phase;
    guint32     timeout_ms;
    VmTimer    *timer; /* NULL: none */
};

void device_unplug_drop(Device *dev)
{
    if (!dev->unplug)
        return;
    if (dev->unplug->timer)
        vm_timer_free(dev->unplug->timer);
    g_clear_pointer(&dev->unplug, g_free);
}

/* ---- the two ends ---- */

static void failed(Device *dev, const char *reason)
{
    g_autofree char *path = device_path(dev);
    gpointer user;
    const DeviceObserver *observer = device_set_observer(dev->set, &user);

    device_unplug_drop(dev);
    dev->state = DEVICE_PUBLISHED;
    if (observer && observer->unplug_failed)
        observer->unplug_failed(user, dev->id, path, reason);
}

static void gone(Device *dev)
{
    g_autofree char *id = g_strdup(dev->id), *path = device_path(dev);
    gpointer user;
    const DeviceObserver *observer = device_set_observer(dev->set, &user);

    dev->remembered = TRUE;
    device_destroy(dev);
    if (observer && observer->device_gone)
        observer->device_gone(user, id, path);
}

/* ---- what the guest says ---- */

void device_unplug_noticed(Device *dev)
{
    if (dev->unplug)
        dev->unplug->phase = UNPLUG_NOTIFIED;
}

void device_unplug_done(Device *dev)
{
    const Device *holder = device_used_by(dev);

    if (!holder) {
        gone(dev);
        return;
    }
    g_autofree char *reason = g_strdup_printf("the guest let go of it, but it is in use by device '%s'", holder->id);
    device_unplug_refused(dev, reason);
}

void device_unplug_refused(Device *dev, const char *reason)
{
    if (dev->unplug)
        failed(dev, reason);
}

static void timed_out(gpointer user)
{
    Device *dev = user;
    g_autofree char *reason = g_strdup_printf("the guest did not let go of it within %u ms", dev->unplug->timeout_ms);

    failed(dev, reason);
}

/* Its type may have become unable to spare it since it was asked for: the guest ejects others too. */
static void end_pending(Device *dev)
{
    g_autoptr(GError) error = NULL;

    if (dev->type->ops->unplug_request(dev, TRUE, &error) == UNPLUG_REFUSED)
        failed(dev, error->message);
    else
        device_unplug_done(dev);
}

void device_set_unplug_pending(DeviceSet *set)
{
    for (guint i = set->devices->len; i > 0; i--) {
        Device *dev = g_ptr_array_index(set->devices, i - 1);
        if (dev->unplug)
            end_pending(dev);
    }
}

/* ---- saving ---- */

#define SAVED_TYPE "(uux)"

GVariant *device_unplug_save(const Device *dev)
{
    const struct UnplugJob *job = dev->unplug;

    if (!job)
        return NULL;
    return g_variant_new(SAVED_TYPE, (guint32)job->phase, job->timer ? job->timeout_ms : 0, job->timer ? vm_timer_deadline(job->timer) : 0);
}

gboolean device_unplug_check(const Device *dev, GVariant *saved, GError **error)
{
    guint32 phase, timeout_ms;
    gint64 deadline;

    if (!g_variant_is_of_type(saved, G_VARIANT_TYPE(SAVED_TYPE)))
        return error_set(error, "State of device '%s': field '" UNPLUG_FIELD "' has type '%s', wanted '" SAVED_TYPE "'", dev->id,
                         g_variant_get_type_string(saved));
    g_variant_get(saved, SAVED_TYPE, &phase, &timeout_ms, &deadline);
    if (phase > UNPLUG_NOTIFIED)
        return error_set(error, "State of device '%s': field '" UNPLUG_FIELD "' has phase %u, at most %u", dev->id, phase, UNPLUG_NOTIFIED);
    if (!dev->type->ops->unplug_request)
        return error_set(error, "State of device '%s': field '" UNPLUG_FIELD "': guests are not asked for a %s", dev->id, dev->type->name);
    return TRUE;
}

void device_unplug_load(Device *dev, GVariant *saved)
{
    guint32 phase, timeout_ms;
    gint64 deadline;

    device_unplug_drop(dev);
    if (dev->state == DEVICE_UNPLUG_PENDING)
        dev->state = DEVICE_PUBLISHED;
    if (!saved)
        return;
    g_variant_get(saved, SAVED_TYPE, &phase, &timeout_ms, &deadline);
    dev->unplug = g_new0(struct UnplugJob, 1);
    dev->state = DEVICE_UNPLUG_PENDING;
    dev->unplug->phase = (UnplugPhase)phase;
    if (!timeout_ms)
        return;
    dev->unplug->timeout_ms = timeout_ms;
    dev->unplug->timer = vm_timer_new(device_set_vm(dev->set), NULL, timed_out, dev);
    vm_timer_set(dev->unplug->timer, deadline);
}

/* ---- asking ---- */

static void set_timeout(Device *dev, guint32 timeout_ms)
{
    struct UnplugJob *job = dev->unplug;
    Vm *vm = device_set_vm(dev->set);

    if (timeout_ms == 0)
        return;
    if (!job->timer)
        job->timer = vm_timer_new(vm, NULL, timed_out, dev);
    job->timeout_ms = timeout_ms;
    vm_timer_set(job->timer, vm_clock_ns(vm) + timeout_ms * NS_PER_MS);
}

static void asked(Device *dev, const UnplugHow *how)
{
    if (!dev->unplug) {
        dev->unplug = g_new0(struct UnplugJob, 1);
        dev->state = DEVICE_UNPLUG_PENDING;
    }
    set_timeout(dev, how->timeout_ms);
}

gboolean device_unplug(Device *dev, const UnplugHow *how, GError **error)
{
    UnplugAnswer answer = UNPLUG_AT_ONCE;

    if (!device_removable(dev, error))
        return FALSE;
    if (dev->type->ops->unplug_request && device_set_is_started(dev->set))
        answer = dev->type->ops->unplug_request(dev, how->force, error);
    if (answer == UNPLUG_AT_ONCE)
        gone(dev);
    else if (answer == UNPLUG_ASKED)
        asked(dev, how);
    return answer != UNPLUG_REFUSED;
}

gboolean device_unplug_info(const Device *dev, UnplugPhase *phase, gint64 *left_ms)
{
    const struct UnplugJob *job = dev->unplug;

    if (!job)
        return FALSE;
    *phase = job->phase;
    *left_ms = -1;
    if (job->timer)
        *left_ms = MAX(0, (vm_timer_deadline(job->timer) - vm_clock_ns(device_set_vm(dev->set))) / NS_PER_MS);
    return TRUE;
}
