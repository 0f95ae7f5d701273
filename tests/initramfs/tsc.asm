; SPDX-License-Identifier: MIT
; lintel.test=tsc: prints the time-stamp counter, "lintel guest: tsc N". The benchmark compares the N of a
; boot under lintel with that of the same boot on the bare emulator, where one instruction is one tick. A
; static Linux program.
bits 64

SYS_WRITE equ 1
SYS_EXIT  equ 60

section .text
global _start
_start:
        rdtsc
        shl rdx, 32
        or rax, rdx
        ; decimal digits from the last to the first, in front of the newline
        lea rsi, [rel newline]
        mov ecx, 10
.digit: xor edx, edx
        div rcx
        add dl, '0'
        dec rsi
        mov [rsi], dl
        test rax, rax
        jnz .digit
        ; the words in front of the digits
        lea rbx, [rel words_end]
        mov ecx, words_end - words
.word:  dec rbx
        dec rsi
        mov al, [rbx]
        mov [rsi], al
        loop .word
        lea rdx, [rel newline + 1]
        sub rdx, rsi
        mov edi, 1
        mov eax, SYS_WRITE
        syscall
        xor edi, edi
        mov eax, SYS_EXIT
        syscall

section .data
words:  db 'lintel guest: tsc '
words_end:
        times 48 db 0
newline: db 10
