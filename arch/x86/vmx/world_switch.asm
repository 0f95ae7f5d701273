; SPDX-License-Identifier: MIT
;
; The VMX world switch: into the guest and back, again and again, until an exit asks to leave. Assembly
; because all general registers belong to the guest on both edges. Intel SDM 3C, chapters 27 (entries) and 28
; (exits).

%include "arch/x86/vmx/asm_offsets.inc"

bits 64
default rel

extern vmx_handle_light, vmx_handle_exit, vmx_prepare_entry, vmx_entry_failed

section .text

; The vCPU is RBX. The light registers are those that the compiler's calls change, RBX, which CPUID and calls
; need, and RBP for back traces. The others stay in the CPU through light exits.
%macro load_light_registers 0
    mov eax, GUEST_RIP_FIELD
    vmwrite rax, [rbx + VCPU_RIP]
    mov rax, [rbx + VCPU_RAX]
    mov rcx, [rbx + VCPU_RCX]
    mov rdx, [rbx + VCPU_RDX]
    mov rbp, [rbx + VCPU_RBP]
    mov rsi, [rbx + VCPU_RSI]
    mov rdi, [rbx + VCPU_RDI]
    mov r8, [rbx + VCPU_R8]
    mov r9, [rbx + VCPU_R9]
    mov r10, [rbx + VCPU_R10]
    mov r11, [rbx + VCPU_R11]
    mov rbx, [rbx + VCPU_RBX]
%endmacro

%macro load_other_registers 0
    mov r12, [rbx + VCPU_R12]
    mov r13, [rbx + VCPU_R13]
    mov r14, [rbx + VCPU_R14]
    mov r15, [rbx + VCPU_R15]
%endmacro

%macro save_light_registers 0
    mov [rbx + VCPU_RCX], rcx
    mov [rbx + VCPU_RDX], rdx
    mov [rbx + VCPU_RBP], rbp
    mov [rbx + VCPU_RSI], rsi
    mov [rbx + VCPU_RDI], rdi
    mov [rbx + VCPU_R8], r8
    mov [rbx + VCPU_R9], r9
    mov [rbx + VCPU_R10], r10
    mov [rbx + VCPU_R11], r11
%endmacro

%macro save_other_registers 0
    mov [rbx + VCPU_R12], r12
    mov [rbx + VCPU_R13], r13
    mov [rbx + VCPU_R14], r14
    mov [rbx + VCPU_R15], r15
%endmacro

; void vmx_enter_guest(struct vcpu *vcpu /* rdi */, u64 launched /* rsi */);
;
; At entry: IF = 0, the vCPU is loaded, its VMCS is current and holds RSP and RFLAGS; RIP is in the vCPU.
; Stack while the guest runs (HOST_RSP): [rsp] vcpu. Physical interrupts end the guest's turn whatever IF
; says; they stay pending until they are taken behind the exit. The compiler's registers are saved once, not
; at each exit: the C functions are called from here. vmx_handle_light answers what it can while R12 to R15
; are still the guest's; every other exit, and whoever looks at requests, finds all of them in the vCPU.
global vmx_enter_guest
vmx_enter_guest:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    push rdi                ; keeps the stack 16-byte aligned at the call
    mov eax, HOST_RSP_FIELD
    vmwrite rax, rsp
    mov rbx, rdi
    test rsi, rsi
    jnz vmx_exit_entry.enter
    load_other_registers
    load_light_registers
    vmlaunch
.refused:                   ; the CPU did not even try: the guest has not run, its registers are as loaded
    mov rbx, [rsp]
    save_other_registers
    mov rdi, rbx
    call vmx_entry_failed
    jmp vmx_leave

; The address in HOST_RIP. RSP is HOST_RSP, every other register the guest's; RFLAGS = 2, so IF = 0.
global vmx_exit_entry
vmx_exit_entry:
    push rbx
    mov rbx, [rsp + 8]      ; the vCPU: the compiler keeps RBX
    save_light_registers
    mov [rbx + VCPU_RAX], rax
    pop qword [rbx + VCPU_RBX]
    lea rbp, [rsp + 48]     ; where RBP was pushed: back traces lead past the guest to its scheduler
    sti                     ; physical interrupts that wait are taken here, whatever ended the turn
    mov rdi, rbx
    cli
    call vmx_handle_light   ; u32: requests, or EXIT_NOT_LIGHT (negative)
    test eax, eax
    jnz .not_at_once
.enter_light:
    load_light_registers
    vmresume
    jmp vmx_enter_guest.refused
.not_at_once:
    jns .requested
    save_other_registers
    mov rdi, rbx
    call vmx_handle_exit
    cmp dword [rbx + VCPU_REQUESTS], 0
    jne .asked
.enter:
    load_other_registers
    jmp .enter_light
.requested:
    save_other_registers
.asked:
    mov rdi, rbx
    call vmx_prepare_entry  ; bool: enter again?
    test al, al
    jnz .enter
vmx_leave:
    pop rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
