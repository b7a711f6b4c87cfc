/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kvm-irq.c - interrupts and events through KVM: lines, MSIs, routes, irqfd, ioeventfd, coalesced writes, and the
 * state of the in-kernel PIC, IOAPIC, PIT and clock.
 *
 * The route table that KVM makes itself with its interrupt controllers (GSI n: IOAPIC pin n, and PIC pin n below
 * 16) is what we want, so nothing is written until the first MSI route exists.
 *
 * Coalesced writes. KVM queues writes to such a range in a ring that all vCPUs share, and somebody drains it before
 * anything is dispatched that may depend on the order. The entry is taken out after its hook has run: a vCPU
 * that finds the ring empty knows that its own earlier writes are done, not just taken by another. coalesced_lock is thus
 * held around hooks and comes before the device locks.
 */
#include "kvm-accel.h"

#include <errno.h>
#include <sys/ioctl.h>

#define N_DEFAULT_ROUTES (NUM_PIC_PINS + IRQ_PINS)

/* Devices may drive lines before anybody waited for the VM; only the main thread runs then. After vm_end() it is down again. */
static gboolean vm_is_up(Vm *vm)
{
    const StartStep *chips = &vm->kvm->chips;

    if (chips->begun && !chips->thread)
        return vm->vm_fd >= 0 && !chips->error;
    return vm_ready(vm, NULL) && vm->vm_fd >= 0 && kvm_chips_ready(vm, NULL);
}

/* ---- interrupts ---- */

void kvm_pin_level(Vm *vm, guint gsi, gboolean level)
{
    struct kvm_irq_level l = { .irq = gsi, .level = level };

    if (vm_is_up(vm) && KVM_IOCTL(vm->vm_fd, KVM_IRQ_LINE, &l) < 0)
        g_warning("KVM_IRQ_LINE of GSI %u: %s", gsi, g_strerror(errno));
}

/* A message that no CPU accepts is the guest's business: KVM answers 0 or EPERM-like errors, both ignored. */
void kvm_msi_send(Vm *vm, guint64 address, guint32 data)
{
    struct kvm_msi msi = { .address_lo = (guint32)address, .address_hi = address >> 32, .data = data };

    if (vm_is_up(vm))
        KVM_IOCTL(vm->vm_fd, KVM_SIGNAL_MSI, &msi);
}

gboolean kvm_irqfd(Vm *vm, int fd, guint gsi, gboolean bind)
{
    struct kvm_irqfd r = { .fd = fd, .gsi = gsi, .flags = bind ? 0 : KVM_IRQFD_FLAG_DEASSIGN };

    return vm_is_up(vm) ? KVM_IOCTL(vm->vm_fd, KVM_IRQFD, &r) == 0 : !bind;
}

static void default_routes(struct kvm_irq_routing_entry *e)
{
    for (guint i = 0; i < NUM_PIC_PINS; i++)
        *e++ = (struct kvm_irq_routing_entry) {
            .gsi = i,
            .type = KVM_IRQ_ROUTING_IRQCHIP,
            .u.irqchip = { .irqchip = i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, .pin = i % 8 },
        };
    for (guint i = 0; i < IRQ_PINS; i++)
        *e++ = (struct kvm_irq_routing_entry) {
            .gsi = i,
            .type = KVM_IRQ_ROUTING_IRQCHIP,
            .u.irqchip = { .irqchip = KVM_IRQCHIP_IOAPIC, .pin = i },
        };
}

