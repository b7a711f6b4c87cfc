/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * machine.c - run states and what moves between them.
 *
 * The hard part is that a guest changes the state from vCPU threads: it powers off, resets, triple-faults, or KVM gives up.
 * Each of these holds the vCPUs (vm_hold(): none executes another instruction) and posts here; by the time the
 * main thread looks, the manager may have stopped or reset the machine itself. Two rules make the outcome that of
 * some order in which both could have acted. What lets the guest go on or makes it new (cont, system_reset) first settles what
 * it did before: so a power-off is never undone by a `cont` that had not heard of it, nor carried out on the machine after the
 * reset. And what the guest asks for is a bit, taken with all vCPUs parked and dropped by a reset: so two CPUs that reset the
 * machine at once reset it once.
 *
 * Power-on is lazy. A reset returns devices to their configuration at once, while tables, kernel image and
 * the BSP's registers are made on the way to the next instruction: so what is plugged between a reset and `cont` is part
 * of what the guest finds.
 */
#include <errno.h>

#include "machine.h"

#include "../devices/core/unplug.h"
#include "../devices/cpu/cpu.h"
#include "../devices/mem/memory-backend.h"
#include "../schema/generated/qmp-events.h"

#define BIT_OF(s) (1u << (s))
/* States in which the guest is over until a reset. */
#define DEAD_STATES (BIT_OF(RUN_STATE_SHUTDOWN) | BIT_OF(RUN_STATE_INTERNAL_ERROR) | BIT_OF(RUN_STATE_GUEST_PANICKED))

enum { WANTS_SHUTDOWN = 1, WANTS_RESET = 2 }; /* Machine.guest_wants */

/* From each state (row), the states that may follow. The only place that says so. */
static const guint32 transitions[RUN_STATE__MAX] = {
    [RUN_STATE_PRELAUNCH] = BIT_OF(RUN_STATE_RUNNING) | DEAD_STATES, /* by a qtest client's accesses */
    [RUN_STATE_RUNNING] = BIT_OF(RUN_STATE_PAUSED) | BIT_OF(RUN_STATE_IO_ERROR) | DEAD_STATES,
    [RUN_STATE_PAUSED] = BIT_OF(RUN_STATE_RUNNING) | DEAD_STATES,
    [RUN_STATE_IO_ERROR] = BIT_OF(RUN_STATE_RUNNING) | BIT_OF(RUN_STATE_PAUSED) | DEAD_STATES,
    [RUN_STATE_SHUTDOWN] = BIT_OF(RUN_STATE_PAUSED),
    [RUN_STATE_INTERNAL_ERROR] = BIT_OF(RUN_STATE_PAUSED),
    [RUN_STATE_GUEST_PANICKED] = BIT_OF(RUN_STATE_PAUSED),
};

static void set_state(Machine *m, RunState state)
{
    if (m->state == state)
        return;
    g_assert(transitions[m->state] & BIT_OF(state));
    m->state = state;
    service_status(m->service, run_state_names[state]);
}

/* ---- running and stopping ---- */

static gboolean find_boot(Device *dev, gpointer found)
{
    *(gboolean *)found |= device_plug(dev) == PLUG_BOOT;
    return TRUE;
}

static gboolean check_complete(Machine *m, GError **error)
{
    gboolean boot = FALSE;

    if (!device_set_board(m->devices) || cpu_plugged_count(m->devices) == 0)
        return error_set(error, "cont: the machine has no CPU; plug one (query-hotpluggable-cpus lists the slots)");
    if (mem_total(m->devices) == 0)
        return error_set(error, "cont: the machine has no memory; plug a pc-dimm");
    device_set_foreach(m->devices, find_boot, &boot);
    if (!boot && m->accel != VM_ACCEL_TEST) /* there a qtest client is the program */
        return error_set(error, "cont: the machine has nothing to run; plug firmware or a linux-loader");
    return TRUE;
}

static gboolean make_ready(Machine *m, GError **error)
{
    if (!device_set_is_started(m->devices)) {
        if (!mem_layout_base_ram(m->devices, error))
            return FALSE;
        device_set_reset(m->devices, RESET_COLD);
    }
    return device_set_power_on(m->devices, error);
}

