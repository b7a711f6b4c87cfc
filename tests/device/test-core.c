/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-core.c - the device model itself: plug states, ids, roll-back, claims, links, order, resolution. */
#include "core-types.h"

/* ---- plug states ---- */

static void test_states(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    PropBag *bag = rig_bag("{\"driver\":\"gadget\",\"id\":\"g\"}", NULL);
    Device *dev = device_plug_realize(rig->set, bag, NULL);

    g_assert_cmpint(dev->state, ==, DEVICE_REALIZED);
    journal_is("g:resolve g:realize");
    g_assert_true(device_set_find(rig->set, NS_DEVICE, "g") == dev);
    device_plug_publish(dev);
    g_assert_cmpint(dev->state, ==, DEVICE_PUBLISHED);
    journal_is("g:publish");
    rig_remove(dev);
    journal_is("g:unpublish g:unrealize");
    g_assert_null(device_set_find(rig->set, NS_DEVICE, "g"));
}

static void test_rollback_of_realized(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    PropBag *bag = rig_bag("{\"driver\":\"gadget\",\"id\":\"g\",\"iobase\":64}", NULL);

    device_plug_rollback(device_plug_realize(rig->set, bag, NULL));
    journal_is("g:resolve g:realize g:unrealize"); /* never published, so never unpublished */
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\",\"iobase\":64}");
}

static void test_failures_leave_nothing(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}");
    rig_refuse(rig, "fails at 1", "{\"driver\":\"gadget\",\"id\":\"g\",\"fail\":1}");
    journal_is("g:resolve"); /* nothing was realized: nothing to undo */
    rig_refuse(rig, "fails at 2", "{\"driver\":\"gadget\",\"id\":\"g\",\"fail\":2,\"iobase\":64,\"irq\":5,\"peer\":\"t\"}");
    journal_is("g:resolve g:realize g:unrealize");
    rig_remove(device_set_find(rig->set, NS_CHARDEV, "t")); /* nobody holds it */
}

static void test_board_that_fails(void)
{
    g_autoptr(Rig) rig = rig_new();

    g_string_truncate(journal, 0);
    rig_refuse(rig, "fails at 5", "{\"driver\":\"board\",\"id\":\"b\",\"fail\":5}");
    g_assert_null(device_set_board(rig->set));
    journal_is("b:realize b/part-a:realize b/part-b:realize b/part-b:unrealize b/part-a:unrealize b:unrealize");
    rig_plug(rig, "{\"driver\":\"board\",\"id\":\"b\"}");
    g_assert_nonnull(device_set_board(rig->set));
}

/* ---- several as one ---- */

static void settled(gpointer user)
{
    note(user, "settled");
}

/* A controller that goes on: what is asked for at the end is done at the end. */
static void settled_twice(gpointer user)
{
    Device *dev = user;

    note(dev, "again");
    device_plug_settle(dev->set, settled, dev);
}

static void test_bracket(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *one = device_plug_realize(rig->set, rig_bag("{\"driver\":\"gadget\",\"id\":\"one\"}", NULL), NULL);
    Device *two = device_plug_realize(rig->set, rig_bag("{\"driver\":\"gadget\",\"id\":\"two\"}", NULL), NULL);

    g_string_truncate(journal, 0);
    device_plug_begin(rig->set);
    device_plug_publish(one);
    device_plug_settle(rig->set, settled_twice, two);
    device_plug_settle(rig->set, settled, one);
    device_plug_begin(rig->set);
    device_plug_publish(two);
    device_plug_settle(rig->set, settled, one);
    device_plug_end(rig->set);
    journal_is("one:publish two:publish"); /* the inner end is none */
    device_plug_end(rig->set);
    journal_is("two:again one:settled two:settled");
    device_plug_settle(rig->set, settled, one);
    journal_is("one:settled"); /* no bracket: at once */
}

static void test_bracket_cancel(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *one = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\"}");
    Device *two = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"two\"}");

    g_string_truncate(journal, 0);
    device_plug_begin(rig->set);
    device_plug_settle(rig->set, settled, one);
    device_plug_settle(rig->set, settled, two);
    device_plug_settle_cancel(rig->set, one);
    device_plug_end(rig->set);
    journal_is("two:settled");
}

/* ---- who may be plugged ---- */

