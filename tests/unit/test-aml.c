/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The AML encoder against iasl: what test_against_iasl() builds is, byte for byte, what iasl 20200925 (-of -on:
 * constants not folded, names not shortened) makes of this source:
 *
 * DefinitionBlock ("", "DSDT", 2, "BKPLN ", "TEST    ", 1) {
 *     Name (INTS, Package () { 0, 1, 2, 0xff, 0x100, 0xffff, 0x10000, 0xffffffff, 0x100000000, 0xffffffffffffffff, "text", Package () { 5 } })
 *     Scope (\_SB) {
 *         Mutex (MTX0, 0)
 *         Device (PCI0) {
 *             Name (_HID, EisaId ("PNP0A08"))
 *             Name (_UID, "long-name")
 *             OperationRegion (CFG, PCI_Config, 0x60, 0x80)
 *             OperationRegion (PIO, SystemIO, 0x0cd8, 0x0c)
 *             OperationRegion (MEM, SystemMemory, 0xfed00000, 0x1000)
 *             Field (CFG, AnyAcc, NoLock, Preserve) { PRQA, 8, PRQB, 8, Offset (0x08), PRQE, 8, , 300, BIG, 100 }
 *             Field (PIO, DWordAcc, Lock, WriteAsZeros) { SEL, 32 }
 *             Field (MEM, ByteAcc, NoLock, WriteAsOnes) { M8, 1 }
 *             Name (_CRS, ResourceTemplate () {
 *                 WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0xff, 0, 0x100)
 *                 IO (Decode16, 0xcf8, 0xcf8, 1, 8)
 *                 WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0, 0xcf7, 0, 0xcf8)
 *                 DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0, 0xc0000000, 0xfebfffff, 0, 0x3ec00000)
 *                 QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite, 0, 0x100000000, 0x8ffffffff, 0, 0x800000000)
 *                 Memory32Fixed (ReadOnly, 0xb0000000, 0x10000000)
 *                 Memory32Fixed (ReadWrite, 0xfed00000, 0x400)
 *                 IRQNoFlags () { 4 }
 *                 Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 16, 17 }
 *                 Interrupt (ResourceConsumer, Edge, ActiveLow, Exclusive) { 9 }
 *             })
 *         }
 *     }
 *     Method (CALC, 3, Serialized) {
 *         Store (0, Local1)
 *         Store (3, Local7)
 *         CreateDWordField (Arg2, Zero, CDW1)
 *         CreateWordField (Arg2, 8, CDW2)
 *         CreateByteField (Arg2, Local7, CDW3)
 *         CreateQWordField (Arg2, 16, CDW4)
 *         If (LEqual (Arg0, ToUUID ("33db4d5b-1ff7-401c-9657-7441c03dd766"))) {
 *             Store (And (CDW1, 0x1d), Local0)
 *             If (LNot (LEqual (Arg1, One))) { Or (CDW1, 8, CDW1) }
 *         } Else {
 *             Or (CDW1, 4, CDW1)
 *         }
 *         Acquire (\_SB.MTX0, 0xffff)
 *         While (LLess (Local1, 5)) {
 *             Increment (Local1)
 *             If (LGreater (Local1, 3)) { Break }
 *         }
 *         Release (\_SB.MTX0)
 *         Notify (\_SB.PCI0, 1)
 *         Store (ShiftLeft (1, Local1), Local2)
 *         ShiftRight (Local2, 2, Local2)
 *         Subtract (Local2, 1, Local2)
 *         Add (Local2, 1, Local2)
 *         Decrement (Local2)
 *         XOr (Local2, 0x1234, Local2)
 *         Not (Local2, Local2)
 *         Store (DerefOf (Index (INTS, Local1)), Local3)
 *         Store (SizeOf (INTS), Local4)
 *         If (LAnd (Local3, LOr (Local4, 0))) { Sleep (10) }
 *         If (CondRefOf (\_SB.PCI0.SEL, Local5)) { }
 *         ToInteger (Local5, Local6)
 *         Concatenate ("a", "b", Local6)
 *         CALC (1, \_SB.PCI0.SEL, CALC (2, 3, 4))
 *         Return (Buffer () { 1, 2, 3, 4 })
 *     }
 *     Method (RETP) { Return (Package () { 0x1, \_SB.PCI0.SEL, \_SB.PCI0 }) }
 * }
 */
