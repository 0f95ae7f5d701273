; SPDX-License-Identifier: MIT
; The multiboot2 header: what lintel asks of its boot loader. First thing in the image, so within the first 32
; KiB of the file (multiboot2 specification 2.0, 3.1). There is no tag for EFI boot services: the loader ends
; them and enters in 32-bit protected mode on every firmware.

MAGIC		equ 0xe85250d6
ARCHITECTURE	equ 0			; 32-bit protected mode of i386
OPTIONAL	equ 1			; a loader that does not know the tag may go on

section .boot.header progbits alloc noexec nowrite align=8

header:
	dd MAGIC
	dd ARCHITECTURE
	dd header.end - header
	dd -(MAGIC + ARCHITECTURE + (header.end - header)) & 0xffffffff

	align 8
.information:				; 3.1.3: the tags that multiboot2.c can use, none of which is necessary
	dw 1, OPTIONAL
	dd .information_end - .information
	dd 1, 2, 3, 4, 6, 8, 12, 14, 15, 17
.information_end:

	align 8
; 3.1.10: a wish, not a condition. Without a size GRUB ignores the depth and takes its own choice: 24 bits in
; QEMU, and on Bochs a mode of 8 bits in which GRUB itself crashes.
.framebuffer:
	dw 5, OPTIONAL
	dd 20
	dd 1024, 768, 32

	align 8
.modules:				; 3.1.11: modules start on a page, so that they need not share one
	dw 6, OPTIONAL
	dd 8

	align 8
	dw 0, 0
	dd 8
.end:
