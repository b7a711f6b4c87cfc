/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vcpu-save.c - the state of a vCPU as a{sv} in normal form, and back.
 *
 * KVM's structures are kernel ABI with a fixed layout, so each is one field of bytes under its own name; MSRs are pairs of index
 * and value. Reading is strict about names and lengths and is finished before the vCPU is touched. What an
 * older writer or another host may not have (nested state, TSC frequency, PDPTRs) takes its power-on value if
 * it is missing; everything else must be there. Bytes of XSAVE go back as they came, listed in
 * the CPUID table or not; a longer area than this host's is refused unless the rest is zero.
 */
#include "kvm-accel.h"

typedef struct {
    const char *name;
    gsize       offset, size; /* in VcpuState */
    gboolean    optional;
} Field;

#define FIELD(name_, member) \
    { .name = name_, .offset = G_STRUCT_OFFSET(VcpuState, member), .size = sizeof(((VcpuState *)0)->member) }

static const Field fields[] = {
    FIELD("regs", regs),     FIELD("sregs", sregs),   FIELD("xcrs", xcrs),         FIELD("debugregs", debugregs),
    FIELD("events", events), FIELD("lapic", lapic),   FIELD("mp-state", mp_state),
};

enum { FOUND_MSRS = 1 << G_N_ELEMENTS(fields), FOUND_XSAVE = FOUND_MSRS << 1, FOUND_ALL = (FOUND_XSAVE << 1) - 1 };

static GVariant *bytes_variant(const void *data, gsize len)
{
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data, len, 1);
}

/* ---- out ---- */

static GVariant *msrs_variant(const GArray *msrs)
{
    GVariantBuilder b;

    g_variant_builder_init(&b, G_VARIANT_TYPE("a(ut)"));
    for (guint i = 0; i < msrs->len; i++) {
        const struct kvm_msr_entry *e = &g_array_index(msrs, struct kvm_msr_entry, i);

        g_variant_builder_add(&b, "(ut)", e->index, (guint64)e->data);
    }
    return g_variant_builder_end(&b);
}

GVariant *vcpu_state_to_variant(const VcpuState *st)
{
    GVariantBuilder b;

    g_variant_builder_init(&b, G_VARIANT_TYPE_VARDICT);
    for (guint i = 0; i < G_N_ELEMENTS(fields); i++)
        g_variant_builder_add(&b, "{sv}", fields[i].name,
                              bytes_variant((const guint8 *)st + fields[i].offset, fields[i].size));
    g_variant_builder_add(&b, "{sv}", "xsave", bytes_variant(st->xsave, st->xsave_len));
    g_variant_builder_add(&b, "{sv}", "msrs", msrs_variant(st->msrs));
    if (st->nested)
        g_variant_builder_add(&b, "{sv}", "nested", bytes_variant(st->nested, st->nested_len));
    if (st->pdptrs_valid)
        g_variant_builder_add(&b, "{sv}", "pdptrs", bytes_variant(st->pdptrs, sizeof st->pdptrs));
    if (st->tsc_khz)
        g_variant_builder_add(&b, "{sv}", "tsc-khz", g_variant_new_uint32(st->tsc_khz));
    return g_variant_ref_sink(g_variant_builder_end(&b));
}

/* ---- in ---- */

static gboolean wrong_type(const char *name, GVariant *v, const char *wanted, GError **error)
{
    return error_set(error, "vCPU state: field '%s' is of type '%s'; '%s' is wanted", name, g_variant_get_type_string(v),
                     wanted);
}

static gboolean read_bytes(const char *name, GVariant *v, gconstpointer *data, gsize *len, GError **error)
{
    if (!g_variant_is_of_type(v, G_VARIANT_TYPE_BYTESTRING))
        return wrong_type(name, v, "ay", error);
    *data = g_variant_get_fixed_array(v, len, 1);
    return TRUE;
}

static gboolean read_exact(const char *name, GVariant *v, gpointer out, gsize size, GError **error)
{
    gconstpointer data;
    gsize         len = 0;

    if (!read_bytes(name, v, &data, &len, error))
        return FALSE;
    if (len != size)
        return error_set(error, "vCPU state: field '%s' has %zu bytes; %zu are wanted", name, len, size);
    memcpy(out, data, size);
    return TRUE;
}

static gboolean read_xsave(GVariant *v, VcpuState *st, GError **error)
{
    gconstpointer data;
    gsize         len = 0;

    if (!read_bytes("xsave", v, &data, &len, error))
        return FALSE;
    for (gsize i = st->xsave_len; i < len; i++) {
        if (((const guint8 *)data)[i] != 0)
            return error_set(error, "vCPU state: field 'xsave' uses %zu bytes; this host's processor has %zu", len,
                             st->xsave_len);
    }
    if (len < XSAVE_LEGACY_SIZE)
        return error_set(error, "vCPU state: field 'xsave' has %zu bytes; at least %d are wanted", len, XSAVE_LEGACY_SIZE);
    memset(st->xsave, 0, st->xsave_len);
    memcpy(st->xsave, data, MIN(len, st->xsave_len));
    return TRUE;
}