static gboolean power_on(Machine *m, GError **error)
{
    gboolean started = device_set_is_started(m->devices), ready;

    if (!m->power_on_pending)
        return TRUE;
    if (!vm_ready(m->vm, error) || (!started && !check_complete(m, error)))
        return FALSE;
    vm_memory_defer(m->vm);
    ready = make_ready(m, error);
    if (!vm_memory_commit(m->vm, ready ? error : NULL) || !ready) {
        if (!started)
            mem_layout_undo(m->devices);
        return FALSE;
    }
    device_set_started(m->devices);
    m->power_on_pending = FALSE;
    return TRUE;
}

static void go(Machine *m)
{
    device_set_resume(m->devices);
    vm_run(m->vm);
    set_state(m, RUN_STATE_RUNNING);
}

static void take_wishes(gpointer user);

/* What the guest did up to now takes effect. */
static void settle(Machine *m)
{
    vm_post_run(m->vm);
    take_wishes(m);
}

gboolean machine_cont(Machine *m, GError **error)
{
    if (m->state == RUN_STATE_RUNNING)
        return TRUE;
    settle(m);
    if (!machine_check_alive(m, "cont", error))
        return FALSE;
    if (BIT_OF(m->state) & DEAD_STATES)
        return error_set(error, "cont: the machine is in state '%s'; system_reset brings it back",
                         run_state_names[m->state]);
    if (!power_on(m, error))
        return FALSE;
    go(m);
    qmp_event_resume(m->server);
    return TRUE;
}

/* Stops guest and devices, if they are not; tells nobody. */
static void halt(Machine *m)
{
    if (!vm_running(m->vm))
        return;
    vm_pause(m->vm);
    device_set_quiesce(m->devices);
}

void machine_stop(Machine *m)
{
    if (m->state != RUN_STATE_RUNNING)
        return;
    halt(m);
    set_state(m, RUN_STATE_PAUSED);
    qmp_event_stop(m->server);
}

/* The guest is over: from running or, if it came while the manager stopped it, from paused. */
static void stop_dead(Machine *m, RunState state)
{
    gboolean was_running = m->state == RUN_STATE_RUNNING;

    if (was_running)
        halt(m);
    set_state(m, state);
    if (was_running)
        qmp_event_stop(m->server);
}

static void fail(Machine *m, const char *what, const GError *error)
{
    g_warning("%s: %s", what, error->message);
    stop_dead(m, RUN_STATE_INTERNAL_ERROR);
    qmp_event_internal_error(m->server, 0, what, 0, 0, "", error->message);
}

static void reset_all(Machine *m, gboolean guest, ShutdownCause reason)
{
    halt(m);
    g_atomic_int_set(&m->guest_wants, 0);
    if (device_set_is_started(m->devices)) {
        device_set_unplug_pending(m->devices);
        vm_irqchip_reset(m->vm);
        device_set_reset(m->devices, RESET_WARM);
        m->power_on_pending = TRUE;
    }
    if (BIT_OF(m->state) & DEAD_STATES)
        set_state(m, RUN_STATE_PAUSED);
    qmp_event_reset(m->server, guest, reason);
}

/* After a reset: what ran runs. */
static void go_on(Machine *m)
{
    g_autoptr(GError) error = NULL;

    if (m->state != RUN_STATE_RUNNING)
        return;
    if (power_on(m, &error))
        go(m);
    else
        fail(m, "reset", error);
}

void machine_reset(Machine *m)
{
    halt(m);
    m->resetting = TRUE;
    settle(m);
    m->resetting = FALSE;
    if (m->quitting)
        return;
    reset_all(m, FALSE, SHUTDOWN_CAUSE_HOST_QMP_SYSTEM_RESET);
    go_on(m);
}

void machine_quit(Machine *m, gboolean guest, ShutdownCause reason, int status)
{
    if (m->quitting)
        return;
    m->quitting = TRUE;
    m->exit_status = status;
    halt(m);
    service_stopping(m->service);
    qmp_event_shutdown(m->server, guest, reason);
    g_main_loop_quit(m->loop);
}

gboolean machine_check_alive(Machine *m, const char *command, GError **error)
{
    if (m->quitting)
        return error_set(error, "%s: the daemon is ending", command);
    return TRUE;
}

gboolean machine_guest_alive(const Machine *m)
{
    return !m->power_on_pending && !(BIT_OF(m->state) & DEAD_STATES);
}

/* ---- what the guest does; all on the main thread ---- */

