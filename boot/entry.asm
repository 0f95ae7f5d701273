; SPDX-License-Identifier: MIT
; From the boot loader to C: checks what lintel can't run without, builds the boot page tables, enters long
; mode, calls
;	void boot_main(u32 magic, u32 tags_hpa)
; on the boot CPU's stack. Not C because it runs before paging, partly in 32-bit mode.
;
; State at boot_entry (multiboot2 specification 2.0, 3.3): 32-bit protected mode, flat segments, no paging,
; interrupts off, EAX = magic, EBX = physical address of the tags; no stack.
;
; The boot tables map the first 4 GiB three times, with 2 MiB pages: at 0, at DIRECT_MAP_BASE, and its first
; GiB at IMAGE_BASE. paging_init replaces them.

MULTIBOOT2_MAGIC equ 0x36d76289
IMAGE_BASE	equ 0xffffffff80000000
STACK_SIZE	equ 0x4000		; CPU_STACK_SIZE of percpu.h
PAGE		equ 0x1000

PTE_TABLE	equ 0x3			; present, writable
PTE_LARGE	equ 0x83

CR0_PE_MP_ET_NE_WP_PG equ 0x80010033
CR4_PAE		equ 1 << 5
MSR_EFER	equ 0xc0000080
EFER_LME	equ 1 << 8
EFER_NXE	equ 1 << 11
EFLAGS_ID	equ 1 << 21
CPUID_LONG_MODE	equ 1 << 29		; 80000001 EDX
CPUID_NX	equ 1 << 20		; 80000001 EDX

COM1		equ 0x3f8
VGA_TEXT	equ 0xb8000
VGA_CELLS	equ 80 * 25
VGA_COLOUR	equ 0x0f

%define physical(symbol) (symbol - IMAGE_BASE)

extern boot_main, cpus
global boot_entry, boot_pml4
global boot_stack_guard, boot_stack, boot_nmi_stack, boot_double_fault_stack, boot_machine_check_stack

; ---------------------------------------------------------------- 32-bit mode

section .boot.text progbits alloc exec nowrite align=16
bits 32

boot_entry:
	cli
	cld
	mov esp, physical(boot_stack) + STACK_SIZE
	mov ebp, eax			; the magic, for boot_main
	mov esi, message_loader
	cmp eax, MULTIBOOT2_MAGIC
	jne refuse
	mov esi, message_cpuid
	call has_cpuid
	jz refuse
	mov esi, message_long_mode
	push ebx
	call read_extended_features	; EDX
	pop ebx
	test edx, CPUID_LONG_MODE
	jz refuse
	mov esi, message_nx
	test edx, CPUID_NX
	jz refuse
	call build_tables
	jmp enter_long_mode

; ZF set: no CPUID. Clobbers EAX, ECX.
has_cpuid:
	pushfd
	pop eax
	mov ecx, eax
	xor eax, EFLAGS_ID
	push eax
	popfd
	pushfd
	pop eax
	push ecx
	popfd
	xor eax, ecx
	test eax, EFLAGS_ID
	ret

; EDX = CPUID 80000001 EDX, 0 when there is no such leaf. Clobbers EAX, EBX, ECX.
read_extended_features:
	mov eax, 0x80000000
	cpuid
	xor edx, edx
	cmp eax, 0x80000001
	jb .done
	mov eax, 0x80000001
	cpuid
.done:
	ret

; Fill the boot tables, which the loader has cleared together with bss. Clobbers EAX, ECX, EDI.
build_tables:
	mov dword [physical(boot_pml4)], physical(boot_pdpt) + PTE_TABLE
	mov dword [physical(boot_pml4) + 256 * 8], physical(boot_pdpt) + PTE_TABLE
	mov dword [physical(boot_pml4) + 511 * 8], physical(boot_image_pdpt) + PTE_TABLE
	mov dword [physical(boot_image_pdpt) + 510 * 8], physical(boot_directories) + PTE_TABLE
	mov eax, physical(boot_directories) + PTE_TABLE
	mov edi, physical(boot_pdpt)
	mov ecx, 4
.directories:
	mov [edi], eax
	add edi, 8
	add eax, PAGE
	loop .directories
	mov eax, PTE_LARGE
	mov edi, physical(boot_directories)
	mov ecx, 4 * 512
.pages:
	mov [edi], eax
	add edi, 8
	add eax, 0x200000
	loop .pages
	ret

; EBP = magic, EBX = tags. AMD APM 2, 14.6.1.
enter_long_mode:
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
	lgdt [boot_gdt.pointer]
	jmp 0x08:low_entry_64

