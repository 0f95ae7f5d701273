/* SPDX-License-Identifier: MIT */
/*
 * lintel.conf: INI text in, struct config out. Called once by boot, on the boot CPU, before any VM exists;
 * no lock. Here stands the grammar; keys and values are in config_values.c. The text is whatever GRUB
 * loaded, so nothing about it is taken for granted: it is read once, byte by byte, and never written.
 */
#include "hv/operator/config.h"

#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/operator/config_values.h"
#include "hv/storage/partition.h"

#define ERRORS_SHOWN 64 /* a file that is no text at all must not flood the log */
#define VALUE_SHOWN  48 /* characters of a bad word that a sentence repeats */

enum section { SECTION_NONE, SECTION_UNKNOWN, SECTION_HYPERVISOR, SECTION_VM };

struct parser {
    const char *name; /* of the file */
    const struct boot_file *files;
    unsigned file_count;
    struct config *config;
    void (*error)(const char *sentence);
    u32 line;
    enum section section;
    bool hypervisor_seen;
    bool broken;                 /* the VM being described has a mistake */
    struct vm_config *vm;        /* the one being described */
    u32 given[CONFIG_KEY_COUNT]; /* line in which the section gave the key; 0: not yet */
    u32 times[CONFIG_KEY_COUNT]; /* how often it did */
    u32 vms_begun;
    char names[VM_MAX][VM_NAME_MAX]; /* of all VMs begun, left out or not */
    u32 name_lines[VM_MAX];
};

static struct parser parser;     /* 2.5 KiB: too big for the stack */
static struct vm_config surplus; /* where the keys of a VM go that is one too many */

/* Arguments of %.*s: the beginning of a span, short enough for a sentence. */
#define SHOWN(span) (int)MIN((span).length, (size_t)VALUE_SHOWN), (span).at

/* ---------------------------------------------------------------- sentences */

/* One mistake in the given line; whoever describes a VM loses it. */
static PRINTF_LIKE(3, 4) void mistake_at(struct parser *p, u32 line, const char *format, ...)
{
    static char sentence[512];
    va_list args;
    int used;

    p->broken = true;
    if (++p->config->errors > ERRORS_SHOWN)
        return;
    used = snprintf(sentence, sizeof(sentence), "%.64s:%u: ", p->name, line);
    if (p->section == SECTION_HYPERVISOR)
        used += snprintf(sentence + used, sizeof(sentence) - (size_t)used, "hypervisor: ");
    if (p->section == SECTION_VM)
        used += snprintf(sentence + used, sizeof(sentence) - (size_t)used, "vm %s: ", p->vm->name);
    va_start(args, format);
    vsnprintf(sentence + used, sizeof(sentence) - (size_t)used, format, args);
    va_end(args);
    p->error(sentence);
}
#define mistake(p, ...) mistake_at(p, (p)->line, __VA_ARGS__)

/* Names one after the other, for "right would be one of ..."; what does not fit is left away. */
static void names_append(char *list, size_t size, const char *name)
{
    size_t used = strlen(list);

    if (used + strlen(name) + 3 < size)
        snprintf(list + used, size - used, "%s%s", used ? ", " : "", name);
}

/* ---------------------------------------------------------------- one VM */

/* A section begins with everything at its default, taken from the same table as the keys. */
static void section_defaults(struct parser *p, const char *section)
{
    struct config_value value;
    size_t i;

    memset(p->given, 0, sizeof(p->given));
    memset(p->times, 0, sizeof(p->times));
    for (i = 0; i < CONFIG_KEY_COUNT; i++)
        if (strcmp(config_keys[i].section, section) == 0 &&
            config_value_parse(&config_keys[i], span_of(config_keys[i].standard), &value))
            config_value_store(p->config, p->vm, &config_keys[i], &value);
}

static void file_resolve(struct parser *p, const char *key, const char *name, struct boot_file *file)
{
    char list[200] = "";
    unsigned i;

    for (i = 0; i < p->file_count; i++) {
        if (strcmp(p->files[i].name, name) == 0) {
            *file = p->files[i];
            return;
        }
        names_append(list, sizeof(list), p->files[i].name);
    }
    mistake(p, "%s = %.*s is not among the boot files; right would be %s%s", key, SHOWN(span_of(name)),
            list[0] ? "one of " : "a file that a module2 line of grub.cfg loads", list);
}

