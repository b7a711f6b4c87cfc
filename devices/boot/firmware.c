/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * firmware.c - PC firmware in read-only memory that ends at 4 GiB.
 *
 * The image is read when the device is plugged. What the guest sees is a copy, made anew at each power-on: a reset leads to the
 * firmware that was configured, whatever happened to the file or to the memory meanwhile.
 *
 * The end of the image below 1 MiB is the host bridge's business (devices/platform/shadow.c), which is told where the copy is.
 * Everything else that firmware wants to know is in fw_cfg and CMOS already, whoever starts the machine; added here is what only
 * firmware reads: boot order and waiting times.
 */
#include "../../schema/generated/devices.h"
#include "boot.h"
#include "starter.h"

#include <errno.h>
#include <sys/mman.h>

enum { IMAGE_UNIT = 0x10000, IMAGE_MAX = 0x1000000, VECTOR_LEN = 16 };

#define FOUR_GIB (G_GUINT64_CONSTANT(1) << 32)

typedef struct {
    Device   dev;
    GBytes  *image;
    guint8  *rom; /* page aligned, the image's size */
    gsize    size;
    gboolean mapped; /* at 4 GiB - size */
} Firmware;

/* ---- the image ---- */

/* FALSE for what can not be run: nothing but one byte at the reset vector, as in a disk image or a file of zeros. */
static gboolean has_reset_vector(const guint8 *image, gsize size)
{
    const guint8 *vector = image + size - VECTOR_LEN;

    for (guint i = 1; i < VECTOR_LEN; i++) {
        if (vector[i] != vector[0])
            return TRUE;
    }
    return FALSE;
}

static gboolean check_size(const BootFile *f, GError **error)
{
    if (f->size % IMAGE_UNIT == 0 && f->size <= IMAGE_MAX)
        return TRUE;
    return error_set(error,
                     "%s is no firmware image: it has %" G_GUINT64_FORMAT " bytes, an image has a multiple of %d, at most %d",
                     f->name, f->size, IMAGE_UNIT, IMAGE_MAX);
}

GBytes *firmware_image_read(const BootFile *f, GError **error)
{
    g_autofree guint8 *image = NULL;

    if (!check_size(f, error))
        return NULL;
    image = g_malloc(f->size);
    if (!boot_file_read(f, 0, image, f->size, "image", error))
        return NULL;
    if (!has_reset_vector(image, f->size)) {
        error_set(error, "%s is no firmware image: its last %d bytes, where the CPU starts, are all 0x%02x", f->name, VECTOR_LEN,
                  image[f->size - 1]);
        return NULL;
    }
    return g_bytes_new_take(g_steal_pointer(&image), f->size);
}

static gboolean read_image(Firmware *fw, GError **error)
{
    const char *path = DEVICE_CONFIG(fw, FirmwareConfig)->file;
    BootFile f;
    int fd = boot_file_open(&fw->dev, "file", path, error);

    if (fd < 0 || !boot_file_take(&f, fd, boot_file_name(&fw->dev, "file", path), error))
        return FALSE;
    fw->image = firmware_image_read(&f, error);
    boot_file_close(&f);
    return fw->image != NULL;
}

/* ---- what firmware alone reads in fw_cfg ---- */

static void set_number(DeviceSet *set, const char *name, unsigned size, guint32 value)
{
    guint8 raw[4];

    le32_put(raw, value);
    g_autoptr(GBytes) content = g_bytes_new(raw, size);
    fw_cfg_set_file(set, name, content);
}

GBytes *firmware_boot_order(GPtrArray *paths, gboolean strict)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < paths->len; i++)
        g_string_append_printf(text, "%s%s", i ? "\n" : "", (const char *)g_ptr_array_index(paths, i));
    if (strict)
        g_string_append_printf(text, "%sHALT", text->len ? "\n" : "");
    gsize len = text->len ? text->len + 1 : 0;
    return g_bytes_new_take(g_string_free(text, FALSE), len);
}

