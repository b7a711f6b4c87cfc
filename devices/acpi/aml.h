/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aml.h - writes ACPI Machine Language (ACPI 6.x chapter 20) into a byte array.
 *
 * Two parts. Blocks are opened and closed: aml_device(a, "PCI0") ... aml_end(a); the PkgLength is put in when the block
 * closes. Expressions are values, built by the AML_xxx() macros as compound literals of the enclosing C block, so
 * that a statement reads like ASL:
 *
 *     aml_stmt(a, AML_STORE(AML_AND(AML_REF("CTRL"), AML_INT(0x1d), AML_NONE), AML_LOCAL(0)));
 *     aml_if(a, AML_LNOT(AML_LEQUAL(AML_ARG(1), AML_INT(1))));
 *     ...
 *     aml_end(a);
 *
 * The bytes are those of iasl for the same ASL (tests/unit/test-aml.c). Misuse (unbalanced blocks, names that are no ACPI
 * names, too many elements) is our own bug and asserts. No function fails otherwise; any thread, one at a time.
 */
#pragma once

#include <glib.h>

#define AML_MAX_DEPTH 16

typedef struct Aml {
    GByteArray *out;        /* not owned; complete at depth 0 */
    guint8     *data;       /* the outermost open block so far; NULL at depth 0 */
    guint32     len, alloc; /* of it */
    guint       depth;      /* open blocks */
    struct {
        guint32 start; /* in data: where the PkgLength goes */
        guint8  kind;
        guint32 count; /* elements of a package */
    } open[AML_MAX_DEPTH];
} Aml;

#define AML_INIT(array) { .out = (array) }

/* ---- expressions ---- */

typedef struct AmlTerm AmlTerm;
struct AmlTerm {
    enum { AML_T_NONE, AML_T_INT, AML_T_STRING, AML_T_EISAID, AML_T_REF, AML_T_SLOT, AML_T_UUID, AML_T_OP } kind;
    guint16        op; /* OP: one byte, or 0x5bXX; SLOT: Local0..Arg6 as their opcode; EISAID likewise unused */
    guint16        n;  /* OP: operands */
    guint64        u;
    const char    *s;
    const AmlTerm *args;
};

#define AML_NONE        ((AmlTerm){.kind = AML_T_NONE}) /* NullName: no target */
#define AML_INT(v)      ((AmlTerm){.kind = AML_T_INT, .u = (v)})
#define AML_STR(v)      ((AmlTerm){.kind = AML_T_STRING, .s = (v)})
#define AML_EISAID(v)   ((AmlTerm){.kind = AML_T_EISAID, .s = (v)})
#define AML_UUID(v)     ((AmlTerm){.kind = AML_T_UUID, .s = (v)}) /* ToUUID("33db4d5b-...") */
#define AML_REF(path)   ((AmlTerm){.kind = AML_T_REF, .s = (path)}) /* also a call without arguments */
#define AML_LOCAL(i)    ((AmlTerm){.kind = AML_T_SLOT, .op = 0x60 + (i)})
#define AML_ARG(i)      ((AmlTerm){.kind = AML_T_SLOT, .op = 0x68 + (i)})

#define AML_OP(opcode, ...)                                                                             \
    ((AmlTerm){.kind = AML_T_OP, .op = (opcode), .n = sizeof((AmlTerm[]){__VA_ARGS__}) / sizeof(AmlTerm), \
               .args = (const AmlTerm[]){__VA_ARGS__}})
/* A call with arguments: AML_CALL("\\_SB.FOO", AML_INT(1), ...). */
#define AML_CALL(path, ...)                                                                          \
    ((AmlTerm){.kind = AML_T_REF, .s = (path), .n = sizeof((AmlTerm[]){__VA_ARGS__}) / sizeof(AmlTerm), \
               .args = (const AmlTerm[]){__VA_ARGS__}})

