/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * irq.c - interrupt lines and MSI vectors.
 *
 * Lines. Each pin is the OR of its inputs. The pin's mutex is held over ops->pin_level(), so that
 * the levels reach the interrupt controller in the order in which they were made. An input that
 * does not change returns without it.
 *
 * Vectors. msi_vector_fire() hands the message to the accelerator and needs no GSI at all. One is
 * only wanted for an eventfd that fires from an I/O thread (irqfd), and then needs a route in KVM,
 * whose table is written as a whole and may take milliseconds. So:
 *
 *   - msi_vector_set() runs on a vCPU thread under a device lock. It stores the message and, if
 *     the irqfd is bound and the message changed or the vector became masked, unbinds it; then
 *     it asks for an update. It never waits.
 *   - The update runs on the main loop, once for any number of requests, for the vectors that
 *     asked and no other, however many there are: it gives GSIs to those that have an fd and are
 *     unmasked, writes the route table if it differs from what was written, and binds. So the table is first written when the guest unmasks its first
 *     vector with an fd, never while a device is plugged.
 *   - An fd that is not bound is served here: a source on the main loop reads it and sends the
 *     message. Thus nothing is lost between unmasking and the update, nor where there is no
 *     irqfd at all.
 *   - While a vector is masked nobody reads its fd: the counter is the pending state.
 *
 * The route of a bound vector is always the one in use: a vector whose message changed is unbound
 * first.
 *
 * Locks: device lock, then vector->lock; the main-thread update holds vector locks one at a time.
 * Vectors and lines are made and freed on the main thread, which alone walks the lists.
 */
#include "accel.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <glib-unix.h>

#include "../common/error.h"
#include "../common/lock.h"

#define FIRST_MSI_GSI IRQ_PINS
#define NO_GSI (-1)

typedef struct {
    GMutex lock;
    guint  raised; /* inputs that are high */
} Pin;

struct IrqLine {
    Vm   *vm;
    guint gsi;
    gint  level; /* atomic; changed under the pin's lock */
    char *owner;
};

struct MsiVector {
    Vm      *vm;
    char    *owner;
    GMutex   lock;
    guint64  address; /* lock, as the next five */
    guint32  data;
    gboolean masked;
    gboolean pending; /* fired while masked */
    gboolean bound;   /* irqfd in place */
    int      fd;      /* -1: none */
    int      gsi;     /* main thread, as the rest */
    guint64  route_address; /* as last written to KVM */
    guint32  route_data;
    gboolean routed;
    GSource *watch; /* serves an unbound fd */
    guint    place;  /* in the VM's array */
    gboolean asked; /* is in the VM's list; its lock */
};

struct VmIrq {
    Pin        pins[IRQ_PINS];
    GPtrArray *lines;   /* main thread */
    GPtrArray *vectors; /* main thread */
    GMutex     asked_lock; /* after a vector's own */
    GPtrArray *asked;   /* vectors that an update is wanted for; asked_lock */
    GArray    *gsis;    /* of gboolean: FIRST_MSI_GSI + i in use; main thread */
    gboolean   no_irqfd;  /* the accelerator has none; main thread */
    GSource   *update;    /* ready when an update is wanted */
};

/* ---- lines ---- */

IrqLine *irq_line_new(Vm *vm, guint gsi, const char *owner)
{
    IrqLine *line = g_new0(IrqLine, 1);

    g_assert(gsi < IRQ_PINS);
    line->vm = vm;
    line->gsi = gsi;
    line->owner = g_strdup(owner);
    g_ptr_array_add(vm->irq->lines, line);
    return line;
}

void irq_line_set(IrqLine *line, gboolean level)
{
    Vm *vm = line->vm;
    Pin *pin = &vm->irq->pins[line->gsi];

    level = !!level;
    if (g_atomic_int_get(&line->level) == level)
        return;
    g_mutex_lock(&pin->lock);
    if (line->level != level) {
        g_atomic_int_set(&line->level, level);
        pin->raised += level ? 1 : -1;
        if (vm->ops->line_level)
            vm->ops->line_level(vm, line, level);
        if (pin->raised == (level ? 1 : 0))
            vm->ops->pin_level(vm, line->gsi, level);
    }
    g_mutex_unlock(&pin->lock);
}

