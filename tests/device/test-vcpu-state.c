/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-vcpu-state.c - registers on real KVM: reset, boot modes, save and load; the interrupt controllers' record; the
 * capability check, which needs no KVM.
 */
#include "vm-rig.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kvm/irq.h"
#include "../../kvm/kvm-accel.h"

#define HANG 0xf4, 0xeb, 0xfd /* 1: hlt; jmp 1b */

/* ---- records ---- */

/* The record as it comes from a file: bytes, not known to be well formed. */
static GVariant *through_bytes(GVariant *v)
{
    g_autoptr(GBytes)  bytes = g_variant_get_data_as_bytes(v);
    g_autoptr(GBytes)  copy = g_bytes_new(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
    GVariant          *out = g_variant_ref_sink(g_variant_new_from_bytes(G_VARIANT_TYPE_VARDICT, copy, FALSE));

    g_assert_true(g_variant_is_normal_form(out));
    return out;
}

/* V with field NAME replaced (or added); VALUE NULL: without it. */
static GVariant *with_field(GVariant *v, const char *name, GVariant *value)
{
    GVariantDict dict;

    g_variant_dict_init(&dict, v);
    g_variant_dict_remove(&dict, name);
    if (value)
        g_variant_dict_insert_value(&dict, name, value);
    return g_variant_ref_sink(g_variant_dict_end(&dict));
}

static GVariant *field(GVariant *v, const char *name)
{
    GVariant *f = g_variant_lookup_value(v, name, NULL);

    g_assert_nonnull(f);
    return f;
}

static void copy_field(GVariant *v, const char *name, void *out, gsize len)
{
    g_autoptr(GVariant) f = field(v, name);
    gsize               n;
    gconstpointer       data = g_variant_get_fixed_array(f, &n, 1);

    g_assert_cmpuint(n, >=, len);
    memcpy(out, data, len);
}

static void assert_same(GVariant *a, GVariant *b, const char *name)
{
    g_autoptr(GVariant) x = field(a, name), y = field(b, name);

    if (g_variant_equal(x, y))
        return;
    g_test_message("field '%s' differs", name);
    g_test_fail();
}

static GVariant *save(Vcpu *v)
{
    GError   *error = NULL;
    GVariant *out = vcpu_save(v, &error);

    g_assert_no_error(error);
    g_assert_true(g_variant_is_normal_form(out));
    return out;
}

/* ---- boot ---- */

static void test_power_on(void)
{
    g_autoptr(Rig)      r = NULL;
    g_autoptr(GVariant) bsp = NULL, ap = NULL;
    struct kvm_regs       regs;
    struct kvm_sregs      sregs;
    struct kvm_mp_state   mp;
    struct kvm_lapic_state lapic;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    rig_add_cpu(r, 0, FALSE, 0);
    rig_add_cpu(r, 2, TRUE, 0); /* the boot CPU need not have id 0 */
    ap = save(r->cpus[0]);
    copy_field(ap, "regs", &regs, sizeof regs);
    copy_field(ap, "sregs", &sregs, sizeof sregs);
    copy_field(ap, "mp-state", &mp, sizeof mp);
    copy_field(ap, "lapic", &lapic, sizeof lapic);
    g_assert_cmphex(regs.rip, ==, 0xfff0);
    g_assert_cmphex(regs.rflags, ==, 2);
    g_assert_cmphex(regs.rdx, !=, 0); /* the processor's signature */
    g_assert_cmphex(sregs.cs.base, ==, 0xffff0000);
    g_assert_cmphex(sregs.cs.selector, ==, 0xf000);
    g_assert_cmphex(sregs.cr0 & 0x80000001, ==, 0);
    g_assert_cmphex(sregs.apic_base, ==, 0xfee00800);
    g_assert_cmpuint(mp.mp_state, ==, KVM_MP_STATE_UNINITIALIZED);
    g_assert_cmphex(le32_get(lapic.regs + 0x350), ==, 0x10000);
    bsp = save(r->cpus[2]);
    copy_field(bsp, "sregs", &sregs, sizeof sregs);
    copy_field(bsp, "mp-state", &mp, sizeof mp);
    copy_field(bsp, "lapic", &lapic, sizeof lapic);
    g_assert_cmphex(sregs.apic_base, ==, 0xfee00900);
    g_assert_cmpuint(mp.mp_state, ==, KVM_MP_STATE_RUNNABLE);
    g_assert_cmphex(le32_get(lapic.regs + 0x20), ==, 2 << 24); /* its own id, though all else is as in the first */
    g_assert_cmphex(le32_get(lapic.regs + 0x350), ==, 0x700); /* the PIC's interrupts come through */
}

/* mov $0x81,%dx; out %al,(%dx): the same bytes in 16 and 64 bits but for the immediate's size. */
static void test_reset_vector(void)
{
    g_autoptr(Rig) r = NULL;
    GError *error = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    g_assert(vm_memory_add(r->vm, 0xffff0000, r->ram + 0x100000, 0x10000, MEM_READONLY, &error));
    RIG_CODE_AT(r, 0x10fff0, 0xe6, 0x81, HANG);
    rig_add_cpu(r, 0, TRUE, 0);
    vm_pause(r->vm);
    g_assert(vcpu_reset(r->cpus[0], TRUE, &error));
    g_assert(vcpu_set_boot(r->cpus[0], &(VcpuBoot) { .mode = VCPU_BOOT_RESET_VECTOR }, &error));
    vm_run(r->vm);
    rig_wait(r);
    vm_pause(r->vm);
    g_assert_cmpuint(r->faults + r->triple_faults, ==, 0);
    vm_memory_remove(r->vm, 0xffff0000);
}

static void test_long64(void)
{
    g_autoptr(Rig) r = NULL;
    VcpuBoot  boot = { .mode = VCPU_BOOT_LONG64, .rip = RIG_CODE, .rsp = 0x8000, .rsi = 0x1122334455667788, .cr3 = 0x10000,
                       .gdt = 0x3000, .gdt_limit = 31 };
    guint64   seen = 0;
    GError   *error = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    le64_put(r->ram + 0x10000, 0x11003); /* PML4: present, writable */
    le64_put(r->ram + 0x11000, 0x12003); /* PDPT */
    le64_put(r->ram + 0x12000, 0x83);    /* 2 MiB at 0 */
    RIG_CODE_AT(r, RIG_CODE, 0x48, 0x89, 0x34, 0x25, 0x00, 0x20, 0x00, 0x00, /* mov %rsi,0x2000 */
                0xe6, 0x81, HANG);
    rig_add_cpu(r, 0, TRUE, 0);
    g_assert(vcpu_set_boot(r->cpus[0], &boot, &error));
    vm_run(r->vm);
    rig_wait(r);
    vm_pause(r->vm);
    memcpy(&seen, r->ram + 0x2000, 8);
    g_assert_cmphex(seen, ==, 0x1122334455667788);
}

/* Whatever the guest did, a reset vCPU equals a new one. */
static void test_reset(void)
{
    static const char *const same[] = { "regs", "sregs", "xcrs", "debugregs", "events", "mp-state", "xsave", "lapic" };
    g_autoptr(Rig)      r = NULL;
    g_autoptr(GVariant) before = NULL, after = NULL;
    GError *error = NULL;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xb8, 0x78, 0x56, 0x34, 0x12, /* mov $0x12345678,%eax */
                0x0f, 0x23, 0xc0,                          /* mov %eax,%db0 */
                0xa3, 0x80, 0x00, 0xe0, 0xfe,              /* mov %eax,0xfee00080: TPR */
                0xe6, 0x81, HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    g_assert(vcpu_reset(r->cpus[0], TRUE, &error));
    before = save(r->cpus[0]);
    g_assert(vcpu_set_boot(r->cpus[0], &(VcpuBoot) { .mode = VCPU_BOOT_PROT32, .rip = RIG_CODE }, &error));
    vm_run(r->vm);
    rig_wait(r);
    vm_pause(r->vm);
    g_assert(vcpu_reset(r->cpus[0], TRUE, &error));
    after = save(r->cpus[0]);
    for (guint i = 0; i < G_N_ELEMENTS(same); i++)
        assert_same(before, after, same[i]);
}

/* ---- save and load ---- */

static void load(Vcpu *v, GVariant *state)
{
    g_autoptr(GVariant) read_back = through_bytes(state);
    GError             *error = NULL;

    vcpu_load(v, read_back, &error);
    g_assert_no_error(error);
}

/* Stops the guest of FROM wherever it is and continues it in a new machine. */
/* A vCPU that never ran, but got a state, is as new when it is plugged again. */
static void test_replug_loaded(void)
{
    static const char *const same[] = { "regs", "sregs", "xcrs", "debugregs", "events", "mp-state", "xsave", "lapic" };
    g_autoptr(Rig)       r = NULL;
    g_autoptr(GVariant)  before = NULL, other = NULL, after = NULL;
    struct kvm_debugregs debug;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    rig_add_cpu(r, 1, FALSE, 0);
    before = save(r->cpus[1]);
    copy_field(before, "debugregs", &debug, sizeof debug);
    debug.db[0] = 0x1234;
    other = with_field(before, "debugregs", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, &debug, sizeof debug, 1));
    load(r->cpus[1], other);
    vcpu_free(g_steal_pointer(&r->cpus[1]));
    rig_add_cpu(r, 1, FALSE, 0);
    after = save(r->cpus[1]);
    for (guint i = 0; i < G_N_ELEMENTS(same); i++)
        assert_same(before, after, same[i]);
}

