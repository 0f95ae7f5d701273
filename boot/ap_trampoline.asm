; SPDX-License-Identifier: MIT
; The first steps of every CPU but the boot CPU: from real mode to
;	void smp_cpu_main(struct cpu *cpu)
; on its own stack (arch/x86/machine/smp.c). Not C because it runs before paging, partly in real mode.
;
; A start-up IPI begins in real mode, interrupts off, CS = page / 16, IP = 0: so ap_trampoline is copied to a
; page below 1 MiB and runs there, wherever that is; EBX holds the place. Long mode begins on the tables that
; boot/entry.asm made, which map that page where it is. They map everything writable and executable; the first
; instruction in lintel's text leaves them. AMD APM 2, 14.6; Intel SDM 3A, 9.4.4 and 10.8.5.

IMAGE_BASE	equ 0xffffffff80000000
CR0_PE_ET	equ 0x11
CR0_PE_MP_ET_NE_WP_PG equ 0x80010033
CR4_PAE		equ 1 << 5
MSR_EFER	equ 0xc0000080
EFER_LME	equ 1 << 8
EFER_NXE	equ 1 << 11
SELECTOR_CODE_32 equ 0x08
SELECTOR_DATA	equ 0x10
SELECTOR_CODE_64 equ 0x18

%define low(label) (label - ap_trampoline)
%define physical(symbol) (symbol - IMAGE_BASE)

extern boot_pml4, smp_root, smp_stack, smp_cpu_main
global ap_trampoline, ap_trampoline_size

; Executed as a copy alone, so that it need not be executable here.
section .rodata.ap_trampoline progbits alloc noexec nowrite align=16

bits 16
ap_trampoline:
	cli
	cld
	mov ax, cs
	mov ds, ax
	movzx ebx, ax
	shl ebx, 4			; where this copy lies
	lea eax, [ebx + low(gdt)]	; not added in place: the next CPU comes by here too
	mov [low(gdt.pointer) + 2], eax
	lea eax, [ebx + low(in_protected_mode)]
	mov [low(to_protected)], eax
	lea eax, [ebx + low(in_long_mode)]
	mov [low(to_long)], eax
	o32 lgdt [low(gdt.pointer)]
	mov eax, CR0_PE_ET
	mov cr0, eax
	jmp dword far [low(to_protected)]

bits 32
in_protected_mode:
	mov eax, SELECTOR_DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, CR4_PAE
	mov cr4, eax
	mov eax, physical(boot_pml4)
	mov cr3, eax
	mov ecx, MSR_EFER
	rdmsr
	or eax, EFER_LME | EFER_NXE
	wrmsr
	mov eax, CR0_PE_MP_ET_NE_WP_PG
	mov cr0, eax
	jmp dword far [ebx + low(to_long)]

bits 64
in_long_mode:
	mov rax, ap_entry
	jmp rax

	align 8
gdt:
	dq 0
	dq 0x00cf9b000000ffff		; 32-bit code
	dq 0x00cf93000000ffff		; data
	dq 0x00af9b000000ffff		; 64-bit code
.pointer:
	dw gdt.pointer - gdt - 1
	dd 0				; filled in, as the two below
to_protected:
	dd 0
	dw SELECTOR_CODE_32
to_long:
	dd 0
	dw SELECTOR_CODE_64
.end:
	align 4
ap_trampoline_size:
	dd to_long.end - ap_trampoline

section .text
; From here on lintel's own tables and, for who is called, a stack; others rest.
ap_entry:
	mov rax, [smp_root]
	mov cr3, rax
	xor eax, eax
	xchg rax, [smp_stack]
	test rax, rax
	jz .rest
	mov rsp, rax
	xor ebp, ebp			; the back trace ends here
	mov rdi, [rsp + 8]		; struct cpu *, as percpu_prepare_stack has planted it
	call smp_cpu_main		; does not return
.rest:
	cli
	hlt
	jmp .rest
