/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where virtio-rng-pci has its bytes from: files that have some, that have none yet, and that end. */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

#include "virtio-test.h"

#define SLOT 4
#define V1 F(F_VERSION_1)

typedef struct {
    BoardTest  t;
    VirtioTest v;
    char      *folder, *pipe;
    int        end; /* of the pipe, to write to */
} Rig;

static Device *object(BoardTest *t, const char *type, const char *filename, GError **error)
{
    g_autofree char *json = filename ? g_strdup_printf("{\"qom-type\": \"%s\", \"id\": \"o\", \"filename\": \"%s\"}", type, filename)
                                     : g_strdup_printf("{\"qom-type\": \"%s\", \"id\": \"o\"}", type);

    return board_test_plug_as(t, "qom-type", json, error);
}

/* A running device on the object TYPE with FILENAME, with a driver; NULL: a pipe. */
static void start(Rig *r, const char *type, const char *filename)
{
    g_autoptr(GError) error = NULL;

    r->folder = g_dir_make_tmp("backplane-rng-XXXXXX", NULL);
    r->pipe = g_build_filename(r->folder, "pipe", NULL);
    g_assert_cmpint(mkfifo(r->pipe, 0600), ==, 0);
    board_test_init(&r->t, BOARD_DEFAULT);
    board_test_ram(&r->t);
    object(&r->t, type, g_str_equal(type, "rng-random") && !filename ? r->pipe : filename, &error);
    g_assert_no_error(error);
    r->end = open(r->pipe, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(r->end, >=, 0);
    board_test_plug(&r->t, "{\"driver\": \"virtio-rng-pci\", \"id\": \"rng\", \"addr\": \"4\", \"rng\": \"o\"}", &error);
    g_assert_no_error(error);
    board_test_power_on(&r->t);
    r->v = vt_open(&r->t, SLOT);
    vt_msix_start(&r->v, 1);
    g_assert_true(vt_negotiate(&r->v, V1));
    vt_queue(&r->v, 0, 0, 0);
    vt_driver_ok(&r->v);
}

static void finish(Rig *r)
{
    vt_close(&r->v);
    board_test_clear(&r->t);
    close(r->end);
    g_unlink(r->pipe);
    g_rmdir(r->folder);
    g_free(r->pipe);
    g_free(r->folder);
}

static void ask(Rig *r, guint32 token, guint64 at, guint32 len)
{
    const DrvSeg seg = { at, len, TRUE };

    memset(r->t.ram + at, 0xee, len);
    vt_send(&r->v, 0, &seg, 1, token);
}

/* Waits for the buffer TOKEN; how many bytes are in it. */
static guint32 answer(Rig *r, guint32 token)
{
    guint32 got = 0, len = 0;

    while (!drv_take(&r->v.q[0], &got, &len))
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmphex(got, ==, token);
    return len;
}

static void test_builtin(void)
{
    Rig r;

    start(&r, "rng-builtin", NULL);
    ask(&r, 1, VT_DATA, 300);
    g_assert_cmpuint(answer(&r, 1), ==, 300);
    finish(&r);
}

static void test_device_file(void)
{
    static const guint8 zeroes[5000];
    Rig r;

    start(&r, "rng-random", "/dev/zero");
    ask(&r, 1, VT_DATA, 200);
    g_assert_cmpuint(answer(&r, 1), ==, 200);
    g_assert_cmpmem(r.t.ram + VT_DATA, 200, zeroes, 200);
    ask(&r, 2, VT_DATA, sizeof zeroes);
    guint32 len = answer(&r, 2); /* a pool is no larger than a page */
    g_assert_cmpuint(len, >, 0);
    g_assert_cmpuint(len, <=, 4096);
    g_assert_cmpmem(r.t.ram + VT_DATA, len, zeroes, len);
    g_assert_cmphex(r.t.ram[VT_DATA + len], ==, 0xee);
    finish(&r);
}

/* Buffers wait for bytes, and get those, in order and each once. */
static void test_pipe(void)
{
    Rig r;

    start(&r, "rng-random", NULL);
    ask(&r, 1, VT_DATA, 4);
    ask(&r, 2, VT_DATA + 64, 64);
    vt_none_used(&r.v, 0);
    g_assert_cmpint(write(r.end, "abcdefgh", 8), ==, 8);
    g_assert_cmpuint(answer(&r, 1), ==, 4);
    g_assert_cmpmem(r.t.ram + VT_DATA, 4, "abcd", 4);
    guint32 len = answer(&r, 2);
    g_assert_cmpmem(r.t.ram + VT_DATA + 64, len, "efgh", 4);
    vt_none_used(&r.v, 0);
    finish(&r);
}

/* Nobody asks: nothing is read. */
static void test_untouched(void)
{
    guint8 buf[8];
    Rig r;

    start(&r, "rng-random", NULL);
    g_assert_cmpint(write(r.end, "12345678", 8), ==, 8);
    board_test_settle();
    g_assert_cmpint(read(r.end, buf, 8), ==, 8);
    g_assert_cmpmem(buf, 8, "12345678", 8);
    finish(&r);
}

/* The device goes while it waits; then so does the object, whose thread reads. */
static void test_goes_waiting(void)
{
    g_autoptr(GError) error = NULL;
    Rig r;

    start(&r, "rng-random", NULL);
    ask(&r, 1, VT_DATA, 16);
    board_test_settle();
    g_assert_true(device_remove(device_set_find(r.t.set, NS_DEVICE, "rng"), &error));
    g_assert_cmpint(write(r.end, "late", 4), ==, 4);
    board_test_settle();
    g_assert_true(device_remove(device_set_find(r.t.set, NS_OBJECT, "o"), &error));
    g_assert_no_error(error);
    finish(&r);
}

/* What a file has is given; at its end the guest waits, and the object can be had off nevertheless. */
static void test_end(void)
{
    g_autofree char *folder = g_dir_make_tmp("backplane-rng-XXXXXX", NULL), *file = g_build_filename(folder, "f", NULL);
    Rig r;

    g_assert_true(g_file_set_contents(file, "0123456789", 10, NULL));
    start(&r, "rng-random", file);
    ask(&r, 1, VT_DATA, 6);
    g_assert_cmpuint(answer(&r, 1), ==, 6);
    ask(&r, 2, VT_DATA, 6);
    g_assert_cmpuint(answer(&r, 2), ==, 4);
    g_assert_cmpmem(r.t.ram + VT_DATA, 4, "6789", 4);
    g_test_expect_message("backplane", G_LOG_LEVEL_WARNING, "object 'o': no random bytes: the file has come to its end");
    ask(&r, 3, VT_DATA, 6);
    vt_none_used(&r.v, 0);
    g_assert_true(g_file_test(file, G_FILE_TEST_EXISTS));
    FILE *f = fopen(file, "a"); /* it grows */
    g_assert_cmpint(fputs("xyz", f), >=, 0);
    fclose(f);
    g_assert_cmpuint(answer(&r, 3), ==, 3);
    g_assert_cmpmem(r.t.ram + VT_DATA, 3, "xyz", 3);
    finish(&r);
    g_unlink(file);
    g_rmdir(folder);
}

static void test_refusals(void)
{
    g_autoptr(GError) missing = NULL, folder = NULL;
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_null(object(&t, "rng-random", "/nowhere/rng", &missing));
    g_assert_cmpstr(missing->message, ==, "Property 'filename' of object 'o': can not open '/nowhere/rng': No such file or directory");
    g_assert_null(object(&t, "rng-random", "/dev", &folder));
    g_assert_cmpstr(folder->message, ==, "Property 'filename' of object 'o': '/dev' is a folder");
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/virtio-rng/source/builtin", test_builtin);
    g_test_add_func("/virtio-rng/source/device-file", test_device_file);
    g_test_add_func("/virtio-rng/source/pipe", test_pipe);
    g_test_add_func("/virtio-rng/source/untouched", test_untouched);
    g_test_add_func("/virtio-rng/source/goes-waiting", test_goes_waiting);
    g_test_add_func("/virtio-rng/source/end", test_end);
    g_test_add_func("/virtio-rng/source/refusals", test_refusals);
    return g_test_run();
}