static Rig *move_to_new(Rig *from)
{
    static const char *const same[] = { "regs", "sregs", "xcrs", "debugregs", "events", "mp-state", "xsave" };
    g_autoptr(GVariant) state = NULL, again = NULL, chips = NULL;
    GError *error = NULL;
    Rig    *to;

    vm_pause(from->vm);
    state = save(from->cpus[0]);
    chips = vm_irqchip_save(from->vm, &error);
    g_assert_no_error(error);
    to = rig_new();
    memcpy(to->ram, from->ram, RIG_RAM);
    rig_add_cpu(to, 0, TRUE, 0);
    load(to->cpus[0], state);
    g_assert(vm_irqchip_load(to->vm, chips, &error));
    again = save(to->cpus[0]);
    for (guint i = 0; i < G_N_ELEMENTS(same); i++)
        assert_same(state, again, same[i]);
    return to;
}

/* A guest that counts its port reads moves again and again, mostly in the middle of one: a read that was served but
 * not finished before the save would be made twice. */
static void test_move(void)
{
    Rig  *r;
    guint served = 0;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xba, 0x83, 0x00, 0x00, 0x00, 0x31, 0xc9,       /* mov $0x83,%edx; xor %ecx,%ecx */
                0xec, 0x41, 0x89, 0x0d, 0x00, 0x20, 0x00, 0x00, 0xeb, 0xf6); /* 1: in; inc %ecx; mov %ecx,0x2000; jmp 1b */
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    for (guint i = 0; i < 8; i++) {
        Rig *next;

        vm_run(r->vm);
        rig_wait_for(r, &r->reads, 200);
        next = move_to_new(r);
        served += g_atomic_int_get(&r->reads);
        rig_free(r);
        r = next;
    }
    g_assert_cmpuint(served - rig_ram32(r, 0x2000), <=, 1);
    rig_free(r);
}

