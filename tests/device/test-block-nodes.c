/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-block-nodes.c - block nodes: what can be opened, who may use it, windows, sizes, and locks
 * against other programs.
 */
#include "block-rig.h"

#include <errno.h>

#define FILE_NODE "\"qom-type\":\"blockdev-file\",\"filename\":\"%s\""

static Device *plug_file(Disk *d, const char *id, const char *more)
{
    return rig_plug(d->rig, "{" FILE_NODE ",\"id\":\"%s\"%s}", d->path, id, more);
}

/* ---- opening ---- */

static void test_refused(void)
{
    g_autoptr(Disk) d = disk_new(4096);

    rig_refuse(d->rig, "No such file", "{" FILE_NODE ",\"id\":\"n\"}", "/nowhere/none");
    rig_refuse(d->rig, "not a regular file", "{" FILE_NODE ",\"id\":\"n\",\"read-only\":true}", d->tmp);
    rig_refuse(d->rig, "not a regular file", "{" FILE_NODE ",\"id\":\"n\"}", "/dev/null");
    rig_refuse(d->rig, "not a block device", "{\"qom-type\":\"blockdev-host-device\",\"id\":\"n\",\"filename\":\"%s\"}", d->path);
    rig_refuse(d->rig, "not a block device", "{\"qom-type\":\"blockdev-host-device\",\"id\":\"n\",\"filename\":\"/dev/null\"}");
    rig_refuse(d->rig, "no descriptor sets", "{" FILE_NODE ",\"id\":\"n\"}", "/dev/fdset/1");
    rig_refuse(d->rig, "multiple of 512", "{\"qom-type\":\"blockdev-null-co\",\"id\":\"n\",\"size\":1000}");
    rig_refuse(d->rig, "there is no blockdev 'none'", "{\"qom-type\":\"blockdev-raw\",\"id\":\"n\",\"file\":\"none\"}");
}

static void test_read_only(void)
{
    g_autoptr(Disk) d = disk_new(4096);
    Device *n = plug_file(d, "n", ",\"read-only\":true");

    g_assert_true(block_node_limits(n)->read_only);
    rig_refuse(d->rig, "node 'n' is read-only", "{\"qom-type\":\"blockdev-raw\",\"id\":\"r\",\"file\":\"n\"}");
    Device *r = rig_plug(d->rig, "{\"qom-type\":\"blockdev-raw\",\"id\":\"r\",\"file\":\"n\",\"auto-read-only\":true}");
    g_assert_true(block_node_limits(r)->read_only);
    g_autoptr(GError) error = NULL;
    g_assert_false(block_node_resize(r, 8192, &error));
    g_assert_nonnull(strstr(error->message, "read-only"));
    rig_remove(r);
    rig_remove(n);
}

/* Where a file can not be written auto-read-only opens it all the same. */
static void test_auto_read_only(void)
{
    g_autoptr(Disk) d = disk_new(4096);
    g_autofree char *exe = g_file_read_link("/proc/self/exe", NULL); /* busy: ETXTBSY, root or not */

    rig_refuse(d->rig, "Text file busy", "{" FILE_NODE ",\"id\":\"n\"}", exe);
    Device *n = rig_plug(d->rig, "{" FILE_NODE ",\"id\":\"n\",\"auto-read-only\":true}", exe);
    g_assert_true(block_node_limits(n)->read_only);
    rig_remove(n);
    n = plug_file(d, "n", ",\"auto-read-only\":true");
    g_assert_false(block_node_limits(n)->read_only);
    rig_remove(n);
}

static void test_queries(void)
{
    g_autoptr(Disk) d = disk_new(4096);
    Device *n = plug_file(d, "n", "");
    Device *r = rig_plug(d->rig, "{\"qom-type\":\"blockdev-raw\",\"id\":\"r\",\"file\":\"n\"}");
    Device *z = rig_plug(d->rig, "{\"qom-type\":\"blockdev-null-co\",\"id\":\"z\"}");

    g_assert_cmpstr(block_node_driver(n), ==, "file");
    g_assert_cmpstr(block_node_driver(r), ==, "raw");
    g_assert_cmpstr(block_node_filename(r), ==, d->path);
    g_assert_true(block_node_child(r) == n);
    g_assert_null(block_node_child(n));
    g_assert_true(block_node_user(n) == r);
    g_assert_null(block_node_user(r));
    g_assert_cmpstr(block_node_filename(z), ==, "null-co://");
    g_assert_cmpuint(block_node_size(z), ==, 1 << 30);
    g_assert_true(block_is_node(z));
    g_autoptr(GError) error = NULL;
    g_assert_false(device_remove(n, &error)); /* in use */
    g_assert_nonnull(strstr(error->message, "'r'"));
    rig_remove(r);
    rig_remove(n);
    rig_remove(z);
}

/* ---- users ---- */

