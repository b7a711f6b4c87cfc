/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * x86-cpu.c - the CPU device of all models: a slot of the board, and the vCPU in it.
 *
 * A CPU that is plugged while the machine runs waits for INIT and SIPI like any application processor; the guest learns of
 * it from the hotplug registers, which list it only once it is published.
 */
#include "../acpi/cpu-hotplug.h"
#include "../platform/board.h"
#include "../platform/deferred.h"
#include "model.h"

typedef struct {
    Device  dev;
    CpuSlot slot;
    GArray *cpuid; /* of kvm_cpuid_entry2: as handed to KVM */
    GArray *msrs;  /* of kvm_msr_entry */
    Vcpu   *vcpu;
    Deferred *prepare; /* plugged into a running machine */
} X86Cpu;

static const char *const type_names[] = {
    "host-x86_64-cpu",      "qemu64-x86_64-cpu",    "x86-64-v1-x86_64-cpu",
    "x86-64-v2-x86_64-cpu", "x86-64-v3-x86_64-cpu", "x86-64-v4-x86_64-cpu", NULL,
};

const char *const *cpu_type_names(void)
{
    return type_names;
}

gboolean cpu_is_cpu(const Device *dev)
{
    return device_plug(dev) == PLUG_CPU;
}

Vcpu *cpu_vcpu(Device *cpu)
{
    return ((X86Cpu *)cpu)->vcpu;
}

guint cpu_index(Device *cpu)
{
    return ((X86Cpu *)cpu)->slot.index;
}

const struct kvm_cpuid_entry2 *cpu_cpuid(Device *cpu, guint *n)
{
    const X86Cpu *c = (X86Cpu *)cpu;

    *n = c->cpuid->len;
    return (const struct kvm_cpuid_entry2 *)c->cpuid->data;
}

/* ---- slots ---- */

guint cpu_slots_count(DeviceSet *set)
{
    const BoardConfig *board = board_config(set);

    return board ? board->max_cpus : 0;
}

typedef struct {
    guint   index;
    Device *found;
} SlotSearch;

static gboolean match_slot(Device *dev, gpointer user)
{
    SlotSearch *s = user;

    if (cpu_is_cpu(dev) && cpu_index(dev) == s->index)
        s->found = dev;
    return !s->found;
}

/* All but who is in it. */
static void slot_numbers(const BoardConfig *b, guint index, CpuSlot *out)
{
    guint rest = index;

    out->index = index;
    out->thread = rest % b->cpu_threads;
    rest /= b->cpu_threads;
    out->core = rest % b->cpu_cores;
    rest /= b->cpu_cores;
    out->die = rest % b->cpu_dies;
    out->socket = rest / b->cpu_dies;
    guint wt = cpu_id_width(b->cpu_threads), wc = wt + cpu_id_width(b->cpu_cores), wd = wc + cpu_id_width(b->cpu_dies);
    out->apic_id = out->socket << wd | out->die << wc | out->core << wt | out->thread;
    out->cpu = NULL;
}

void cpu_slot_get(DeviceSet *set, guint index, CpuSlot *out)
{
    SlotSearch search = { .index = index };

    device_set_foreach(set, match_slot, &search);
    slot_numbers(board_config(set), index, out);
    out->cpu = search.found;
}

static gboolean count_cpu(Device *dev, gpointer n)
{
    *(guint *)n += cpu_is_cpu(dev);
    return TRUE;
}

guint cpu_plugged_count(DeviceSet *set)
{
    guint n = 0;

    device_set_foreach(set, count_cpu, &n);
    return n;
}

static gboolean lowest(Device *dev, gpointer user)
{
    Device **best = user;

    if (cpu_is_cpu(dev) && (!*best || cpu_index(dev) < cpu_index(*best)))
        *best = dev;
    return TRUE;
}

Device *cpu_bsp(DeviceSet *set)
{
    Device *best = NULL;

    device_set_foreach(set, lowest, &best);
    return best;
}

/* ---- plug ---- */

typedef struct {
    const char *name;
    guint32     limit;   /* of the board */
    gboolean    given;
    guint32     value;
} SlotId;

static gboolean note_holder(Device *dev, gpointer holders)
{
    if (cpu_is_cpu(dev))
        ((Device **)holders)[cpu_index(dev)] = dev;
    return TRUE;
}

static gboolean id_fits(const SlotId *id, guint32 value)
{
    return !id->given || id->value == value;
}

/* Each number is below max-cpus. */
static Place place_of(guint32 socket, guint32 die, guint32 core, guint32 thread)
{
    return (Place){ "CPU slot", "", (guint64)socket << 48 | (guint64)die << 32 | (guint64)core << 16 | thread, NULL };
}

static void places(const PropBag *bag, PlaceSink *sink)
{
    static const char *const rows[] = { "socket-id", "die-id", "core-id", "thread-id", "apic-id", NULL };
    const X86CpuConfig *c = bag->config;

    for (guint i = 0; i < 4; i++) {
        if (!prop_bag_is_set(bag, rows[i]))
            return;
    }
    device_place(sink, rows, place_of(c->socket_id, c->die_id, c->core_id, c->thread_id));
}