#include "devices/acpi/aml.h"

static const guint8 from_iasl[] = {
    0x08, 0x49, 0x4e, 0x54, 0x53, 0x12, 0x2d, 0x0c, 0x00, 0x01, 0x0a, 0x02, 0x0a, 0xff, 0x0b, 0x00,
    0x01, 0x0b, 0xff, 0xff, 0x0c, 0x00, 0x00, 0x01, 0x00, 0x0c, 0xff, 0xff, 0xff, 0xff, 0x0e, 0x00,
    0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0xff, 0x0d, 0x74, 0x65, 0x78, 0x74, 0x00, 0x12, 0x04,
    0x01, 0x0a, 0x05, 0x10, 0x4f, 0x13, 0x5c, 0x5f, 0x53, 0x42, 0x5f, 0x5b, 0x01, 0x4d, 0x54, 0x58,
    0x30, 0x00, 0x5b, 0x82, 0x4f, 0x12, 0x50, 0x43, 0x49, 0x30, 0x08, 0x5f, 0x48, 0x49, 0x44, 0x0c,
    0x41, 0xd0, 0x0a, 0x08, 0x08, 0x5f, 0x55, 0x49, 0x44, 0x0d, 0x6c, 0x6f, 0x6e, 0x67, 0x2d, 0x6e,
    0x61, 0x6d, 0x65, 0x00, 0x5b, 0x80, 0x43, 0x46, 0x47, 0x5f, 0x02, 0x0a, 0x60, 0x0a, 0x80, 0x5b,
    0x80, 0x50, 0x49, 0x4f, 0x5f, 0x01, 0x0b, 0xd8, 0x0c, 0x0a, 0x0c, 0x5b, 0x80, 0x4d, 0x45, 0x4d,
    0x5f, 0x00, 0x0c, 0x00, 0x00, 0xd0, 0xfe, 0x0b, 0x00, 0x10, 0x5b, 0x81, 0x20, 0x43, 0x46, 0x47,
    0x5f, 0x00, 0x50, 0x52, 0x51, 0x41, 0x08, 0x50, 0x52, 0x51, 0x42, 0x08, 0x00, 0x30, 0x50, 0x52,
    0x51, 0x45, 0x08, 0x00, 0x4c, 0x12, 0x42, 0x49, 0x47, 0x5f, 0x44, 0x06, 0x5b, 0x81, 0x0b, 0x50,
    0x49, 0x4f, 0x5f, 0x53, 0x53, 0x45, 0x4c, 0x5f, 0x20, 0x5b, 0x81, 0x0b, 0x4d, 0x45, 0x4d, 0x5f,
    0x21, 0x4d, 0x38, 0x5f, 0x5f, 0x01, 0x08, 0x5f, 0x43, 0x52, 0x53, 0x11, 0x47, 0x0a, 0x0a, 0xa3,
    0x88, 0x0d, 0x00, 0x02, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0x00, 0x00, 0x00, 0x00, 0x01,
    0x47, 0x01, 0xf8, 0x0c, 0xf8, 0x0c, 0x01, 0x08, 0x88, 0x0d, 0x00, 0x01, 0x0c, 0x03, 0x00, 0x00,
    0x00, 0x00, 0xf7, 0x0c, 0x00, 0x00, 0xf8, 0x0c, 0x87, 0x17, 0x00, 0x00, 0x0c, 0x01, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0xc0, 0xff, 0xff, 0xbf, 0xfe, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xc0, 0x3e, 0x8a, 0x2b, 0x00, 0x00, 0x0c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x08, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00,
    0x86, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0xb0, 0x00, 0x00, 0x00, 0x10, 0x86, 0x09, 0x00, 0x01,
    0x00, 0x00, 0xd0, 0xfe, 0x00, 0x04, 0x00, 0x00, 0x22, 0x10, 0x00, 0x89, 0x0a, 0x00, 0x09, 0x02,
    0x10, 0x00, 0x00, 0x00, 0x11, 0x00, 0x00, 0x00, 0x89, 0x06, 0x00, 0x07, 0x01, 0x09, 0x00, 0x00,
    0x00, 0x79, 0x00, 0x14, 0x41, 0x12, 0x43, 0x41, 0x4c, 0x43, 0x0b, 0x70, 0x00, 0x61, 0x70, 0x0a,
    0x03, 0x67, 0x8a, 0x6a, 0x00, 0x43, 0x44, 0x57, 0x31, 0x8b, 0x6a, 0x0a, 0x08, 0x43, 0x44, 0x57,
    0x32, 0x8c, 0x6a, 0x67, 0x43, 0x44, 0x57, 0x33, 0x8f, 0x6a, 0x0a, 0x10, 0x43, 0x44, 0x57, 0x34,
    0xa0, 0x32, 0x93, 0x68, 0x11, 0x13, 0x0a, 0x10, 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
    0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66, 0x70, 0x7b, 0x43, 0x44, 0x57, 0x31, 0x0a, 0x1d,
    0x00, 0x60, 0xa0, 0x10, 0x92, 0x93, 0x69, 0x01, 0x7d, 0x43, 0x44, 0x57, 0x31, 0x0a, 0x08, 0x43,
    0x44, 0x57, 0x31, 0xa1, 0x0c, 0x7d, 0x43, 0x44, 0x57, 0x31, 0x0a, 0x04, 0x43, 0x44, 0x57, 0x31,
    0x5b, 0x23, 0x5c, 0x2e, 0x5f, 0x53, 0x42, 0x5f, 0x4d, 0x54, 0x58, 0x30, 0xff, 0xff, 0xa2, 0x0e,
    0x95, 0x61, 0x0a, 0x05, 0x75, 0x61, 0xa0, 0x06, 0x94, 0x61, 0x0a, 0x03, 0xa5, 0x5b, 0x27, 0x5c,
    0x2e, 0x5f, 0x53, 0x42, 0x5f, 0x4d, 0x54, 0x58, 0x30, 0x86, 0x5c, 0x2e, 0x5f, 0x53, 0x42, 0x5f,
    0x50, 0x43, 0x49, 0x30, 0x01, 0x70, 0x79, 0x01, 0x61, 0x00, 0x62, 0x7a, 0x62, 0x0a, 0x02, 0x62,
    0x74, 0x62, 0x01, 0x62, 0x72, 0x62, 0x01, 0x62, 0x76, 0x62, 0x7f, 0x62, 0x0b, 0x34, 0x12, 0x62,
    0x80, 0x62, 0x62, 0x70, 0x83, 0x88, 0x49, 0x4e, 0x54, 0x53, 0x61, 0x00, 0x63, 0x70, 0x87, 0x49,
    0x4e, 0x54, 0x53, 0x64, 0xa0, 0x0a, 0x90, 0x63, 0x91, 0x64, 0x00, 0x5b, 0x22, 0x0a, 0x0a, 0xa0,
    0x13, 0x5b, 0x12, 0x5c, 0x2f, 0x03, 0x5f, 0x53, 0x42, 0x5f, 0x50, 0x43, 0x49, 0x30, 0x53, 0x45,
    0x4c, 0x5f, 0x65, 0x99, 0x65, 0x66, 0x73, 0x0d, 0x61, 0x00, 0x0d, 0x62, 0x00, 0x66, 0x43, 0x41,
    0x4c, 0x43, 0x01, 0x5c, 0x2f, 0x03, 0x5f, 0x53, 0x42, 0x5f, 0x50, 0x43, 0x49, 0x30, 0x53, 0x45,
    0x4c, 0x5f, 0x43, 0x41, 0x4c, 0x43, 0x0a, 0x02, 0x0a, 0x03, 0x0a, 0x04, 0xa4, 0x11, 0x07, 0x0a,
    0x04, 0x01, 0x02, 0x03, 0x04, 0x14, 0x24, 0x52, 0x45, 0x54, 0x50, 0x00, 0xa4, 0x12, 0x1c, 0x03,
    0x01, 0x5c, 0x2f, 0x03, 0x5f, 0x53, 0x42, 0x5f, 0x50, 0x43, 0x49, 0x30, 0x53, 0x45, 0x4c, 0x5f,
    0x5c, 0x2e, 0x5f, 0x53, 0x42, 0x5f, 0x50, 0x43, 0x49, 0x30,
};

