; SPDX-License-Identifier: MIT
;
; The VMX world switch: into the guest and back, again and again, until an exit asks to leave. Assembly
; because all general registers belong to the guest on both edges. Intel SDM 3C, chapters 27 (entries) and 28
; (exits).

%include "arch/x86/vmx/asm_offsets.inc"

bits 64
default rel

extern vmx_handle_exit, vmx_prepare_entry, vmx_entry_failed

section .text

; void vmx_enter_guest(struct vcpu *vcpu /* rdi */, u64 launched /* rsi */);
;
; At entry: IF = 0, the vCPU is loaded, its VMCS is current and holds RIP, RSP, RFLAGS. Stack while the guest
; runs (HOST_RSP): [rsp] vcpu, [rsp + 8] launched, [rsp + 16] spare. Physical interrupts end the guest's turn
; whatever IF says; they stay pending until they are taken behind the exit. The compiler's registers are saved
; once, not at each exit: vmx_handle_exit is called from here.
global vmx_enter_guest
vmx_enter_guest:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8
    push rsi
    push rdi
    mov eax, HOST_RSP_FIELD
    vmwrite rax, rsp
.enter:
    cmp qword [rsp + 8], 0  ; MOV leaves the flags alone
    mov rax, [rdi + VCPU_RAX]
    mov rcx, [rdi + VCPU_RCX]
    mov rdx, [rdi + VCPU_RDX]
    mov rbx, [rdi + VCPU_RBX]
    mov rbp, [rdi + VCPU_RBP]
    mov rsi, [rdi + VCPU_RSI]
    mov r8, [rdi + VCPU_R8]
    mov r9, [rdi + VCPU_R9]
    mov r10, [rdi + VCPU_R10]
    mov r11, [rdi + VCPU_R11]
    mov r12, [rdi + VCPU_R12]
    mov r13, [rdi + VCPU_R13]
    mov r14, [rdi + VCPU_R14]
    mov r15, [rdi + VCPU_R15]
    mov rdi, [rdi + VCPU_RDI]
    jne .resume
    vmlaunch
    jmp .refused
.resume:
    vmresume
.refused:                   ; the CPU did not even try: the guest has not run, the registers are as loaded
    mov rdi, [rsp]
    call vmx_entry_failed
    jmp vmx_leave

; The address in HOST_RIP. RSP is HOST_RSP, every other register the guest's; RFLAGS = 2, so IF = 0.
global vmx_exit_entry
vmx_exit_entry:
    mov [rsp + 16], rax
    mov rax, [rsp]
    mov [rax + VCPU_RCX], rcx
    mov rcx, [rsp + 16]
    mov [rax + VCPU_RDX], rdx
    mov [rax + VCPU_RBX], rbx
    mov [rax + VCPU_RBP], rbp
    mov [rax + VCPU_RSI], rsi
    mov [rax + VCPU_RDI], rdi
    mov [rax + VCPU_R8], r8
    mov [rax + VCPU_R9], r9
    mov [rax + VCPU_R10], r10
    mov [rax + VCPU_R11], r11
    mov [rax + VCPU_R12], r12
    mov [rax + VCPU_R13], r13
    mov [rax + VCPU_R14], r14
    mov [rax + VCPU_R15], r15
    mov [rax + VCPU_RAX], rcx
    mov qword [rsp + 8], 1
    mov rbx, rax            ; the vCPU: the compiler keeps RBX, and the guest's is saved
    lea rbp, [rsp + 64]     ; where RBP was pushed: back traces lead past the guest to its scheduler
    sti                     ; physical interrupts that wait are taken here, whatever ended the turn
    mov rdi, rax
    cli
    call vmx_handle_exit
    mov rdi, rbx
    cmp dword [rbx + VCPU_REQUESTS], 0
    je vmx_enter_guest.enter
    call vmx_prepare_entry  ; bool: enter again?
    test al, al
    mov rdi, rbx
    jnz vmx_enter_guest.enter
vmx_leave:
    add rsp, 24
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
