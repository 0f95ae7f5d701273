/* SPDX-License-Identifier: MIT */
/* See fake_kernels.h. */
#include "tests/unit/fake_kernels.h"

#include <asm/bootparam.h>
#include <linux/elf-em.h>
#include <linux/elf.h>
#include <stdlib.h>
#include <string.h>

u8 *fake_bzimage(void)
{
    u8 *file = calloc(1, FAKE_BZIMAGE_SIZE);

    for (unsigned i = 0; i < FAKE_CODE_SIZE; i++)
        file[FAKE_CODE_AT + i] = (u8)(i * 7 + 1);
    *(struct setup_header *)(file + 0x1f1) = (struct setup_header){
        .setup_sects = FAKE_SETUP_SECTORS,
        .boot_flag = 0xaa55,
        .jump = 0x6aeb,
        .header = 0x53726448,
        .version = 0x20f,
        .syssize = FAKE_CODE_SIZE / 16,
        .loadflags = LOADED_HIGH,
        .initrd_addr_max = 0x7fffffff,
        .kernel_alignment = 0x200000,
        .relocatable_kernel = 1,
        .xloadflags = XLF_KERNEL_64,
        .cmdline_size = 2047,
        .payload_offset = 0x300,
        .payload_length = 0x1000,
        .pref_address = FAKE_KERNEL_AT,
        .init_size = FAKE_INIT_SIZE,
    };
    return file;
}

/* The notes of a kernel: one of somebody else's, one of Xen's that is not the entry, and the entry. */
static u32 notes_make(u8 *at, unsigned entry_bytes)
{
    static const u32 first[] = {4, 8, 1, 0x554e47, 0, 0}, second[] = {4, 4, 6, 0x6e6558, 7};
    u32 third[6] = {4, entry_bytes, 18, 0x6e6558, FAKE_ENTRY_AT, 0};

    memcpy(at, first, sizeof(first));
    memcpy(at + sizeof(first), second, sizeof(second));
    memcpy(at + sizeof(first) + sizeof(second), third, 16 + entry_bytes);
    return (u32)(sizeof(first) + sizeof(second) + 16 + entry_bytes);
}

static u8 *elf_make(void)
{
    u8 *file = calloc(1, FAKE_ELF_SIZE);

    for (unsigned i = FAKE_TEXT; i < FAKE_ELF_SIZE; i++)
        file[i] = (u8)(i * 13 + 5);
    return file;
}

u8 *fake_elf64(void)
{
    u8 *file = elf_make();
    Elf64_Phdr *segments = (Elf64_Phdr *)(file + sizeof(Elf64_Ehdr));

    *(Elf64_Ehdr *)file = (Elf64_Ehdr){
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_machine = EM_X86_64,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 3,
    };
    segments[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                               .p_offset = FAKE_TEXT,
                               .p_paddr = FAKE_TEXT_AT,
                               .p_filesz = 0x2000,
                               .p_memsz = 0x2000};
    segments[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                               .p_offset = FAKE_DATA,
                               .p_paddr = FAKE_DATA_AT,
                               .p_filesz = 0x1000,
                               .p_memsz = 0x100000};
    segments[2] = (Elf64_Phdr){.p_type = PT_NOTE,
                               .p_offset = FAKE_NOTES,
                               .p_filesz = notes_make(file + FAKE_NOTES, 8),
                               .p_align = 4};
    return file;
}

u8 *fake_elf32(void)
{
    u8 *file = elf_make();
    Elf32_Phdr *segments = (Elf32_Phdr *)(file + sizeof(Elf32_Ehdr));

    *(Elf32_Ehdr *)file = (Elf32_Ehdr){
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT},
        .e_machine = EM_386,
        .e_phoff = sizeof(Elf32_Ehdr),
        .e_phentsize = sizeof(Elf32_Phdr),
        .e_phnum = 2,
    };
    segments[0] = (Elf32_Phdr){.p_type = PT_LOAD,
                               .p_offset = FAKE_TEXT,
                               .p_paddr = FAKE_TEXT_AT,
                               .p_filesz = 0x3000,
                               .p_memsz = 0x5000};
    segments[1] = (Elf32_Phdr){.p_type = PT_NOTE,
                               .p_offset = FAKE_NOTES,
                               .p_filesz = notes_make(file + FAKE_NOTES, 4),
                               .p_align = 4};
    return file;
}
