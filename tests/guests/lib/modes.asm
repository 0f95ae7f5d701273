; SPDX-License-Identifier: MIT
; Into any mode and back (modes.h). Long mode: IRETQ from a struct frame. Protected mode: long mode is left
; through compatibility code, everything being mapped to itself; IRETD; INT 0x80 and exceptions lead back.
; Real mode: by a copy of modes_real at MODES_LOW.

CODE_32	equ 0x58
CODE_16	equ 0x78
DATA	equ 0x10
TSS_64	equ 0x28
TSS_32	equ 0xb0
DATA_16	equ 0xb8
LOW	equ 0x20000
SITE	equ 0x1000

; struct legacy
EAX_AT	equ 28
EIP_AT	equ 40
CR0_AT	equ 60
CR3_AT	equ 64
CR4_AT	equ 68
REAL_AT	equ 72
OUT_DWORDS equ 15		; edi to ss

section .bss nobits alloc noexec write align=16
global legacy_tss, legacy_stack, legacy_stack_top
saved_rsp:	resq 1
legacy_at:	resq 1
saved_idt:	resb 16
legacy_tss:	resd 26
legacy_stack:
	resb 4096
legacy_stack_top:

section .data
extern legacy_idt
legacy_idt_pointer:
	dw 0x81 * 8 - 1
	dd legacy_idt

section .text
bits 64
%macro save_callee 0
	push rbx
	push rbp
	push r12
	push r13
	push r14
	push r15
	mov [saved_rsp], rsp
%endmacro

%macro restore_callee 0
	mov rsp, [saved_rsp]
	pop r15
	pop r14
	pop r13
	pop r12
	pop rbp
	pop rbx
%endmacro

; void long_enter(struct frame *frame)
global long_enter
long_enter:
	save_callee
	mov rsp, rdi
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rdi
	pop rsi
	pop rbp
	pop rbx
	pop rdx
	pop rcx
	pop rax
	add rsp, 16
	iretq

; void long_return(void): as if long_enter returned, from within an interrupt handler.
global long_return
long_return:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	restore_callee
	push 2
	popfq
	ret

; void legacy_run(struct legacy *legacy)
global legacy_run
legacy_run:
	save_callee
	mov [legacy_at], rdi
	sidt [saved_idt]
	push CODE_32
	mov eax, .compatibility
	push rax
	retfq

bits 32
.compatibility:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, legacy_stack_top
	mov esi, edi
	mov eax, cr0
	btr eax, 31
	mov cr0, eax
	mov ecx, 0xc0000080
	rdmsr
	and eax, ~0x100
	wrmsr
	mov eax, [esi + CR4_AT]
	mov cr4, eax
	mov eax, [esi + CR3_AT]
	mov cr3, eax
	mov eax, cr0
	or eax, [esi + CR0_AT]
	mov cr0, eax
	lidt [legacy_idt_pointer]
	extern modes_gdt
	and byte [modes_gdt + TSS_32 + 5], ~2
	mov eax, TSS_32
	ltr ax
	cmp dword [esi + REAL_AT], 0
	jne .real
	; What IRETD takes depends on where it goes; the rest stays on the stack.
	push 0			; gs, fs, ds, es of virtual-8086 mode
	push 0
	push 0
	push 0
	push dword [esi + EIP_AT + 16]	; ss
	push dword [esi + EIP_AT + 12]
	push dword [esi + EIP_AT + 8]
	push dword [esi + EIP_AT + 4]
	push dword [esi + EIP_AT]
	mov eax, [esi + 28]
	mov ecx, [esi + 24]
	mov edx, [esi + 20]
	mov ebx, [esi + 16]
	mov ebp, [esi + 8]
	mov edi, [esi]
	mov esi, [esi + 4]
	iretd
.real:
	mov edi, LOW + modes_real.registers - modes_real_start
	mov ecx, 8
	cld
	rep movsd
	jmp CODE_16:0		; modes_real

; Handlers of protected mode: a stack as the first part of struct legacy has it.
%macro entry 2
global legacy_entry_%1
legacy_entry_%1:
%if %2 == 0
	push 0
%endif
	push 0x%1
	jmp legacy_back
%endmacro
	entry 6, 0
	entry 8, 1
	entry 80, 0
global legacy_entry_13, legacy_entry_14
legacy_entry_13:
	push 13
	jmp legacy_back
legacy_entry_14:
	push 14