/* The lowest free slot that has the numbers given; else who is in the way. */
static gboolean find_slot(Device *dev, const SlotId ids[4], CpuSlot *out, GError **error)
{
    guint n = cpu_slots_count(dev->set);
    g_autofree Device **holders = g_new0(Device *, n);
    PlaceSearch search = device_place_search(dev);
    Device *holder = NULL;

    device_set_foreach(dev->set, note_holder, holders);
    for (guint i = 0; i < n; i++) {
        slot_numbers(board_config(dev->set), i, out);
        if (!id_fits(&ids[0], out->socket) || !id_fits(&ids[1], out->die) || !id_fits(&ids[2], out->core) ||
            !id_fits(&ids[3], out->thread))
            continue;
        if (holders[i])
            holder = holders[i];
        else if (device_place_try(&search, i, place_of(out->socket, out->die, out->core, out->thread)))
            break;
    }
    if (search.found) {
        slot_numbers(board_config(dev->set), search.value, out);
        return TRUE;
    }
    if (holder && ids[0].given && ids[2].given && ids[3].given)
        return error_set(error, "Device '%s': CPU slot socket-id %u, core-id %u, thread-id %u has device '%s' in it", dev->id,
                         ids[0].value, ids[2].value, ids[3].value, holder->id);
    return error_set(error, "Device '%s': no free CPU slot with these numbers; %u of max-cpus %u are taken", dev->id,
                     cpu_plugged_count(dev->set), n);
}

static gboolean same_type(Device *dev, gpointer user)
{
    const DeviceType **type = user;

    if (cpu_is_cpu(dev))
        *type = dev->type;
    return !*type;
}

static gboolean check_type(Device *dev, GError **error)
{
    const DeviceType *have = NULL;

    device_set_foreach(dev->set, same_type, &have);
    if (have && have != dev->type)
        return error_set(error, "Device '%s': its type is '%s', and the machine's CPUs are of type '%s'", dev->id,
                         dev->type->name, have->name);
    return TRUE;
}

static gboolean resolve_slot(Device *dev, CpuSlot *slot, GError **error)
{
    const BoardConfig *b = board_config(dev->set);
    const X86CpuConfig *c = DEVICE_CONFIG(dev, X86CpuConfig);
    SlotId ids[4] = {
        { "socket-id", b->cpu_sockets, prop_bag_is_set(dev->bag, "socket-id"), c->socket_id },
        { "die-id", b->cpu_dies, prop_bag_is_set(dev->bag, "die-id"), c->die_id },
        { "core-id", b->cpu_cores, prop_bag_is_set(dev->bag, "core-id"), c->core_id },
        { "thread-id", b->cpu_threads, prop_bag_is_set(dev->bag, "thread-id"), c->thread_id },
    };

    for (guint i = 0; i < G_N_ELEMENTS(ids); i++) {
        if (ids[i].given && ids[i].value >= ids[i].limit)
            return error_set(error, "Property '%s' of device '%s': %u, and the board has 0 to %u", ids[i].name, dev->id,
                             ids[i].value, ids[i].limit - 1);
    }
    if (!find_slot(dev, ids, slot, error))
        return FALSE;
    const guint32 found[] = { slot->socket, slot->die, slot->core, slot->thread };
    for (guint i = 0; i < G_N_ELEMENTS(ids); i++) {
        if (!ids[i].given)
            prop_bag_set_u(dev->bag, ids[i].name, found[i], ORIGIN_DEFAULT);
    }
    if (!prop_bag_is_set(dev->bag, "apic-id"))
        prop_bag_set_u(dev->bag, "apic-id", slot->apic_id, ORIGIN_DEFAULT);
    if (c->apic_id != slot->apic_id) /* tables say what the topology says */
        return error_set(error, "Property 'apic-id' of device '%s': recorded as %u, and its place in the topology gives %u",
                         dev->id, c->apic_id, slot->apic_id);
    return TRUE;
}

static gboolean resolve(Device *dev, GError **error)
{
    return check_type(dev, error) && resolve_slot(dev, &((X86Cpu *)dev)->slot, error) && cpu_model_resolve(dev, error);
}

static VcpuModel model_for_vm(const GArray *cpuid, const GArray *msrs)
{
    return (VcpuModel){
        .cpuid = (const struct kvm_cpuid_entry2 *)(gconstpointer)cpuid->data,
        .n_cpuid = cpuid->len,
        .msrs = (const struct kvm_msr_entry *)(gconstpointer)msrs->data,
        .n_msrs = msrs->len,
    };
}

/* CPUs come in a row, upwards or downwards: the one below if the one above is there, else the one above. */
static gboolean next_slot(DeviceSet *set, guint index, CpuSlot *out)
{
    guint n = cpu_slots_count(set);

    if (index + 1 < n) {
        cpu_slot_get(set, index + 1, out);
        if (!out->cpu)
            return TRUE;
    }
    if (index == 0)
        return FALSE;
    cpu_slot_get(set, index - 1, out);
    return !out->cpu;
}

