/* SPDX-License-Identifier: MIT */
/*
 * The words of lintel.conf: pieces of its text, and the keys with their types, defaults and places in
 * struct config. For hv/operator/config.c, which knows the grammar around them. Boot CPU, no lock, no side
 * effects.
 */
#ifndef HV_OPERATOR_CONFIG_VALUES_H
#define HV_OPERATOR_CONFIG_VALUES_H

#include "hv/operator/config.h"

/* A piece of the text; not ended by NUL. */
struct span {
    const char *at;
    size_t length;
};

struct span span_of(const char *text);
bool span_equals(struct span span, const char *text);
struct span span_trim(struct span span);
/* Cut the first piece off, up to separator; *rest is what follows the separator. */
struct span span_cut(struct span span, char separator, struct span *rest);
/* to has room for the span and a NUL. */
void span_copy(char *to, struct span span);

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* One row of config_keys.h. */
struct config_key {
    const char *section, *name, *type, *standard, *right;
};
#define CONFIG_KEY_COUNT  29
#define CONFIG_PACKED_MAX 16 /* files that are there for the monitor alone */
extern const struct config_key config_keys[CONFIG_KEY_COUNT];

/*
 * A value that is right for its type: text, or a number (yes is 1; a word is its place in the list; a bit
 * per CPU; the size of a blank disk), in the line where it stands.
 */
struct config_value {
    struct span text;
    u64 number;
    u32 line;
};

/* How often may a section give the key? */
u32 config_key_times(const struct config_key *key);

/* False when text is not right for the key. */
bool config_value_parse(const struct config_key *key, struct span text, struct config_value *value);
/* Put a value where it belongs: into config, or for a key of [vm] into vm. */
void config_value_store(struct config *config, struct vm_config *vm, const struct config_key *key,
                        const struct config_value *value);

/* A size as `memory` takes it; false when it is none. */
bool config_size_parse(struct span size, u64 *bytes);
/* Does this disk mean a drive of the machine? */
bool config_is_drive(struct span disk);
/* A file's name, ram:SIZE, or a drive's; *bytes is 0 but for ram:. */
bool config_disk_parse(struct span disk, u64 *bytes);
/* "FILE/partM": what stands before it, and M, from 1 on. False: it is no partition's name. */
bool config_part_parse(struct span name, struct span *file, u32 *number);
bool config_vm_name_is_right(struct span name);

#endif
