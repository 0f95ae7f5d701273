; SPDX-License-Identifier: MIT
; The other vCPUs of a tiny guest: from a SIPI's page, or from CPU_ON's entry, into 64-bit C on a stack of
; their own. vcpus.c copies the trampoline to the pages that SIPIs name.

STACK	equ 8192
MOST	equ 32

section .bss nobits alloc noexec write align=16
	resb STACK * MOST
stacks_top:

section .text
; Runs wherever it is copied to, CS:0. What the CPU began with is kept: CS in EBP, EDX in EDI, CR0 in ESI.
bits 16
global vcpu_trampoline, vcpu_trampoline_end
vcpu_trampoline:
	cli
	mov edi, edx
	mov esi, cr0
	xor ebp, ebp
	mov bp, cs
	mov ax, cs
	mov ds, ax
	o32 lgdt [.gdt_pointer - vcpu_trampoline]
	mov eax, 1
	mov cr0, eax
	jmp dword 0x30:vcpu_protected
align 4
.gdt_pointer:
	dw boot_gdt.end - boot_gdt - 1
	dd boot_gdt
vcpu_trampoline_end:

; Those that were on from the beginning wait until the boot vCPU has prepared what they need. It may want the CPU.
bits 32
global vcpu_on_entry
extern vcpus_open
vcpu_on_entry:
	mov eax, 0x4c540003	; yield
	vmmcall
	cmp dword [vcpus_open], 0
	je vcpu_on_entry

; Where CPU_ON sends them: EBX is its argument.
global vcpu_entry
vcpu_entry:
	mov ebp, 0x10000	; no CS of real mode
	mov edi, edx
	mov esi, cr0
	lgdt [boot_gdt_pointer]
	jmp 0x30:vcpu_protected

vcpu_protected:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov eax, 0x220		; CR4: PAE, OSFXSR
	mov cr4, eax
	extern page_table_4
	mov eax, page_table_4
	mov cr3, eax
	mov ecx, 0xc0000080	; EFER: long mode, no-execute
	xor edx, edx
	mov eax, 0x900
	wrmsr
	mov eax, 0x80010033	; CR0: PG WP NE ET MP PE
	mov cr0, eax
	jmp 0x08:.long

bits 64
.long:
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov r8d, ebx		; CPUID takes EBX
	mov eax, 1
	cpuid
	shr ebx, 24		; the APIC ID
	mov eax, ebx
	imul eax, STACK
	mov rsp, stacks_top
	sub rsp, rax
	mov edx, edi		; vcpu_begin(number, cs, edx, cr0, argument)
	mov ecx, esi
	mov edi, ebx
	mov esi, ebp
	extern vcpu_begin
	call vcpu_begin
.halt:
	cli
	hlt
	jmp .halt

; No TSS: each vCPU would need one of its own.
section .data
align 16
boot_gdt:
	dq 0
	dq 0x00209a0000000000	; 0x08: 64-bit code
	dq 0x00cf92000000ffff	; 0x10: data
	dq 0, 0, 0
	dq 0x00cf9a000000ffff	; 0x30: 32-bit code
.end:
boot_gdt_pointer:
	dw boot_gdt.end - boot_gdt - 1
	dd boot_gdt

section .note.GNU-stack noalloc noexec nowrite progbits
