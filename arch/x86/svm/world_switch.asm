; SPDX-License-Identifier: MIT
;
; The SVM world switch: into the guest and back, again and again, until an exit asks to leave. Assembly
; because all general registers belong to the guest on both edges. AMD APM 2, 15.5 (VMRUN) and 15.17 (GIF).

%include "arch/x86/svm/asm_offsets.inc"

bits 64
default rel

extern svm_handle_light, svm_handle_exit, svm_prepare_entry

section .text

; The vCPU is RBX. The light registers are those that the compiler's calls change, RBX, which CPUID and calls
; need, and RBP for back traces; RAX is the VMCB's matter. The others stay in the CPU through light exits.
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

; void svm_enter_guest(struct vcpu *vcpu /* rdi */, hpa_t vmcb /* rsi */);
;
; At entry: IF = 0, GIF = 1, the vCPU is loaded, RAX and RIP are in the vCPU. Stack while the
; guest runs: [rsp] vcpu, [rsp + 8] vmcb. VMRUN saves and restores RSP and RAX itself (RAX = vmcb). IF is 1
; around VMRUN, so that physical interrupts end the guest's turn (V_INTR_MASKING: the host's IF
; decides); the shadow of STI, then GIF = 0, keep them from being taken between STI and VMRUN. They are taken
; between STGI and CLI, whatever ended the turn: a guest whose entries only ever lead to the next exit (its
; stack in a device, #DB or #AC within its own delivery) does not hold them back, nor does one with IF = 0 on
; Bochs 2.7, which masks them then. The compiler's registers are saved once, not at each exit: the C functions
; are called from here. svm_handle_light answers what it can while R12 to R15 are still the guest's; every
; other exit, and whoever looks at requests, finds all of them in the vCPU.
global svm_enter_guest
svm_enter_guest:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8              ; keeps the stack 16-byte aligned at the call
    push rsi
    push rdi
    mov rbx, rdi
.enter:
    mov r12, [rbx + VCPU_R12]
    mov r13, [rbx + VCPU_R13]
    mov r14, [rbx + VCPU_R14]
    mov r15, [rbx + VCPU_R15]
.enter_light:
    mov rax, [rbx + VCPU_ENGINE]
    mov rcx, [rbx + VCPU_RIP]
    mov [rax + VMCB_RIP], rcx
    mov rcx, [rbx + VCPU_RAX]
    mov [rax + VMCB_RAX], rcx
    mov rax, [rsp + 8]
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
    sti                     ; before CLGI: its shadow must end here, QEMU's TCG carries it into the guest
    clgi
    vmrun
.exited:
    mov rax, [rsp]
    mov [rax + VCPU_RBX], rbx
    mov rbx, rax            ; the vCPU: the compiler keeps RBX
    save_light_registers
    mov rcx, [rbx + VCPU_ENGINE]
    mov rax, [rcx + VMCB_RAX]
    mov [rbx + VCPU_RAX], rax
    lea rbp, [rsp + 64]     ; where RBP was pushed: back traces lead past the guest to its scheduler
    mov rdi, rbx
    stgi                    ; physical interrupts that wait are taken here, with IF = 1
    cli
    call svm_handle_light   ; u32: requests, or EXIT_NOT_LIGHT (negative)
    test eax, eax
    jz .enter_light
    js .full
    save_other_registers
    jmp .asked
.full:
    save_other_registers
    mov rdi, rbx
    call svm_handle_exit
    cmp dword [rbx + VCPU_REQUESTS], 0
    je .enter
.asked:
    mov rdi, rbx
    call svm_prepare_entry  ; bool: enter again?
    test al, al
    jnz .enter
    add rsp, 24
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret

; Bochs 2.7 leaves the trap of a guest's single step pending when the stepped instruction exits, and raises
; it here. lintel never steps itself, so that #DB at this place means nothing: go on. DR6 is loaded from the
; VMCB anyway.
section __ex_table progbits alloc noexec nowrite align=4
    dd svm_enter_guest.exited - IMAGE_BASE, svm_enter_guest.exited - IMAGE_BASE
