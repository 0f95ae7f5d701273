; SPDX-License-Identifier: MIT
;
; The SVM world switch: into the guest and back, again and again, until an exit asks to leave. Assembly
; because all general registers belong to the guest on both edges. AMD APM 2, 15.5 (VMRUN) and 15.17 (GIF).

%include "arch/x86/svm/asm_offsets.inc"

bits 64
default rel

extern svm_handle_exit, svm_prepare_entry

section .text

; void svm_enter_guest(struct vcpu *vcpu /* rdi */, hpa_t vmcb /* rsi */);
;
; At entry: IF = 0, GIF = 1, the vCPU is loaded, its RAX and RIP are in the VMCB already. Stack while the
; guest runs: [rsp] vcpu, [rsp + 8] vmcb. VMRUN saves and restores RSP and RAX itself (RAX = vmcb). IF is 1
; around VMRUN, so that physical interrupts end the guest's turn (V_INTR_MASKING: the host's IF
; decides); the shadow of STI, then GIF = 0, keep them from being taken between STI and VMRUN. They are taken
; between STGI and CLI, whatever ended the turn: a guest whose entries only ever lead to the next exit (its
; stack in a device, #DB or #AC within its own delivery) does not hold them back, nor does one with IF = 0 on
; Bochs 2.7, which masks them then. The compiler's registers are saved once, not at each exit:
; svm_handle_exit is called from here.
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
    mov rax, rsi
.enter:
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
    sti                     ; before CLGI: its shadow must end here, QEMU's TCG carries it into the guest
    clgi
    vmrun
.exited:
    mov rax, [rsp]
    mov [rax + VCPU_RCX], rcx
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
    mov rbx, rax            ; the vCPU: the compiler keeps RBX, and the guest's is saved
    lea rbp, [rsp + 64]     ; where RBP was pushed: back traces lead past the guest to its scheduler
    mov rdi, rax
    stgi                    ; physical interrupts that wait are taken here, with IF = 1
    cli
    call svm_handle_exit
    mov rdi, rbx
    mov rax, [rsp + 8]
    cmp dword [rbx + VCPU_REQUESTS], 0
    je .enter
    call svm_prepare_entry  ; bool: enter again?
    test al, al
    mov rdi, rbx
    mov rax, [rsp + 8]
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