gboolean irq_line_get(const IrqLine *line)
{
    return g_atomic_int_get(&line->level);
}

void irq_line_free(IrqLine *line)
{
    if (!line)
        return;
    irq_line_set(line, FALSE);
    g_ptr_array_remove(line->vm->irq->lines, line); /* keeps the order: irq_lines() */
    g_free(line->owner);
    g_free(line);
}

const char *irq_line_owner(const IrqLine *line)
{
    return line->owner;
}

gboolean irq_pin_level(Vm *vm, guint gsi)
{
    Pin *pin = &vm->irq->pins[gsi];
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&pin->lock);

    return pin->raised > 0;
}

IrqLine *const *irq_lines(Vm *vm, guint *n)
{
    *n = vm->irq->lines->len;
    return (IrqLine *const *)vm->irq->lines->pdata;
}

/* ---- MSI: any thread ---- */

/* May be asked with V's lock held. */
static void request_update(MsiVector *v)
{
    VmIrq *irq = v->vm->irq;

    LOCK_SCOPE(&irq->asked_lock);
    if (v->asked)
        return;
    v->asked = TRUE;
    g_ptr_array_add(irq->asked, v);
    g_source_set_ready_time(irq->update, 0);
}

/* V goes. */
static void forget_update(MsiVector *v)
{
    VmIrq *irq = v->vm->irq;

    LOCK_SCOPE(&irq->asked_lock);
    if (v->asked)
        g_ptr_array_remove(irq->asked, v); /* GSIs are given in the order in which they were asked for */
}

/* Those that asked so far, out of the list. */
static GPtrArray *take_asked(VmIrq *irq)
{
    GPtrArray *taken = g_ptr_array_new();

    LOCK_SCOPE(&irq->asked_lock);
    for (guint i = 0; i < irq->asked->len; i++) {
        MsiVector *v = g_ptr_array_index(irq->asked, i);
        v->asked = FALSE;
        g_ptr_array_add(taken, v);
    }
    g_ptr_array_set_size(irq->asked, 0);
    return taken;
}

MsiVector *msi_vector_new(Vm *vm, const char *owner)
{
    MsiVector *v = g_new0(MsiVector, 1);

    v->vm = vm;
    v->owner = g_strdup(owner);
    v->masked = TRUE;
    v->fd = -1;
    v->gsi = NO_GSI;
    g_mutex_init(&v->lock);
    v->place = vm->irq->vectors->len;
    g_ptr_array_add(vm->irq->vectors, v);
    return v;
}

/* Lock held. */
static void vector_unbind(MsiVector *v)
{
    if (!v->bound)
        return;
    v->vm->ops->irqfd(v->vm, v->fd, (guint)v->gsi, FALSE);
    v->bound = FALSE;
}

void msi_vector_set(MsiVector *v, guint64 address, guint32 data, gboolean masked)
{
    gboolean changed, wanted;

    g_mutex_lock(&v->lock);
    masked = !!masked;
    wanted = v->fd >= 0 && !(masked && v->masked); /* a masked one is bound to nothing */
    changed = v->address != address || v->data != data || v->masked != masked;
    if (changed) {
        vector_unbind(v);
        v->address = address;
        v->data = data;
        v->masked = masked;
    }
    g_mutex_unlock(&v->lock);
    if (changed && wanted)
        request_update(v);
}

void msi_vector_fire(MsiVector *v)
{
    g_mutex_lock(&v->lock);
    if (v->masked)
        v->pending = TRUE;
    else
        v->vm->ops->msi_send(v->vm, v->address, v->data);
    g_mutex_unlock(&v->lock);
}

/* Lock held. TRUE if the fd was signalled since it was last read. */
static gboolean fd_drain(const MsiVector *v)
{
    guint64 count;

    return v->fd >= 0 && read(v->fd, &count, sizeof count) == sizeof count;
}

gboolean msi_vector_take_pending(MsiVector *v)
{
    gboolean pending;

    g_mutex_lock(&v->lock);
    pending = v->pending;
    v->pending = FALSE;
    /* An unmasked vector's fd is somebody else's to read: it is delivered, not pending. */
    if (v->masked && fd_drain(v))
        pending = TRUE;
    g_mutex_unlock(&v->lock);
    return pending;
}

