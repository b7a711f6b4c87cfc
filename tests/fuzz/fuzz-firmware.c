/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-firmware.c - libFuzzer target for the area below 1 MiB: the input is what a guest with firmware does there, in any order,
 * beside a plain model of what PAM means. Whatever was done, a CPU finds what the model says, and a reset leads back to the image.
 *
 * Operations, first byte modulo 5: write a PAM register; write a byte of the area as a CPU; write up to 16 bytes from 0xbfff8 on as
 * a device; reset; write the host bridge's other registers in any width.
 */
#include "../device/firmware-rig.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

#define AREA_LEN (AREA_END - AREA)
#define MAX_RESETS 3

typedef struct {
    const guint8 *at, *end;
} Input;

typedef struct {
    Rig   *rig;
    guint8 pam[7];
    guint8 ram[AREA_LEN];
    guint  resets; /* of this input: each builds all tables */
} Model;

static guint64 take(Input *in, unsigned n)
{
    guint64 v = 0;

    for (unsigned i = 0; i < n && in->at < in->end; i++)
        v |= (guint64)*in->at++ << (i * 8);
    return v;
}

static guint mode_at(const Model *m, guint32 offset)
{
    guint g = offset / GRANULE;

    return g >= 12 ? m->pam[0] >> 4 & 3 : m->pam[1 + g / 2] >> (g % 2 * 4) & 3;
}

static guint8 expected(const Model *m, guint32 offset)
{
    if (mode_at(m, offset) & 1)
        return m->ram[offset];
    return offset >= 0x20000 ? image_byte(offset) : 0xff;
}

/* A device reaches RAM that may be written, all of the range or nothing. */
static void device_write(Model *m, guint32 offset, guint len, guint8 byte)
{
    guint8 raw[16];
    gboolean all = TRUE;

    memset(raw, byte, sizeof raw);
    for (guint i = 0; i < len; i++)
        all &= offset + i >= AREA_LEN || mode_at(m, offset + i) == 3;
    g_assert(vm_memory_write(m->rig->vm, AREA + offset, raw, len) == all);
    for (guint i = 0; all && i < len; i++)
        if (offset + i < AREA_LEN)
            m->ram[offset + i] = byte;
}

static void cpu_write(Model *m, guint32 offset, guint8 byte)
{
    poke(m->rig, AREA + offset, byte);
    if (mode_at(m, offset) & 2)
        m->ram[offset] = byte;
    g_assert_cmphex(peek(m->rig, AREA + offset), ==, expected(m, offset));
}

static void reset(Model *m)
{
    vm_pause(m->rig->vm);
    device_set_reset(m->rig->set, RESET_WARM);
    memset(m->pam, 0, sizeof m->pam);
    rig_power_on(m->rig);
    rig_settle();
}

/* Registers that end before PAM or begin behind it. */
static void other_register(Model *m, Input *in)
{
    guint reg = (guint)take(in, 1), width = 1u << take(in, 1) % 3;
    guint32 value = (guint32)take(in, 4);

    reg &= ~(width - 1);
    if (reg + width > PAM0 && reg < PAM0 + 7)
        return;
    rig_out(m->rig, 0xcf8, 4, 0x80000000u | (reg & 0xfc));
    rig_out(m->rig, 0xcfc + (reg & 3), width, value);
    rig_settle();
}

static void one(Model *m, Input *in)
{
    guint n;

    switch (take(in, 1) % 5) {
    case 0:
        n = (guint)take(in, 1) % 7;
        m->pam[n] = (guint8)take(in, 1);
        set_pam(m->rig, n, m->pam[n]);
        break;
    case 1:
        n = (guint)take(in, 3) % AREA_LEN;
        cpu_write(m, n, (guint8)take(in, 1));
        break;
    case 2:
        n = (guint)take(in, 3) % AREA_LEN;
        device_write(m, n, (guint)take(in, 1) % 17, 0xd5);
        break;
    case 3:
        if (m->resets++ < MAX_RESETS)
            reset(m);
        break;
    default:
        other_register(m, in);
    }
}

static void check_all(Model *m)
{
    for (guint32 offset = 0; offset < AREA_LEN; offset += 0x7f1)
        g_assert_cmphex(peek(m->rig, AREA + offset), ==, expected(m, offset));
    for (guint32 offset = 0; offset < IMAGE_LEN; offset += 0x3ff1)
        g_assert_cmphex(peek(m->rig, ROM_BASE + offset), ==, image_byte(offset));
}

static void silent(const gchar *domain, GLogLevelFlags level, const gchar *message, gpointer user)
{
}

/* One for all inputs: a reset and zeroed RAM make it new. */
static Model *model_new(void)
{
    Model *m = g_new0(Model, 1);
    char *dir = rig_tmp_new();
    g_autofree char *image = image_file(dir, "image", IMAGE_LEN);

    g_log_set_default_handler(silent, NULL);
    m->rig = rig_with_firmware(image, "");
    rig_tmp_remove(dir);
    plug_dimm(m->rig, "m", 2u << 20);
    start(m->rig);
    rig_settle();
    return m;
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    Input in = { data, data + MIN(size, 512) };
    static Model *m;

    if (!m)
        m = model_new();
    memset(mem_base_ptr(m->rig->set, AREA, AREA_LEN), 0, AREA_LEN);
    memset(m->ram, 0, AREA_LEN);
    m->resets = 0;
    while (in.at < in.end)
        one(m, &in);
    check_all(m);
    reset(m);
    check_all(m);
    return 0;
}