static void test_xsave_untouched(void)
{
    g_autoptr(Rig)      r = NULL;
    g_autoptr(GVariant) state = NULL, changed = NULL, again = NULL;
    guint8 area[4096];

    if (!rig_have_kvm())
        return;
    r = rig_new();
    rig_add_cpu(r, 0, TRUE, 0);
    state = save(r->cpus[0]);
    copy_field(state, "xsave", area, sizeof area);
    for (guint i = 0; i < 256; i++)
        area[160 + i] = i ^ 0x5a; /* XMM0 to XMM15 */
    area[512] |= 3;               /* XSTATE_BV: x87 and SSE are in use */
    changed = with_field(state, "xsave", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, area, sizeof area, 1));
    load(r->cpus[0], changed);
    again = save(r->cpus[0]);
    assert_same(changed, again, "xsave");
}

static void refuse(Vcpu *v, GVariant *record, const char *word)
{
    g_autoptr(GVariant) state = record;
    g_autoptr(GError)   error = NULL;

    g_assert_false(vcpu_load(v, state, &error));
    g_assert_nonnull(error);
    if (!strstr(error->message, word))
        g_error("'%s' does not name '%s'", error->message, word);
}

static void test_bad_records(void)
{
    static const char *const needed[] = { "regs", "sregs", "xcrs", "debugregs", "events", "lapic", "mp-state", "xsave", "msrs" };
    g_autoptr(Rig)      r = NULL;
    g_autoptr(GVariant) state = NULL, after = NULL;
    guint8  longer[8192 + 64] = { 0 };
    Vcpu   *v;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    v = rig_add_cpu(r, 0, TRUE, RIG_CODE);
    state = save(v);
    for (guint i = 0; i < G_N_ELEMENTS(needed); i++) {
        refuse(v, with_field(state, needed[i], NULL), needed[i]);
        refuse(v, with_field(state, needed[i], g_variant_new_string("no")), needed[i]);
    }
    refuse(v, with_field(state, "colour", g_variant_new_uint32(1)), "colour");
    refuse(v, with_field(state, "tsc-khz", g_variant_new_string("1")), "tsc-khz");
    refuse(v, with_field(state, "regs", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, longer, 5, 1)), "5 bytes");
    longer[8192 + 63] = 1;
    refuse(v, with_field(state, "xsave", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, longer, sizeof longer, 1)), "xsave");
    after = save(v); /* nothing of it was taken */
    assert_same(state, after, "regs");
    assert_same(state, after, "xsave");
}