/* Line in which the section gave key, or else that of its header. */
static u32 key_line(const struct parser *p, const char *name)
{
    size_t i;

    for (i = 0; i < CONFIG_KEY_COUNT; i++)
        if (strcmp(config_keys[i].name, name) == 0 && p->given[i])
            return p->given[i];
    return p->vm->line;
}

/* Sizes in the largest unit that shows them whole. */
static const char *size_text(u64 bytes, char text[24])
{
    bool mebi = IS_ALIGNED(bytes, 1ull << 20);

    snprintf(text, 24, "%llu%c", (unsigned long long)(bytes >> (mebi ? 20 : 10)), mebi ? 'M' : 'K');
    return text;
}

static void size_compare(struct parser *p, const char *name, u64 size, const char *limit_name, u64 limit)
{
    char one[24], other[24];

    p->line = key_line(p, name);
    if (size > limit)
        mistake(p, "%s = %s is more than %s = %s; right would be at most that", name, size_text(size, one),
                limit_name, size_text(limit, other));
}

/* min <= max <= memory; less than memory is promised at the start, so not all of it can be given then. */
static void balloon_check(struct parser *p, struct vm_config *vm)
{
    if (!vm->balloon_max)
        vm->balloon_max = vm->memory;
    size_compare(p, "balloon.max", vm->balloon_max, "memory", vm->memory);
    size_compare(p, "balloon.min", vm->balloon_min, "balloon.max", vm->balloon_max);
    p->line = key_line(p, "prefault");
    if (vm->prefault && vm->balloon_max < vm->memory)
        mistake(p, "prefault = yes gives all of memory, and balloon.max does not promise it; right would be "
                   "one of the two");
}

/* Do two names of drives or partitions mean sectors that both have? */
static bool drives_meet(const char *one, const char *other)
{
    while (*one && *one == *other) {
        one++;
        other++;
    }
    return *one == *other || (!*one && *other == '/') || (*one == '/' && !*other);
}

/* Whoever has a drive beside somebody who writes to it has none. */
static void drive_compare(struct parser *p, const struct vm_disk *disk, const struct vm_config *vm,
                          const struct vm_disk *other)
{
    if (other->host && (disk->write || other->write) && drives_meet(disk->name, other->name))
        mistake(
            p,
            "disk = %s is what VM %s has by line %u, and one of the two writes; right would be a drive or "
            "partition of its own, or write = no in both places",
            disk->name, vm->name, other->line);
}

/* A tray is one VM's alone. */
static void cdrom_compare(struct parser *p, const struct vm_disk *cdrom, const struct vm_config *vm,
                          const struct vm_disk *other)
{
    if (strcmp(cdrom->name, other->name) == 0)
        mistake(p, "cdrom = %s is what VM %s has by line %u; right would be a drive of its own", cdrom->name,
                vm->name, other->line);
}

static void cdrom_check(struct parser *p, const struct vm_disk *cdrom)
{
    for (u32 i = 0; i < p->config->vm_count; i++)
        for (u32 j = 0; j < p->config->vms[i].cdrom_count; j++)
            cdrom_compare(p, cdrom, &p->config->vms[i], &p->config->vms[i].cdroms[j]);
    for (const struct vm_disk *other = p->vm->cdroms; other < cdrom; other++)
        cdrom_compare(p, cdrom, p->vm, other);
}

static void drive_check(struct parser *p, const struct vm_disk *disk)
{
    for (u32 i = 0; i < p->config->vm_count; i++)
        for (u32 j = 0; j < p->config->vms[i].disk_count; j++)
            drive_compare(p, disk, &p->config->vms[i], &p->config->vms[i].disks[j]);
    for (const struct vm_disk *other = p->vm->disks; other < disk; other++)
        drive_compare(p, disk, p->vm, other);
}