/* The file is there if there is an order, or was: then it is told that there is none now. */
static void publish_boot_order(Firmware *fw)
{
    DeviceSet *set = fw->dev.set;
    g_autoptr(GPtrArray) paths = device_set_boot_order(set);
    g_autoptr(GBytes) order = firmware_boot_order(paths, DEVICE_CONFIG(fw, FirmwareConfig)->boot_strict);

    if (g_bytes_get_size(order) || fw_cfg_get_file(set, "bootorder"))
        fw_cfg_set_file(set, "bootorder", order);
}

static void publish_settings(Firmware *fw)
{
    const FirmwareConfig *config = DEVICE_CONFIG(fw, FirmwareConfig);

    publish_boot_order(fw);
    if (prop_bag_is_set(fw->dev.bag, "reboot-timeout"))
        set_number(fw->dev.set, "etc/boot-fail-wait", 4, config->reboot_timeout);
    set_number(fw->dev.set, "etc/sercon-port", 2, config->console_port); /* without the file SeaBIOS takes COM1 */
}

/* ---- the device ---- */

static gboolean claim_places(Firmware *fw, GError **error)
{
    return device_claim_io(&fw->dev, IO_MMIO, FOUR_GIB - fw->size, fw->size, "file", error) &&
           device_claim_io(&fw->dev, IO_MMIO, 0xc0000, 0x40000, "file", error);
}

static gboolean make_rom(Firmware *fw, GError **error)
{
    void *p = mmap(NULL, fw->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return error_set_errno(error, errno, "Device '%s': %" G_GSIZE_FORMAT " bytes for its image", fw->dev.id, fw->size);
    fw->rom = p;
    board_set_rom(fw->dev.set, fw->rom, fw->size);
    return TRUE;
}

static void firmware_unrealize(Device *dev)
{
    Firmware *fw = (Firmware *)dev;

    if (fw->mapped)
        vm_memory_remove(device_set_vm(dev->set), FOUR_GIB - fw->size);
    if (fw->rom) {
        board_set_rom(dev->set, NULL, 0);
        munmap(fw->rom, fw->size);
    }
    g_clear_pointer(&fw->image, g_bytes_unref);
}

static gboolean firmware_realize(Device *dev, GError **error)
{
    Firmware *fw = (Firmware *)dev;

    if (!boot_check_alone(dev, error) || !read_image(fw, error))
        return FALSE;
    fw->size = g_bytes_get_size(fw->image);
    return claim_places(fw, error) && make_rom(fw, error);
}

/* Mapped when the machine first needs it: before that, KVM may not be ready and nobody waits for it. */
static gboolean map_rom(Firmware *fw, GError **error)
{
    if (!fw->mapped)
        fw->mapped = vm_memory_add(device_set_vm(fw->dev.set), FOUR_GIB - fw->size, fw->rom, fw->size, MEM_READONLY, error);
    return fw->mapped;
}

static gboolean firmware_power_on(Device *dev, GError **error)
{
    Firmware *fw = (Firmware *)dev;
    const VcpuBoot boot = {.mode = VCPU_BOOT_RESET_VECTOR};
    Device *bsp = boot_find_cpu(dev, "image", error);

    if (!bsp || !map_rom(fw, error))
        return FALSE;
    memcpy(fw->rom, g_bytes_get_data(fw->image, NULL), fw->size);
    publish_settings(fw);
    return vcpu_set_boot(cpu_vcpu(bsp), &boot, error);
}

static void firmware_abi(Device *dev, AbiSink *sink)
{
    guint8 digest[32];
    gsize len = sizeof digest;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);

    g_checksum_update(sum, g_bytes_get_data(((Firmware *)dev)->image, NULL), (gssize)((Firmware *)dev)->size);
    g_checksum_get_digest(sum, digest, &len);
    abi_leaf(sink, "image-sha256", digest, len, NULL);
}

static const DeviceOps firmware_ops = {
    .realize = firmware_realize,
    .power_on = firmware_power_on,
    .unrealize = firmware_unrealize,
    .abi = firmware_abi,
};

const DeviceType firmware_type = {
    .name = "firmware",
    .size = sizeof(Firmware),
    .ops = &firmware_ops,
    .state = state_none,
};
