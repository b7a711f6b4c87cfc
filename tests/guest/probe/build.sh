#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Builds the probe guest: build.sh SOURCE-FOLDER OUTPUT-FOLDER. CC, OBJCOPY from the environment.
#
# One image for both modes. 32-bit code is C compiled with -m32 as far as assembly text, assembled
# as 64-bit objects behind `.code32`, with all its symbols prefixed, so that one 64-bit link holds
# both and no 32-bit libraries or linker are needed. Results:
#   probe.elf      ELF32 with multiboot header and PVH note
#   probe-pvh.elf  ELF64 with the PVH note, its multiboot header hidden
#   probe.bin      the flat image, loaded by the address fields of its multiboot header
set -eu

src=$1
out=$2
cc=${CC:-gcc}
objcopy=${OBJCOPY:-objcopy}
tmp=$out/probe.build

flags="-std=gnu17 -O2 -ffreestanding -fno-builtin -fno-pic -fno-pie -fno-stack-protector
    -fno-asynchronous-unwind-tables -fno-strict-aliasing -fcf-protection=none
    -mgeneral-regs-only -mno-sse -mno-mmx -mno-80387
    -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes"
both="string console options clock map acpi madt smbios cpu memmap fwcfg pci serial rtc end main"
only32="boot"
only64="trap lapic irq smp cpuhp memhp pcihp slot sci orders serve"
only64="$only64 pci-setup virtio virtio-queue virtio-orders virtio-blk virtio-net virtio-rng
    virtio-serial virtio-balloon"
asm="entry isr"

rm -rf "$tmp"
mkdir -p "$tmp"
objects=
for f in $asm; do
    $cc -m64 -c -o "$tmp/$f.o" "$src/$f.S"
    objects="$objects $tmp/$f.o"
done
for f in $both $only64; do
    # shellcheck disable=SC2086
    $cc -m64 -mno-red-zone -mcmodel=small $flags -c -o "$tmp/$f.o" "$src/$f.c"
    objects="$objects $tmp/$f.o"
done
for f in $both $only32; do
    # shellcheck disable=SC2086
    $cc -m32 -march=i686 $flags -S -o "$tmp/$f.32.text" "$src/$f.c"
    { echo '.code32'; cat "$tmp/$f.32.text"; } > "$tmp/$f.32.s"
    $cc -m64 -c -o "$tmp/$f.32.o" "$tmp/$f.32.s"
    $objcopy --prefix-symbols=m32_ "$tmp/$f.32.o"
    objects="$objects $tmp/$f.32.o"
done

# link OUTPUT MULTIBOOT-MAGIC
link() {
    # shellcheck disable=SC2086
    $cc -m64 -nostdlib -static -Wl,-T,"$src/probe.ld" -Wl,--build-id=none \
        -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -Wl,--defsym=multiboot_magic="$2" \
        -o "$1" $objects
}
link "$tmp/multiboot.elf" 0x1badb002
link "$tmp/pvh.elf" 0
$objcopy -O elf32-i386 --strip-all "$tmp/multiboot.elf" "$tmp/probe.elf"
$objcopy -O binary "$tmp/multiboot.elf" "$tmp/probe.bin"
$objcopy --strip-all "$tmp/pvh.elf" "$tmp/probe-pvh.elf"
mv "$tmp/probe.bin" "$tmp/probe-pvh.elf" "$out/"
mv "$tmp/pvh.elf" "$out/probe.sym"
mv "$tmp/probe.elf" "$out/" # last: make looks at this one
rm -rf "$tmp"