/* What a disk may be instead of a partition that its file has not. */
static void part_mistake(struct parser *p, const struct vm_disk *disk, const struct boot_file *file,
                         const struct partition_table *table)
{
    char list[200];

    partition_names(table, list, sizeof(list));
    mistake(p, "disk = %.*s names no partition of %s%s%s; right would be %s%s", SHOWN(span_of(disk->name)),
            file->name,
            table->why    ? ", whose table "
            : table->kind ? ""
                          : ", which has no table",
            table->why ? table->why : "", list[0] ? "one of " : file->name, list);
}

static const struct boot_file *file_find(const struct parser *p, struct span name)
{
    for (unsigned i = 0; i < p->file_count; i++)
        if (span_equals(name, p->files[i].name))
            return &p->files[i];
    return NULL;
}

/* Is it a partition of a file? Then that part of it is its file, under its own name. */
static bool part_resolve(struct parser *p, struct vm_disk *disk)
{
    const struct boot_file *file;
    struct partition_table table;
    struct partition part = {0};
    struct span name;
    u32 number;

    if (file_find(p, span_of(disk->name)) || !config_part_parse(span_of(disk->name), &name, &number))
        return false;
    file = file_find(p, name);
    if (!file)
        return false;
    partition_table_of_file(file, &table);
    if (number <= PARTITIONS_MAX)
        part = table.partitions[number - 1];
    if (part.sectors)
        disk->file = (struct boot_file){disk->name, file->start + part.first * PARTITION_SECTOR,
                                        part.sectors * PARTITION_SECTOR};
    else
        part_mistake(p, disk, file, &table);
    return true;
}

static void disk_resolve(struct parser *p, const char *key, struct vm_disk *disk)
{
    p->line = disk->line;
    if (disk->host && strcmp(key, "cdrom") == 0)
        cdrom_check(p, disk);
    else if (disk->host)
        drive_check(p, disk);
    if (disk->host || disk->bytes || (strcmp(key, "disk") == 0 && part_resolve(p, disk)))
        return;
    file_resolve(p, key, disk->name, &disk->file);
    if (disk->file.start && !disk->file.size)
        mistake(p, "%s = %.*s is an empty file; right would be an image, or ram:SIZE for a blank disk", key,
                SHOWN(span_of(disk->name)));
}

/* The section of a VM is complete: it stays when there was no mistake in it. */
static void vm_finish(struct parser *p)
{
    struct vm_config *vm = p->vm;
    u32 line = p->line;

    if (p->section != SECTION_VM)
        return;
    p->line = key_line(p, "kernel");
    if (vm->kernel_name[0])
        file_resolve(p, "kernel", vm->kernel_name, &vm->kernel);
    else if (p->line == vm->line) /* else its value was wrong, and that has been said */
        mistake(p, "no kernel is named; right would be a line kernel = FILE");
    p->line = key_line(p, "initrd");
    if (vm->initrd_name[0])
        file_resolve(p, "initrd", vm->initrd_name, &vm->initrd);
    for (u32 i = 0; i < vm->disk_count; i++)
        disk_resolve(p, "disk", &vm->disks[i]);
    for (u32 i = 0; i < vm->cdrom_count; i++)
        if (strcmp(vm->cdroms[i].name, "empty") != 0)
            disk_resolve(p, "cdrom", &vm->cdroms[i]);
    if (!p->broken) /* else a size may be another than was meant */
        balloon_check(p, vm);
    p->line = key_line(p, "vcpus.start");
    if (!p->broken && (u64)vm->vcpus_on >> vm->vcpus)
        mistake(p,
                "vcpus.start names a vCPU that vcpus = %u does not give; right would be numbers below that",
                vm->vcpus);
    p->line = line;
    if (!p->broken)
        p->config->vm_count++;
}

static void vm_remember(struct parser *p, struct span name)
{
    u32 i;

    for (i = 0; i < p->vms_begun; i++)
        if (span_equals(name, p->names[i]))
            mistake(p, "this name was given in line %u already; right would be a name of its own",
                    p->name_lines[i]);
    span_copy(p->names[p->vms_begun], name);
    p->name_lines[p->vms_begun++] = p->line;
}

static void vm_begin(struct parser *p, struct span name)
{
    bool fits = p->vms_begun < VM_MAX;

    p->vm = fits ? &p->config->vms[p->config->vm_count] : &surplus;
    memset(p->vm, 0, sizeof(*p->vm));
    span_copy(p->vm->name, name);
    p->vm->line = p->line;
    p->section = SECTION_VM;
    p->broken = false;
    section_defaults(p, "vm");
    if (fits)
        vm_remember(p, name);
    else
        mistake(p, "this is one VM too many; right would be at most %u", VM_MAX);
}