/* An MSR that this host does not have is listed and does not stop the rest. */
static void test_refused_msr(void)
{
    g_autoptr(Rig)      r = NULL;
    g_autoptr(GVariant) state = NULL, msrs = NULL, changed = NULL, again = NULL;
    GVariantBuilder b;
    GVariantIter    it;
    const guint32  *refused;
    guint32         index;
    guint64         value;
    guint           n, before;
    gboolean        star = FALSE;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    rig_add_cpu(r, 0, TRUE, 0);
    vcpu_refused_msrs(r->cpus[0], &before);
    state = save(r->cpus[0]);
    msrs = field(state, "msrs");
    g_variant_builder_init(&b, G_VARIANT_TYPE("a(ut)"));
    g_variant_builder_add(&b, "(ut)", 0xdeadbeef, (guint64)1);
    g_variant_iter_init(&it, msrs);
    while (g_variant_iter_next(&it, "(ut)", &index, &value))
        g_variant_builder_add(&b, "(ut)", index, index == 0xc0000081 ? G_GUINT64_CONSTANT(0x0023001000000000) : value);
    changed = with_field(state, "msrs", g_variant_builder_end(&b));
    load(r->cpus[0], changed);
    refused = vcpu_refused_msrs(r->cpus[0], &n);
    g_assert_cmpuint(n, >, before);
    g_assert_cmphex(refused[before], ==, 0xdeadbeef);
    again = save(r->cpus[0]);
    g_variant_unref(msrs);
    msrs = field(again, "msrs");
    g_variant_iter_init(&it, msrs);
    while (g_variant_iter_next(&it, "(ut)", &index, &value))
        star |= index == 0xc0000081 && value == G_GUINT64_CONSTANT(0x0023001000000000);
    g_assert_true(star); /* IA32_STAR behind the refused one */
}

/* ---- interrupt controllers and clock ---- */

static guint8 pic_irr(Vm *vm)
{
    GError              *error = NULL;
    g_autoptr(GVariant)  state = vm_irqchip_save(vm, &error);
    struct kvm_pic_state pic;

    g_assert_no_error(error);
    g_assert_true(g_variant_is_normal_form(state));
    copy_field(state, "pic-master", &pic, sizeof pic);
    return pic.irr;
}

static void test_irqchip(void)
{
    g_autoptr(Rig)      r = NULL;
    g_autoptr(GVariant) state = NULL, less = NULL, more = NULL;
    GError  *error = NULL;
    IrqLine *line;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    line = irq_line_new(r->vm, 5, "test");
    g_assert_cmphex(pic_irr(r->vm) & 0x20, ==, 0);
    irq_line_set(line, TRUE);
    g_assert_cmphex(pic_irr(r->vm) & 0x20, ==, 0x20);
    state = vm_irqchip_save(r->vm, &error);
    irq_line_set(line, FALSE);
    vm_irqchip_reset(r->vm);
    g_assert_cmphex(pic_irr(r->vm) & 0x20, ==, 0);
    g_assert(vm_irqchip_load(r->vm, state, &error));
    g_assert_cmphex(pic_irr(r->vm) & 0x20, ==, 0x20);

    less = with_field(state, "pit", NULL);
    g_assert_false(vm_irqchip_load(r->vm, less, &error));
    g_assert_nonnull(strstr(error->message, "'pit'"));
    g_clear_error(&error);
    more = with_field(state, "hpet", g_variant_new_uint64(1));
    g_assert_false(vm_irqchip_load(r->vm, more, &error));
    g_assert_nonnull(strstr(error->message, "'hpet'"));
    g_clear_error(&error);
    irq_line_free(line);
}

