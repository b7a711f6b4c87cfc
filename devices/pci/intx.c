/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * intx.c - interrupt pins of PCI functions: level, shared, the fallback for guests without MSI.
 *
 * A pin passes each bridge on its way with a turn by the slot (PCI-to-PCI bridge 1.2 table 9-1) and
 * ends in one of eight PIRQs of the LPC bridge: PIRQA to H are IOAPIC inputs 16 to 23 always, and
 * the ISA interrupt that the bridge's register names as well. Slots do not move, so a function
 * has its PIRQ from its claim on.
 *
 * The lock is a leaf but for the pins' own (irq.c). Lines are made on the main thread: a route to
 * an ISA interrupt that was never used asks for one.
 */
#include "host.h"

#define N_PIRQS 8
#define FIRST_GSI 16
#define N_ISA 16

struct PciIntx {
    PciHost *host;
    GMutex   lock;
    guint    raised[N_PIRQS]; /* functions that drive it */
    guint8   routes[N_PIRQS];
    IrqLine *gsi[N_PIRQS];
    IrqLine *isa[N_ISA]; /* NULL: never routed to */
};

guint pci_pirq(guint slot, guint pin)
{
    if (slot < 25 || slot == 30)
        return 4 + (slot < 24 ? slot + pin : pin) % 4;
    return pin;
}

PciIntx *pci_intx_new(PciHost *host)
{
    PciIntx *x = g_new0(PciIntx, 1);

    x->host = host;
    g_mutex_init(&x->lock);
    for (guint i = 0; i < N_PIRQS; i++) {
        g_autofree char *name = g_strdup_printf("PIRQ%c", 'A' + i);
        x->gsi[i] = irq_line_new(host->vm, FIRST_GSI + i, name);
        x->routes[i] = 0x80;
    }
    return x;
}

void pci_intx_free(PciIntx *x)
{
    for (guint i = 0; i < N_PIRQS; i++)
        irq_line_free(x->gsi[i]);
    for (guint i = 0; i < N_ISA; i++)
        irq_line_free(x->isa[i]);
    g_mutex_clear(&x->lock);
    g_free(x);
}

/* IRQ 0, 1, 2, 8 and 13 are reserved (ICH9 datasheet 13.1.16). */
static gboolean routable(guint8 route)
{
    return route < N_ISA && !(1u << route & (1u << 0 | 1u << 1 | 1u << 2 | 1u << 8 | 1u << 13));
}

/* Lock held: levels of all lines from what is raised. */
static void drive(PciIntx *x)
{
    gboolean isa[N_ISA] = { FALSE };

    for (guint i = 0; i < N_PIRQS; i++) {
        irq_line_set(x->gsi[i], x->raised[i] > 0);
        if (x->raised[i] > 0 && routable(x->routes[i]))
            isa[x->routes[i]] = TRUE;
    }
    for (guint i = 0; i < N_ISA; i++) {
        if (x->isa[i])
            irq_line_set(x->isa[i], isa[i]);
    }
}

void pci_intx_sync(PciIntx *x)
{
    LOCK_SCOPE(&x->lock);
    for (guint i = 0; i < N_PIRQS; i++) {
        guint8 irq = x->routes[i];
        if (routable(irq) && !x->isa[irq])
            x->isa[irq] = irq_line_new(x->host->vm, irq, "PIRQ");
    }
    drive(x);
}

void pci_intx_route(PciBus *root, const guint8 routes[8])
{
    PciIntx *x = root->host->intx;
    gboolean missing = FALSE;

    g_mutex_lock(&x->lock);
    memcpy(x->routes, routes, N_PIRQS);
    for (guint i = 0; i < N_PIRQS; i++)
        missing |= routable(routes[i]) && !x->isa[routes[i]];
    drive(x);
    g_mutex_unlock(&x->lock);
    if (missing)
        deferred_schedule(root->host->work);
}

void pci_intx_claim(PciFunction *fn)
{
    guint pin = fn->config[PCI_IRQ_PIN] - 1u, slot = fn->devfn >> 3;

    if (pin > 3)
        pin = 0;
    for (const PciBus *bus = fn->bus; bus->bridge; bus = bus->parent) {
        pin = (pin + slot) % 4;
        slot = bus->bridge->devfn >> 3;
    }
    fn->pirq = (guint8)pci_pirq(slot, pin);
}

void pci_intx_update(PciFunction *fn)
{
    gboolean off = le16_get(fn->config + PCI_COMMAND) & PCI_COMMAND_NO_INTX;
    gboolean level = fn->intx && !off && !fn->intx_silent;

    if (fn->intx)
        fn->config[PCI_STATUS] |= PCI_STATUS_INTX;
    else
        fn->config[PCI_STATUS] &= (guint8)~PCI_STATUS_INTX;
    if (level == fn->intx_wired || !fn->bus)
        return;
    PciIntx *x = fn->bus->host->intx;
    LOCK_SCOPE(&x->lock);
    fn->intx_wired = level;
    x->raised[fn->pirq] += level ? 1 : -1;
    drive(x);
}

void pci_intx_set(PciFunction *fn, gboolean level)
{
    fn->intx = !!level;
    pci_intx_update(fn);
}
