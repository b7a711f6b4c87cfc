/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * isa-serial.c - a 16550A UART (National Semiconductor PC16550D data sheet).
 *
 * Transmission takes no time: a byte written to THR goes to the chardev at once and the transmitter is empty again, so a guest
 * that polls or waits for the interrupt never waits for a baud rate. If the chardev's peer does not read, bytes stay in the
 * transmit FIFO and THRE stays clear until there is room. Reception is bounded by the FIFO: the chardev is not read while it is full.
 *
 * The hard part is the interrupt logic. Five sources have a fixed priority; two of them are latches of their own: THRE is raised
 * when the transmitter becomes empty or when its enable bit is set while it is, and cleared by reading IIR or writing THR; the character timeout is
 * raised by a timer when received bytes below the trigger level lie for four character times.
 */
#include "../../schema/generated/devices.h"
#include "../backend/chardev.h"

#define FIFO_SIZE 16
#define CLOCK 1843200 /* Hz; 16 clocks a bit at divisor 1 */

enum { RBR = 0, IER, IIR, LCR, MCR, LSR, MSR, SCR }; /* offsets; 0 is THR and DLL too, 1 DLM, 2 FCR */
enum { IER_RDA = 1, IER_THRE = 2, IER_LINE = 4, IER_MODEM = 8 };
enum { IIR_NONE = 1, IIR_THRE = 2, IIR_RDA = 4, IIR_LINE = 6, IIR_TIMEOUT = 0xc, IIR_MODEM = 0, IIR_FIFOS = 0xc0 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_STOP = 4, LCR_PARITY = 8, LCR_BREAK = 0x40, LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10 };
enum { LSR_DR = 1, LSR_OE = 2, LSR_BI = 0x10, LSR_THRE = 0x20, LSR_TEMT = 0x40 };
enum { MSR_DCTS = 1, MSR_DDSR = 2, MSR_TERI = 4, MSR_DDCD = 8, MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

typedef struct {
    Device    dev;
    guint8    ier, fcr, lcr, mcr, lsr, msr, scr;
    guint16   divisor;
    gboolean  thre_latch, timeout_latch;
    guint8    rx[FIFO_SIZE], tx[FIFO_SIZE];
    guint8    rx_len, tx_len;
    Device   *chardev;
    IrqLine  *irq;
    VmTimer  *timeout;
    IoRegion *region;
} Serial;

static const IsaSerialConfig *config_of(const Serial *s)
{
    return DEVICE_CONFIG(&s->dev, IsaSerialConfig);
}

/* ---- interrupts ---- */

static guint rx_trigger(const Serial *s)
{
    static const guint8 levels[] = { 1, 4, 8, 14 };

    return s->fcr & FCR_ENABLE ? levels[s->fcr >> 6] : 1;
}

/* The pending source of highest priority, as IIR shows it. */
static guint8 interrupt_id(const Serial *s)
{
    if ((s->ier & IER_LINE) && (s->lsr & (LSR_OE | LSR_BI)))
        return IIR_LINE;
    if ((s->ier & IER_RDA) && s->rx_len >= rx_trigger(s))
        return IIR_RDA;
    if ((s->ier & IER_RDA) && s->timeout_latch)
        return IIR_TIMEOUT;
    if ((s->ier & IER_THRE) && s->thre_latch)
        return IIR_THRE;
    if ((s->ier & IER_MODEM) && (s->msr & (MSR_DCTS | MSR_DDSR | MSR_TERI | MSR_DDCD)))
        return IIR_MODEM;
    return IIR_NONE;
}

static void update_irq(Serial *s)
{
    irq_line_set(s->irq, interrupt_id(s) != IIR_NONE);
}

/* Four character times, in ns. */
static gint64 timeout_ns(const Serial *s)
{
    guint bits = 1 + 5 + (s->lcr & 3) + ((s->lcr & LCR_PARITY) != 0) + 1 + ((s->lcr & LCR_STOP) != 0);
    gint64 bit_ns = (gint64)MAX(s->divisor, 1) * 16 * 1000000000 / CLOCK;

    return 4 * bits * bit_ns;
}

/* The timeout runs from the last byte received or read while bytes lie below the trigger level. */
static void arm_timeout(Serial *s)
{
    s->timeout_latch = FALSE;
    if (s->rx_len && (s->fcr & FCR_ENABLE) && s->rx_len < rx_trigger(s))
        vm_timer_set(s->timeout, vm_clock_ns(device_set_vm(s->dev.set)) + timeout_ns(s));
    else
        vm_timer_cancel(s->timeout);
}

static void on_timeout(gpointer user)
{
    Serial *s = user;

    if (!s->rx_len)
        return;
    s->timeout_latch = TRUE;
    update_irq(s);
}

/* ---- receiver; lock held ---- */

/* Of the receiver and of the transmitter. */
static guint capacity(const Serial *s)
{
    return s->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static void more_input(Serial *s)
{
    if (s->chardev)
        chardev_accept_input(s->chardev);
}

static void rx_push(Serial *s, guint8 byte)
{
    if (s->rx_len >= capacity(s)) {
        s->lsr |= LSR_OE;
        if (!(s->fcr & FCR_ENABLE)) /* without FIFOs the new byte overwrites the old one */
            s->rx[0] = byte;
        return;
    }
    s->rx[s->rx_len++] = byte;
    s->lsr |= LSR_DR;
}

static guint8 rx_pop(Serial *s)
{
    guint8 byte = s->rx[0];

    if (!s->rx_len)
        return byte; /* the register keeps the last byte */
    s->rx_len--;
    memmove(s->rx, s->rx + 1, s->rx_len);
    if (s->rx_len == 0) {
        s->rx[0] = byte;
        s->lsr &= (guint8)~(LSR_DR | LSR_BI);
    }
    arm_timeout(s);
    more_input(s);
    return byte;
}

/* ---- transmitter; lock held ---- */

static void tx_empty(Serial *s)
{
    s->lsr |= LSR_THRE | LSR_TEMT;
    s->thre_latch = TRUE;
}

/* Gives the chardev what it takes. */
static void tx_drain(Serial *s)
{
    gsize n = s->chardev ? chardev_write(s->chardev, s->tx, s->tx_len) : s->tx_len;

    s->tx_len -= (guint8)n;
    memmove(s->tx, s->tx + n, s->tx_len);
    if (s->tx_len == 0)
        tx_empty(s);
}

static void write_thr(Serial *s, guint8 byte)
{
    s->thre_latch = FALSE;
    s->lsr &= (guint8)~(LSR_THRE | LSR_TEMT);
    if (s->mcr & MCR_LOOP) {
        rx_push(s, byte);
        arm_timeout(s);
        if (s->tx_len == 0) /* else older bytes still wait for the chardev */
            tx_empty(s);
    } else {
        if (s->tx_len >= capacity(s))
            s->tx_len--; /* written though THRE was clear: the last byte is lost, as in the chip */
        s->tx[s->tx_len++] = byte;
        tx_drain(s);
    }
}

/* ---- modem lines; lock held ---- */

/* In loopback the outputs are the inputs: DTR-DSR, RTS-CTS, OUT1-RI, OUT2-DCD. */
static guint8 modem_inputs(const Serial *s)
{
    if (!(s->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD; /* a cable is always there */
    return (guint8)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
                    (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void update_modem(Serial *s)
{
    guint8 now = modem_inputs(s), was = s->msr & 0xf0;
    guint8 changed = now ^ was;
    guint8 delta = (guint8)((changed & MSR_CTS ? MSR_DCTS : 0) | (changed & MSR_DSR ? MSR_DDSR : 0) |
                            ((changed & was & MSR_RI) ? MSR_TERI : 0) | (changed & MSR_DCD ? MSR_DDCD : 0));

    s->msr = (guint8)(now | (s->msr & 0x0f) | delta);
}

/* ---- registers ---- */

static void write_fcr(Serial *s, guint8 value)
{
    if ((value ^ s->fcr) & FCR_ENABLE)
        value |= FCR_CLEAR_RX | FCR_CLEAR_TX; /* changing modes empties both */
    s->fcr = value & FCR_ENABLE ? value & 0xc9 : 0;
    if (value & FCR_CLEAR_RX) {
        s->rx_len = 0;
        s->lsr &= (guint8)~(LSR_DR | LSR_BI);
        more_input(s);
    }
    if ((value & FCR_CLEAR_TX) && s->tx_len) {
        s->tx_len = 0;
        tx_empty(s);
    }
    arm_timeout(s);
}

static void write_ier(Serial *s, guint8 value)
{
    gboolean enabled = (value & ~s->ier & IER_THRE) != 0;

    s->ier = value & 0x0f;
    if (enabled && (s->lsr & LSR_THRE))
        s->thre_latch = TRUE;
}

static void serial_write(gpointer opaque, guint64 offset, guint64 value64, unsigned size)
{
    Serial *s = opaque;
    guint8 value = (guint8)value64;
    gboolean dlab = (s->lcr & LCR_DLAB) != 0;

    switch (offset) {
    case RBR:
        if (dlab)
            s->divisor = (guint16)((s->divisor & 0xff00) | value);
        else
            write_thr(s, value);
        break;
    case IER:
        if (dlab)
            s->divisor = (guint16)((s->divisor & 0x00ff) | value << 8);
        else
            write_ier(s, value);
        break;
    case IIR: write_fcr(s, value); break;
    case LCR: s->lcr = value; break;
    case MCR:
        s->mcr = value & 0x1f;
        update_modem(s);
        more_input(s); /* nothing comes in while in loopback */
        break;
    case SCR: s->scr = value; break;
    default: break; /* LSR and MSR: the chip's factory tests */
    }
    update_irq(s);
}

static guint8 read_iir(Serial *s)
{
    guint8 id = interrupt_id(s);

    if (id == IIR_THRE)
        s->thre_latch = FALSE;
    return (guint8)(id | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0));
}

static guint8 read_lsr(Serial *s)
{
    guint8 value = s->lsr;

    s->lsr &= (guint8)~(LSR_OE | LSR_BI);
    return value;
}

static guint8 read_msr(Serial *s)
{
    guint8 value = s->msr;

    s->msr &= 0xf0;
    return value;
}

static guint64 serial_read(gpointer opaque, guint64 offset, unsigned size)
{
    Serial *s = opaque;
    gboolean dlab = (s->lcr & LCR_DLAB) != 0;
    guint8 value;

    switch (offset) {
    case RBR: value = dlab ? (guint8)s->divisor : rx_pop(s); break;
    case IER: value = dlab ? (guint8)(s->divisor >> 8) : s->ier; break;
    case IIR: value = read_iir(s); break;
    case LCR: value = s->lcr; break;
    case MCR: value = s->mcr; break;
    case LSR: value = read_lsr(s); break;
    case MSR: value = read_msr(s); break;
    default: value = s->scr; break;
    }
    update_irq(s);
    return value;
}

static const IoOps io_ops = { .read = serial_read, .write = serial_write, .min_size = 1, .max_size = 1 };

/* ---- the chardev's side; main thread, lock not held ---- */

static gsize can_receive(gpointer user)
{
    Serial *s = user;
    LOCK_SCOPE(&s->dev.lock);

    return s->mcr & MCR_LOOP ? 0 : capacity(s) - MIN(s->rx_len, capacity(s));
}

static void receive(gpointer user, const guint8 *data, gsize len)
{
    Serial *s = user;
    LOCK_SCOPE(&s->dev.lock);

    for (gsize i = 0; i < len; i++)
        rx_push(s, data[i]);
    arm_timeout(s);
    update_irq(s);
}

static void writable(gpointer user)
{
    Serial *s = user;
    LOCK_SCOPE(&s->dev.lock);

    if (s->tx_len)
        tx_drain(s);
    update_irq(s);
}

static void break_received(gpointer user)
{
    Serial *s = user;
    LOCK_SCOPE(&s->dev.lock);

    rx_push(s, 0);
    s->lsr |= LSR_BI;
    arm_timeout(s);
    update_irq(s);
}

static const ChardevFrontend frontend = {
    .can_receive = can_receive,
    .receive = receive,
    .writable = writable,
    .break_received = break_received,
};

/* ---- device ---- */

typedef struct {
    guint32 index;
    gboolean taken;
} IndexSearch;

static gboolean index_taken(Device *dev, gpointer user)
{
    IndexSearch *search = user;

    if (strcmp(dev->type->name, "isa-serial") == 0)
        search->taken |= DEVICE_CONFIG(dev, IsaSerialConfig)->index == search->index;
    return TRUE;
}

static Place place_of(guint index)
{
    return (Place){ "serial port", "", index, NULL };
}

static void places(const PropBag *bag, PlaceSink *sink)
{
    static const char *const rows[] = { "index", NULL };

    if (prop_bag_is_set(bag, "index"))
        device_place(sink, rows, place_of(((const IsaSerialConfig *)bag->config)->index));
}

static gboolean resolve(Device *dev, GError **error)
{
    static const guint32 ports[] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 }, irqs[] = { 4, 3, 4, 3 };
    gboolean given = prop_bag_is_set(dev->bag, "index");
    guint index = given ? DEVICE_CONFIG(dev, IsaSerialConfig)->index : 0, last = given ? index : G_N_ELEMENTS(ports) - 1;
    PlaceSearch search = device_place_search(dev);

    for (; index <= last; index++) {
        IndexSearch who = { .index = index };
        device_set_foreach(dev->set, index_taken, &who);
        if (!who.taken && device_place_try(&search, index, place_of(index)))
            break;
    }
    if (!search.found)
        return error_set(error, "Property 'index' of device '%s': COM%u is taken", dev->id, last + 1);
    index = search.value;
    if (!given)
        prop_bag_set_u(dev->bag, "index", index, ORIGIN_DEFAULT);
    if (!prop_bag_is_set(dev->bag, "iobase"))
        prop_bag_set_u(dev->bag, "iobase", ports[index], ORIGIN_DEFAULT);
    if (!prop_bag_is_set(dev->bag, "irq"))
        prop_bag_set_u(dev->bag, "irq", irqs[index], ORIGIN_DEFAULT);
    return TRUE;
}

static void reset(Device *dev, ResetKind kind)
{
    Serial *s = (Serial *)dev;

    s->ier = s->fcr = s->lcr = s->scr = 0;
    s->mcr = MCR_OUT2;
    s->divisor = 12; /* 9600, as firmware leaves it */
    s->lsr = LSR_THRE | LSR_TEMT;
    s->msr = modem_inputs(s);
    s->thre_latch = s->timeout_latch = FALSE;
    s->rx_len = s->tx_len = 0;
    vm_timer_cancel(s->timeout);
    irq_line_set(s->irq, FALSE);
    more_input(s);
}

static gboolean realize(Device *dev, GError **error)
{
    Serial *s = (Serial *)dev;
    const IsaSerialConfig *config = config_of(s);
    Vm *vm = device_set_vm(dev->set);

    if (!device_claim_io(dev, IO_PIO, config->iobase, 8, "iobase", error))
        return FALSE;
    s->irq = irq_line_new(vm, config->irq, dev->id);
    s->timeout = vm_timer_new(vm, &dev->lock, on_timeout, s);
    reset(dev, RESET_COLD);
    if (!config->chardev)
        return TRUE;
    s->chardev = device_link(dev, NS_CHARDEV, config->chardev, "chardev", "chardev", error);
    if (!s->chardev)
        return FALSE;
    if (chardev_attach(s->chardev, &frontend, s, error))
        return TRUE;
    g_prefix_error(error, "Property 'chardev' of device '%s': ", dev->id);
    s->chardev = NULL;
    return FALSE;
}

static void publish(Device *dev)
{
    Serial *s = (Serial *)dev;

    s->region = iobus_add(device_set_vm(dev->set), IO_PIO, config_of(s)->iobase, 8, &io_ops, s, &dev->lock, 0, dev->id, NULL);
    g_assert(s->region); /* claimed in realize */
}

static void unpublish(Device *dev)
{
    iobus_remove(device_set_vm(dev->set), g_steal_pointer(&((Serial *)dev)->region));
}

static void unrealize(Device *dev)
{
    Serial *s = (Serial *)dev;

    if (s->chardev)
        chardev_detach(s->chardev);
    g_clear_pointer(&s->timeout, vm_timer_free);
    g_clear_pointer(&s->irq, irq_line_free);
}

static gboolean post_load(Device *dev, GError **error)
{
    Serial *s = (Serial *)dev;

    if (s->rx_len > capacity(s) || s->tx_len > capacity(s))
        return error_set(error, "State of device '%s': receiver and transmitter hold %u and %u bytes, and have room for %u", dev->id,
                         s->rx_len, s->tx_len, capacity(s));
    s->ier &= 0x0f;
    s->mcr &= 0x1f;
    gboolean latch = s->timeout_latch;
    arm_timeout(s);
    s->timeout_latch = latch;
    update_irq(s);
    more_input(s);
    return TRUE;
}

/* Bytes that came with a loaded state have nobody who would say that there is room for them. */
static void resume(Device *dev)
{
    Serial *s = (Serial *)dev;

    if (s->tx_len)
        tx_drain(s);
    update_irq(s);
}

static const StateDesc state[] = {
    STATE_ROW(Serial, ier, U8, "0.1"),
    STATE_ROW(Serial, fcr, U8, "0.1"),
    STATE_ROW(Serial, lcr, U8, "0.1"),
    STATE_ROW(Serial, mcr, U8, "0.1"),
    STATE_ROW(Serial, lsr, U8, "0.1"),
    STATE_ROW(Serial, msr, U8, "0.1"),
    STATE_ROW(Serial, scr, U8, "0.1"),
    STATE_ROW(Serial, divisor, U16, "0.1"),
    STATE_ROW(Serial, thre_latch, BOOL, "0.1"),
    STATE_ROW(Serial, timeout_latch, BOOL, "0.1"),
    STATE_ROW(Serial, rx, BYTES, "0.1"),
    STATE_ROW(Serial, tx, BYTES, "0.1"),
    STATE_ROW(Serial, rx_len, U8, "0.1"),
    STATE_ROW(Serial, tx_len, U8, "0.1"),
    STATE_END,
};

static const DeviceOps ops = {
    .resolve = resolve,
    .places = places,
    .realize = realize,
    .publish = publish,
    .reset = reset,
    .resume = resume,
    .unpublish = unpublish,
    .unrealize = unrealize,
    .post_load = post_load,
};

const DeviceType isa_serial_type = { "isa-serial", sizeof(Serial), &ops, state };
