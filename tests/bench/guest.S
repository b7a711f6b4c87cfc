/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * guest.S - the bench's guest: writes '@' to COM1, causes COUNT exits of one kind or reads from a disk (guest-disk.c), writes '!' and
 * halts. '?' instead: the disk did not do as it should. Of the last kind it plays a driver's part in hot plugging: COUNT is the
 * configuration address (0xcf8) of a root port, whose slot it powers on when something comes ('+' on COM1 then), and off again when the
 * button is pressed ('-' just before).
 *
 * The same 32-bit code is a PVH kernel (guest.elf, at 1 MiB) and, with -DROM, a 64 KiB firmware that ends in a reset
 * vector (guest.rom), for machines that start there. It has no interrupts, and a stack for the disk only. Kind, count,
 * depth and bytes are written into the file behind the magic by whoever starts it.
 */
#define COM1 0x3f8

    .section .note.GNU-stack, "", @progbits
#ifndef ROM
    .section .note, "a", @note
    .long 4, 4, 18              /* name and value lengths; XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long start
#endif

    .text
    .code32
    .global start
start:
    movw $COM1, %dx
    movb $'@', %al
    outb %al, %dx
    movl count, %ecx
    testl %ecx, %ecx
    jz done
    movl kind, %eax
    jmp *kinds(, %eax, 4)

out_unclaimed:
    outb %al, $0x80
    loop out_unclaimed
    jmp done
in_lsr:
    movw $(COM1 + 5), %dx
1:  inb %dx, %al
    loop 1b
    jmp done
config:                         /* two exits a turn */
    movl $0x80000000, %eax
    movw $0xcf8, %dx
    outl %eax, %dx
    movw $0xcfc, %dx
    inl %dx, %eax
    loop config
    jmp done
mmio:
    movl 0xfed1f000, %eax       /* nobody's on any of the machines */
    loop mmio
    jmp done

    .macro config_read address  /* to EAX; DX is the data port then */
    movl \address, %eax
    movw $0xcf8, %dx
    outl %eax, %dx
    movw $0xcfc, %dx
    inl %dx, %eax
    .endm
    .macro say character
    movw $COM1, %dx
    movb \character, %al
    outb %al, %dx
    .endm
slot:                           /* EBP: the port's configuration; EDI: slot control and, above it, status */
    movl %ecx, %ebp
    leal 0x34(%ebp), %edi
    config_read %edi
1:  movzbl %al, %esi            /* the next capability */
    leal (%ebp, %esi), %edi
    config_read %edi
    cmpb $0x10, %al             /* PCI Express */
    je 2f
    shrl $8, %eax
    jmp 1b
2:  addl $0x18, %edi
    say $'!'
poll:
    config_read %edi
    testl $0x190000, %eax       /* button, presence changed, command completed */
    jz poll
    movl %eax, %ebx
    shrl $16, %eax
    movw $0xcfe, %dx
    outw %ax, %dx               /* seen */
    testl $0x400000, %ebx       /* presence */
    jz poll
    testl $0x400, %ebx          /* power is off */
    jnz power_on
    testl $0x10000, %ebx
    jz poll
    say $'-'
    movw $0x0700, %ax           /* power and lamp off */
    movw $0xcfc, %dx
    outw %ax, %dx
    jmp poll
power_on:
    movw $0x0100, %ax           /* power and lamp on */
    movw $0xcfc, %dx
    outw %ax, %dx
    say $'+'
    jmp poll

disk:
    movl $0x80000, %esp
    pushl bytes
    pushl depth
    pushl %ecx
    call disk_reads
    testl %eax, %eax
    jnz done
    movb $'?', %al
    jmp 2f
done:
    movb $'!', %al
2:  movw $COM1, %dx
    outb %al, %dx
1:  hlt
    jmp 1b

    .balign 16
kinds:
    .long out_unclaimed, in_lsr, config, mmio, disk, slot
    .ascii "BENCHARG"
kind:
    .long 0
count:
    .long 0
depth:
    .long 0
bytes:
    .long 0

#ifdef ROM
    .code16
real:
    cli
    lgdtl %cs:gdt_pointer - start
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $8, $1f
    .code32
1:  movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    jmp start
    .balign 8
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
    .word . - gdt - 1
    .long gdt
    .section .reset, "ax"
    .byte 0xe9                  /* jmp real, within the segment that the processor starts in */
    .word real - start - 0xfff3
    .org 0x10
#endif