static void build_integers(Aml *a)
{
    static const guint64 values[] = {0, 1, 2, 0xff, 0x100, 0xffff, 0x10000, 0xffffffff, 0x100000000, G_MAXUINT64};

    aml_name_of(a, "INTS");
    aml_package(a);
    for (guint i = 0; i < G_N_ELEMENTS(values); i++)
        aml_stmt(a, AML_INT(values[i]));
    aml_stmt(a, AML_STR("text"));
    aml_package(a);
    aml_stmt(a, AML_INT(5));
    aml_end(a);
    aml_end(a);
}

static void build_fields(Aml *a)
{
    aml_region(a, "CFG", AML_PCI_CONFIG, 0x60, 0x80);
    aml_region(a, "PIO", AML_IO, 0xcd8, 0x0c);
    aml_region(a, "MEM", AML_MEMORY, 0xfed00000, 0x1000);
    aml_field(a, "CFG", AML_ANY_ACC, FALSE, AML_PRESERVE);
    aml_field_bits(a, "PRQA", 8);
    aml_field_bits(a, "PRQB", 8);
    aml_field_bits(a, NULL, 0x30);
    aml_field_bits(a, "PRQE", 8);
    aml_field_bits(a, NULL, 300);
    aml_field_bits(a, "BIG", 100);
    aml_end(a);
    aml_field(a, "PIO", AML_DWORD_ACC, TRUE, AML_WRITE_ZEROS);
    aml_field_bits(a, "SEL", 32);
    aml_end(a);
    aml_field(a, "MEM", AML_BYTE_ACC, FALSE, AML_WRITE_ONES);
    aml_field_bits(a, "M8", 1);
    aml_end(a);
}