/* ---------------------------------------------------------------- lines */

static void section_begin(struct parser *p, struct span line)
{
    struct span inner = {line.at + 1, line.length - 1}, name;
    bool closed = inner.length && inner.at[inner.length - 1] == ']';

    vm_finish(p);
    p->section = SECTION_UNKNOWN;
    inner.length -= closed;
    inner = span_trim(inner);
    if (closed && span_equals(inner, "hypervisor") && !p->hypervisor_seen) {
        p->hypervisor_seen = true;
        p->section = SECTION_HYPERVISOR;
        memset(p->given, 0, sizeof(p->given));
        memset(p->times, 0, sizeof(p->times));
        return;
    }
    if (closed && span_equals(inner, "hypervisor")) {
        mistake(p, "there is a section [hypervisor] already; right would be one alone");
        return;
    }
    if (closed && inner.length > 3 && memcmp(inner.at, "vm", 2) == 0 && is_blank(inner.at[2])) {
        name = span_trim((struct span){inner.at + 3, inner.length - 3});
        if (config_vm_name_is_right(name))
            vm_begin(p, name);
        else
            mistake(p,
                    "\"%.*s\" can't be the name of a VM; right would be 1 to %u of letters, digits, - _ ., "
                    "not - alone",
                    SHOWN(name), VM_NAME_MAX - 1);
        return;
    }
    mistake(p, "%.*s opens no section; right would be [hypervisor] or [vm NAME]", SHOWN(line));
}

static const struct config_key *key_find(struct parser *p, struct span name)
{
    const char *section = p->section == SECTION_VM ? "vm" : "hypervisor";
    char list[320] = "";
    size_t i;

    for (i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (strcmp(config_keys[i].section, section) != 0)
            continue;
        if (span_equals(name, config_keys[i].name))
            return &config_keys[i];
        names_append(list, sizeof(list), config_keys[i].name);
    }
    mistake(p, "there is no key \"%.*s\"; right would be one of %s", SHOWN(name), list);
    return NULL;
}

/*
 * A value in quotes loses them; between them # and ; are nothing special, and white space at the ends
 * stays.
 */
static bool value_unquote(struct parser *p, struct span *value)
{
    struct span inner, rest;

    if (!value->length || value->at[0] != '"')
        return true;
    inner = span_cut((struct span){value->at + 1, value->length - 1}, '"', &rest);
    if (inner.at + inner.length == value->at + value->length) {
        mistake(p, "the quote is not closed; right would be a second \" at the end of the value");
        return false;
    }
    if (rest.length) {
        mistake(p, "\"%.*s\" stands behind the closing quote; right would be nothing there", SHOWN(rest));
        return false;
    }
    *value = inner;
    return true;
}

static bool is_once_more_right(struct parser *p, const struct config_key *key)
{
    u32 *given = &p->given[key - config_keys], *times = &p->times[key - config_keys];
    u32 most = config_key_times(key);

    if (*times == most && most == 1)
        mistake(p, "%s was given in line %u already; right would be once", key->name, *given);
    else if (*times == most)
        mistake(p, "%s is given once too often; right would be at most %u times", key->name, most);
    if (*times == most)
        return false;
    ++*times;
    *given = p->line;
    return true;
}

/* `write` is about the disk above it. */
static bool has_disk_above(struct parser *p, const struct config_key *key)
{
    const struct vm_disk *disk;

    if (strcmp(key->type, "disk_write") != 0)
        return true;
    disk = p->vm->disk_count ? &p->vm->disks[p->vm->disk_count - 1] : NULL;
    if (!disk)
        mistake(p, "%s stands above every disk; right would be below the disk that it is about", key->name);
    else if (disk->write_line)
        mistake(p, "%s was given in line %u already; right would be once for each disk", key->name,
                disk->write_line);
    else if (!disk->host)
        mistake(p,
                "%s is for drives of the machine; right would be to leave it away, as what is written to "
                "disk = %.*s goes to memory",
                key->name, SHOWN(span_of(disk->name)));
    return disk && !disk->write_line && disk->host;
}