/* The next CPU will most probably be like this one. Not while a command waits for its answer. */
static void prepare_next(gpointer user)
{
    X86Cpu *c = user;
    DeviceSet *set = c->dev.set;
    CpuSlot slot;

    g_thread_yield(); /* the client that has just got its answer may be waiting for this very processor */
    if (!next_slot(set, c->slot.index, &slot))
        return;
    g_autoptr(GArray) cpuid = cpu_cpuid_build(DEVICE_CONFIG(&c->dev, X86CpuConfig), board_config(set), &slot);
    VcpuModel model = model_for_vm(cpuid, c->msrs);
    vcpu_prepare(device_set_vm(set), slot.apic_id, &model);
}

static gboolean realize(Device *dev, GError **error)
{
    X86Cpu *c = (X86Cpu *)dev;
    Vm *vm = device_set_vm(dev->set);

    c->cpuid = cpu_cpuid_build(DEVICE_CONFIG(dev, X86CpuConfig), board_config(dev->set), &c->slot);
    c->msrs = cpu_feature_msrs(DEVICE_CONFIG(dev, X86CpuConfig));
    VcpuModel model = model_for_vm(c->cpuid, c->msrs);
    c->vcpu = vcpu_new(vm, c->slot.index, c->slot.apic_id, &model, error);
    if (!c->vcpu) {
        g_prefix_error(error, "Device '%s': ", dev->id);
        return FALSE;
    }
    if (device_set_is_started(dev->set) && !vcpu_reset(c->vcpu, FALSE, error))
        return FALSE;
    return vcpu_start(c->vcpu, error);
}

static void publish(Device *dev)
{
    X86Cpu *c = (X86Cpu *)dev;

    if (!device_set_is_started(dev->set))
        return;
    cpu_hotplug_notify(dev->set, cpu_index(dev));
    c->prepare = deferred_new(device_set_vm(dev->set), prepare_next, c);
    deferred_schedule(c->prepare);
}

static gboolean stays(Device *dev, gpointer n)
{
    *(guint *)n += cpu_is_cpu(dev) && dev->state != DEVICE_UNPLUG_PENDING;
    return TRUE;
}

/* A machine that has started keeps a CPU, or its guest could not even be asked. */
static UnplugAnswer unplug_request(Device *dev, gboolean force, GError **error)
{
    guint others = 0;

    device_set_foreach(dev->set, stays, &others);
    others -= dev->state != DEVICE_UNPLUG_PENDING;
    if (others == 0) {
        error_set(error, "Device '%s': the machine has started, and no CPU would be left", dev->id);
        return UNPLUG_REFUSED;
    }
    if (force)
        return UNPLUG_AT_ONCE;
    cpu_hotplug_request_remove(dev->set, cpu_index(dev));
    return UNPLUG_ASKED;
}

/* The registers list it no longer: a guest that looks finds an empty slot. */
static void unpublish(Device *dev)
{
    if (device_set_is_started(dev->set))
        cpu_hotplug_gone(dev->set, cpu_index(dev));
}

static void unrealize(Device *dev)
{
    X86Cpu *c = (X86Cpu *)dev;

    g_clear_pointer(&c->prepare, deferred_free);
    g_clear_pointer(&c->vcpu, vcpu_free);
    g_clear_pointer(&c->cpuid, g_array_unref);
    g_clear_pointer(&c->msrs, g_array_unref);
}

static gboolean power_on(Device *dev, GError **error)
{
    return vcpu_reset(((X86Cpu *)dev)->vcpu, dev == cpu_bsp(dev->set), error);
}

static void abi(Device *dev, AbiSink *sink)
{
    const X86Cpu *c = (const X86Cpu *)dev;

    abi_leaf(sink, "cpuid", c->cpuid->data, c->cpuid->len * sizeof(struct kvm_cpuid_entry2), NULL);
    abi_leaf(sink, "msrs", c->msrs->data, c->msrs->len * sizeof(struct kvm_msr_entry), NULL);
}

static const DeviceOps ops = {
    .resolve = resolve,
    .places = places,
    .host_check = cpu_model_resolve,
    .realize = realize,
    .publish = publish,
    .unplug_request = unplug_request,
    .unpublish = unpublish,
    .unrealize = unrealize,
    .power_on = power_on,
    .abi = abi,
};

/* Run-time state is the vCPU's own (vcpu_save()), not rows. */
#define CPU_TYPE(symbol, name) const DeviceType symbol = { name, sizeof(X86Cpu), &ops, state_none }

CPU_TYPE(host_x86_64_cpu_type, "host-x86_64-cpu");
CPU_TYPE(qemu64_x86_64_cpu_type, "qemu64-x86_64-cpu");
CPU_TYPE(x86_64_v1_x86_64_cpu_type, "x86-64-v1-x86_64-cpu");
CPU_TYPE(x86_64_v2_x86_64_cpu_type, "x86-64-v2-x86_64-cpu");
CPU_TYPE(x86_64_v3_x86_64_cpu_type, "x86-64-v3-x86_64-cpu");
CPU_TYPE(x86_64_v4_x86_64_cpu_type, "x86-64-v4-x86_64-cpu");