static gboolean read_msrs(GVariant *v, VcpuState *st, GError **error)
{
    GVariantIter it;
    guint32      index;
    guint64      data;

    if (!g_variant_is_of_type(v, G_VARIANT_TYPE("a(ut)")))
        return wrong_type("msrs", v, "a(ut)", error);
    g_array_set_size(st->msrs, 0);
    g_variant_iter_init(&it, v);
    while (g_variant_iter_next(&it, "(ut)", &index, &data)) {
        struct kvm_msr_entry e = { .index = index, .data = data };

        g_array_append_val(st->msrs, e);
    }
    return TRUE;
}

static gboolean read_nested(GVariant *v, VcpuState *st, GError **error)
{
    gconstpointer data;
    gsize         len = 0;

    if (!read_bytes("nested", v, &data, &len, error))
        return FALSE;
    if (!st->nested || len < sizeof(struct kvm_nested_state) || ((const struct kvm_nested_state *)data)->size != len)
        return error_set(error, "vCPU state: field 'nested' with %zu bytes: this host has %s", len,
                         st->nested ? "nested virtualization, but these bytes are damaged" : "no nested virtualization");
    g_free(st->nested);
    st->nested = g_memdup2(data, len);
    st->nested_len = len;
    return TRUE;
}

static gboolean read_optional(const char *name, GVariant *v, VcpuState *st, GError **error)
{
    if (g_str_equal(name, "nested"))
        return read_nested(v, st, error);
    if (g_str_equal(name, "pdptrs")) {
        st->pdptrs_valid = TRUE;
        return read_exact(name, v, st->pdptrs, sizeof st->pdptrs, error);
    }
    if (!g_str_equal(name, "tsc-khz"))
        return error_set(error, "vCPU state: field '%s' is not known", name);
    if (!g_variant_is_of_type(v, G_VARIANT_TYPE_UINT32))
        return wrong_type(name, v, "u", error);
    st->tsc_khz = g_variant_get_uint32(v);
    return TRUE;
}

static gboolean read_field(const char *name, GVariant *v, VcpuState *st, guint *found, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(fields); i++) {
        if (g_str_equal(name, fields[i].name)) {
            *found |= 1u << i;
            return read_exact(name, v, (guint8 *)st + fields[i].offset, fields[i].size, error);
        }
    }
    if (g_str_equal(name, "xsave")) {
        *found |= FOUND_XSAVE;
        return read_xsave(v, st, error);
    }
    if (g_str_equal(name, "msrs")) {
        *found |= FOUND_MSRS;
        return read_msrs(v, st, error);
    }
    return read_optional(name, v, st, error);
}

static const char *first_missing(guint found)
{
    for (guint i = 0; i < G_N_ELEMENTS(fields); i++) {
        if (!(found & (1u << i)))
            return fields[i].name;
    }
    return found & FOUND_MSRS ? "xsave" : "msrs";
}

/* BASE is the vCPU's power-on state: it gives the sizes, and the values of what is missing. */
VcpuState *vcpu_state_from_variant(GVariant *v, const VcpuState *base, GError **error)
{
    g_autoptr(VcpuState) st = vcpu_state_copy(base);
    GVariantIter it;
    const char  *name;
    GVariant    *value;
    guint        found = 0;

    if (!g_variant_is_of_type(v, G_VARIANT_TYPE_VARDICT)) {
        wrong_type("(all)", v, "a{sv}", error);
        return NULL;
    }
    g_variant_iter_init(&it, v);
    while (g_variant_iter_next(&it, "{&sv}", &name, &value)) {
        gboolean ok = read_field(name, value, st, &found, error);

        g_variant_unref(value);
        if (!ok)
            return NULL;
    }
    if (found != FOUND_ALL) {
        error_set(error, "vCPU state: the field '%s' is missing", first_missing(found));
        return NULL;
    }
    return g_steal_pointer(&st);
}

/* ---- the accelerator's hooks: machine paused, so the vCPU is parked ---- */

GVariant *kvm_vcpu_save(Vcpu *vcpu, GError **error)
{
    g_autoptr(VcpuState) st = vcpu_state_get(vcpu->vm, ((KvmVcpu *)vcpu)->core, error);

    return st ? vcpu_state_to_variant(st) : NULL;
}

gboolean kvm_vcpu_load(Vcpu *vcpu, GVariant *state, GError **error)
{
    VcpuCore            *core = ((KvmVcpu *)vcpu)->core;
    g_autoptr(VcpuState) st = NULL;

    if (!vcpu_core_snapshot(vcpu->vm, core, error))
        return FALSE;
    st = vcpu_state_from_variant(state, core->power_on, error);
    return st && vcpu_state_put(vcpu->vm, core, st, vcpu->refused, error);
}