static void test_board_first(void)
{
    g_autoptr(Rig) rig = rig_new();

    rig_refuse(rig, "needs a board", "{\"driver\":\"gadget\"}");
    rig_plug(rig, "{\"qom-type\":\"store\",\"id\":\"s\"}"); /* the host's side needs none */
    rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}");
    rig_plug(rig, "{\"driver\":\"board\"}");
    rig_refuse(rig, "'board' can be plugged once", "{\"driver\":\"board\"}");
}

static void test_singleton(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *one = rig_plug(rig, "{\"driver\":\"single\"}");

    rig_refuse(rig, "'single' can be plugged once", "{\"driver\":\"single\"}");
    rig_remove(one);
    rig_plug(rig, "{\"driver\":\"single\"}");
}

static void test_started(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GError) error = NULL;
    Device *cold = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"cold\"}");

    g_assert_false(device_set_is_started(rig->set));
    device_set_started(rig->set);
    rig_refuse(rig, "'gadget' does not support hotplugging", "{\"driver\":\"gadget\"}");
    rig_remove(rig_plug(rig, "{\"driver\":\"cpu\"}"));
    rig_remove(rig_plug(rig, "{\"qom-type\":\"store\",\"id\":\"s\"}"));
    rig_remove(rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}"));
    g_assert_false(device_remove(cold, &error));
    g_assert_nonnull(strstr(error->message, "'cold' of type 'gadget' does not support hot unplug"));
    g_assert_cmpint(cold->state, ==, DEVICE_PUBLISHED);
}

static void test_board_in_use(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GError) error = NULL;
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}");

    g_assert_false(device_remove(device_set_board(rig->set), &error));
    g_assert_nonnull(strstr(error->message, "'g'"));
    rig_remove(dev);
    rig_remove(device_set_board(rig->set));
    g_assert_null(device_set_board(rig->set));
    g_assert_null(device_set_part(rig->set, "part-a"));
}

/* ---- ids ---- */

static void test_ids(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *d[4];

    for (guint i = 0; i < 3; i++)
        d[i] = rig_plug(rig, "{\"driver\":\"gadget\"}");
    g_assert_cmpstr(d[0]->id, ==, "gadget.0");
    g_assert_cmpstr(d[2]->id, ==, "gadget.2");
    g_assert_false(d[2]->id_given);
    rig_remove(d[1]);
    d[3] = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"gadget.3\"}");
    g_assert_true(d[3]->id_given);
    g_assert_cmpstr(rig_plug(rig, "{\"driver\":\"gadget\"}")->id, ==, "gadget.1"); /* lowest free */
    g_assert_cmpstr(rig_plug(rig, "{\"driver\":\"gadget\"}")->id, ==, "gadget.4"); /* over one that was given */
    rig_remove(d[3]);
    rig_remove(d[0]);
    g_assert_cmpstr(rig_plug(rig, "{\"driver\":\"gadget\"}")->id, ==, "gadget.0");
    g_assert_cmpstr(rig_plug(rig, "{\"driver\":\"gadget\"}")->id, ==, "gadget.3"); /* free again, though it was given */
    g_assert_cmpstr(rig_plug(rig, "{\"driver\":\"cpu\"}")->id, ==, "cpu.0");       /* counted by type */
}

static void test_duplicate_ids(void)
{
    g_autoptr(Rig) rig = rig_with_board();

    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"x\"}");
    rig_refuse(rig, "Duplicate device ID 'x'", "{\"driver\":\"cpu\",\"id\":\"x\"}");
    rig_plug(rig, "{\"qom-type\":\"store\",\"id\":\"x\"}"); /* name spaces of their own */
    rig_refuse(rig, "Duplicate object ID 'x'", "{\"qom-type\":\"store\",\"id\":\"x\"}");
    rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"x\"}");
    rig_refuse(rig, "Duplicate chardev ID 'x'", "{\"chardev\":\"talker\",\"id\":\"x\"}");
}

static void test_paths(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *devices[] = { rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"x\"}"), rig_plug(rig, "{\"qom-type\":\"store\",\"id\":\"x\"}"),
                          rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"x\"}"), device_set_part(rig->set, "part-b") };
    static const char *const paths[] = { "/machine/peripheral/x", "/objects/x", "/chardevs/x", "/machine/unattached/part-b" };

    for (guint i = 0; i < G_N_ELEMENTS(paths); i++) {
        g_autofree char *path = device_path(devices[i]);
        g_assert_cmpstr(path, ==, paths[i]);
        g_assert_true(device_set_by_path(rig->set, path) == devices[i]);
    }
    g_assert_null(device_set_by_path(rig->set, "/machine/peripheral/"));
    g_assert_null(device_set_by_path(rig->set, "/machine/unattached/part-c"));
    g_assert_null(device_set_by_path(rig->set, "x"));
}