static void build_resources(Aml *a)
{
    aml_name_of(a, "_CRS");
    aml_resources(a);
    aml_res_bus(a, 0, 0xff);
    aml_res_io(a, 0xcf8, 8);
    aml_res_word_io(a, 0, 0xcf7);
    aml_res_dword_memory(a, FALSE, 0xc0000000, 0xfebfffff);
    aml_res_qword_memory(a, TRUE, 0x100000000, 0x8ffffffff);
    aml_res_memory32(a, FALSE, 0xb0000000, 0x10000000);
    aml_res_memory32(a, TRUE, 0xfed00000, 0x400);
    aml_res_irq(a, 1 << 4);
    aml_res_interrupt(a, AML_IRQ_SHARED, (const guint32[]){16, 17}, 2);
    aml_res_interrupt(a, AML_IRQ_EDGE | AML_IRQ_LOW, (const guint32[]){9}, 1);
    aml_end(a);
}

static void build_conditions(Aml *a)
{
    aml_create_field(a, 32, AML_ARG(2), AML_INT(0), "CDW1");
    aml_create_field(a, 16, AML_ARG(2), AML_INT(8), "CDW2");
    aml_create_field(a, 8, AML_ARG(2), AML_LOCAL(7), "CDW3");
    aml_create_field(a, 64, AML_ARG(2), AML_INT(16), "CDW4");
    aml_if(a, AML_LEQUAL(AML_ARG(0), AML_UUID("33db4d5b-1ff7-401c-9657-7441c03dd766")));
    aml_stmt(a, AML_STORE(AML_AND(AML_REF("CDW1"), AML_INT(0x1d), AML_NONE), AML_LOCAL(0)));
    aml_if(a, AML_LNOT(AML_LEQUAL(AML_ARG(1), AML_INT(1))));
    aml_stmt(a, AML_OR(AML_REF("CDW1"), AML_INT(8), AML_REF("CDW1")));
    aml_end(a);
    aml_end(a);
    aml_else(a);
    aml_stmt(a, AML_OR(AML_REF("CDW1"), AML_INT(4), AML_REF("CDW1")));
    aml_end(a);
    aml_acquire(a, "\\_SB.MTX0", 0xffff);
    aml_while(a, AML_LLESS(AML_LOCAL(1), AML_INT(5)));
    aml_stmt(a, AML_INCREMENT(AML_LOCAL(1)));
    aml_if(a, AML_LGREATER(AML_LOCAL(1), AML_INT(3)));
    aml_stmt(a, AML_BREAK);
    aml_end(a);
    aml_end(a);
    aml_stmt(a, AML_RELEASE(AML_REF("\\_SB.MTX0")));
}