gboolean kvm_set_msi_routes(Vm *vm, const MsiRoute *routes, guint n, GError **error)
{
    g_autofree struct kvm_irq_routing *table = NULL;
    struct kvm_irq_routing_entry      *e;

    if (!kvm_chips_ready(vm, error))
        return FALSE;
    table = g_malloc0(sizeof *table + (N_DEFAULT_ROUTES + n) * sizeof table->entries[0]);
    table->nr = N_DEFAULT_ROUTES + n;
    default_routes(table->entries);
    e = table->entries + N_DEFAULT_ROUTES;
    for (guint i = 0; i < n; i++)
        e[i] = (struct kvm_irq_routing_entry) {
            .gsi = routes[i].gsi,
            .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = { .address_lo = (guint32)routes[i].address,
                       .address_hi = routes[i].address >> 32,
                       .data = routes[i].data },
        };
    if (KVM_IOCTL(vm->vm_fd, KVM_SET_GSI_ROUTING, table) < 0)
        return error_set_errno(error, errno, "KVM refuses an interrupt route table with %u messages", n);
    return TRUE;
}

/* ---- events from guest writes ---- */

gboolean kvm_ioeventfd(Vm *vm, IoSpace space, guint64 addr, unsigned size, gboolean match, guint64 value, int fd,
                       gboolean add)
{
    struct kvm_ioeventfd r = { .datamatch = match ? value : 0, .addr = addr, .len = size, .fd = fd };

    if (space == IO_PIO)
        r.flags |= KVM_IOEVENTFD_FLAG_PIO;
    if (match)
        r.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
    if (!add)
        r.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
    if (size == 0 && (match || !kvm_cap(vm->kvm_fd, KVM_CAP_IOEVENTFD_ANY_LENGTH)))
        return FALSE;
    return vm_is_up(vm) ? KVM_IOCTL(vm->vm_fd, KVM_IOEVENTFD, &r) == 0 : !add;
}

static gboolean zone_set(Vm *vm, struct kvm_coalesced_mmio_zone *zone, gboolean add)
{
    return KVM_IOCTL(vm->vm_fd, add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, zone) == 0;
}

/* Takes a zone that waits for the first run out again. */
static gboolean zone_forget(KvmState *s, const struct kvm_coalesced_mmio_zone *zone)
{
    for (guint i = 0; i < s->zones->len; i++) {
        if (memcmp(&g_array_index(s->zones, struct kvm_coalesced_mmio_zone, i), zone, sizeof *zone) == 0) {
            g_array_remove_index(s->zones, i);
            return TRUE;
        }
    }
    return FALSE;
}

/* Nothing is lost if KVM refuses: the writes exit one by one. So a zone may wait for the first run (kvm.c says why). */
gboolean kvm_coalesce(Vm *vm, IoSpace space, guint64 addr, guint64 size, gboolean add)
{
    KvmState                      *s = vm->kvm;
    struct kvm_coalesced_mmio_zone zone = { .addr = addr, .size = (guint32)size, .pio = space == IO_PIO };

    if (size > G_MAXUINT32 || !kvm_cap(vm->kvm_fd, space == IO_PIO ? KVM_CAP_COALESCED_PIO : KVM_CAP_COALESCED_MMIO))
        return FALSE;
    if (!add && (zone_forget(s, &zone) || !vm_is_up(vm)))
        return TRUE;
    if (!add) {
        gboolean ok = zone_set(vm, &zone, FALSE);

        kvm_coalesced_drain(vm); /* before the region goes */
        return ok;
    }
    if (s->started)
        return zone_set(vm, &zone, TRUE);
    g_array_append_val(s->zones, zone);
    return TRUE;
}

void kvm_coalesced_flush_zones(Vm *vm)
{
    KvmState *s = vm->kvm;

    s->started = TRUE;
    for (guint i = 0; i < s->zones->len; i++)
        zone_set(vm, &g_array_index(s->zones, struct kvm_coalesced_mmio_zone, i), TRUE);
    g_array_set_size(s->zones, 0);
}

void kvm_coalesced_drain_ring(Vm *vm, struct kvm_coalesced_mmio_ring *ring)
{
    KvmState *s = vm->kvm;

    LOCK_SCOPE(&s->coalesced_lock);
    while (!kvm_ring_empty(ring)) {
        guint32                          first = ring->first % s->ring_entries;
        const struct kvm_coalesced_mmio *e = &ring->coalesced_mmio[first];
        unsigned                         len = MIN(e->len, sizeof e->data);

        iobus_write(vm, e->pio ? IO_PIO : IO_MMIO, e->phys_addr, len, le_get(e->data, len));
        __atomic_store_n(&ring->first, (first + 1) % s->ring_entries, __ATOMIC_RELEASE);
    }
}