/* ---- boot order ---- */

static void boot_order_is(Rig *rig, const char *wanted)
{
    g_autoptr(GPtrArray) paths = device_set_boot_order(rig->set);
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; i < paths->len; i++)
        g_string_append_printf(text, "%s ", (const char *)g_ptr_array_index(paths, i));
    g_assert_cmpstr(text->str, ==, wanted);
}

static void test_boot_order(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GError) error = NULL;

    boot_order_is(rig, "");
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"last\",\"bootindex\":2147483647}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"nowhere\"}");
    Device *second = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"second\",\"bootindex\":7}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"first\",\"bootindex\":0}");
    boot_order_is(rig, "/first /second /last ");
    rig_refuse(rig, "Property 'bootindex' of device 'x': 7 is that of device 'second' already",
               "{\"driver\":\"gadget\",\"id\":\"x\",\"bootindex\":7}");
    rig_refuse(rig, "fails at", "{\"driver\":\"gadget\",\"id\":\"x\",\"bootindex\":8,\"fail\":2}");
    rig_remove(second);
    boot_order_is(rig, "/first /last ");

    /* A place is taken from realize on, but firmware is told of what is there. */
    Device *dev = device_plug_realize(rig->set, rig_bag("{\"driver\":\"gadget\",\"id\":\"y\",\"bootindex\":7}", &error), &error);
    g_assert_no_error(error);
    boot_order_is(rig, "/first /last ");
    device_plug_publish(dev);
    boot_order_is(rig, "/first /y /last ");
}

static void test_boot_paths(void)
{
    static const guint8 way[] = { 0x12, 0x00, 0xfb };
    g_autofree char *flat = boot_path_pci((const guint8[]){ 0x18 }, 1, "scsi", "disk@0,0");
    g_autofree char *deep = boot_path_pci(way, G_N_ELEMENTS(way), "ethernet", NULL);

    g_assert_cmpstr(flat, ==, "/pci@i0cf8/scsi@3/disk@0,0");
    g_assert_cmpstr(deep, ==, "/pci@i0cf8/pci-bridge@2,2/pci-bridge@0/ethernet@1f,3");
}

/* ---- claims and links ---- */

static void test_claims(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"one\",\"iobase\":1000,\"irq\":5}");

    rig_refuse(rig, "device 'one'", "{\"driver\":\"gadget\",\"iobase\":1007}");
    rig_refuse(rig, "device 'one'", "{\"driver\":\"gadget\",\"iobase\":993}");
    rig_refuse(rig, "device 'board/part-a'", "{\"driver\":\"gadget\",\"iobase\":16}");
    rig_refuse(rig, "interrupt 5 is in use by device 'one'", "{\"driver\":\"gadget\",\"irq\":5}");
    rig_refuse(rig, "interrupt 24 is not one of 0 to 23", "{\"driver\":\"gadget\",\"irq\":24}");
    rig_refuse(rig, "end beyond 0xffff", "{\"driver\":\"gadget\",\"iobase\":65529}");
    rig_refuse(rig, "end beyond 0xffff", "{\"driver\":\"gadget\",\"iobase\":4294967295}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"iobase\":1008,\"irq\":23}"); /* side by side is no conflict */
    rig_plug(rig, "{\"driver\":\"gadget\",\"iobase\":992}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"iobase\":65528}");
    rig_remove(dev);
    rig_plug(rig, "{\"driver\":\"gadget\",\"iobase\":1000,\"irq\":5}");
}

static void test_claim_edges(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}");

    g_assert_true(device_claim_io(dev, IO_MMIO, G_MAXUINT64, 1, "p", NULL));
    g_assert_false(device_claim_io(dev, IO_MMIO, G_MAXUINT64, 2, "p", NULL));
    g_assert_false(device_claim_io(dev, IO_MMIO, 0, 0, "p", NULL));
    g_assert_false(device_claim_io(dev, IO_MMIO, 1, G_MAXUINT64, "p", NULL)); /* overlaps the first */
    g_assert_true(device_claim_io(dev, IO_MMIO, 0x10, 8, "p", NULL));         /* part-a's 0x10 are ports */
    g_assert_true(device_claim_irq(dev, 16, "p", NULL));                      /* nor are interrupts ports */
}

