; SPDX-License-Identifier: MIT
; Where a tiny guest begins: PVH entry (32-bit protected mode, no paging, EBX = start_info), then long mode
; with the first 4 GiB mapped one to one by 2 MiB pages, then guest_start in C. And the way in and out of
; interrupt handlers.

; ELF note "Xen", type 18: the physical address of the 32-bit entry.
section .note.pvh note alloc noexec nowrite align=4
	dd 4, 8, 18
	db "Xen", 0
	dq guest_entry

section .bss nobits alloc noexec write align=4096
global page_table_4, page_tables_2, fault_stack
page_table_4:	resb 4096
page_table_3:	resb 4096
page_tables_2:	resb 4 * 4096
	resb 65536
stack_top:
fault_stack:
	resb 8192
fault_stack_top:

section .data
global start_info
start_info:	dq 0
align 16
global gdt
gdt:
	dq 0
	dq 0x00209a0000000000	; 0x08: 64-bit code
	dq 0x00cf92000000ffff	; 0x10: data
	dq 0x0020fa0000000000	; 0x18: 64-bit code, ring 3
	dq 0x00cff2000000ffff	; 0x20: data, ring 3
.tss:	dq 0, 0			; 0x28: filled in below
.end:
gdt_pointer:
	dw gdt.end - gdt - 1
	dq gdt
global tss
tss:
	dd 0
	dq stack_top, 0, 0	; RSP0 - RSP2
	dq 0
	dq fault_stack_top	; IST1: for what may come with a broken stack
	times 6 dq 0
	dq 0
	dw 0, 104
.end:

section .text
bits 32
global guest_entry
guest_entry:
	cli
	cld
	mov ecx, 0x1b		; APIC_BASE: not the boot vCPU, but on from the beginning
	rdmsr
	extern vcpu_on_entry
	test ah, 1
	jz vcpu_on_entry
	mov esp, stack_top
	mov [start_info], ebx
	; PML4[0] -> page_table_3[0..3] -> page_tables_2: 2048 entries of 2 MiB, present, writable.
	mov dword [page_table_4], page_table_3 + 3
	mov ecx, 4
.table_3:
	mov eax, ecx
	shl eax, 12
	add eax, page_tables_2 - 4096 + 3
	mov [page_table_3 + ecx * 8 - 8], eax
	loop .table_3
	mov ecx, 2048
.table_2:
	lea eax, [ecx - 1]
	shl eax, 21
	or eax, 0x83
	mov [page_tables_2 + ecx * 8 - 8], eax
	loop .table_2
	mov eax, 0x20		; CR4.PAE
	mov cr4, eax
	mov eax, page_table_4
	mov cr3, eax
	mov ecx, 0xc0000080	; EFER: long mode, no-execute
	xor edx, edx
	mov eax, 0x900
	wrmsr
	mov eax, 0x80010033	; CR0: PG WP NE ET MP PE
	mov cr0, eax
	lgdt [gdt_pointer]
	jmp 0x08:long_mode

bits 64
long_mode:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov rsp, stack_top
	; The TSS descriptor: base in four pieces, type 0x89, limit 103.
	mov eax, tss
	mov word [gdt.tss], tss.end - tss - 1
	mov [gdt.tss + 2], ax
	shr eax, 16
	mov [gdt.tss + 4], al
	mov byte [gdt.tss + 5], 0x89
	mov [gdt.tss + 7], ah
	mov ax, 0x28
	ltr ax
	extern guest_start
	call guest_start
.halt:
	cli
	hlt
	jmp .halt

; 256 entries, 16 bytes apart: push an error code where the CPU does not, and the vector.
align 16
global interrupt_entries
interrupt_entries:
%assign vector 0
%rep 256
align 16
%if vector != 8 && vector != 17 && vector != 30 && (vector < 10 || vector > 14)
	push 0
%endif
	push strict dword vector
	jmp interrupt_common
%assign vector vector + 1
%endrep

; struct frame, from the top of the stack upwards: see interrupt.h.
interrupt_common:
	push rax
	push rcx
	push rdx
	push rbx
	push rbp
	push rsi
	push rdi
	push r8
	push r9
	push r10
	push r11
	push r12
	push r13
	push r14
	push r15
	cld
	mov rdi, rsp
	mov rbp, rsp
	and rsp, -16
	extern interrupt_dispatch
	call interrupt_dispatch
	mov rsp, rbp
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

section .note.GNU-stack noalloc noexec nowrite progbits
