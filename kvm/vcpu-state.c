/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vcpu-state.c - the registers of a vCPU: read, write, power-on state, boot modes, text.
 *
 * Power-on. A new KVM vCPU is in the architectural reset state (SDM 10.1.1, APM 14.1.3) as far as this KVM and this processor
 * know it, their own MSRs included. So the state is read before the first run and written back at each reset; what
 * is ours is put over it: RDX (the processor's signature), the BSP bit, LINT0 and who waits for INIT. The time stamp counter
 * runs on through a reset, as KVM's own INIT leaves it.
 *
 * Order of writing: nested state first (leaving guest mode), control registers before all that depends on them (the APIC's base
 * decides the form of the LAPIC state), LAPIC before MSRs (the TSC deadline arms its timer), events last
 * (they refer to what the LAPIC holds).
 */
#include "kvm-accel.h"

#include <errno.h>
#include <sys/ioctl.h>

#define MSR_IA32_TSC 0x10
#define APIC_BASE_BSP (1u << 8)
#define APIC_REG_ID 0x20 /* upper byte, in xAPIC mode */
#define APIC_REG_LVT_LINT0 0x350
#define LVT_EXTINT 0x700
#define LVT_MASKED 0x10000

#define CR0_PE (1u << 0)
#define CR0_ET (1u << 4)
#define CR0_PG (1u << 31)
#define CR4_PAE (1u << 5)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)

#define SREGS2_PDPTRS_VALID 1

/* ---- reading ---- */

VcpuState *vcpu_state_ref(VcpuState *st)
{
    g_atomic_int_inc(&st->refs);
    return st;
}

void vcpu_state_free(VcpuState *st)
{
    if (!st || !g_atomic_int_dec_and_test(&st->refs))
        return;
    g_free(st->xsave);
    g_free(st->nested);
    if (st->msrs)
        g_array_unref(st->msrs);
    g_free(st);
}

VcpuState *vcpu_state_copy(const VcpuState *st)
{
    VcpuState *copy = g_memdup2(st, sizeof *st);

    copy->refs = 1;
    copy->xsave = g_memdup2(st->xsave, st->xsave_len);
    copy->nested = g_memdup2(st->nested, st->nested_len);
    copy->msrs = g_array_copy(st->msrs);
    return copy;
}

static gboolean failed(const VcpuCore *core, const char *what, GError **error)
{
    return error_set_errno(error, errno, "%s of the vCPU with APIC id %u", what, core->id);
}

#define GET(request, ptr)                              \
    do {                                               \
        if (KVM_IOCTL(core->fd, request, ptr) < 0)     \
            return failed(core, #request, error);      \
    } while (0)

/* KVM_GET_SREGS2 adds the PDPTRs, which a PAE guest may have loaded from memory that it changed since. */
static gboolean get_sregs(Vm *vm, VcpuCore *core, VcpuState *st, GError **error)
{
    struct kvm_sregs2 two;

    GET(KVM_GET_SREGS, &st->sregs);
    if (!vm->kvm->sregs2 || !(st->sregs.cr4 & CR4_PAE) || st->sregs.efer & EFER_LMA)
        return TRUE;
    GET(KVM_GET_SREGS2, &two);
    st->pdptrs_valid = (two.flags & SREGS2_PDPTRS_VALID) != 0;
    memcpy(st->pdptrs, two.pdptrs, sizeof st->pdptrs);
    return TRUE;
}

static gboolean get_xsave(Vm *vm, VcpuCore *core, VcpuState *st, GError **error)
{
    st->xsave_len = vm->kvm->xsave_size;
    st->xsave = g_malloc0(st->xsave_len);
    if (st->xsave_len > XSAVE_LEGACY_SIZE)
        GET(KVM_GET_XSAVE2, st->xsave);
    else
        GET(KVM_GET_XSAVE, st->xsave);
    return TRUE;
}

static gboolean get_nested(Vm *vm, VcpuCore *core, VcpuState *st, GError **error)
{
    gsize                     size = vm->kvm->nested_size;
    struct kvm_nested_state *n;

    if (size < sizeof *n)
        return TRUE;
    n = g_malloc0(size);
    st->nested = (guint8 *)n;
    n->size = size;
    GET(KVM_GET_NESTED_STATE, n);
    st->nested_len = MIN(n->size, size);
    return TRUE;
}

static void get_msrs(Vm *vm, VcpuCore *core, VcpuState *st)
{
    const HostFeatures *host = &vm->kvm->host;

    st->msrs = g_array_sized_new(FALSE, TRUE, sizeof(struct kvm_msr_entry), host->msr_list_len);
    for (gsize i = 0; i < host->msr_list_len; i++) {
        struct kvm_msr_entry e = { .index = host->msr_list[i] };

        g_array_append_val(st->msrs, e);
    }
    vcpu_core_get_msrs(core, st->msrs);
}

static gboolean state_read(Vm *vm, VcpuCore *core, VcpuState *st, GError **error)
{
    int khz;

    GET(KVM_GET_MP_STATE, &st->mp_state); /* first: KVM takes a pending INIT or SIPI then */
    GET(KVM_GET_REGS, &st->regs);
    if (!get_sregs(vm, core, st, error) || !get_xsave(vm, core, st, error))
        return FALSE;
    GET(KVM_GET_XCRS, &st->xcrs);
    GET(KVM_GET_DEBUGREGS, &st->debugregs);
    GET(KVM_GET_LAPIC, &st->lapic);
    get_msrs(vm, core, st);
    GET(KVM_GET_VCPU_EVENTS, &st->events);
    if (vm->kvm->tsc_khz) {
        khz = kvm_ioctl(core->fd, KVM_GET_TSC_KHZ, 0);
        st->tsc_khz = MAX(khz, 0);
    }
    return get_nested(vm, core, st, error);
}

VcpuState *vcpu_state_get(Vm *vm, VcpuCore *core, GError **error)
{
    g_autoptr(VcpuState) st = g_new0(VcpuState, 1);

    st->refs = 1;
    return state_read(vm, core, st, error) ? g_steal_pointer(&st) : NULL;
}

/* ---- writing ---- */

#define SET(request, ptr) GET(request, ptr)

static gboolean put_sregs(VcpuCore *core, const VcpuState *st, GError **error)
{
    const struct kvm_sregs *s = &st->sregs;
    struct kvm_sregs2       two = {
        .cs = s->cs, .ds = s->ds, .es = s->es, .fs = s->fs, .gs = s->gs, .ss = s->ss, .tr = s->tr, .ldt = s->ldt,
        .gdt = s->gdt, .idt = s->idt, .cr0 = s->cr0, .cr2 = s->cr2, .cr3 = s->cr3, .cr4 = s->cr4, .cr8 = s->cr8,
        .efer = s->efer, .apic_base = s->apic_base, .flags = SREGS2_PDPTRS_VALID,
    };

    SET(KVM_SET_SREGS, s);
    if (!st->pdptrs_valid)
        return TRUE;
    memcpy(two.pdptrs, st->pdptrs, sizeof two.pdptrs);
    SET(KVM_SET_SREGS2, &two);
    return TRUE;
}

/* KVM scales where the processor can; otherwise it takes what is within its tolerance of the host's. */
static gboolean put_tsc_khz(Vm *vm, VcpuCore *core, const VcpuState *st, GError **error)
{
    int now = vm->kvm->tsc_khz ? kvm_ioctl(core->fd, KVM_GET_TSC_KHZ, 0) : 0;

    if (st->tsc_khz == 0 || (int)st->tsc_khz == now)
        return TRUE;
    if (kvm_ioctl(core->fd, KVM_SET_TSC_KHZ, st->tsc_khz) < 0)
        return error_set_errno(error, errno, "the guest's time stamp counter runs at %u kHz, this host's at %d kHz, "
                               "and KVM can not scale it", st->tsc_khz, now);
    return TRUE;
}

/* The native mode's word (see MSR_NATIVE_MODE) goes before the registers, which mean other things in either mode; and only if
 * it changes, since KVM forgets an interrupt that it holds back when the word is written. */
static GArray *put_native_mode(Vm *vm, VcpuCore *core, const GArray *msrs, GArray *refused)
{
    GArray *others = g_array_sized_new(FALSE, FALSE, sizeof(struct kvm_msr_entry), msrs->len);

    for (guint i = 0; i < msrs->len; i++) {
        struct kvm_msr_entry e = g_array_index(msrs, struct kvm_msr_entry, i);
        g_autoptr(GArray)    now = NULL;

        if (e.index != MSR_NATIVE_MODE) {
            g_array_append_val(others, e);
            continue;
        }
        now = g_array_new(FALSE, FALSE, sizeof e);
        g_array_append_val(now, e);
        vcpu_core_get_msrs(core, now);
        if (now->len == 0 || g_array_index(now, struct kvm_msr_entry, 0).data != e.data)
            vcpu_core_set_msrs(vm, core, &e, 1, refused);
    }
    return others;
}

gboolean vcpu_state_put(Vm *vm, VcpuCore *core, const VcpuState *st, GArray *refused, GError **error)
{
    g_autoptr(GArray) msrs = NULL;

    core->fresh = FALSE;
    core->written = TRUE;
    if (!put_tsc_khz(vm, core, st, error))
        return FALSE;
    msrs = put_native_mode(vm, core, st->msrs, refused);
    if (st->nested)
        SET(KVM_SET_NESTED_STATE, st->nested);
    SET(KVM_SET_MP_STATE, &st->mp_state);
    SET(KVM_SET_REGS, &st->regs);
    if (!put_sregs(core, st, error))
        return FALSE;
    SET(KVM_SET_XSAVE, st->xsave);
    SET(KVM_SET_XCRS, &st->xcrs);
    SET(KVM_SET_DEBUGREGS, &st->debugregs);
    SET(KVM_SET_LAPIC, &st->lapic);
    vcpu_core_set_msrs(vm, core, (const struct kvm_msr_entry *)(gconstpointer)msrs->data, msrs->len, refused);
    SET(KVM_SET_VCPU_EVENTS, &st->events);
    return TRUE;
}

/* ---- power-on ---- */

static void state_drop_msr(VcpuState *st, guint32 index)
{
    for (guint i = 0; i < st->msrs->len; i++) {
        if (g_array_index(st->msrs, struct kvm_msr_entry, i).index == index) {
            g_array_remove_index(st->msrs, i);
            return;
        }
    }
}

/* A vCPU that is like another comes into being like that: what was read of one holds for all. */
gboolean vcpu_core_snapshot(Vm *vm, VcpuCore *core, GError **error)
{
    VcpuModel model = { .cpuid = core->cpuid, .n_cpuid = core->n_cpuid, .msrs = core->msrs, .n_msrs = core->n_msrs };

    if (core->power_on)
        return TRUE;
    g_assert(!core->ran);
    core->power_on = vcpu_core_like(vm, &model);
    core->others |= core->power_on != NULL;
    core->fresh = !core->written;
    if (core->power_on)
        return TRUE;
    core->power_on = vcpu_state_get(vm, core, error);
    if (!core->power_on)
        return FALSE;
    state_drop_msr(core->power_on, MSR_IA32_TSC);
    core->power_on->tsc_khz = 0;
    return TRUE;
}

/* CPUID leaf 1 EAX: what RDX holds after a reset. */
static guint32 signature(const VcpuCore *core)
{
    for (guint i = 0; i < core->n_cpuid; i++) {
        if (core->cpuid[i].function == 1)
            return core->cpuid[i].eax;
    }
    return 0x600;
}

static void put_apic_base(VcpuState *st, guint64 value)
{
    st->sregs.apic_base = value;
    for (guint i = 0; i < st->msrs->len; i++) {
        struct kvm_msr_entry *e = &g_array_index(st->msrs, struct kvm_msr_entry, i);

        if (e->index == 0x1b) /* IA32_APIC_BASE, should KVM list it */
            e->data = value;
    }
}

/* What is ours of a reset, put over the power-on state ST. KVM itself makes the vCPU with id 0 the BSP; ours is the lowest that is
 * plugged. */
static void put_ours(const VcpuCore *core, gboolean bsp, VcpuState *st)
{
    st->regs.rdx = signature(core);
    st->mp_state.mp_state = bsp ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED;
    put_apic_base(st, (st->sregs.apic_base & ~(guint64)APIC_BASE_BSP) | (bsp ? APIC_BASE_BSP : 0));
    le32_put(st->lapic.regs + APIC_REG_ID, core->id << 24);
    le32_put(st->lapic.regs + APIC_REG_LVT_LINT0, bsp ? LVT_EXTINT : LVT_MASKED);
}

#define DIFFERS(member) (core->others || memcmp(&st->member, &core->power_on->member, sizeof st->member) != 0)

/* KVM has the power-on state: only what is ours is written, where it is not the same anyway. So a CPU that is plugged costs ten
 * system calls less. The LAPIC is always written: KVM made its map of APIC ids before the new vCPU was in its list, and makes it anew
 * only then; no INIT would reach a CPU that is not in it. A vCPU that was made ahead may have been hit by an INIT, SIPI or NMI to all:
 * asking for its state makes KVM take them, and they change nothing that is not written then. */
static gboolean put_fresh(VcpuCore *core, const VcpuState *st, GError **error)
{
    struct kvm_mp_state now;

    core->fresh = FALSE;
    if (core->others)
        GET(KVM_GET_MP_STATE, &now);
    if (DIFFERS(mp_state))
        SET(KVM_SET_MP_STATE, &st->mp_state);
    if (DIFFERS(regs))
        SET(KVM_SET_REGS, &st->regs);
    if (DIFFERS(sregs))
        SET(KVM_SET_SREGS, &st->sregs);
    SET(KVM_SET_LAPIC, &st->lapic);
    if (core->others)
        SET(KVM_SET_VCPU_EVENTS, &st->events);
    return TRUE;
}

gboolean vcpu_core_reset(Vm *vm, VcpuCore *core, gboolean bsp, GError **error)
{
    g_autoptr(VcpuState) st = NULL;

    if (!vcpu_core_snapshot(vm, core, error))
        return FALSE;
    st = vcpu_state_copy(core->power_on);
    put_ours(core, bsp, st);
    return core->fresh && !core->ran ? put_fresh(core, st, error) : vcpu_state_put(vm, core, st, NULL, error);
}

gboolean kvm_vcpu_reset(Vcpu *vcpu, gboolean bsp, GError **error)
{
    return vcpu_core_reset(vcpu->vm, ((KvmVcpu *)vcpu)->core, bsp, error);
}

/* ---- boot modes ---- */

static struct kvm_segment flat_segment(guint16 selector, guint8 type)
{
    return (struct kvm_segment) { .limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .s = 1, .g = 1 };
}

/* Linux boot protocol: CS 0x10, everything else 0x18. PVH and multiboot leave the selectors open. */
static void flat_segments(struct kvm_sregs *s, gboolean long_mode)
{
    s->cs = flat_segment(0x10, 0xb); /* execute, read, accessed */
    s->cs.db = !long_mode;
    s->cs.l = long_mode;
    s->ds = flat_segment(0x18, 0x3); /* read, write, accessed */
    s->ds.db = 1;
    s->es = s->fs = s->gs = s->ss = s->ds;
    s->tr = (struct kvm_segment) { .limit = 0x67, .type = 0xb, .present = 1 };
    s->ldt = (struct kvm_segment) { .unusable = 1 };
}

gboolean kvm_vcpu_set_boot(Vcpu *vcpu, const VcpuBoot *boot, GError **error)
{
    VcpuCore        *core = ((KvmVcpu *)vcpu)->core;
    struct kvm_regs  regs = { .rip = boot->rip, .rsp = boot->rsp, .rax = boot->rax, .rbx = boot->rbx,
                              .rsi = boot->rsi, .rflags = 2 };
    struct kvm_sregs s;

    if (boot->mode == VCPU_BOOT_RESET_VECTOR)
        return TRUE;
    GET(KVM_GET_SREGS, &s);
    flat_segments(&s, boot->mode == VCPU_BOOT_LONG64);
    s.cr0 = CR0_PE | CR0_ET;
    s.cr4 = 0;
    s.efer = 0;
    if (boot->mode == VCPU_BOOT_LONG64) {
        s.cr0 |= CR0_PG;
        s.cr3 = boot->cr3;
        s.cr4 = CR4_PAE;
        s.efer = EFER_LME | EFER_LMA;
    }
    if (boot->gdt_limit > 0) {
        s.gdt.base = boot->gdt;
        s.gdt.limit = boot->gdt_limit;
    }
    s.idt.base = 0;
    s.idt.limit = 0;
    core->fresh = FALSE;
    SET(KVM_SET_SREGS, &s);
    SET(KVM_SET_REGS, &regs);
    return TRUE;
}

/* ---- text ---- */

static void dump_segment(GString *out, const char *name, const struct kvm_segment *s)
{
    g_string_append_printf(out, "%-3s %04x base %016" G_GINT64_MODIFIER "x limit %08x type %x s %u dpl %u p %u l %u db %u g %u\n",
                           name, s->selector, (guint64)s->base, s->limit, s->type, s->s, s->dpl, s->present, s->l, s->db, s->g);
}

static void dump_general(GString *out, const struct kvm_regs *r)
{
    const struct {
        const char *name;
        guint64     value;
    } rows[] = {
        { "rax", r->rax }, { "rbx", r->rbx }, { "rcx", r->rcx }, { "rdx", r->rdx }, { "rsi", r->rsi }, { "rdi", r->rdi },
        { "rsp", r->rsp }, { "rbp", r->rbp }, { "r8", r->r8 },   { "r9", r->r9 },   { "r10", r->r10 }, { "r11", r->r11 },
        { "r12", r->r12 }, { "r13", r->r13 }, { "r14", r->r14 }, { "r15", r->r15 }, { "rip", r->rip }, { "rflags", r->rflags },
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++)
        g_string_append_printf(out, "%-6s %016" G_GINT64_MODIFIER "x%c", rows[i].name, rows[i].value,
                               i % 3 == 2 ? '\n' : ' ');
}

static void dump_system(GString *out, const struct kvm_sregs *s)
{
    dump_segment(out, "cs", &s->cs);
    dump_segment(out, "ds", &s->ds);
    dump_segment(out, "es", &s->es);
    dump_segment(out, "fs", &s->fs);
    dump_segment(out, "gs", &s->gs);
    dump_segment(out, "ss", &s->ss);
    dump_segment(out, "tr", &s->tr);
    dump_segment(out, "ldt", &s->ldt);
    g_string_append_printf(out, "gdt %016" G_GINT64_MODIFIER "x limit %04x  idt %016" G_GINT64_MODIFIER "x limit %04x\n",
                           (guint64)s->gdt.base, s->gdt.limit, (guint64)s->idt.base, s->idt.limit);
    g_string_append_printf(out, "cr0 %08" G_GINT64_MODIFIER "x cr2 %016" G_GINT64_MODIFIER "x cr3 %016" G_GINT64_MODIFIER
                           "x cr4 %08" G_GINT64_MODIFIER "x\nefer %" G_GINT64_MODIFIER "x apic-base %" G_GINT64_MODIFIER "x\n",
                           (guint64)s->cr0, (guint64)s->cr2, (guint64)s->cr3, (guint64)s->cr4, (guint64)s->efer,
                           (guint64)s->apic_base);
}

char *vcpu_core_dump(VcpuCore *core)
{
    GString         *out = g_string_new(NULL);
    struct kvm_regs  regs;
    struct kvm_sregs sregs;

    if (KVM_IOCTL(core->fd, KVM_GET_REGS, &regs) == 0)
        dump_general(out, &regs);
    if (KVM_IOCTL(core->fd, KVM_GET_SREGS, &sregs) == 0)
        dump_system(out, &sregs);
    return g_string_free(out, FALSE);
}