/* ---- state of the interrupt controllers ---- */

static const struct {
    const char *name;
    guint32     id;
} chips[] = {
    { "pic-master", KVM_IRQCHIP_PIC_MASTER },
    { "pic-slave", KVM_IRQCHIP_PIC_SLAVE },
    { "ioapic", KVM_IRQCHIP_IOAPIC },
};
G_STATIC_ASSERT(G_N_ELEMENTS(chips) == G_N_ELEMENTS(((IrqchipState *)0)->chip));

gboolean kvm_irqchip_get(Vm *vm, IrqchipState *st, GError **error)
{
    memset(st, 0, sizeof *st);
    for (guint i = 0; i < G_N_ELEMENTS(chips); i++) {
        st->chip[i].chip_id = chips[i].id;
        if (KVM_IOCTL(vm->vm_fd, KVM_GET_IRQCHIP, &st->chip[i]) < 0)
            return error_set_errno(error, errno, "KVM_GET_IRQCHIP of the %s", chips[i].name);
    }
    if (KVM_IOCTL(vm->vm_fd, KVM_GET_PIT2, &st->pit) < 0)
        return error_set_errno(error, errno, "KVM_GET_PIT2");
    return TRUE;
}

static gboolean irqchip_put(Vm *vm, IrqchipState *st, GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(chips); i++) {
        if (KVM_IOCTL(vm->vm_fd, KVM_SET_IRQCHIP, &st->chip[i]) < 0)
            return error_set_errno(error, errno, "KVM_SET_IRQCHIP of the %s", chips[i].name);
    }
    if (KVM_IOCTL(vm->vm_fd, KVM_SET_PIT2, &st->pit) < 0)
        return error_set_errno(error, errno, "KVM_SET_PIT2");
    return TRUE;
}

/* What KVM made at creation is the power-on state. A failure here would be KVM refusing its own bytes. */
void kvm_irqchip_reset(Vm *vm)
{
    g_autoptr(GError) error = NULL;
    IrqchipState      st;

    if (!vm_is_up(vm))
        return;
    st = vm->kvm->power_on;
    if (!irqchip_put(vm, &st, &error))
        g_critical("reset of the interrupt controllers: %s", error->message);
}

/* ---- the clock of KVM's paravirtual clock ---- */

/* KVM_CLOCK_TSC_STABLE says that the value is what every vCPU computes from its TSC; without it the value is
 * KVM's own and at most some microseconds off, which is all that can be had. */
void kvm_clock_freeze(Vm *vm)
{
    KvmState             *s = vm->kvm;
    struct kvm_clock_data c = { 0 };

    if (s->clock_valid || KVM_IOCTL(vm->vm_fd, KVM_GET_CLOCK, &c) < 0)
        return;
    s->clock_ns = c.clock;
    s->clock_valid = TRUE;
}

/* KVM takes no flags here but KVM_CLOCK_REALTIME, which we do not want: the guest's clock stood still. */
void kvm_clock_thaw(Vm *vm)
{
    KvmState             *s = vm->kvm;
    struct kvm_clock_data c = { .clock = s->clock_ns };

    if (!s->clock_valid)
        return;
    if (KVM_IOCTL(vm->vm_fd, KVM_SET_CLOCK, &c) < 0)
        g_warning("KVM_SET_CLOCK: %s", g_strerror(errno));
    s->clock_valid = FALSE;
}

/* ---- save and load ---- */

static GVariant *bytes_variant(const void *data, gsize len)
{
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data, len, 1);
}

