/* SPDX-License-Identifier: MIT */
/*
 * The loader of PVH ELF files. The input is a list of lies about a good file: place (2 bytes) and value (1
 * byte), the first two bytes being flags and how much of the file's end is missing. Whatever is accepted
 * must have been put where guest memory is.
 */
// sources: guest/load/load.c guest/load/bzimage.c guest/load/elf_pvh.c guest/load/start_state.c
// sources: hv/lib/printf.c tests/unit/fake_guest_ram.c tests/unit/fake_kernels.c
#include <stdlib.h>
#include <string.h>

#include "guest/load/load.h"
#include "tests/unit/fake_guest_ram.h"
#include "tests/unit/fake_kernels.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void check(const struct load *load)
{
    struct vcpu_state state;
    int error = load_guest(load, &state);

    if (error && (!load->why[0] || strlen(load->why) >= load->why_size))
        abort(); /* a failure without a sentence */
    if (!error && (load->why[0] || !load_is_ram(load, state.regs.rip, 1)))
        abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const u8 initrd[3000];
    static struct guest_memory memory;
    struct vm_config config = {.name = "a",
                               .kernel_name = "k",
                               .initrd_name = "i",
                               .memory = 32 << 20,
                               .initrd = {"i", initrd, sizeof(initrd)},
                               .cmdline = "quiet"};
    char why[160] = "";
    const struct load load = {&config, &memory, 0xe0000, why, sizeof(why)};
    u8 *file, *exact;

    if (size < 2)
        return 0;
    file = data[0] & 1 ? fake_elf32() : fake_elf64();
    for (size_t i = 2; i + 3 <= size; i += 3)
        file[(data[i] | data[i + 1] << 8) % FAKE_ELF_SIZE] = data[i + 2];
    /* In memory that ends where the file does, so that the sanitizer sees a byte too many. */
    config.kernel.size = FAKE_ELF_SIZE - data[1] * 64u % FAKE_ELF_SIZE;
    exact = malloc(config.kernel.size);
    memcpy(exact, file, config.kernel.size);
    config.kernel.start = exact;
    fake_guest_ram_reset(&memory, config.memory);
    check(&load);
    free(exact);
    free(file);
    return 0;
}