/* ---- MSI: main thread ---- */

int msi_vector_fd(MsiVector *v, GError **error)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&v->lock);

    if (v->fd < 0) {
        v->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (v->fd < 0) {
            error_set_errno(error, errno, "Interrupt vector of '%s': no eventfd", v->owner);
            return -1;
        }
        if (!v->masked)
            request_update(v);
    }
    return v->fd;
}

/* Sends what an unbound fd was signalled for. */
static void vector_serve(MsiVector *v)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&v->lock);

    if (!v->masked && !v->bound && fd_drain(v))
        v->vm->ops->msi_send(v->vm, v->address, v->data);
}

static gboolean vector_readable(gint fd, GIOCondition condition, gpointer user)
{
    vector_serve(user);
    return G_SOURCE_CONTINUE;
}

void vm_irq_serve_fds(Vm *vm)
{
    for (guint i = 0; i < vm->irq->vectors->len; i++)
        vector_serve(g_ptr_array_index(vm->irq->vectors, i));
}

static void vector_unwatch(MsiVector *v)
{
    if (!v->watch)
        return;
    g_source_destroy(v->watch);
    g_clear_pointer(&v->watch, g_source_unref);
}

static void vector_watch(MsiVector *v)
{
    if (v->watch)
        return;
    v->watch = g_unix_fd_source_new(v->fd, G_IO_IN);
    g_source_set_callback(v->watch, G_SOURCE_FUNC(vector_readable), v, NULL);
    g_source_attach(v->watch, v->vm->context);
}

static void gsi_take(VmIrq *irq, MsiVector *v)
{
    guint i = 0;

    while (i < irq->gsis->len && g_array_index(irq->gsis, gboolean, i))
        i++;
    if (i == irq->gsis->len)
        g_array_set_size(irq->gsis, i + 1);
    g_array_index(irq->gsis, gboolean, i) = TRUE;
    v->gsi = FIRST_MSI_GSI + i;
}

static void gsi_give(VmIrq *irq, MsiVector *v)
{
    if (v->gsi != NO_GSI)
        g_array_index(irq->gsis, gboolean, v->gsi - FIRST_MSI_GSI) = FALSE;
    v->gsi = NO_GSI;
    v->routed = FALSE;
}

/* Takes over the message as the route wanted; TRUE if that is not what KVM has. */
static gboolean vector_plan_route(MsiVector *v)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&v->lock);

    if (v->fd < 0 || v->masked)
        return FALSE;
    if (v->routed && v->route_address == v->address && v->route_data == v->data)
        return FALSE;
    if (v->gsi == NO_GSI)
        gsi_take(v->vm->irq, v);
    v->route_address = v->address;
    v->route_data = v->data;
    return TRUE;
}

static gint compare_routes(gconstpointer a, gconstpointer b)
{
    const MsiRoute *x = a, *y = b;

    return x->gsi < y->gsi ? -1 : x->gsi > y->gsi;
}

/* Writes the whole table. No lock is held: the kernel may take its time. */
static gboolean write_routes(Vm *vm)
{
    VmIrq *irq = vm->irq;
    g_autoptr(GArray) routes = g_array_new(FALSE, FALSE, sizeof(MsiRoute));
    g_autoptr(GError) error = NULL;
    gboolean ok;

    for (guint i = 0; i < irq->vectors->len; i++) {
        const MsiVector *v = g_ptr_array_index(irq->vectors, i);

        if (v->gsi != NO_GSI) {
            MsiRoute route = { (guint32)v->gsi, v->route_address, v->route_data };
            g_array_append_val(routes, route);
        }
    }
    g_array_sort(routes, compare_routes);
    ok = vm->ops->set_msi_routes &&
         vm->ops->set_msi_routes(vm, (const MsiRoute *)routes->data, routes->len, &error);
    if (!ok && error)
        g_warning("MSI routes: %s", error->message);
    for (guint i = 0; i < irq->vectors->len; i++) {
        MsiVector *v = g_ptr_array_index(irq->vectors, i);
        v->routed = ok && v->gsi != NO_GSI;
    }
    return ok;
}