static void guest_shutdown(Machine *m, ShutdownCause reason)
{
    if (m->on_shutdown == SHUTDOWN_ACTION_POWEROFF) {
        machine_quit(m, TRUE, reason, 0);
        return;
    }
    qmp_event_shutdown(m->server, TRUE, reason);
    stop_dead(m, RUN_STATE_SHUTDOWN);
    device_set_unplug_pending(m->devices);
}

static void guest_reset(Machine *m)
{
    if (m->on_reboot != REBOOT_ACTION_RESET) {
        guest_shutdown(m, SHUTDOWN_CAUSE_GUEST_RESET);
        return;
    }
    reset_all(m, TRUE, SHUTDOWN_CAUSE_GUEST_RESET);
    if (!m->resetting)
        go_on(m);
}

/* With all vCPUs parked nobody asks for more: what the others did until then is heard first, and a fault wins. */
static void take_wishes(gpointer user)
{
    Machine *m = user;

    if (!g_atomic_int_get(&m->guest_wants))
        return;
    halt(m);
    vm_post_run(m->vm);
    guint wants = g_atomic_int_and(&m->guest_wants, 0);
    if (m->quitting || (BIT_OF(m->state) & DEAD_STATES))
        return;
    if (wants & WANTS_SHUTDOWN)
        guest_shutdown(m, SHUTDOWN_CAUSE_GUEST_SHUTDOWN);
    else if (wants & WANTS_RESET)
        guest_reset(m);
}

/* From any thread. */
static void want(Machine *m, guint what)
{
    if (g_atomic_int_or(&m->guest_wants, what) == 0)
        vm_post(m->vm, take_wishes, m);
}

static void on_triple_fault(gpointer user, guint cpu_index)
{
    g_message("CPU %u: triple fault", cpu_index);
    want(user, WANTS_RESET);
}

static void on_fault(gpointer user, const VcpuFault *fault)
{
    Machine *m = user;
    g_autoptr(GString) insn = g_string_new(NULL);

    for (guint i = 0; i < fault->insn_len; i++)
        g_string_append_printf(insn, "%02x", fault->insn[i]);
    g_warning("CPU %u: %s, code %" G_GUINT64_FORMAT ", rip 0x%" G_GINT64_MODIFIER "x, instruction bytes %s\n%s",
              fault->cpu_index, fault->reason, fault->code, fault->rip, insn->len ? insn->str : "unknown",
              fault->registers ? fault->registers : "");
    if (m->quitting || (BIT_OF(m->state) & DEAD_STATES))
        return;
    stop_dead(m, RUN_STATE_INTERNAL_ERROR);
    qmp_event_internal_error(m->server, fault->cpu_index, fault->reason, fault->code, fault->rip,
                             insn->str, fault->registers ? fault->registers : "");
}

static void on_qtest_gone(gpointer user)
{
    Machine *m = user;

    /* A test that we connected to is the machine's program; where we listen, the next one may come. */
    if (m->qtest_connected)
        machine_quit(m, FALSE, SHUTDOWN_CAUSE_HOST_SIGNAL, 0);
}

static const VmObserver vm_observer = {
    .triple_fault = on_triple_fault,
    .fault = on_fault,
    .qtest_gone = on_qtest_gone,
};

/* ---- what devices say, from any thread ---- */

static void device_guest_shutdown(gpointer user)
{
    want(user, WANTS_SHUTDOWN);
}

static void device_guest_reset(gpointer user)
{
    want(user, WANTS_RESET);
}

static void do_debug_exit(gpointer user)
{
    Machine *m = user;

    machine_quit(m, TRUE, SHUTDOWN_CAUSE_GUEST_SHUTDOWN, g_atomic_int_get(&m->debug_exit));
}

/* The first status counts. */
static void device_debug_exit(gpointer user, int status)
{
    Machine *m = user;

    vm_hold(m->vm);
    if (g_atomic_int_compare_and_exchange(&m->debug_exit, 0, status))
        vm_post(m->vm, do_debug_exit, m);
}

typedef struct RtcChange {
    gint64 offset_s;
    char  *path;
} RtcChange;

static void rtc_change_free(RtcChange *c)
{
    if (c)
        g_free(c->path);
    g_free(c);
}

/* Any thread. A guest may set its clock faster than the main thread looks: only the latest is kept. */
static RtcChange *rtc_change_swap(Machine *m, RtcChange *c)
{
    return __atomic_exchange_n(&m->rtc_change, c, __ATOMIC_ACQ_REL);
}

