/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-types.c - every device type there is, by the table: rows and type belong together, state rows fit their members, and each type that
 * can be made in a generic way lives a whole life: plug, reset, power-on, save, load, remove, and leaves nothing behind.
 */
#include <glib/gstdio.h>

#include "core-rig.h"

/* ---- tables ---- */

static void test_tables(void)
{
    guint n = 0;

    for (guint i = 0; device_types[i]; i++) {
        const DeviceType *type = device_types[i];
        if (i > 0)
            g_assert_cmpint(strcmp(device_types[i - 1]->name, type->name), !=, 0);
        g_assert_true(device_type_find(type->name) == type);
        g_assert_cmpuint(type->size, >=, sizeof(Device));
        g_assert_nonnull(type->ops);
        g_assert_nonnull(type->state);
        n += prop_table_find(type->name) != NULL; /* the others are parts of the board */
    }
    for (guint i = 0; i < prop_n_tables; i++) {
        const PropTable *table = prop_tables[i];
        g_test_message("%s", table->name);
        g_assert_true(prop_table_find(table->name) == table);
        g_assert_cmpint(device_type_find(table->name) != NULL, ==, !(table->flags & TYPE_ABSTRACT));
        n -= !(table->flags & TYPE_ABSTRACT);
    }
    g_assert_cmpuint(n, ==, 0);
}

static void check_row(const PropTable *table, const PropDesc *row)
{
    g_assert_cmpuint(row->offset, <, table->config_size);
    g_assert_cmpuint(strlen(row->doc), >, 0);
    g_assert_cmpuint(row->min, <=, row->max);
    if (row->has_default && !(row->flags & PROP_AUTO) && row->kind <= PROP_SIZE && row->kind != PROP_BOOL) {
        g_assert_cmpuint(row->def.u, >=, row->min);
        g_assert_cmpuint(row->def.u, <=, row->max);
    }
    g_assert_false((row->flags & PROP_REQUIRED) && (row->flags & (PROP_AUTO | PROP_INTERNAL)));
}

static void test_rows(void)
{
    for (guint i = 0; i < prop_n_tables; i++) {
        const PropTable *table = prop_tables[i];
        for (guint r = 0; r < table->n_rows; r++) {
            check_row(table, &table->rows[r]);
            g_assert_cmpint(prop_table_row(table, table->rows[r].name), ==, (int)r); /* no name twice */
        }
        for (guint r = 0; table->base && r < table->base->n_rows; r++) {
            g_assert_cmpstr(table->rows[r].name, ==, table->base->rows[r].name);
            g_assert_cmpuint(table->rows[r].offset, ==, table->base->rows[r].offset);
        }
    }
}

static void test_state_rows(void)
{
    static const guint sizes[] = { [STATE_BOOL] = sizeof(gboolean), [STATE_U8] = 1,  [STATE_U16] = 2,
                                   [STATE_U32] = 4,                 [STATE_U64] = 8, [STATE_I64] = 8,
                                   [STATE_BUF] = sizeof(StateBuf),  [STATE_ARRAY] = sizeof(GByteArray *) };

    for (guint i = 0; device_types[i]; i++) {
        g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
        for (const StateDesc *row = device_types[i]->state; row->name; row++) {
            g_test_message("%s.%s", device_types[i]->name, row->name);
            if (row->kind != STATE_BYTES)
                g_assert_cmpuint(row->size, ==, sizes[row->kind]);
            g_assert_cmpuint(row->offset, >=, sizeof(Device));
            g_assert_cmpuint(row->offset + row->size, <=, device_types[i]->size);
            g_assert_nonnull(row->since);
            g_assert_cmpstr(row->name, !=, "unplug"); /* core/unplug.h */
            g_assert_true(g_hash_table_add(names, (gpointer)row->name));
        }
    }
}

/* ---- lives ---- */

typedef struct {
    const char *type, *members; /* what a type must be told; @ stands for the test's folder */
} Need;

static const Need needs[] = {
    { "blockdev-file", ",\"filename\":\"@/disk\"" },
    { "blockdev-host-device", NULL }, /* wants a block device: test-block-nodes' */
    { "blockdev-raw", ",\"file\":\"node\"" },
    { "chardev-file", ",\"out\":\"@/out\"" },
    { "chardev-socket", ",\"path\":\"@/socket\"" },
    { "chardev-stdio", NULL }, /* the test's own output: test-chardev has it in a child */
    { "board", NULL },         /* is there already; its life is that of the rig */
    { "firmware", NULL },      /* wants an image: test-firmware's */
    { "isa-debugcon", ",\"chardev\":\"null\"" },
    { "isa-serial", ",\"chardev\":\"null\"" },
    { "linux-loader", NULL }, /* wants a kernel: test-loader's */
    { "memory-backend-ram", ",\"size\":4096" },
    { "memory-backend-memfd", ",\"size\":4096" },
    { "memory-backend-file", ",\"size\":4096,\"mem-path\":\"@/memory\"" },
    { "virtio-blk-pci", ",\"drive\":\"node\"" },
    { "netdev-tap", NULL }, /* wants rights: test-net-tap's */
    { "virtio-net-pci", ",\"netdev\":\"net\"" },
    { "pc-dimm", ",\"memdev\":\"ram\"" },
    { "virtconsole", ",\"bus\":\"hub.0\",\"chardev\":\"null\"" },
    { "virtserialport", ",\"chardev\":\"null\"" },
};