/* Binds what can be bound; the main loop serves the rest of the unmasked ones. */
static void vector_bind_or_watch(MsiVector *v)
{
    Vm *vm = v->vm;
    gboolean wanted;

    g_mutex_lock(&v->lock);
    wanted = v->fd >= 0 && !v->masked;
    if (wanted && !v->bound && v->routed && v->route_address == v->address &&
        v->route_data == v->data) {
        v->bound = vm->ops->irqfd && vm->ops->irqfd(vm, v->fd, (guint)v->gsi, TRUE);
        if (!v->bound)
            vm->irq->no_irqfd = TRUE;
    }
    if (wanted && !v->bound)
        vector_watch(v);
    else
        vector_unwatch(v);
    g_mutex_unlock(&v->lock);
}

typedef struct {
    GSource source;
    Vm     *vm;
} UpdateSource;

static gboolean update_dispatch(GSource *source, GSourceFunc callback, gpointer user)
{
    Vm *vm = ((UpdateSource *)source)->vm;
    VmIrq *irq = vm->irq;
    gboolean write = FALSE;

    /* Before looking: a request that comes from now on makes another round. */
    g_source_set_ready_time(source, -1);
    g_autoptr(GPtrArray) asked = take_asked(irq);
    for (guint i = 0; i < asked->len && !irq->no_irqfd; i++)
        write |= vector_plan_route(g_ptr_array_index(asked, i));
    if (write && !write_routes(vm))
        irq->no_irqfd = TRUE;
    for (guint i = 0; i < asked->len; i++)
        vector_bind_or_watch(g_ptr_array_index(asked, i));
    return G_SOURCE_CONTINUE;
}

void msi_vector_free(MsiVector *v)
{
    VmIrq *irq;

    if (!v)
        return;
    irq = v->vm->irq;
    g_mutex_lock(&v->lock);
    vector_unbind(v);
    g_mutex_unlock(&v->lock);
    vector_unwatch(v);
    forget_update(v);
    /* KVM keeps the old route until the table is next written: nothing can fire it. */
    gsi_give(irq, v);
    g_ptr_array_remove_index_fast(irq->vectors, v->place); /* the last one moves there */
    if (v->place < irq->vectors->len)
        ((MsiVector *)g_ptr_array_index(irq->vectors, v->place))->place = v->place;
    if (v->fd >= 0)
        close(v->fd);
    g_mutex_clear(&v->lock);
    g_free(v->owner);
    g_free(v);
}

/* ---- life cycle ---- */

static const GSourceFuncs update_funcs = { .dispatch = update_dispatch };

void vm_irq_init(Vm *vm)
{
    VmIrq *irq = g_new0(VmIrq, 1);

    for (guint i = 0; i < IRQ_PINS; i++)
        g_mutex_init(&irq->pins[i].lock);
    irq->lines = g_ptr_array_new();
    irq->vectors = g_ptr_array_new();
    irq->asked = g_ptr_array_new();
    g_mutex_init(&irq->asked_lock);
    irq->gsis = g_array_new(FALSE, TRUE, sizeof(gboolean));
    irq->update = g_source_new((GSourceFuncs *)&update_funcs, sizeof(UpdateSource));
    g_source_set_static_name(irq->update, "MSI routes");
    ((UpdateSource *)irq->update)->vm = vm;
    g_source_attach(irq->update, vm->context);
    vm->irq = irq;
}

void vm_irq_exit(Vm *vm)
{
    VmIrq *irq = vm->irq;

    g_assert(irq->lines->len == 0 && irq->vectors->len == 0);
    g_source_destroy(irq->update);
    g_source_unref(irq->update);
    g_ptr_array_unref(irq->lines);
    g_ptr_array_unref(irq->vectors);
    g_ptr_array_unref(irq->asked);
    g_mutex_clear(&irq->asked_lock);
    g_array_unref(irq->gsis);
    for (guint i = 0; i < IRQ_PINS; i++)
        g_mutex_clear(&irq->pins[i].lock);
    g_clear_pointer(&vm->irq, g_free);
}