static void test_links(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GError) error = NULL;
    Device *talker = rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}");
    g_autofree char *huge = g_strnfill(120, 'n');

    rig_refuse(rig, "there is no talker 'none'", "{\"driver\":\"gadget\",\"peer\":\"none\"}");
    rig_refuse(rig, huge, "{\"driver\":\"gadget\",\"peer\":\"%s\"}", huge);
    g_assert_null(device_used_by(talker));
    Device *user = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"u\",\"peer\":\"t\"}");
    g_assert_true(device_used_by(talker) == user);
    g_assert_false(device_remove(talker, &error));
    g_assert_cmpstr(error->message, ==, "The chardev 't' is in use by device 'u'");
    g_assert_null(device_link(user, NS_DEVICE, "u", "talker", "peer", NULL)); /* a gadget is no talker */
    rig_remove(user);
    rig_remove(talker);
}

/* ---- the whole set ---- */

static void test_order(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    static const char *const drivers[] = { "boot", "gadget", "cpu" };
    ResetKind warm = RESET_WARM;

    for (guint i = 0; i < G_N_ELEMENTS(drivers); i++)
        rig_plug(rig, "{\"driver\":\"%s\",\"id\":\"%c\"}", drivers[i], (char)('x' + i));
    g_string_truncate(journal, 0);
    device_set_reset(rig->set, warm);
    journal_is("board:warm board/part-a:warm board/part-b:warm x:warm y:warm z:warm"); /* plug order */
    g_assert_true(device_set_power_on(rig->set, NULL));
    journal_is("board/part-a:power-on board/part-b:power-on board:power-on z:power-on y:power-on x:power-on"); /* loaders last */
    device_set_quiesce(rig->set);
    journal_is("board:quiesce board/part-a:quiesce board/part-b:quiesce x:quiesce y:quiesce z:quiesce");
    device_set_resume(rig->set);
    journal_is("board:resume board/part-a:resume board/part-b:resume x:resume y:resume z:resume");
}

static void test_power_on_fails(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    g_autoptr(GError) error = NULL;

    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"bad\",\"fail\":3}");
    rig_plug(rig, "{\"driver\":\"boot\",\"id\":\"later\"}");
    g_string_truncate(journal, 0);
    g_assert_false(device_set_power_on(rig->set, &error));
    g_assert_nonnull(strstr(error->message, "'bad'"));
    g_assert_null(strstr(journal->str, "later"));
}

static void test_free_goes_backwards(void)
{
    Rig *rig = rig_with_board();

    rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"x\",\"peer\":\"t\"}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"y\"}");
    g_string_truncate(journal, 0);
    rig_free(rig);
    journal_is("y:unpublish y:unrealize x:unpublish x:unrealize board/part-b:unpublish board/part-a:unpublish board:unpublish "
               "board/part-b:unrealize board/part-a:unrealize board:unrealize");
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    journal = g_string_new(NULL);
    g_test_add_func("/core/states", test_states);
    g_test_add_func("/core/rollback-of-realized", test_rollback_of_realized);
    g_test_add_func("/core/failures-leave-nothing", test_failures_leave_nothing);
    g_test_add_func("/core/board-that-fails", test_board_that_fails);
    g_test_add_func("/core/bracket", test_bracket);
    g_test_add_func("/core/bracket-cancel", test_bracket_cancel);
    g_test_add_func("/core/board-first", test_board_first);
    g_test_add_func("/core/singleton", test_singleton);
    g_test_add_func("/core/started", test_started);
    g_test_add_func("/core/board-in-use", test_board_in_use);
    g_test_add_func("/core/ids", test_ids);
    g_test_add_func("/core/duplicate-ids", test_duplicate_ids);
    g_test_add_func("/core/paths", test_paths);
    g_test_add_func("/core/boot-order", test_boot_order);
    g_test_add_func("/core/boot-paths", test_boot_paths);
    g_test_add_func("/core/claims", test_claims);
    g_test_add_func("/core/claim-edges", test_claim_edges);
    g_test_add_func("/core/links", test_links);
    g_test_add_func("/core/order", test_order);
    g_test_add_func("/core/power-on-fails", test_power_on_fails);
    g_test_add_func("/core/free-goes-backwards", test_free_goes_backwards);
    status = g_test_run();
    g_string_free(journal, TRUE);
    return status;
}
