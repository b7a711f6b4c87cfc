/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core-rig.c - see core-rig.h. What a refused plug must leave behind is nothing: the rig looks at it from outside
 * (descriptors, threads) and from inside (the set's tables).
 */
#include "core-rig.h"

#include <glib/gstdio.h>

#include "../../devices/core/set.h"

static void on_debug_exit(gpointer user, int status)
{
    ((Rig *)user)->debug_exit = status;
}

static const DeviceObserver observer = { .debug_exit = on_debug_exit };

static gpointer nothing(gpointer user)
{
    return NULL;
}

/* With the first thread of a process a sanitizer starts one of its own: before anybody counts. */
Rig *rig_new(void)
{
    Rig *rig = g_new0(Rig, 1);
    g_autoptr(GError) error = NULL;

    g_thread_join(g_thread_new("first", nothing, NULL));
    rig->vm = vm_new(VM_ACCEL_TEST, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(vm_ready(rig->vm, NULL));
    rig->set = device_set_new(rig->vm, &observer, rig);
    rig->debug_exit = -1;
    return rig;
}

void rig_free(Rig *rig)
{
    if (!rig)
        return;
    vm_pause(rig->vm);
    device_set_free(rig->set);
    vm_free(rig->vm);
    g_free(rig);
}

/* ---- plugging ---- */

static PropBag *chardev_bag(JsonVal root, JsonVal kind, GError **error)
{
    g_autofree char *type = json_dup_string(kind);
    g_autoptr(PropBag) bag = prop_bag_new(prop_table_find(type));
    JsonIter it;
    JsonVal name, value;

    json_iter_init(&it, root);
    while (json_iter_next(&it, &name, &value)) {
        g_autofree char *key = json_dup_string(name);
        if (strcmp(key, "id") == 0)
            bag->id = json_dup_string(value);
        else if (strcmp(key, "chardev") != 0 &&
                 !prop_bag_set_json(bag, (guint)prop_table_row(bag->table, key), value, ORIGIN_CONFIG, error))
            return NULL;
    }
    return g_steal_pointer(&bag);
}

PropBag *rig_bag(const char *json, GError **error)
{
    g_autoptr(JsonDoc) doc = json_doc_parse(json, strlen(json), &json_limits_default, error);
    JsonVal root, kind;

    g_assert_nonnull(doc);
    root = json_doc_root(doc);
    if (!json_member(root, "driver", &kind) && !json_member(root, "qom-type", &kind)) {
        g_assert_true(json_member(root, "chardev", &kind));
        return chardev_bag(root, kind, error);
    }
    return prop_bag_decode(root, json_member(root, "driver", &kind) ? "driver" : "qom-type", error);
}

static Device *plug_json(Rig *rig, const char *json, GError **error)
{
    PropBag *bag = rig_bag(json, error);
    Device *dev = bag ? device_plug_realize(rig->set, bag, error) : NULL;

    if (dev)
        device_plug_publish(dev);
    return dev;
}

Device *rig_try_plug(Rig *rig, GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *json = g_strdup_vprintf(format, args);
    va_end(args);
    return plug_json(rig, json, error);
}

Device *rig_plug(Rig *rig, const char *format, ...)
{
    g_autoptr(GError) error = NULL;
    va_list args;

    va_start(args, format);
    g_autofree char *json = g_strdup_vprintf(format, args);
    va_end(args);
    Device *dev = plug_json(rig, json, &error);
    g_assert_no_error(error);
    return dev;
}

void rig_refuse(Rig *rig, const char *fragment, const char *format, ...)
{
    guint fds = rig_count_fds(), threads = rig_count_threads();
    guint devices = rig->set->devices->len, claims = rig->set->claims->len, links = rig->set->links->len;
    guint boot = rig->set->boot->len, parts = rig->set->parts->len, ids = 0, ids_after = 0, lines, lines_after;
    g_autoptr(GError) error = NULL;
    va_list args;

    for (guint i = 0; i < 3; i++)
        ids += g_hash_table_size(rig->set->by_id[i]);
    irq_lines(rig->vm, &lines);
    va_start(args, format);
    g_autofree char *json = g_strdup_vprintf(format, args);
    va_end(args);
    g_assert_null(plug_json(rig, json, &error));
    g_assert_nonnull(error);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, fragment));
    g_assert_cmpuint(strlen(error->message), <, 800);
    g_assert_cmpuint(rig->set->devices->len, ==, devices);
    g_assert_cmpuint(rig->set->parts->len, ==, parts);
    g_assert_cmpuint(rig->set->claims->len, ==, claims);
    g_assert_cmpuint(rig->set->links->len, ==, links);
    g_assert_cmpuint(rig->set->boot->len, ==, boot);
    for (guint i = 0; i < 3; i++)
        ids_after += g_hash_table_size(rig->set->by_id[i]);
    g_assert_cmpuint(ids_after, ==, ids);
    irq_lines(rig->vm, &lines_after);
    g_assert_cmpuint(lines_after, ==, lines);
    g_assert_cmpuint(rig_count_fds(), ==, fds);
    g_assert_cmpuint(rig_count_threads(), ==, threads);
}