static void build_operators(Aml *a)
{
    AmlTerm two = AML_LOCAL(2), six = AML_LOCAL(6);

    aml_stmt(a, AML_NOTIFY(AML_REF("\\_SB.PCI0"), AML_INT(1)));
    aml_stmt(a, AML_STORE(AML_SHL(AML_INT(1), AML_LOCAL(1), AML_NONE), two));
    aml_stmt(a, AML_SHR(two, AML_INT(2), two));
    aml_stmt(a, AML_SUBTRACT(two, AML_INT(1), two));
    aml_stmt(a, AML_ADD(two, AML_INT(1), two));
    aml_stmt(a, AML_DECREMENT(two));
    aml_stmt(a, AML_XOR(two, AML_INT(0x1234), two));
    aml_stmt(a, AML_NOT(two, two));
    aml_stmt(a, AML_STORE(AML_DEREF(AML_INDEX(AML_REF("INTS"), AML_LOCAL(1), AML_NONE)), AML_LOCAL(3)));
    aml_stmt(a, AML_STORE(AML_SIZEOF(AML_REF("INTS")), AML_LOCAL(4)));
    aml_if(a, AML_LAND(AML_LOCAL(3), AML_LOR(AML_LOCAL(4), AML_INT(0))));
    aml_stmt(a, AML_SLEEP(AML_INT(10)));
    aml_end(a);
    aml_if(a, AML_COND_REF_OF(AML_REF("\\_SB.PCI0.SEL"), AML_LOCAL(5)));
    aml_end(a);
    aml_stmt(a, AML_TO_INTEGER(AML_LOCAL(5), six));
    aml_stmt(a, AML_CONCAT(AML_STR("a"), AML_STR("b"), six));
    aml_stmt(a, AML_CALL("CALC", AML_INT(1), AML_REF("\\_SB.PCI0.SEL"),
                         AML_CALL("CALC", AML_INT(2), AML_INT(3), AML_INT(4))));
    aml_return_of(a);
    aml_buffer(a, (const guint8[]){1, 2, 3, 4}, 4);
}

static void build_all(Aml *a)
{
    build_integers(a);
    aml_scope(a, "\\_SB");
    aml_mutex(a, "MTX0");
    aml_device(a, "PCI0");
    aml_name(a, "_HID", AML_EISAID("PNP0A08"));
    aml_name(a, "_UID", AML_STR("long-name"));
    build_fields(a);
    build_resources(a);
    aml_end(a);
    aml_end(a);
    aml_method(a, "CALC", 3, TRUE);
    aml_stmt(a, AML_STORE(AML_INT(0), AML_LOCAL(1)));
    aml_stmt(a, AML_STORE(AML_INT(3), AML_LOCAL(7)));
    build_conditions(a);
    build_operators(a);
    aml_end(a);
    aml_method(a, "RETP", 0, FALSE);
    aml_return_of(a);
    aml_package(a);
    aml_stmt(a, AML_INT(1));
    aml_stmt(a, AML_REF("\\_SB.PCI0.SEL"));
    aml_stmt(a, AML_REF("\\_SB.PCI0"));
    aml_end(a);
    aml_end(a);
}