static void test_users(void)
{
    g_autoptr(Disk) d = disk_new(4096);
    Device *n = plug_file(d, "n", "");
    const char *raw = "{\"qom-type\":\"blockdev-raw\",\"id\":\"%s\",\"file\":\"n\"%s}";

    Device *w = rig_plug(d->rig, raw, "w", "");
    rig_refuse(d->rig, "used by 'w' for writing", raw, "x", "");
    rig_refuse(d->rig, "used by 'w' for writing", raw, "x", ",\"read-only\":true");
    rig_remove(w);
    Device *a = rig_plug(d->rig, raw, "a", ",\"read-only\":true");
    Device *b = rig_plug(d->rig, raw, "b", ",\"read-only\":true");
    rig_refuse(d->rig, "can not use it for writing", raw, "x", "");
    rig_remove(a);
    rig_remove(b);
    rig_remove(rig_plug(d->rig, raw, "w", ""));
    rig_remove(n);
}

/* ---- windows ---- */

static void test_window(void)
{
    g_autoptr(Disk) d = disk_new(16384);
    Device *n = plug_file(d, "n", "");
    guint8 buf[512], host[512];

    /* Before there is a queue: io_uring's workers come and go as threads of the process. */
    const char *raw = "{\"qom-type\":\"blockdev-raw\",\"id\":\"x\",\"file\":\"n\"%s}";
    rig_refuse(d->rig, "multiples of 512", raw, ",\"offset\":100");
    rig_refuse(d->rig, "multiples of 512", raw, ",\"size\":100");
    rig_refuse(d->rig, "not within the 16384 bytes", raw, ",\"offset\":16384,\"size\":512");
    rig_refuse(d->rig, "not within the 16384 bytes", raw, ",\"offset\":512,\"size\":18446744073709551104");
    rig_refuse(d->rig, "not within the 16384 bytes", raw, ",\"offset\":16896");
    Device *r = rig_plug(d->rig, "{\"qom-type\":\"blockdev-raw\",\"id\":\"r\",\"file\":\"n\",\"offset\":4096,\"size\":8192}");
    Device *rr = rig_plug(d->rig, "{\"qom-type\":\"blockdev-raw\",\"id\":\"rr\",\"file\":\"r\",\"offset\":512}");
    g_assert_cmpuint(block_node_size(rr), ==, 8192 - 512);
    disk_attach(d, rr, 4);
    memset(buf, 0x77, sizeof buf);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE, 512, buf, 512), ==, 0);
    disk_host_read(d, 4096 + 1024, host, 512);
    g_assert_cmpmem(host, 512, buf, 512);
    g_assert_cmpint(disk_do(d, BLOCK_READ, 8192 - 512, buf, 512), ==, EIO); /* the file has more */
    g_assert_cmpint(disk_do(d, BLOCK_READ, 8192 - 1024, buf, 512), ==, 0);
    g_assert_cmpuint(buf[0], ==, (guint8)((4096 + 8192 - 512) / 512 + (4096 + 8192 - 512)));
    g_clear_pointer(&d->q, block_queue_free);
    rig_remove(rr);
    rig_remove(r);
    rig_remove(n);
}

/* ---- sizes ---- */

static void test_resize(void)
{
    g_autoptr(Disk) d = disk_new(4096);
    Device *n = plug_file(d, "n", "");
    Device *r = rig_plug(d->rig, "{\"qom-type\":\"blockdev-raw\",\"id\":\"r\",\"file\":\"n\",\"offset\":1024}");
    g_autoptr(GError) error = NULL;
    guint8 buf[512] = { 1 };

    disk_attach(d, r, 4);
    g_assert_cmpint(disk_do(d, BLOCK_READ, 4096, buf, 512), ==, EIO);
    g_assert_true(block_node_resize(r, 8192, &error));
    g_assert_cmpuint(block_node_size(r), ==, 8192);
    g_assert_cmpuint(block_node_size(n), ==, 9216);
    g_assert_cmpint(disk_stat(d).st_size, ==, 9216);
    g_assert_cmpint(disk_do(d, BLOCK_READ, 4096, buf, 512), ==, 0);
    g_assert_cmpuint(buf[0], ==, 0);
    g_assert_true(block_node_resize(r, 0, &error));
    g_assert_cmpint(disk_stat(d).st_size, ==, 1024);
    g_assert_false(block_node_resize(r, 100, NULL));
    g_assert_false(block_node_resize(r, G_MAXUINT64 - 511, &error));
    g_assert_nonnull(strstr(error->message, "more than a file can have"));
    g_clear_pointer(&d->q, block_queue_free);
    rig_remove(r);
    r = rig_plug(d->rig, "{\"qom-type\":\"blockdev-raw\",\"id\":\"r\",\"file\":\"n\",\"size\":512}");
    g_clear_error(&error);
    g_assert_false(block_node_resize(r, 1024, &error));
    g_assert_nonnull(strstr(error->message, "configured"));
    rig_remove(r);
    rig_remove(n);
}

/* ---- locks ---- */

/* Byte BYTE as another program has or asks for it. */
static int set_lock(int fd, short type, int byte)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : errno;
}