static guint64 clock_ns(Vm *vm)
{
    g_autoptr(GVariant) state = vm_irqchip_save(vm, NULL);
    guint64             ns = 0;

    g_assert_true(g_variant_lookup(state, "clock-ns", "t", &ns));
    return ns;
}

/* The guest's clock runs with the machine and stands still in a pause. */
static void test_clock(void)
{
    g_autoptr(Rig) r = NULL;
    guint64 first, second, third;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, HANG);
    rig_add_cpu(r, 0, TRUE, RIG_CODE);
    vm_run(r->vm);
    vm_pause(r->vm);
    first = clock_ns(r->vm);
    g_usleep(50000);
    g_assert_cmpuint(clock_ns(r->vm), ==, first);
    vm_run(r->vm);
    vm_pause(r->vm);
    second = clock_ns(r->vm);
    g_assert_cmpuint(second - first, <, 40000000);
    vm_run(r->vm);
    g_usleep(20000);
    vm_pause(r->vm);
    third = clock_ns(r->vm);
    g_assert_cmpuint(third - second, >=, 19000000);
}

/* ---- the host ---- */

static void test_features(void)
{
    g_autoptr(Rig) r = NULL;
    VcpuModel model;

    if (!rig_have_kvm())
        return;
    r = rig_new();
    model = rig_model(r);
    g_assert_cmpuint(model.n_cpuid, >, 10);
    g_assert_cmpuint(vm_phys_bits(r->vm), >=, 36);
    g_assert_cmpuint(vm_phys_bits(r->vm), <=, 57);
    g_assert_cmpuint(vm_max_vcpus(r->vm), >=, 240);
    g_assert_cmpint(vm_kvm_fd(r->vm), >=, 0);
    g_assert_cmpint(vm_fd(r->vm), >=, 0);
    g_assert_true(vm_has_cap(r->vm, KVM_CAP_IRQFD));
    g_assert_false(vm_has_cap(r->vm, 99999));
}

static int lacks_one(gpointer user, guint cap)
{
    return cap != GPOINTER_TO_UINT(user); /* KVM_CAP_IRQCHIP is 0 */
}

static void test_missing_cap(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(kvm_check_caps(lacks_one, GUINT_TO_POINTER(G_MAXUINT), &error));
    g_assert_no_error(error);
    g_assert_false(kvm_check_caps(lacks_one, GUINT_TO_POINTER(KVM_CAP_IOEVENTFD), &error));
    g_assert_error(error, ERROR_DOMAIN, ERROR_KVM_MISSING_CAP);
    g_assert_nonnull(strstr(error->message, "KVM_CAP_IOEVENTFD"));
    g_assert_nonnull(strstr(error->message, "queue notifications"));
}

/* In a child with an empty /dev. */
static void test_no_kvm(void)
{
    pid_t child;
    int   status;

    child = fork();
    if (child == 0) {
        GError *error = NULL;

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("none", "/dev", "tmpfs", 0, NULL) < 0)
            _exit(77);
        if (vm_new(VM_ACCEL_KVM, NULL, NULL, &error) || !error)
            _exit(1);
        _exit(strstr(error->message, "/dev/kvm") && strstr(error->message, "kvm_intel") ? 0 : 2);
    }
    g_assert_cmpint(waitpid(child, &status, 0), ==, child);
    g_assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        g_test_skip("no private mount namespace to be had (root only)");
    else
        g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

/* ---- the end ---- */

