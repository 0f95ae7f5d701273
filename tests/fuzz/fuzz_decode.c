/* SPDX-License-Identifier: MIT */
/*
 * hv/run/decode.c under any bytes: no read beyond the count, lengths within 1 and 15, the same answer from
 * the instruction alone, -ENODATA from every shorter piece, fields within their ranges.
 */
// sources: hv/run/decode.c hv/run/decode_tables.c
#include <stdlib.h>
#include <string.h>

#include "hv/lib/errno.h"
#include "hv/run/decode.h"
#include "hv/run/vcpu.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Out of a buffer of just that size. */
static int decode(const u8 *bytes, unsigned count, enum decode_mode mode, struct instruction *out)
{
    u8 *copy = malloc(count ? count : 1);
    int err;

    memcpy(copy, bytes, count);
    memset(out, 0xa5, sizeof(*out));
    err = decode_instruction(copy, count, mode, out);
    free(copy);
    return err;
}

static void check_fields(const struct instruction *i)
{
    require(i->length >= 1 && i->length <= INSTRUCTION_MAX);
    require(i->operation <= OP_OUT);
    require(i->size == 1 || i->size == 2 || i->size == 4 || i->size == 8);
    require(i->source_size && i->source_size <= 8);
    require(i->address_size == 2 || i->address_size == 4 || i->address_size == 8);
    require(i->segment <= SEGMENT_GS);
    require(i->gpr < GPR_COUNT && i->rm_gpr < GPR_COUNT && i->cr < 16);
    require(i->base >= -1 && i->base < GPR_COUNT && i->index >= -1 && i->index < GPR_COUNT);
    require(i->scale == 1 || i->scale == 2 || i->scale == 4 || i->scale == 8);
    require(!i->memory_is_destination || i->has_memory);
    require(!i->high_byte || (i->size == 1 && i->gpr < 4));
    require(!(i->rep && i->repne));
}

/* What is remembered, of this input or of those before, is what decoding would say. */
static void check_cache(const u8 *data)
{
    static struct decode_cache cache;
    struct instruction remembered, decoded;
    int err = decode(data, INSTRUCTION_MAX, DECODE_64, &decoded);

    for (unsigned n = 0; n < 2; n++) {
        require(decode_remembered(&cache, data, data[15], &remembered) == err);
        require(err || (remembered.length == decoded.length && remembered.operation == decoded.operation &&
                        remembered.displacement == decoded.displacement));
    }
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
    static const enum decode_mode modes[] = {DECODE_16, DECODE_32, DECODE_64};
    unsigned count = (unsigned)MIN(size, 20);
    struct instruction first, again;

    if (size >= 16)
        check_cache(data);
    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++) {
        int err = decode(data, count, modes[m], &first);

        require(err == 0 || err == -EINVAL || err == -ENOTSUP ||
                (err == -ENODATA && count < INSTRUCTION_MAX));
        if (err)
            continue;
        check_fields(&first);
        require(first.length <= count);
        require(decode(data, first.length, modes[m], &again) == 0 && again.length == first.length);
        require(again.operation == first.operation && again.immediate == first.immediate);
        for (unsigned shorter = 0; shorter < first.length; shorter++)
            require(decode(data, shorter, modes[m], &again) == -ENODATA);
    }
    return 0;
}