static void test_against_iasl(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    Aml a = AML_INIT(out);

    build_all(&a);
    g_assert_cmpuint(a.depth, ==, 0);
    for (guint i = 0; i < MIN(out->len, sizeof from_iasl); i++)
        if (out->data[i] != from_iasl[i])
            g_error("byte 0x%x: 0x%02x, iasl has 0x%02x", i, out->data[i], from_iasl[i]);
    g_assert_cmpmem(out->data, out->len, from_iasl, sizeof from_iasl);
}

/* The length of a block counts its own bytes: 0x3f is the last that fits one byte, 0xfff two, 0xfffff three. */
static void test_pkg_length(void)
{
    static const struct { guint content, size; guint8 bytes[4]; } cases[] = {
        {0x3e, 1, {0x3f}},
        {0x3f, 2, {0x41, 0x04}},
        {0xffd, 2, {0x4f, 0xff}},
        {0xffe, 3, {0x81, 0x00, 0x01}},
        {0xffffc, 3, {0x8f, 0xff, 0xff}},
        {0xffffd, 4, {0xc1, 0x00, 0x00, 0x01}},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) out = g_byte_array_new();
        Aml a = AML_INIT(out);

        aml_scope(&a, "\\"); /* root prefix and null name: 2 bytes of content */
        for (guint n = 2; n < cases[i].content; n++)
            aml_stmt(&a, AML_INT(0));
        aml_end(&a);
        g_assert_cmpuint(out->len, ==, 1 + cases[i].size + cases[i].content);
        g_assert_cmpmem(out->data + 1, cases[i].size, cases[i].bytes, cases[i].size);
    }
}

/* Reserved bits of a field use the same form, but it does not count itself. */
static void test_field_length(void)
{
    static const struct { guint bits, size; guint8 bytes[3]; } cases[] = {
        {63, 1, {63}},
        {64, 2, {0x40, 4}},
        {4095, 2, {0x4f, 0xff}},
        {4096, 3, {0x80, 0x00, 0x01}},
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) out = g_byte_array_new();
        Aml a = AML_INIT(out);

        aml_field_bits(&a, NULL, cases[i].bits);
        g_assert_cmpuint(out->data[0], ==, 0);
        g_assert_cmpmem(out->data + 1, out->len - 1, cases[i].bytes, cases[i].size);
    }
}

static void check_path(const char *path, const char *expected, gsize len)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    Aml a = AML_INIT(out);

    aml_stmt(&a, AML_REF(path));
    g_assert_cmpmem(out->data, out->len, expected, len);
}

static void test_paths(void)
{
    check_path("FOO", "FOO_", 4);
    check_path("\\", "\\\0", 2);
    check_path("^^FOO", "^^FOO_", 6);
    check_path("\\_SB.PCI0", "\\\x2e_SB_PCI0", 10);
    check_path("\\_SB.A.B9", "\\\x2f\x03_SB_A___B9__", 15);
}

static void misuse(const char *which)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    Aml a = AML_INIT(out);

    if (g_str_equal(which, "digit"))
        aml_stmt(&a, AML_REF("9AB"));
    else if (g_str_equal(which, "long"))
        aml_stmt(&a, AML_REF("ABCDE"));
    else if (g_str_equal(which, "unbalanced"))
        aml_end(&a);
}

static void test_misuse(gconstpointer which)
{
    if (g_test_subprocess()) {
        misuse(which);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*assertion failed*");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/aml/against-iasl", test_against_iasl);
    g_test_add_func("/aml/pkg-length", test_pkg_length);
    g_test_add_func("/aml/field-length", test_field_length);
    g_test_add_func("/aml/paths", test_paths);
    g_test_add_data_func("/aml/misuse/digit-first", "digit", test_misuse);
    g_test_add_data_func("/aml/misuse/long-segment", "long", test_misuse);
    g_test_add_data_func("/aml/misuse/unbalanced", "unbalanced", test_misuse);
    return g_test_run();
}