/* How many of the process's descriptors are KVM's virtual machines or vCPUs. */
static guint kvm_fds(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    const char     *name;
    guint           n = 0;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_strconcat("/proc/self/fd/", name, NULL);
        g_autofree char *target = g_file_read_link(path, NULL);

        n += target && g_str_has_prefix(target, "anon_inode:kvm-");
    }
    return n;
}

/* The end of a machine: KVM's VM goes first and at once, and its parts can be taken away all the same. */
static void test_end(void)
{
    g_autoptr(Rig) r = NULL;
    guint before = kvm_fds();
    int fd = eventfd(0, EFD_CLOEXEC);

    if (!rig_have_kvm())
        return;
    r = rig_new();
    RIG_CODE_AT(r, RIG_CODE, 0xff, 0x05, 0x04, 0x20, 0x00, 0x00, 0xeb, 0xf8); /* 1: incl 0x2004; jmp 1b */
    for (guint i = 0; i < 2; i++)
        rig_add_cpu(r, i, i == 0, RIG_CODE);
    iobus_eventfd_add(r->vm, IO_PIO, 0x90, 1, FALSE, 0, fd);
    vm_run(r->vm);
    rig_wait_for(r, (gint *)(gpointer)(r->ram + 0x2004), 1);
    g_assert_cmpuint(kvm_fds(), ==, before + 3);
    vm_end(r->vm);
    g_assert_false(vm_running(r->vm));
    g_assert_cmpint(vm_fd(r->vm), ==, -1);
    for (guint i = 0; i < 2; i++)
        vcpu_free(g_steal_pointer(&r->cpus[i]));
    g_assert_cmpuint(kvm_fds(), ==, before); /* so KVM has let go of the memory before it is unmapped */
    iobus_eventfd_remove(r->vm, IO_PIO, 0x90, 1, FALSE, 0, fd);
    close(fd);
}

/* ---- what KVM refuses ---- */

static GLogWriterOutput count_refusals(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer counter)
{
    for (gsize i = 0; i < n; i++)
        if (strcmp(fields[i].key, "MESSAGE") == 0 && strstr(fields[i].value, "refuses MSR 0x40001234"))
            g_atomic_int_inc((gint *)counter);
    return G_LOG_WRITER_HANDLED;
}

/* Two CPUs with an MSR that does not exist: each knows it, the log says it once. */
static void test_refused_once(void)
{
    static const struct kvm_msr_entry nowhere = { .index = 0x40001234, .data = 1 };
    gint told = 0;

    if (!rig_have_kvm())
        return;
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
        g_test_trap_assert_passed();
        return;
    }
    g_log_set_writer_func(count_refusals, &told, NULL);
    g_autoptr(Rig) r = rig_new();
    VcpuModel model = rig_model(r);
    model.msrs = &nowhere;
    model.n_msrs = 1;
    for (guint i = 0; i < 2; i++) {
        guint n;

        r->cpus[i] = vcpu_new(r->vm, i, i, &model, NULL);
        g_assert_nonnull(r->cpus[i]);
        g_assert_cmpuint(vcpu_refused_msrs(r->cpus[i], &n)[0], ==, nowhere.index);
        g_assert_cmpuint(n, ==, 1);
    }
    g_assert_cmpint(told, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/no-kvm", test_no_kvm);
    g_test_add_func("/kvm/missing-cap", test_missing_cap);
    g_test_add_func("/kvm/features", test_features);
    g_test_add_func("/vcpu-state/power-on", test_power_on);
    g_test_add_func("/vcpu-state/reset-vector", test_reset_vector);
    g_test_add_func("/vcpu-state/long64", test_long64);
    g_test_add_func("/vcpu-state/reset", test_reset);
    g_test_add_func("/vcpu-state/replug-loaded", test_replug_loaded);
    g_test_add_func("/vcpu-state/move", test_move);
    g_test_add_func("/vcpu-state/xsave-untouched", test_xsave_untouched);
    g_test_add_func("/vcpu-state/bad-records", test_bad_records);
    g_test_add_func("/vcpu-state/refused-msr", test_refused_msr);
    g_test_add_func("/vcpu-state/refused-once", test_refused_once);
    g_test_add_func("/kvm/end", test_end);
    g_test_add_func("/kvm/irqchip", test_irqchip);
    g_test_add_func("/kvm/clock", test_clock);
    return g_test_run();
}