static void do_rtc_change(gpointer user)
{
    Machine *m = user;
    RtcChange *c = rtc_change_swap(m, NULL);

    if (c)
        qmp_event_rtc_change(m->server, c->offset_s, c->path);
    rtc_change_free(c);
}

static void device_rtc_change(gpointer user, gint64 offset_s, const char *qom_path)
{
    Machine *m = user;
    RtcChange *c = g_new(RtcChange, 1), *older;

    *c = (RtcChange){ offset_s, g_strdup(qom_path) };
    older = rtc_change_swap(m, c);
    if (!older)
        vm_post(m->vm, do_rtc_change, m);
    rtc_change_free(older);
}

static void device_io_error(gpointer user, const DeviceIoError *e)
{
    Machine *m = user;
    g_autofree char *path = device_path(e->dev);
    static const BlockErrorAction actions[] = {
        [DEVICE_IO_REPORT] = BLOCK_ERROR_ACTION_REPORT,
        [DEVICE_IO_IGNORE] = BLOCK_ERROR_ACTION_IGNORE,
        [DEVICE_IO_STOP] = BLOCK_ERROR_ACTION_STOP,
    };

    qmp_event_block_io_error(m->server, path, "", e->node, e->write ? IO_OPERATION_TYPE_WRITE : IO_OPERATION_TYPE_READ,
                             actions[e->action], TRUE, e->error == ENOSPC, g_strerror(e->error));
    if (e->action != DEVICE_IO_STOP || m->state != RUN_STATE_RUNNING)
        return;
    halt(m);
    set_state(m, RUN_STATE_IO_ERROR);
    qmp_event_stop(m->server);
}

static void device_error(gpointer user, Device *dev, const char *reason)
{
    g_autofree char *path = device_path(dev);

    qmp_event_device_error(((Machine *)user)->server, dev->id, path, reason);
}

ACPIOSTInfo *machine_ost_info(const DeviceOst *ost)
{
    ACPIOSTInfo *info = g_new0(ACPIOSTInfo, 1);

    info->device = g_strdup(ost->id);
    info->slot = g_strdup_printf("%u", ost->slot);
    info->slot_type = ost->cpu ? ACPI_SLOT_TYPE_CPU : ACPI_SLOT_TYPE_DIMM;
    info->source = ost->event;
    info->status = ost->status;
    return info;
}

static void device_acpi_ost(gpointer user, const DeviceOst *ost)
{
    ACPIOSTInfo *info = machine_ost_info(ost);
    g_autofree char *key = g_strdup_printf("%s %u", ost->cpu ? "CPU" : "DIMM", ost->slot);

    qmp_event_acpi_device_ost(((Machine *)user)->server, info, key);
    acpiost_info_free(info);
}

static void device_balloon_change(gpointer user, guint64 actual)
{
    qmp_event_balloon_change(((Machine *)user)->server, (gint64)actual);
}

static void device_port_change(gpointer user, const char *id, gboolean open)
{
    qmp_event_vserport_change(((Machine *)user)->server, id, open);
}

static int device_open_fdset(gpointer user, gint64 set, int flags, GError **error)
{
    return qmp_server_fdset_open(((Machine *)user)->server, set, flags, error);
}

/* ---- the end of an unplug request ----
 *
 * What a command has ended is told after its reply. But before the next command of any client runs, or that could ask for the
 * device again, or use its id for another one, and its client would take the news for news of that. */

typedef struct {
    char *id, *path, *reason; /* REASON: the device stays */
} Unplugged;

static void unplugged_free(gpointer user)
{
    Unplugged *u = user;

    g_free(u->id);
    g_free(u->path);
    g_free(u->reason);
    g_free(u);
}

void machine_tell_unplugged(gpointer machine)
{
    Machine *m = machine;
    Unplugged *u;

    while ((u = g_queue_pop_head(&m->unplugged))) {
        if (u->reason && !m->quitting)
            qmp_event_device_unplug_guest_error(m->server, u->id, u->path, u->reason);
        else if (!m->quitting)
            qmp_event_device_deleted(m->server, u->id, u->path);
        unplugged_free(u);
    }
}

static gboolean tell_due(gpointer user)
{
    ((Machine *)user)->unplugged_source = 0;
    machine_tell_unplugged(user);
    return G_SOURCE_REMOVE;
}

