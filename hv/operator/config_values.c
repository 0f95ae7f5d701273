/* SPDX-License-Identifier: MIT */
/*
 * The keys of lintel.conf (the table is config_keys.h): which values are right for which type, and where
 * each one goes. Called by hv/operator/config.c on the boot CPU; no lock.
 */
#include "hv/operator/config_values.h"

#include "arch/x86/machine/percpu.h"
#include "hv/lib/string.h"

#define MEMORY_MIN (64ull << 20)
#define MEMORY_MAX (1ull << 46)

const struct config_key config_keys[] = {
#define CONFIG_KEY(key_section, key_name, key_type, key_default, key_right) \
    {key_section, key_name, #key_type, key_default, key_right},
#include "hv/operator/config_keys.h"
};

struct span span_of(const char *text)
{
    return (struct span){text, strlen(text)};
}

bool span_equals(struct span span, const char *text)
{
    return span.length == strlen(text) && memcmp(span.at, text, span.length) == 0;
}

struct span span_trim(struct span span)
{
    while (span.length && is_blank(span.at[0])) {
        span.at++;
        span.length--;
    }
    while (span.length && is_blank(span.at[span.length - 1]))
        span.length--;
    return span;
}

struct span span_cut(struct span span, char separator, struct span *rest)
{
    size_t i = 0;

    while (i < span.length && span.at[i] != separator)
        i++;
    *rest = (struct span){span.at + i, span.length - i};
    if (rest->length) {
        rest->at++;
        rest->length--;
    }
    return (struct span){span.at, i};
}

void span_copy(char *to, struct span span)
{
    memcpy(to, span.at, span.length);
    to[span.length] = '\0';
}

/* ---------------------------------------------------------------- values */

bool config_vm_name_is_right(struct span name)
{
    size_t i;

    if (!name.length || name.length >= VM_NAME_MAX)
        return false;
    if (name.length == 1 && name.at[0] == '-') /* what no VM has is the monitor's `-` */
        return false;
    for (i = 0; i < name.length; i++) {
        char c = name.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

        if (!letter && !(c >= '0' && c <= '9') && c != '-' && c != '_' && c != '.')
            return false;
    }
    return true;
}

static bool file_is_right(struct span file)
{
    size_t i;

    for (i = 0; i < file.length; i++)
        if (is_blank(file.at[i]))
            return false;
    return file.length && file.length < sizeof(((struct vm_config *)0)->kernel_name);
}

/* Decimal digits, at most twelve: no overflow. */
static bool number_parse(struct span digits, u64 *number)
{
    size_t i;

    *number = 0;
    for (i = 0; i < digits.length; i++) {
        if (digits.at[i] < '0' || digits.at[i] > '9')
            return false;
        *number = *number * 10 + (u64)(digits.at[i] - '0');
    }
    return digits.length >= 1 && digits.length <= 12;
}

static bool size_parse(struct span size, u64 least, u64 *bytes)
{
    static const char units[] = "KMG";
    const char *unit = size.length ? strchr(units, size.at[size.length - 1]) : NULL;
    unsigned shift = 0;

    if (unit && *unit) {
        shift = 10 * (unsigned)(unit - units + 1);
        size.length--;
    }
    if (!number_parse(size, bytes) || *bytes > MEMORY_MAX >> shift)
        return false;
    *bytes <<= shift;
    return *bytes >= least && IS_ALIGNED(*bytes, PAGE_SIZE);
}

bool config_size_parse(struct span size, u64 *bytes)
{
    return size_parse(size, MEMORY_MIN, bytes);
}

static bool begins_with(struct span *span, const char *text)
{
    size_t length = strlen(text);

    if (span->length < length || memcmp(span->at, text, length) != 0)
        return false;
    span->at += length;
    span->length -= length;
    return true;
}

/* Of a name with folders the last word is meant. */
bool config_part_parse(struct span name, struct span *file, u32 *number)
{
    size_t slash = name.length;
    struct span part;
    u64 n;

    while (slash > 0 && name.at[slash - 1] != '/')
        slash--;
    part = (struct span){name.at + slash, name.length - slash};
    if (slash < 2 || !begins_with(&part, "part") || part.length > 2 || !number_parse(part, &n) ||
        part.at[0] == '0')
        return false;
    *file = (struct span){name.at, slash - 1};
    *number = (u32)n;
    return true;
}

/* "N" or "N/partM": few digits, without a zero in front of others, so that one drive has one name. */
static bool place_parse(struct span place)
{
    u32 part;
    u64 n;

    config_part_parse(place, &place, &part);
    return place.length <= 2 && number_parse(place, &n) && (place.length == 1 || place.at[0] != '0');
}

bool config_is_drive(struct span disk)
{
    return begins_with(&disk, "virtio:") || begins_with(&disk, "ahci:") || begins_with(&disk, "ide:");
}

/* A drive that may be a CD drive, whole; or no drive. */
static bool cdrom_is_right(struct span cdrom)
{
    struct span rest;

    return !config_is_drive(cdrom) ||
           (!begins_with(&cdrom, "virtio:") && span_cut(cdrom, '/', &rest).length == cdrom.length);
}

bool config_disk_parse(struct span disk, u64 *bytes)
{
    *bytes = 0;
    if (!file_is_right(disk))
        return false;
    if (begins_with(&disk, "ram:"))
        return size_parse(disk, PAGE_SIZE, bytes);
    if (config_is_drive(disk)) {
        span_cut(disk, ':', &disk);
        return place_parse(disk);
    }
    return true;
}

static bool is_range(const char *type)
{
    const char *dot = strchr(type, '.');

    return dot && dot[1] == '.';
}

/* A number within "least..most". */
static bool range_parse(const char *range, struct span digits, u64 *number)
{
    struct span most, least = span_cut(span_of(range), '.', &most);
    u64 low, high;

    most.at++; /* the second dot */
    most.length--;
    return number_parse(least, &low) && number_parse(most, &high) && number_parse(digits, number) &&
           *number >= low && *number <= high;
}

/* One of the pieces between the commas: N or N-M. */
static bool cpus_parse(struct span piece, u64 most, u64 *mask)
{
    struct span last, first = span_cut(piece, '-', &last);
    u64 low, high;

    if (first.length == piece.length)
        last = first;
    if (!number_parse(first, &low) || !number_parse(last, &high))
        return false;
    if (low > high || high >= most)
        return false;
    *mask |= BITS(high, low);
    return true;
}

/* "0-2,5": a bit for each CPU, which are fewer than most. */
static bool cpu_list_parse(struct span list, u64 most, u64 *mask)
{
    bool more;

    *mask = 0;
    do {
        struct span rest, piece = span_cut(list, ',', &rest);

        more = piece.length < list.length; /* a comma stands behind it */
        if (!cpus_parse(piece, most, mask))
            return false;
        list = rest;
    } while (more);
    return true;
}

/* The place of word in "first|second|third". */
static bool word_parse(struct span words, struct span word, u64 *place)
{
    for (*place = 0; words.length; (*place)++) {
        struct span one = span_cut(words, '|', &words);

        if (one.length == word.length && memcmp(one.at, word.at, word.length) == 0)
            return true;
    }
    return false;
}

u32 config_key_times(const struct config_key *key)
{
    if (strncmp(key->type, "disk", 4) == 0)
        return VM_DISKS_MAX;
    if (strcmp(key->type, "cdrom") == 0)
        return VM_CDROMS_MAX;
    return strcmp(key->type, "packed") == 0 ? CONFIG_PACKED_MAX : 1;
}

bool config_value_parse(const struct config_key *key, struct span text, struct config_value *value)
{
    value->text = text;
    if (strcmp(key->type, "file") == 0 || strcmp(key->type, "packed") == 0)
        return file_is_right(text);
    if (strcmp(key->type, "text") == 0)
        return text.length < VM_CMDLINE_MAX;
    if (strcmp(key->type, "size") == 0)
        return config_size_parse(text, &value->number);
    if (strcmp(key->type, "disk") == 0)
        return config_disk_parse(text, &value->number);
    if (strcmp(key->type, "cdrom") == 0)
        return config_disk_parse(text, &value->number) && cdrom_is_right(text);
    if (strcmp(key->type, "cpu_list") == 0)
        return cpu_list_parse(text, CPU_MAX, &value->number);
    if (strcmp(key->type, "vcpu_list") == 0)
        return cpu_list_parse(text, VM_VCPUS_MAX, &value->number);
    if (is_range(key->type))
        return range_parse(key->type, text, &value->number);
    if (strcmp(key->type, "yes_no") == 0 || strcmp(key->type, "disk_write") == 0)
        return word_parse(span_of("no|yes"), text, &value->number);
    return word_parse(span_of(key->type), text, &value->number);
}

/* ---------------------------------------------------------------- where values go */

/* What values are written into: a key of [hypervisor] goes to config, one of [vm] to vm. */
struct target {
    struct config *config;
    struct vm_config *vm;
};

/* The word lists of config_keys.h are in the order of these enums. */
_Static_assert(LOG_ERROR == 0 && LOG_WARNING == 1 && LOG_INFO == 2 && LOG_DEBUG == 3,
               "log = error|warning|...");
_Static_assert(PERSONALITY_KVM == 0 && PERSONALITY_VMWARE == 1 && PERSONALITY_NONE == 2,
               "personality = kvm|vmware|none");

static void store_console(struct target *to, const struct config_value *value)
{
    span_copy(to->config->console, value->text);
}

static void store_log(struct target *to, const struct config_value *value)
{
    to->config->log_level = (enum log_level)value->number;
}

static void store_shutdown_grace(struct target *to, const struct config_value *value)
{
    to->config->shutdown_grace = (u32)value->number;
}

static void store_media_poll(struct target *to, const struct config_value *value)
{
    to->config->media_poll_ms = (u32)value->number;
}

static void store_kernel(struct target *to, const struct config_value *value)
{
    span_copy(to->vm->kernel_name, value->text);
}

static void store_initrd(struct target *to, const struct config_value *value)
{
    span_copy(to->vm->initrd_name, value->text);
}

static void store_cmdline(struct target *to, const struct config_value *value)
{
    span_copy(to->vm->cmdline, value->text);
}

static void disk_set(struct vm_disk *disk, const struct config_value *value)
{
    span_copy(disk->name, value->text);
    disk->bytes = value->number;
    disk->host = config_is_drive(value->text);
    disk->line = value->line;
}

static void store_disk(struct target *to, const struct config_value *value)
{
    disk_set(&to->vm->disks[to->vm->disk_count++], value);
}

/* config.c has seen that there is one, which has none yet. */
static void store_write(struct target *to, const struct config_value *value)
{
    struct vm_disk *disk = &to->vm->disks[to->vm->disk_count - 1];

    disk->write = value->number;
    disk->write_line = value->line;
}

static void store_cdrom(struct target *to, const struct config_value *value)
{
    disk_set(&to->vm->cdroms[to->vm->cdrom_count++], value);
}

static void store_virtio_console(struct target *to, const struct config_value *value)
{
    to->vm->virtio_console = value->number;
}

static void store_virtio_rng(struct target *to, const struct config_value *value)
{
    to->vm->virtio_rng = value->number;
}

static void store_memory(struct target *to, const struct config_value *value)
{
    to->vm->memory = value->number;
}

static void store_balloon(struct target *to, const struct config_value *value)
{
    to->vm->balloon = (enum balloon_kind)value->number;
}

static void store_balloon_min(struct target *to, const struct config_value *value)
{
    to->vm->balloon_min = value->number;
}

static void store_balloon_max(struct target *to, const struct config_value *value)
{
    to->vm->balloon_max = value->number;
}

static void store_balloon_forms(struct target *to, const struct config_value *value)
{
    to->vm->balloon_forms = (enum balloon_forms)value->number;
}

static void store_vcpus(struct target *to, const struct config_value *value)
{
    to->vm->vcpus = (u32)value->number;
}

static void store_vcpus_start(struct target *to, const struct config_value *value)
{
    to->vm->vcpus_on = (u32)value->number;
}

static void store_weight(struct target *to, const struct config_value *value)
{
    to->vm->weight = (u32)value->number;
}

static void store_cap(struct target *to, const struct config_value *value)
{
    to->vm->cap = (u32)value->number;
}

static void store_cpus(struct target *to, const struct config_value *value)
{
    to->vm->cpus = value->number;
}

static void store_personality(struct target *to, const struct config_value *value)
{
    to->vm->personality = (enum personality)value->number;
}

static void store_hypercall_patch(struct target *to, const struct config_value *value)
{
    to->vm->hypercall_patch = value->number;
}

static void store_prefault(struct target *to, const struct config_value *value)
{
    to->vm->prefault = value->number;
}

/* 4k, 2m, 1g: each is 512 times the one before. */
static void store_pages(struct target *to, const struct config_value *value)
{
    to->vm->page_limit = PAGE_SIZE << (9 * value->number);
}

static void store_p2m(struct target *to, const struct config_value *value)
{
    to->vm->p2m_shared = value->number; /* no|shared */
}

static void store_nothing(struct target *to, const struct config_value *value)
{
    (void)to;
    (void)value;
}

static const struct {
    const char *name;
    void (*store)(struct target *to, const struct config_value *value);
} stores[] = {
    {"console", store_console},
    {"log", store_log},
    {"shutdown.grace", store_shutdown_grace},
    {"media.poll_ms", store_media_poll},
    {"media.file", store_nothing},
    {"kernel", store_kernel},
    {"kernel.unpack", store_nothing},
    {"initrd", store_initrd},
    {"cmdline", store_cmdline},
    {"disk", store_disk},
    {"write", store_write},
    {"cdrom", store_cdrom},
    {"virtio.console", store_virtio_console},
    {"virtio.rng", store_virtio_rng},
    {"memory", store_memory},
    {"balloon", store_balloon},
    {"balloon.min", store_balloon_min},
    {"balloon.max", store_balloon_max},
    {"balloon.forms", store_balloon_forms},
    {"vcpus", store_vcpus},
    {"vcpus.start", store_vcpus_start},
    {"weight", store_weight},
    {"cap", store_cap},
    {"cpus", store_cpus},
    {"personality", store_personality},
    {"prefault", store_prefault},
    {"hypercall_patch", store_hypercall_patch},
    {"pages", store_pages},
    {"p2m", store_p2m},
};
_Static_assert(ARRAY_SIZE(stores) == CONFIG_KEY_COUNT, "every key of config_keys.h goes somewhere");

void config_value_store(struct config *config, struct vm_config *vm, const struct config_key *key,
                        const struct config_value *value)
{
    struct target to = {config, vm};
    size_t i;

    for (i = 0; i < ARRAY_SIZE(stores); i++)
        if (strcmp(stores[i].name, key->name) == 0)
            stores[i].store(&to, value);
}
