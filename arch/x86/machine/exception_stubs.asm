; SPDX-License-Identifier: MIT
; The 256 ways into lintel by interrupt gate, and the two instructions that are allowed to fault.
;
; Each stub pushes its vector and joins the common part, which completes struct exception_frame (exception.h)
; and calls
;	void exception_handle(struct exception_frame *frame)
; At entry: interrupts off (interrupt gates), RSP aligned to 16 before the CPU pushed SS, RSP, RFLAGS, CS, RIP
; and, for some vectors, an error code. All general registers are saved and restored, so the interrupted code
; loses nothing. Not C because the CPU calls it with a layout of its own.

EFAULT		equ 14

extern exception_handle
global exception_stubs, rdmsr_safe, wrmsr_safe

; Vectors for which the CPU pushes an error code: 8, 10 to 14, 17, 21, 29, 30 (AMD APM 2, table 8-1; SDM 3A,
; table 6-1).
ERROR_CODES	equ 1 << 8 | 0x1f << 10 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30
%define HAS_ERROR_CODE(v) ((v) < 32 && (ERROR_CODES >> (v) & 1))

section .text

	align 16
exception_stubs:			; stub n is at exception_stubs + 8 * n (EXCEPTION_STUB_SIZE)
%assign vector 0
%rep 256
	align 8
	push byte vector - 128		; two bytes for each vector; the common part adds 128
%if HAS_ERROR_CODE(vector)
	jmp near with_error_code
%else
	jmp near without_error_code
%endif
%assign vector vector + 1
%endrep

; On the stack: vector - 128, then what the CPU pushed, without an error code.
without_error_code:
	push qword [rsp]
	mov qword [rsp + 8], 0
with_error_code:
	add qword [rsp], 128
	push rax
	push rbx
	push rcx
	push rdx
	push rsi
	push rdi
	push rbp
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
	call exception_handle
	pop r15
	pop r14
	pop r13
	pop r12
	pop r11
	pop r10
	pop r9
	pop r8
	pop rbp
	pop rdi
	pop rsi
	pop rdx
	pop rcx
	pop rbx
	pop rax
	add rsp, 16			; vector and error code
	iretq

; int rdmsr_safe(u32 msr /* edi */, u64 *value /* rsi */): 0, or -EFAULT with *value untouched
rdmsr_safe:
	mov ecx, edi
.fault:
	rdmsr
	shl rdx, 32
	or rax, rdx
	mov [rsi], rax
	xor eax, eax
	ret

; int wrmsr_safe(u32 msr /* edi */, u64 value /* rsi */): 0 or -EFAULT
wrmsr_safe:
	mov ecx, edi
	mov eax, esi
	mov rdx, rsi
	shr rdx, 32
.fault:
	wrmsr
	xor eax, eax
	ret

faulted:
	mov eax, -EFAULT
	ret

; struct exception_table_entry of image.h: offsets from IMAGE_BASE.
IMAGE_BASE	equ 0xffffffff80000000
section __ex_table progbits alloc noexec nowrite align=4
	dd rdmsr_safe.fault - IMAGE_BASE, faulted - IMAGE_BASE
	dd wrmsr_safe.fault - IMAGE_BASE, faulted - IMAGE_BASE