; ESI = text. Says it on COM1 and at the top of the VGA text screen, then halts for ever. A line or screen
; that is not there costs a bounded wait at most.
refuse:
	call serial_init
	mov edi, VGA_TEXT
	mov ecx, VGA_CELLS
	mov eax, VGA_COLOUR << 8 | ' '
	rep stosw
	mov edi, VGA_TEXT
.next:
	lodsb
	test al, al
	jz .halt
	call serial_put
	mov ah, VGA_COLOUR
	cmp al, ' '
	jb .next			; line ends are for the serial line alone
	stosw
	jmp .next
.halt:
	cli
	hlt
	jmp .halt

; 115200 baud, 8N1, FIFO on, no interrupts. Clobbers EAX, ECX, EDX.
serial_init:
	mov ecx, serial_setup
.next:
	movzx edx, word [ecx]
	test edx, edx
	jz .done
	mov al, [ecx + 2]
	out dx, al
	add ecx, 3
	jmp .next
.done:
	ret

; AL = character. Waits for room for at most 64 Ki reads of the line status. Clobbers ECX, EDX.
serial_put:
	mov ah, al
	mov ecx, 0x10000
	mov edx, COM1 + 5
.wait:
	in al, dx
	test al, 0x20
	loopz .wait
	mov al, ah
	mov edx, COM1
	out dx, al
	ret

; ---------------------------------------------------------------- 64-bit mode

bits 64
low_entry_64:
	mov rax, high_entry
	jmp rax

section .text
; EBP = magic, EBX = tags. From here on lintel lives at IMAGE_BASE.
high_entry:
	mov eax, 0x10
	mov ds, eax
	mov es, eax
	mov ss, eax
	xor eax, eax
	mov fs, eax
	mov gs, eax
	mov rsp, boot_stack + STACK_SIZE - 16
	mov qword [rsp + 8], cpus	; cpu_this() looks here
	push 2				; all flags clear
	popfq
	mov edi, ebp
	mov esi, ebx
	xor ebp, ebp			; the back trace ends here
	call boot_main
	ud2				; boot_main does not return

; ---------------------------------------------------------------- data

section .boot.data progbits alloc noexec nowrite align=8

	align 8
boot_gdt:
	dq 0
	dq 0x00af9a000000ffff		; 64-bit code
	dq 0x00cf92000000ffff		; data
.pointer:
	dw boot_gdt.pointer - boot_gdt - 1
	dd boot_gdt

serial_setup:				; port, value
	dw COM1 + 1
	db 0x00				; no interrupts
	dw COM1 + 3
	db 0x80				; divisor latch
	dw COM1
	db 0x01
	dw COM1 + 1
	db 0x00
	dw COM1 + 3
	db 0x03				; 8N1
	dw COM1 + 2
	db 0xc7				; FIFO on, cleared
	dw COM1 + 4
	db 0x03				; DTR, RTS
	dw 0

%define LINE_END 13, 10, 0
message_loader:
	db "[lintel] halted: the boot loader is not multiboot2 (EAX must hold 36d76289 at the entry). "
	db "GRUB's multiboot2 command is what lintel needs.", LINE_END
message_cpuid:
	db "[lintel] halted: this CPU has no CPUID instruction: "
	db "lintel needs a 64-bit x86 CPU with AMD SVM or Intel VMX.", LINE_END
message_long_mode:
	db "[lintel] halted: this CPU has no long mode (CPUID 80000001, EDX bit 29, is clear): "
	db "lintel needs a 64-bit x86 CPU with AMD SVM or Intel VMX.", LINE_END
message_nx:
	db "[lintel] halted: this CPU has no NX (CPUID 80000001, EDX bit 20, is clear): "
	db "lintel needs it for its own memory; look for 'execute disable' in the firmware's set-up.", LINE_END

; Each stack is aligned to its size and has a guard page below: for the boot stack the last page of the unit
; under it, whose other pages hold boot tables; the others give up their own lowest page.
section .bss.stacks nobits alloc noexec write align=0x4000
boot_pml4:		resb PAGE
boot_pdpt:		resb PAGE
boot_image_pdpt:	resb PAGE
boot_stack_guard:	resb PAGE
boot_stack:		resb STACK_SIZE
boot_nmi_stack:		resb STACK_SIZE
boot_double_fault_stack: resb STACK_SIZE
boot_machine_check_stack: resb STACK_SIZE
boot_directories:	resb 4 * PAGE
