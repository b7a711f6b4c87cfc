/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * caps.c - what this host's KVM can do: the capabilities that we can not be without, and what it offers to a
 * CPU model (CPUID, feature MSRs).
 *
 * The required list is a table, checked by a query function that a test can replace: a host that lacks one
 * can not be had for testing. What is optional is asked for where it is used.
 */
#include "kvm-accel.h"

#include <cpuid.h>
#include <errno.h>
#include <sys/ioctl.h>

#define CPUID_FIRST_TRY 96
#define CPUID_MAX 1024
#define MSR_LIST_MAX 4096

typedef struct {
    guint       cap;
    const char *name;
    const char *why;
} RequiredCap;

#define REQUIRE(cap_, why_) { .cap = KVM_CAP_##cap_, .name = "KVM_CAP_" #cap_, .why = why_ }

static const RequiredCap required_caps[] = {
    REQUIRE(USER_MEMORY, "guest memory"),
    REQUIRE(IRQCHIP, "the interrupt controllers"),
    REQUIRE(PIT2, "the interval timer"),
    REQUIRE(PIT_STATE2, "saving the interval timer"),
    REQUIRE(IRQFD, "interrupts from I/O threads"),
    REQUIRE(IRQ_ROUTING, "message-signaled interrupts"),
    REQUIRE(SIGNAL_MSI, "message-signaled interrupts"),
    REQUIRE(IOEVENTFD, "queue notifications to I/O threads"),
    REQUIRE(IMMEDIATE_EXIT, "pausing vCPUs (Linux 4.12 or later)"),
    REQUIRE(MP_STATE, "starting CPUs"),
    REQUIRE(EXT_CPUID, "CPU models"),
    REQUIRE(XSAVE, "the vCPUs' floating-point state"),
    REQUIRE(XCRS, "the vCPUs' floating-point state"),
    REQUIRE(VCPU_EVENTS, "the vCPUs' pending interrupts"),
    REQUIRE(DEBUGREGS, "the vCPUs' debug registers"),
    REQUIRE(READONLY_MEM, "firmware in read-only memory"),
    REQUIRE(ADJUST_CLOCK, "the guest's clock"),
};

gboolean kvm_check_caps(int (*query)(gpointer user, guint cap), gpointer user, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(required_caps); i++) {
        const RequiredCap *r = &required_caps[i];

        if (query(user, r->cap) <= 0)
            return error_set_class(error, ERROR_KVM_MISSING_CAP,
                                   "this host's KVM lacks %s, which is needed for %s; a newer kernel may have it",
                                   r->name, r->why);
    }
    return TRUE;
}

int kvm_cap(int kvm_fd, guint cap)
{
    int r = ioctl(kvm_fd, KVM_CHECK_EXTENSION, (gulong)cap);

    return MAX(r, 0);
}

/* ---- CPUID ---- */

/* KVM says E2BIG until the table fits. */
static struct kvm_cpuid2 *read_cpuid(int kvm_fd, GError **error)
{
    for (guint n = CPUID_FIRST_TRY; n <= CPUID_MAX; n *= 2) {
        g_autofree struct kvm_cpuid2 *c = g_malloc0(sizeof *c + n * sizeof c->entries[0]);

        c->nent = n;
        if (KVM_IOCTL(kvm_fd, KVM_GET_SUPPORTED_CPUID, c) >= 0)
            return g_steal_pointer(&c);
        if (errno != E2BIG) {
            error_set_errno(error, errno, "KVM_GET_SUPPORTED_CPUID");
            return NULL;
        }
    }
    error_set(error, "KVM_GET_SUPPORTED_CPUID wants to give more than %u entries", CPUID_MAX);
    return NULL;
}

/* ---- MSRs ---- */

/* The first call with room for none tells the number. */
static struct kvm_msr_list *read_msr_list(int kvm_fd, unsigned long request, const char *name, GError **error)
{
    struct kvm_msr_list           probe = { .nmsrs = 0 };
    g_autofree struct kvm_msr_list *list = NULL;