static void tell_unplugged(gpointer user, const char *id, const char *path, const char *reason)
{
    Machine *m = user;
    Unplugged *u = g_new(Unplugged, 1);

    *u = (Unplugged){ g_strdup(id), g_strdup(path), g_strdup(reason) };
    g_queue_push_tail(&m->unplugged, u);
    if (!m->unplugged_source)
        m->unplugged_source = g_idle_add_full(G_PRIORITY_DEFAULT, tell_due, m, NULL);
}

static void device_gone(gpointer user, const char *id, const char *path)
{
    tell_unplugged(user, id, path, NULL);
}

static void device_rx_filter_changed(gpointer user, Device *nic)
{
    g_autofree char *path = device_path(nic), *qdev = g_strconcat(path, "/virtio-backend", NULL);

    qmp_event_nic_rx_filter_changed(((Machine *)user)->server, nic->id_given ? nic->id : NULL, qdev);
}

static const DeviceObserver device_observer = {
    .guest_shutdown = device_guest_shutdown,
    .guest_reset = device_guest_reset,
    .debug_exit = device_debug_exit,
    .rtc_change = device_rtc_change,
    .io_error = device_io_error,
    .device_error = device_error,
    .acpi_ost = device_acpi_ost,
    .balloon_change = device_balloon_change,
    .port_change = device_port_change,
    .open_fdset = device_open_fdset,
    .device_gone = device_gone,
    .unplug_failed = tell_unplugged,
    .rx_filter_changed = device_rx_filter_changed,
};

/* ---- plugging ---- */

static gboolean needs_board(const PropTable *table)
{
    return table->plug != PLUG_OBJECT && table->plug != PLUG_CHARDEV && table->plug != PLUG_BOARD;
}

static Device *bring_board(Machine *m, GError **error)
{
    PropBag *bag = prop_bag_new(prop_table_find("board"));

    bag->id = g_strdup("board"); /* the name that managers use when they plug it themselves */
    Device *board = device_plug_realize(m->devices, bag, error);
    if (board)
        board->implicit = TRUE;
    return board;
}

Device *machine_plug_realize(Machine *m, PropBag *taken, Device **board, GError **error)
{
    g_autoptr(PropBag) bag = taken;

    *board = NULL;
    if (!vm_ready(m->vm, error))
        return NULL;
    if (needs_board(bag->table) && !device_set_board(m->devices)) {
        *board = bring_board(m, error);
        if (!*board)
            return NULL;
    }
    Device *dev = device_plug_realize(m->devices, g_steal_pointer(&bag), error);
    if (!dev && *board)
        device_plug_rollback(g_steal_pointer(board));
    return dev;
}

Device *machine_plug(Machine *m, PropBag *bag, GError **error)
{
    Device *board;
    Device *dev = machine_plug_realize(m, bag, &board, error);

    if (!dev)
        return NULL;
    if (board)
        device_plug_publish(board);
    device_plug_publish(dev);
    return dev;
}

/* ---- life ---- */

Machine *machine_new(const char *name, VmAccel accel, Service *service, GError **error)
{
    g_autofree Machine *m = g_new0(Machine, 1);

    m->vm = vm_new(accel, &vm_observer, m, error);
    if (!m->vm)
        return NULL;
    m->name = g_strdup(name);
    m->accel = accel;
    m->service = service;
    m->state = RUN_STATE_PRELAUNCH;
    m->power_on_pending = TRUE;
    m->on_reboot = REBOOT_ACTION_RESET;
    m->on_shutdown = SHUTDOWN_ACTION_PAUSE;
    m->on_panic = PANIC_ACTION_SHUTDOWN;
    m->loop = g_main_loop_new(NULL, FALSE);
    m->devices = device_set_new(m->vm, &device_observer, m);
    return g_steal_pointer(&m);
}

void machine_free(Machine *m)
{
    if (!m)
        return;
    halt(m);
    vm_end(m->vm);
    device_set_free(m->devices);
    vm_free(m->vm);
    rtc_change_free(m->rtc_change);
    if (m->unplugged_source)
        g_source_remove(m->unplugged_source);
    g_queue_clear_full(&m->unplugged, unplugged_free);
    g_main_loop_unref(m->loop);
    g_free(m->name);
    g_free(m);
}