/* Operators with a target take it last; AML_NONE for "the value only". */
#define AML_STORE(v, target)       AML_OP(0x70, v, target)
#define AML_ADD(x, y, target)      AML_OP(0x72, x, y, target)
#define AML_SUBTRACT(x, y, target) AML_OP(0x74, x, y, target)
#define AML_INCREMENT(x)           AML_OP(0x75, x)
#define AML_DECREMENT(x)           AML_OP(0x76, x)
#define AML_SHL(x, bits, target)   AML_OP(0x79, x, bits, target)
#define AML_SHR(x, bits, target)   AML_OP(0x7a, x, bits, target)
#define AML_AND(x, y, target)      AML_OP(0x7b, x, y, target)
#define AML_OR(x, y, target)       AML_OP(0x7d, x, y, target)
#define AML_XOR(x, y, target)      AML_OP(0x7f, x, y, target)
#define AML_NOT(x, target)         AML_OP(0x80, x, target)
#define AML_CONCAT(x, y, target)   AML_OP(0x73, x, y, target)
#define AML_DEREF(x)               AML_OP(0x83, x)
#define AML_NOTIFY(object, v)      AML_OP(0x86, object, v)
#define AML_SIZEOF(x)              AML_OP(0x87, x)
#define AML_INDEX(x, i, target)    AML_OP(0x88, x, i, target)
#define AML_LAND(x, y)             AML_OP(0x90, x, y)
#define AML_LOR(x, y)              AML_OP(0x91, x, y)
#define AML_LNOT(x)                AML_OP(0x92, x)
#define AML_LEQUAL(x, y)           AML_OP(0x93, x, y)
#define AML_LGREATER(x, y)         AML_OP(0x94, x, y)
#define AML_LLESS(x, y)            AML_OP(0x95, x, y)
#define AML_TO_INTEGER(x, target)  AML_OP(0x99, x, target)
#define AML_RETURN(x)              AML_OP(0xa4, x)
#define AML_BREAK                  ((AmlTerm){.kind = AML_T_OP, .op = 0xa5})
#define AML_COND_REF_OF(x, target) AML_OP(0x5b12, x, target)
#define AML_SLEEP(ms)              AML_OP(0x5b22, ms)
#define AML_RELEASE(mutex)         AML_OP(0x5b27, mutex)

void aml_stmt(Aml *a, AmlTerm t); /* a statement, or an element of the open package */
/* Acquire (MUTEX, TIMEOUT) as a statement: the timeout is a raw word, hence no macro. */
void aml_acquire(Aml *a, const char *mutex, guint16 timeout_ms);

/* ---- named objects ---- */

void aml_name(Aml *a, const char *path, AmlTerm value);
void aml_name_of(Aml *a, const char *path); /* Name (PATH, ...): a package or buffer follows */
void aml_mutex(Aml *a, const char *path);
void aml_create_field(Aml *a, guint bits, AmlTerm source, AmlTerm byte_index, const char *name); /* 8, 16, 32, 64 */
typedef enum { AML_MEMORY, AML_IO, AML_PCI_CONFIG } AmlSpace;
void aml_region(Aml *a, const char *path, AmlSpace space, guint64 base, guint64 len);

/* ---- blocks ---- */

void aml_end(Aml *a); /* closes the innermost block */
void aml_scope(Aml *a, const char *path);
void aml_device(Aml *a, const char *path);
void aml_method(Aml *a, const char *path, guint n_args, gboolean serialized);
void aml_if(Aml *a, AmlTerm condition);
void aml_else(Aml *a); /* right after the aml_end() of its If */
void aml_while(Aml *a, AmlTerm condition);
void aml_package(Aml *a);
void aml_buffer(Aml *a, const void *bytes, guint len); /* complete: no aml_end() */
void aml_return_of(Aml *a);                            /* Return (...): a package or buffer follows */
void aml_store_of(Aml *a); /* Store (...): a package or buffer follows, then the target by aml_stmt() */

typedef enum { AML_ANY_ACC, AML_BYTE_ACC, AML_WORD_ACC, AML_DWORD_ACC } AmlAccess;
typedef enum { AML_PRESERVE = 0x00, AML_WRITE_ONES = 0x20, AML_WRITE_ZEROS = 0x40 } AmlUpdate;
void aml_field(Aml *a, const char *region, AmlAccess access, gboolean lock, AmlUpdate update);
void aml_field_bits(Aml *a, const char *name, guint bits); /* NAME NULL: reserved bits */

/* ---- resource templates (ACPI 6.x section 6.4): aml_resources() ... descriptors ... aml_end() ---- */

void aml_resources(Aml *a);
void aml_res_io(Aml *a, guint16 base, guint8 len); /* 16-bit decode, fixed */
void aml_res_irq(Aml *a, guint16 irq_mask);        /* IRQNoFlags: edge, high, exclusive */
enum { AML_IRQ_EDGE = 1 << 1, AML_IRQ_LOW = 1 << 2, AML_IRQ_SHARED = 1 << 3 };
void aml_res_interrupt(Aml *a, guint flags, const guint32 *gsis, guint n); /* Extended, consumer */
void aml_res_memory32(Aml *a, gboolean writable, guint32 base, guint32 len);
/* Windows that a bridge passes on: [FIRST, LAST], fixed. Memory is read-write; PREFETCHABLE makes it so. */
void aml_res_bus(Aml *a, guint16 first, guint16 last);
void aml_res_word_io(Aml *a, guint16 first, guint16 last);
void aml_res_dword_memory(Aml *a, gboolean cacheable, guint32 first, guint32 last);
void aml_res_qword_memory(Aml *a, gboolean cacheable, guint64 first, guint64 last);
/* Memory that a device itself is: cacheable, read-write. A method may patch first, last and length, which are at these
 * offsets in a template that begins with it. */
void aml_res_qword_own_memory(Aml *a, guint64 first, guint64 last);
enum { AML_QWORD_FIRST = 14, AML_QWORD_LAST = 22, AML_QWORD_LENGTH = 38 };
