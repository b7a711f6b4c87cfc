/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ways in, and the way to long mode.
 *
 * Both protocols enter in 32-bit protected mode without paging, with flat segments whose selectors
 * are unknown and without a stack: PVH (the address in the Xen ELF note) with EBX = start info,
 * multiboot 1 with EAX = its magic and EBX = its information. A loader may have left anything in
 * the IDT and the interrupt controllers, so interrupts stay off until irq.c wants them.
 *
 * 32-bit C is the same sources compiled with -m32, its symbols prefixed `m32_` (build.sh). It
 * reads the boot information, chooses the mode and builds the page tables; with `mode=32` it also
 * runs the sections. Otherwise long mode is entered at once: hosts that emulate ring 0 stop on
 * IRET outside long mode, so 32-bit code never takes an interrupt here.
 */
#define MB_MAGIC    0x1badb002
#define MB_FLAGS    0x00010002          /* address fields valid, memory information wanted */

    .section .head, "ax", @progbits
    .code32
    .balign 4
multiboot_header:
    .long   multiboot_magic             /* given at link time: 0 hides the header (probe-pvh.elf) */
    .long   MB_FLAGS
    .long   -(MB_MAGIC + MB_FLAGS)
    .long   multiboot_header
    .long   image_start
    .long   image_data_end
    .long   image_end
    .long   entry_multiboot

    .globl  entry_multiboot, entry_pvh
entry_multiboot:
    cli
    cld
    mov     $1, %edx
    jmp     common
entry_pvh:
    cli
    cld
    xor     %edx, %edx
common:
    mov     $boot_stack_top, %esp
    lgdt    gdt_pointer
    ljmp    $0x08, $1f
1:  mov     $0x10, %ecx
    mov     %ecx, %ds
    mov     %ecx, %es
    mov     %ecx, %ss
    mov     %ecx, %fs
    mov     %ecx, %gs
    push    %eax
    push    %ebx
    push    %edx
    call    m32_boot_collect            /* (multiboot?, info, eax): the mode to run in */
    cmp     $64, %eax
    je      to_long_mode
    call    m32_probe_main
2:  hlt
    jmp     2b

to_long_mode:
    call    m32_paging_build            /* CR3's value */
    push    $long_start
    jmp     enable_long_mode

/* EAX = page tables, on the stack the 64-bit address to continue at. Shared with the APs. */
    .globl  enable_long_mode
enable_long_mode:
    mov     %eax, %cr3
    mov     %cr4, %eax
    or      $0x20, %eax                 /* PAE */
    mov     %eax, %cr4
    mov     $0xc0000080, %ecx           /* EFER.LME */
    rdmsr
    or      $0x100, %eax
    wrmsr
    pop     %edx
    mov     %cr0, %eax
    and     $0x9fffffff, %eax           /* CD and NW off: an AP comes out of INIT with both set */
    or      $0x80000001, %eax
    mov     %eax, %cr0
    ljmp    $0x18, $3f
    .code64
3:  mov     %edx, %edx
    jmp     *%rdx

long_start:
    mov     $boot_stack_top, %esp
    xor     %ebp, %ebp
    call    probe_main
4:  hlt
    jmp     4b

/*
 * Application processors start here in real mode, copied to AP_TRAMPOLINE (smp.c). Nothing is
 * position dependent but the GDT and the 32-bit code, which stay in the image.
 */
    .globl  ap_trampoline, ap_trampoline_end
    .code16
ap_trampoline:
    cli
    cld
    mov     %cs, %ax
    mov     %ax, %ds
    lgdtl   ap_gdt_pointer - ap_trampoline
    mov     %cr0, %eax
    or      $1, %al
    mov     %eax, %cr0
    ljmpl   $0x08, $ap_start32
    .balign 4
ap_gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   gdt
ap_trampoline_end:

    .code32
ap_start32:
    mov     $0x10, %ecx
    mov     %ecx, %ds
    mov     %ecx, %es
    mov     %ecx, %ss
    mov     ap_stack, %esp
    mov     ap_cr3, %eax
    push    $ap_start64
    jmp     enable_long_mode
    .code64
ap_start64:
    mov     ap_stack, %rsp
    xor     %ebp, %ebp
    call    ap_main
5:  hlt
    jmp     5b

    .section .note.Xen, "a", @note
    .balign 4
    .long   4                           /* name size */
    .long   4                           /* descriptor size */
    .long   18                          /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz  "Xen"
    .long   entry_pvh

    .section .data
    .balign 8
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff          /* 0x08: 32-bit code */
    .quad   0x00cf93000000ffff          /* 0x10: data */
    .quad   0x00af9b000000ffff          /* 0x18: 64-bit code */
gdt_end:
gdt_pointer:
    .word   gdt_end - gdt - 1
    .quad   gdt
    .balign 8
    .globl  ap_stack, ap_cr3
ap_stack:
    .quad   0
ap_cr3:
    .quad   0

    .section .bss
    .balign 16
    .space  16384
boot_stack_top:
    .section .note.GNU-stack, "", @progbits