static void test_locks(void)
{
    g_autoptr(Disk) d = disk_new(4096);
    const char *file = "{" FILE_NODE ",\"id\":\"%s\"%s}";

    Device *w = plug_file(d, "w", "");
    rig_refuse(d->rig, "lock: is another process using the image", file, d->path, "x", "");
    rig_refuse(d->rig, "lock: is another process using the image", file, d->path, "x", ",\"read-only\":true");
    rig_remove(rig_plug(d->rig, file, d->path, "x", ",\"locking\":\"off\""));
    rig_remove(w);
    Device *a = plug_file(d, "a", ",\"read-only\":true");
    Device *b = plug_file(d, "b", ",\"read-only\":true");
    rig_refuse(d->rig, "\"write\" lock", file, d->path, "x", "");
    rig_remove(a);
    rig_remove(b);
    rig_remove(plug_file(d, "w", ",\"locking\":\"on\""));
}

/* The bytes are QEMU's: 101 write, 201 no other writer. */
static void test_locks_of_qemu(void)
{
    g_autoptr(Disk) d = disk_new(4096);
    g_auto(AutoFd) fd = open(d->path, O_RDWR | O_CLOEXEC);
    const char *file = "{" FILE_NODE ",\"id\":\"x\"%s}";

    g_assert_cmpint(set_lock(fd, F_RDLCK, 101), ==, 0);
    rig_refuse(d->rig, "\"write\" lock", file, d->path, ",\"read-only\":true");
    g_assert_cmpint(set_lock(fd, F_UNLCK, 101), ==, 0);
    g_assert_cmpint(set_lock(fd, F_RDLCK, 201), ==, 0);
    rig_refuse(d->rig, "\"write\" lock", file, d->path, "");
    rig_remove(rig_plug(d->rig, file, d->path, ",\"read-only\":true"));
    g_assert_cmpint(set_lock(fd, F_UNLCK, 201), ==, 0);
    Device *n = rig_plug(d->rig, file, d->path, "");
    for (int byte = 98; byte < 210; byte++) {
        gboolean ours = byte == 100 || byte == 101 || byte == 103 || byte == 201 || byte == 203;
        g_assert_cmpint(set_lock(fd, F_WRLCK, byte), ==, ours ? EAGAIN : 0);
    }
    set_lock(fd, F_UNLCK, 98);
    rig_remove(n);
    g_assert_cmpint(set_lock(fd, F_WRLCK, 201), ==, 0); /* gone with the node */
    rig_refuse(d->rig, "lock", file, d->path, "");
}

/* ---- host_device ---- */

static void test_host_device(void)
{
    g_autoptr(Disk) d = disk_new(1 << 20);
    g_autofree char *command = g_strdup_printf("losetup --find --show %s", d->path);
    g_autofree char *loop = NULL;
    guint8 buf[4096];
    int status = -1;

    if (!g_spawn_command_line_sync(command, &loop, NULL, &status, NULL) || status != 0) {
        g_test_skip("no loop device can be had here");
        return;
    }
    g_strstrip(loop);
    Device *n = rig_plug(d->rig, "{\"qom-type\":\"blockdev-host-device\",\"id\":\"n\",\"filename\":\"%s\",\"discard\":\"unmap\"}", loop);
    g_assert_cmpuint(block_node_size(n), ==, 1 << 20);
    g_assert_cmpstr(block_node_driver(n), ==, "host_device");
    disk_attach(d, n, 4);
    memset(buf, 0x3c, sizeof buf);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE, 8192, buf, 4096), ==, 0);
    g_assert_cmpint(disk_do(d, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
    disk_host_read(d, 8192, buf, 512);
    g_assert_cmpuint(buf[0], ==, 0x3c);
    g_assert_cmpint(disk_do(d, BLOCK_WRITE_ZEROES, 8192, NULL, 512), ==, 0);
    g_assert_cmpint(disk_do(d, BLOCK_READ, 8192, buf, 1024), ==, 0);
    g_assert_cmpuint(buf[511], ==, 0);
    g_assert_cmpuint(buf[512], ==, 0x3c);
    g_assert_cmpint(disk_do(d, BLOCK_DISCARD, 0, NULL, 1 << 20), ==, 0);
    g_assert_false(block_node_resize(n, 2 << 20, NULL));
    g_clear_pointer(&d->q, block_queue_free);
    rig_remove(n);
    g_autofree char *detach = g_strdup_printf("losetup -d %s", loop);
    g_spawn_command_line_sync(detach, NULL, NULL, &status, NULL);
    g_assert_cmpint(status, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/block-nodes/refused", test_refused);
    g_test_add_func("/block-nodes/read-only", test_read_only);
    g_test_add_func("/block-nodes/auto-read-only", test_auto_read_only);
    g_test_add_func("/block-nodes/queries", test_queries);
    g_test_add_func("/block-nodes/users", test_users);
    g_test_add_func("/block-nodes/window", test_window);
    g_test_add_func("/block-nodes/resize", test_resize);
    g_test_add_func("/block-nodes/locks", test_locks);
    g_test_add_func("/block-nodes/locks-of-qemu", test_locks_of_qemu);
    g_test_add_func("/block-nodes/host-device", test_host_device);
    return g_test_run();
}