    if (KVM_IOCTL(kvm_fd, request, &probe) < 0 && errno != E2BIG) {
        error_set_errno(error, errno, "%s", name);
        return NULL;
    }
    if (probe.nmsrs > MSR_LIST_MAX) {
        error_set(error, "%s wants to give %u indices; at most %u are expected", name, probe.nmsrs, MSR_LIST_MAX);
        return NULL;
    }
    list = g_malloc0(sizeof *list + probe.nmsrs * sizeof list->indices[0]);
    list->nmsrs = probe.nmsrs;
    if (probe.nmsrs > 0 && KVM_IOCTL(kvm_fd, request, list) < 0) {
        error_set_errno(error, errno, "%s", name);
        return NULL;
    }
    return g_steal_pointer(&list);
}

/* A feature that can be listed but not read is not offered. */
static gboolean read_features(int kvm_fd, HostFeatures *host, GError **error)
{
    g_autofree struct kvm_msr_list *list = NULL;
    g_autofree struct kvm_msrs     *one = g_malloc0(sizeof *one + sizeof one->entries[0]);

    if (!kvm_cap(kvm_fd, KVM_CAP_GET_MSR_FEATURES))
        return TRUE;
    list = read_msr_list(kvm_fd, KVM_GET_MSR_FEATURE_INDEX_LIST, "KVM_GET_MSR_FEATURE_INDEX_LIST", error);
    if (!list)
        return FALSE;
    host->features = g_new0(struct kvm_msr_entry, MAX(list->nmsrs, 1));
    for (guint i = 0; i < list->nmsrs; i++) {
        one->nmsrs = 1;
        one->entries[0].index = list->indices[i];
        if (KVM_IOCTL(kvm_fd, KVM_GET_MSRS, one) == 1)
            host->features[host->n_features++] = one->entries[0];
    }
    return TRUE;
}

static void msr_list_add(GArray *list, guint32 index)
{
    for (guint i = 0; i < list->len; i++) {
        if (g_array_index(list, guint32, i) == index)
            return;
    }
    g_array_append_val(list, index);
}

/* KVM's list leaves out the memory type ranges (SDM 12.11) and the native mode's word. */
static gboolean read_state_msrs(int kvm_fd, HostFeatures *host, GError **error)
{
    static const guint32 unlisted[] = { 0x2ff, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b,
                                        0x26c, 0x26d, 0x26e, 0x26f, MSR_NATIVE_MODE };
    g_autofree struct kvm_msr_list *list = NULL;
    GArray                         *all;

    list = read_msr_list(kvm_fd, KVM_GET_MSR_INDEX_LIST, "KVM_GET_MSR_INDEX_LIST", error);
    if (!list)
        return FALSE;
    all = g_array_new(FALSE, FALSE, sizeof(guint32));
    g_array_append_vals(all, list->indices, list->nmsrs);
    for (guint i = 0; i < G_N_ELEMENTS(unlisted); i++)
        msr_list_add(all, unlisted[i]);
    for (guint32 i = 0x200; i < 0x210; i++) /* variable ranges: base and mask of 8 */
        msr_list_add(all, i);
    host->msr_list_len = all->len;
    host->msr_list = (guint32 *)(gpointer)g_array_free(all, FALSE);
    return TRUE;
}

gboolean kvm_read_host(int kvm_fd, HostFeatures *host, GError **error)
{
    host->cpuid = read_cpuid(kvm_fd, error);
    return host->cpuid && read_features(kvm_fd, host, error) && read_state_msrs(kvm_fd, host, error);
}

void kvm_clear_host(HostFeatures *host)
{
    g_clear_pointer(&host->cpuid, g_free);
    g_clear_pointer(&host->features, g_free);
    g_clear_pointer(&host->msr_list, g_free);
}
