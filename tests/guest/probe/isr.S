/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * 256 interrupt stubs of 16 bytes each, so that trap.c can compute a vector's address. Vectors for
 * which the CPU pushes no error code push a zero, which gives one frame for all (struct frame).
 */
    .text
    .code64
    .balign 16
    .globl  isr_stubs
isr_stubs:
    .set    vector, 0
    .rept   256
    .balign 16
    .if     !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || \
              vector == 29 || vector == 30)
    push    $0
    .endif
    push    $vector
    jmp     isr_common
    .set    vector, vector + 1
    .endr

isr_common:
    push    %rax
    push    %rcx
    push    %rdx
    push    %rbx
    push    %rbp
    push    %rsi
    push    %rdi
    push    %r8
    push    %r9
    push    %r10
    push    %r11
    push    %r12
    push    %r13
    push    %r14
    push    %r15
    mov     %rsp, %rdi
    cld
    call    trap_dispatch
    pop     %r15
    pop     %r14
    pop     %r13
    pop     %r12
    pop     %r11
    pop     %r10
    pop     %r9
    pop     %r8
    pop     %rdi
    pop     %rsi
    pop     %rbp
    pop     %rbx
    pop     %rdx
    pop     %rcx
    pop     %rax
    add     $16, %rsp
    iretq
    .section .note.GNU-stack, "", @progbits