static const char *what_is_right(const struct config_key *key, struct span text)
{
    struct span disk;
    u32 number;
    u64 bytes;

    if (strcmp(key->type, "disk") == 0 && config_part_parse(text, &disk, &number) &&
        config_disk_parse(disk, &bytes) && bytes)
        return "ram:SIZE without a partition, as a blank disk has no table when it begins";
    return key->right;
}

static void assignment(struct parser *p, struct span line)
{
    struct span text, name = span_trim(span_cut(line, '=', &text));
    const struct config_key *key;
    struct config_value value;

    if (name.length == span_trim(line).length) {
        mistake(p, "\"%.*s\" is neither a section nor a value; right would be KEY = VALUE", SHOWN(line));
        return;
    }
    if (p->section == SECTION_NONE)
        mistake(p, "\"%.*s\" stands before any section; right would be [hypervisor] or [vm NAME] above it",
                SHOWN(name));
    if (p->section == SECTION_NONE ||
        p->section == SECTION_UNKNOWN) /* the bad header has been told already */
        return;
    key = key_find(p, name);
    if (!key)
        return;
    if (!is_once_more_right(p, key))
        return;
    text = span_trim(text);
    if (!value_unquote(p, &text))
        return;
    if (!config_value_parse(key, text, &value)) {
        mistake(p, "%s = %.*s%s is wrong; right would be %s", key->name, SHOWN(text),
                text.length > VALUE_SHOWN ? "..." : "", what_is_right(key, text));
        return;
    }
    if (!has_disk_above(p, key))
        return;
    value.line = p->line;
    config_value_store(p->config, p->vm, key, &value);
}

/* The line without its comment: # or ; at the start or behind white space, unless inside quotes. */
static struct span comment_strip(struct span line)
{
    bool quoted = false;
    size_t i;

    for (i = 0; i < line.length; i++) {
        if (line.at[i] == '"')
            quoted = !quoted;
        if (!quoted && (line.at[i] == '#' || line.at[i] == ';') && (i == 0 || is_blank(line.at[i - 1])))
            line.length = i;
    }
    return line;
}

static bool bytes_are_text(struct parser *p, struct span line)
{
    size_t i;

    for (i = 0; i < line.length; i++) {
        u8 byte = (u8)line.at[i];

        if ((byte >= ' ' && byte < 0x7f) || byte == '\t')
            continue;
        mistake(p, "byte 0x%02x in column %u is no text; right would be printable ASCII", byte,
                (unsigned)i + 1);
        return false;
    }
    return true;
}

static void line_parse(struct parser *p, struct span line)
{
    if (line.length && line.at[line.length - 1] == '\r')
        line.length--;
    if (!bytes_are_text(p, line))
        return;
    line = span_trim(comment_strip(line));
    if (!line.length)
        return;
    if (line.at[0] == '[')
        section_begin(p, line);
    else
        assignment(p, line);
}

static void errors_summarise(struct parser *p)
{
    char sentence[128];

    if (p->config->errors <= ERRORS_SHOWN)
        return;
    snprintf(sentence, sizeof(sentence), "%.64s: %u more mistakes are not shown", p->name,
             p->config->errors - ERRORS_SHOWN);
    p->error(sentence);
}

void config_parse(const char *name, const char *text, size_t size, const struct boot_file *files,
                  unsigned file_count, struct config *config, void (*error)(const char *sentence))
{
    struct parser *p = &parser;
    struct span rest = {text, size};

    memset(p, 0, sizeof(*p));
    memset(config, 0, sizeof(*config));
    p->name = name;
    p->files = files;
    p->file_count = file_count;
    p->config = config;
    p->error = error;
    section_defaults(p, "hypervisor");
    while (rest.length) {
        p->line++;
        line_parse(p, span_cut(rest, '\n', &rest));
    }
    vm_finish(p);
    p->section = SECTION_NONE;
    if (!p->vms_begun)
        mistake_at(p, MAX(p->line, 1u),
                   "no VM is described; right would be a section [vm NAME] with kernel = FILE");
    errors_summarise(p);
}