static const char *members_of(const char *type)
{
    for (guint i = 0; i < G_N_ELEMENTS(needs); i++) {
        if (strcmp(needs[i].type, type) == 0)
            return needs[i].members;
    }
    return "";
}

static Device *plug_type(Rig *rig, const PropTable *table, const char *members, const char *tmp)
{
    const char *key = table->plug == PLUG_CHARDEV ? "chardev" : table->plug == PLUG_OBJECT ? "qom-type" : "driver";
    g_auto(GStrv) pieces = g_strsplit(members, "@", -1);
    g_autofree char *there = g_strjoinv(tmp, pieces);

    return rig_plug(rig, "{\"%s\":\"%s\",\"id\":\"it\"%s}", key, table->name, there);
}

static void assert_save_load(Device *dev)
{
    g_autoptr(GVariant) saved = device_save(dev);
    g_autoptr(GBytes) bytes = g_variant_get_data_as_bytes(saved);
    g_autoptr(GVariant) read = g_variant_ref_sink(g_variant_new_from_bytes(G_VARIANT_TYPE_VARDICT, bytes, FALSE));
    g_autoptr(GError) error = NULL;

    g_assert_true(device_load(dev, read, &error));
    g_assert_no_error(error);
    g_autoptr(GVariant) again = device_save(dev);
    g_assert_true(g_variant_equal(saved, again));
}

static void live(Rig *rig, const PropTable *table, const char *members, const char *tmp)
{
    guint fds = rig_count_fds(), threads = rig_count_threads();
    Device *dev = plug_type(rig, table, members, tmp);

    g_test_message("%s", table->name);
    for (guint r = 0; r < table->n_rows; r++) {
        if (table->rows[r].flags & (PROP_REQUIRED | PROP_AUTO) && strcmp(table->rows[r].name, "addr") != 0) /* with the layout */
            g_assert_cmpint(dev->bag->origin[r], !=, ORIGIN_UNSET);
    }
    device_set_reset(rig->set, RESET_COLD);
    assert_save_load(dev);
    device_set_reset(rig->set, RESET_WARM);
    device_set_resume(rig->set);
    device_set_quiesce(rig->set);
    assert_save_load(dev);
    g_autofree char *path = device_path(dev);
    g_assert_true(device_set_by_path(rig->set, path) == dev);
    rig_remove(dev);
    rig_settle();
    g_assert_cmpuint(rig_count_fds(), ==, fds);
    g_assert_cmpuint(rig_count_threads(), ==, threads);
}

static void test_lives(void)
{
    g_autoptr(Rig) rig = rig_new();
    char *tmp = rig_tmp_new();
    guint lived = 0;

    rig_plug(rig, "{\"driver\":\"board\",\"max-cpus\":4}");
    g_autofree char *disk = g_build_filename(tmp, "disk", NULL);
    g_assert_true(g_file_set_contents(disk, "", 0, NULL));
    rig_plug(rig, "{\"qom-type\":\"blockdev-null-co\",\"id\":\"node\"}");
    rig_plug(rig, "{\"qom-type\":\"netdev-user\",\"id\":\"net\"}");
    rig_plug(rig, "{\"chardev\":\"chardev-null\",\"id\":\"null\"}");
    rig_plug(rig, "{\"driver\":\"virtio-serial-pci\",\"id\":\"hub\"}");
    rig_plug(rig, "{\"qom-type\":\"memory-backend-ram\",\"id\":\"ram\",\"size\":1048576}");
    for (guint i = 0; i < prop_n_tables; i++) {
        const PropTable *table = prop_tables[i];
        const char *members = members_of(table->name);
        if ((table->flags & TYPE_ABSTRACT) || !members)
            continue;
        live(rig, table, members, tmp);
        live(rig, table, members, tmp); /* again: nothing of the first is in the way */
        lived++;
    }
    g_assert_cmpuint(lived, >=, 15);
    rig_tmp_remove(tmp);
}

static gboolean save_load_part(Device *part, gpointer n)
{
    g_test_message("%s", part->type->name);
    assert_save_load(part);
    ++*(guint *)n;
    return TRUE;
}

static void test_parts(void)
{
    g_autoptr(Rig) rig = rig_new();
    guint n = 0;

    rig_plug(rig, "{\"driver\":\"board\"}");
    device_set_reset(rig->set, RESET_COLD);
    device_set_foreach_part(rig->set, save_load_part, &n);
    g_assert_cmpuint(n, >=, 5);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/types/tables", test_tables);
    g_test_add_func("/types/rows", test_rows);
    g_test_add_func("/types/state-rows", test_state_rows);
    g_test_add_func("/types/lives", test_lives);
    g_test_add_func("/types/parts", test_parts);
    return g_test_run();
}