GVariant *kvm_irqchip_save(Vm *vm, GError **error)
{
    IrqchipState    st;
    GVariantBuilder b;

    if (!kvm_chips_ready(vm, error) || !kvm_irqchip_get(vm, &st, error))
        return NULL;
    kvm_clock_freeze(vm);
    g_variant_builder_init(&b, G_VARIANT_TYPE_VARDICT);
    for (guint i = 0; i < G_N_ELEMENTS(chips); i++)
        g_variant_builder_add(&b, "{sv}", chips[i].name, bytes_variant(&st.chip[i].chip, sizeof st.chip[i].chip));
    g_variant_builder_add(&b, "{sv}", "pit", bytes_variant(&st.pit, sizeof st.pit));
    g_variant_builder_add(&b, "{sv}", "clock-ns", g_variant_new_uint64(vm->kvm->clock_ns));
    return g_variant_ref_sink(g_variant_builder_end(&b));
}

/* Copies exactly LEN bytes of field NAME, or says what is wrong with it. */
static gboolean field_bytes(const char *name, GVariant *value, void *out, gsize len, GError **error)
{
    gsize         n = 0;
    gconstpointer data;

    if (!g_variant_is_of_type(value, G_VARIANT_TYPE_BYTESTRING))
        return error_set(error, "interrupt controllers: field '%s' is of type '%s'; 'ay' is wanted", name,
                         g_variant_get_type_string(value));
    data = g_variant_get_fixed_array(value, &n, 1);
    if (n != len)
        return error_set(error, "interrupt controllers: field '%s' has %zu bytes; %zu are wanted", name, n, len);
    memcpy(out, data, len);
    return TRUE;
}

enum { SEEN_PIT = 1 << G_N_ELEMENTS(chips), SEEN_CLOCK = SEEN_PIT << 1, SEEN_ALL = (SEEN_CLOCK << 1) - 1 };

static gboolean load_field(const char *name, GVariant *value, IrqchipState *st, guint64 *clock_ns, guint *seen,
                           GError **error)
{
    for (guint i = 0; i < G_N_ELEMENTS(chips); i++) {
        if (g_str_equal(name, chips[i].name)) {
            *seen |= 1 << i;
            return field_bytes(name, value, &st->chip[i].chip, sizeof st->chip[i].chip, error);
        }
    }
    if (g_str_equal(name, "pit")) {
        *seen |= SEEN_PIT;
        return field_bytes(name, value, &st->pit, sizeof st->pit, error);
    }
    if (g_str_equal(name, "clock-ns") && g_variant_is_of_type(value, G_VARIANT_TYPE_UINT64)) {
        *seen |= SEEN_CLOCK;
        *clock_ns = g_variant_get_uint64(value);
        return TRUE;
    }
    return error_set(error, "interrupt controllers: field '%s' of type '%s' is not known", name,
                     g_variant_get_type_string(value));
}

static const char *first_missing(guint seen)
{
    for (guint i = 0; i < G_N_ELEMENTS(chips); i++) {
        if (!(seen & (1u << i)))
            return chips[i].name;
    }
    return seen & SEEN_PIT ? "clock-ns" : "pit";
}

/* All or nothing: the record is read as a whole before KVM is touched. */
gboolean kvm_irqchip_load(Vm *vm, GVariant *state, GError **error)
{
    IrqchipState st;
    GVariantIter it;
    const char  *name;
    GVariant    *value;
    guint64      clock_ns = 0;
    guint        seen = 0;

    if (!kvm_chips_ready(vm, error))
        return FALSE;
    st = vm->kvm->power_on;
    g_variant_iter_init(&it, state);
    while (g_variant_iter_loop(&it, "{&sv}", &name, &value)) {
        if (!load_field(name, value, &st, &clock_ns, &seen, error)) {
            g_variant_unref(value);
            return FALSE;
        }
    }
    if (seen != SEEN_ALL)
        return error_set(error, "interrupt controllers: the record lacks the field '%s'", first_missing(seen));
    if (!irqchip_put(vm, &st, error))
        return FALSE;
    vm->kvm->clock_ns = clock_ns;
    vm->kvm->clock_valid = TRUE;
    return TRUE;
}