void rig_remove(Device *dev)
{
    g_autoptr(GError) error = NULL;

    device_remove(dev, &error);
    g_assert_no_error(error);
}

void rig_power_on(Rig *rig)
{
    g_autoptr(GError) error = NULL;

    device_set_reset(rig->set, RESET_COLD);
    device_set_power_on(rig->set, &error);
    g_assert_no_error(error);
    device_set_resume(rig->set);
    vm_run(rig->vm);
}

/* ---- the guest ---- */

guint64 rig_in(Rig *rig, guint port, unsigned size)
{
    guint64 value = 0;

    iobus_read(rig->vm, IO_PIO, port, size, &value);
    return value;
}

void rig_out(Rig *rig, guint port, unsigned size, guint64 value)
{
    iobus_write(rig->vm, IO_PIO, port, size, value);
}

void rig_clock_step(Rig *rig, gint64 ns)
{
    g_assert_true(vm_clock_step_to(rig->vm, vm_clock_ns(rig->vm) + ns, 1000));
}

/* ---- the main loop ---- */

static gboolean too_late(gpointer user)
{
    g_error("what the test waits for did not happen in ten seconds");
    return G_SOURCE_REMOVE;
}

void rig_wait(const gboolean *flag)
{
    guint alarm = g_timeout_add_seconds(10, too_late, NULL);

    while (!*flag)
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(alarm);
}

guint rig_settle(void)
{
    guint n = 0;

    while (n < 10000 && g_main_context_iteration(NULL, FALSE))
        n++;
    return n;
}

/* ---- what a process holds ---- */

static guint count_entries(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    guint n = 0;

    while (g_dir_read_name(dir))
        n++;
    return n;
}

guint rig_count_fds(void)
{
    return count_entries("/proc/self/fd");
}

/* A joined thread may be listed for a moment longer: until the count holds still it is asked again. */
guint rig_count_threads(void)
{
    guint n = count_entries("/proc/self/task"), again;

    for (guint i = 0; i < 50; i++) {
        g_usleep(200);
        again = count_entries("/proc/self/task");
        if (again == n && i >= 4)
            break;
        n = again;
    }
    return n;
}

char *rig_tmp_new(void)
{
    g_autoptr(GError) error = NULL;
    char *dir = g_dir_make_tmp("backplane-XXXXXX", &error);

    g_assert_no_error(error);
    return dir;
}

void rig_tmp_remove(char *dir)
{
    g_autoptr(GDir) listing = g_dir_open(dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(listing))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_assert_cmpint(g_remove(path), ==, 0);
    }
    g_assert_cmpint(g_rmdir(dir), ==, 0);
    g_free(dir);
}
