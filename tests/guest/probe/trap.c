/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exceptions and interrupts in long mode. An exception at an instruction that is listed in the
 * fixup table continues where the table says (RDMSR of a register that may not exist); any other
 * one is printed and ends the run. Interrupts are counted per vector; a handler does what its
 * device needs. APs share the IDT and must not print.
 */
#include "probe.h"

#define GATE_PRESENT_INTERRUPT 0x8e00u
#define CODE64 0x18u
#define VEC_GP 13

/* A 64-bit gate; type 14, so that interrupts are off in the handler. */
struct gate {
    u16 offset_low, selector, flags, offset_mid;
    u32 offset_high, reserved;
};

struct fixup {
    u64 fault, resume;
};

extern const u8 isr_stubs[];
extern const struct fixup fixup_start[], fixup_end[];

volatile u32 irq_count[256];
static trap_handler handlers[256];
static struct gate idt[256] __attribute__((aligned(16)));

void trap_load(void)
{
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) idtr = {sizeof idt - 1, (uintptr_t)idt};

    __asm__ volatile("lidt %0" : : "m"(idtr));
}

void trap_init(void)
{
    for (u32 i = 0; i < 256; i++) {
        u64 stub = (uintptr_t)isr_stubs + i * 16;
        idt[i] = (struct gate){.offset_low = (u16)stub,
                               .selector = CODE64,
                               .flags = GATE_PRESENT_INTERRUPT,
                               .offset_mid = (u16)(stub >> 16),
                               .offset_high = (u32)(stub >> 32)};
    }
    trap_load();
}

void trap_set(u8 vector, trap_handler handler)
{
    handlers[vector] = handler;
}

/* The few entries make a linear search good enough. */
static bool fix(struct frame *f)
{
    for (const struct fixup *x = fixup_start; x < fixup_end; x++) {
        if (x->fault == f->rip) {
            f->rip = x->resume;
            return true;
        }
    }
    return false;
}

/* From an AP as well: a damaged line is better than none. */
static void fatal(const struct frame *f)
{
    u64 cr2;

    __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
    emit("fault vector=%llu error=%#llx rip=%#llx rsp=%#llx cr2=%#llx\n", f->vector, f->error,
         f->rip, f->rsp, cr2);
    end_run("triple");
}

void trap_dispatch(struct frame *f)
{
    if (f->vector < 32) {
        if (!fix(f))
            fatal(f);
        return;
    }
    irq_count[f->vector]++;
    if (handlers[f->vector])
        handlers[f->vector]();
    /* The 8259 has its own end of interrupt, a spurious one has none. */
    if (f->vector >= VEC_TIMER && f->vector != VEC_SPURIOUS)
        lapic_write(LAPIC_EOI, 0);
}

/* At a fault the instruction that sets ok is skipped. */
bool rdmsr_safe(u32 index, u64 *value)
{
    u32 lo = 0, hi = 0, ok = 0;

    __asm__ volatile("1: rdmsr\n"
                     "   movl $1, %2\n"
                     "2:\n"
                     ".pushsection .fixup_table, \"a\"\n"
                     "   .quad 1b, 2b\n"
                     ".popsection\n"
                     : "+a"(lo), "+d"(hi), "+r"(ok)
                     : "c"(index));
    *value = (u64)hi << 32 | lo;
    return ok;
}