legacy_back:
	pushad
	mov eax, DATA
	mov ds, eax
	mov es, eax
	cld
	mov esi, esp
	mov edi, [legacy_at]
	mov ecx, OUT_DWORDS
	rep movsd
legacy_to_long:
	mov eax, cr0
	btr eax, 31
	mov cr0, eax
	mov eax, 0x20
	mov cr4, eax
	extern page_table_4
	mov eax, page_table_4
	mov cr3, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x100
	wrmsr
	mov eax, cr0
	bts eax, 31
	mov cr0, eax
	jmp 0x08:.long
bits 64
.long:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	lidt [saved_idt]
	and byte [modes_gdt + TSS_64 + 5], ~2
	mov eax, TSS_64
	ltr ax
	restore_callee
	push 2
	popfq
	ret

; Code of protected mode without paging, for legacy_run: calls the code at SITE from 64-bit mode with five
; levels of page tables (EDI), at an address that four do not have.
FIVE_LEVELS_AT equ 1 << 50
CODE_64	equ 0x38
bits 32
global five_levels
five_levels:
	mov ecx, cr4
	or ecx, 0x1020		; LA57, PAE
	mov cr4, ecx
	mov cr3, edi
	mov esi, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x100
	wrmsr
	mov eax, cr0
	bts eax, 31
	mov cr0, eax
	mov eax, esi
	jmp CODE_64:.long
bits 64
.long:
	mov esp, esp
	mov rcx, FIVE_LEVELS_AT + LOW + SITE
	call rcx
	push CODE_32
	mov ecx, .back
	push rcx
	retfq
bits 32
.back:
	mov esi, eax
	mov eax, cr0
	btr eax, 31
	mov cr0, eax
	mov ecx, 0xc0000080
	rdmsr
	and eax, ~0x100
	wrmsr
	mov eax, esi
	int 0x80

; 32-bit protected mode again, after real mode: the registers are in the copy.
bits 32
real_back:
	mov eax, DATA
	mov ds, eax
	mov es, eax
	mov ss, eax
	mov esp, legacy_stack_top
	mov esi, LOW + modes_real.registers - modes_real_start
	mov edi, [legacy_at]
	mov ecx, OUT_DWORDS
	cld
	rep movsd
	jmp legacy_to_long

; Runs at MODES_LOW: 16-bit code of protected mode at first.
bits 16
global modes_real_start, modes_real_end
modes_real_start:
%define at(label) (label - modes_real_start)
modes_real:
	mov ax, DATA_16		; limit and size outlive the way into real mode
	mov fs, ax
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov eax, cr0
	and al, 0xfe
	mov cr0, eax
	jmp LOW >> 4:at(.real)
.real:
	mov ax, LOW >> 4
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov sp, 0x8000
	xor ax, ax
	mov fs, ax
	mov word [fs:6 * 4], at(.undefined)
	mov [fs:6 * 4 + 2], ds
	mov word [fs:13 * 4], at(.protection)
	mov [fs:13 * 4 + 2], ds
	mov word [fs:0x80 * 4], at(.called)
	mov [fs:0x80 * 4 + 2], ds
	lidt [at(.vectors)]
	mov edi, [at(.registers)]
	mov esi, [at(.registers) + 4]
	mov ebp, [at(.registers) + 8]
	mov ebx, [at(.registers) + 16]
	mov edx, [at(.registers) + 20]
	mov ecx, [at(.registers) + 24]
	mov eax, [at(.registers) + 28]
	push word 2
	push cs
	push word SITE
	iret
.undefined:
	mov dword [cs:at(.vector)], 6
	jmp .left
.protection:
	mov dword [cs:at(.vector)], 13
	jmp .left
.called:
	mov dword [cs:at(.vector)], 0x80
.left:
	mov [cs:at(.registers)], edi
	mov [cs:at(.registers) + 4], esi
	mov [cs:at(.registers) + 8], ebp
	mov [cs:at(.registers) + 16], ebx
	mov [cs:at(.registers) + 20], edx
	mov [cs:at(.registers) + 24], ecx
	mov [cs:at(.registers) + 28], eax
	pop word [cs:at(.ip)]
	pop word [cs:at(.ip) + 4]
	pop word [cs:at(.ip) + 8]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword CODE_32:real_back
.vectors:
	dw 0x3ff
	dd 0
align 4
.registers:
	times 8 dd 0
.vector:
	dd 0, 0
.ip:
	dd 0, 0, 0, 0, 0
modes_real_end:

section .note.GNU-stack noalloc noexec nowrite progbits
