/* SPDX-License-Identifier: MIT */
/*
 * `media`: the drives with removable media, what is in them, and the operator's hand that puts media in and
 * takes them out. As sched_work on the boot CPU.
 */
#include "hv/operator/monitor_media.h"

#include "hv/lib/errno.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/operator/config_values.h"
#include "hv/operator/console.h"
#include "hv/run/vm.h"
#include "hv/storage/block.h"
#include "hv/storage/media.h"

static struct {
    const struct boot_file *at;
    unsigned count;
} files;

void monitor_set_files(const struct boot_file *boot_files, unsigned count)
{
    files.at = boot_files;
    files.count = count;
}

/* ---------------------------------------------------------------- lists */

static const char *events_text(u32 events)
{
    static const char *const names[] = {"-", "change", "eject request", "change, eject request"};

    return names[events & MEDIA_EVENTS];
}

static const char *events_short(u32 events)
{
    static const char *const names[] = {"-", "change", "eject", "change, eject"};

    return names[events & MEDIA_EVENTS];
}

/*
 * The operator knows now of drives that no VM has: nothing is pending there any more, and they are looked at.
 * What that finds is on record, and in the next list.
 */
static void all_seen(void)
{
    for (struct media *media = media_next(NULL); media; media = media_next(media))
        if (media->ops->seen)
            media->ops->seen(media);
}

void media_list_command(struct vm *none, char *const *more)
{
    char text[MEDIA_DESCRIPTION_MAX];

    (void)none, (void)more;
    console_printf("%-20s %-8s %-13s %-13s %-13s %10s %7s  %s\n", "NAME", "DRIVE", "SUPPORTS", "BY ITSELF",
                   "PENDING", "POLL", "CHECKS", "MEDIUM");
    for (struct media *media = media_next(NULL); media; media = media_next(media)) {
        media->ops->describe(media, text, sizeof(text));
        console_printf("%-20s %-8s %-13s %-13s %-13s %7u ms %7llu  %s\n", media->vm ? media->vm->name : "-",
                       media->name, events_short(media->supported), events_short(media->by_itself),
                       events_short(READ_ONCE(media->pending)), media_interval(media),
                       (unsigned long long)READ_ONCE(media->checks), text);
    }
    all_seen();
}

void media_events_command(struct vm *none, char *const *more)
{
    struct media_record record;
    u64 number = 0;

    (void)none, (void)more;
    while (media_record_get(&number, &record))
        console_printf("%8llu  %6llu.%03llu s  %-20s %-5s %s\n", (unsigned long long)number,
                       (unsigned long long)record.ms / 1000, (unsigned long long)record.ms % 1000, record.vm,
                       record.name, events_text(record.events));
    if (!number)
        console_printf("No medium has come or gone yet.\n");
    all_seen();
}

/* ---------------------------------------------------------------- one drive */

/* Whose, and which: "VM web: cd0" or, of a drive that no VM has, "-: ide:0". */
#define WHO           "%s%s: %s"
#define WHO_OF(media) (media)->vm ? "VM " : "", (media)->vm ? (media)->vm->name : "-", (media)->name

static struct media *drive_named(const struct vm *vm, const char *name)
{
    char right[80] = "";

    for (struct media *media = media_next(NULL); media; media = media_next(media)) {
        size_t used = strlen(right);

        if (media->vm != vm)
            continue;
        if (strcmp(media->name, name) == 0)
            return media;
        snprintf(right + used, sizeof(right) - used, "%s%s", used ? ", " : "", media->name);
    }
    if (!vm)
        console_printf("The CD drive %s is a VM's, or not there; right would be %s.\n", name,
                       right[0] ? right : "a VM's name instead of -");
    else if (!vm->built)
        console_printf("VM %s has no drives while it does not run; right would be `vm start %s` before.\n",
                       vm->name, vm->name);
    else if (right[0])
        console_printf("VM %s has no drive %s; right would be one of %s.\n", vm->name, name, right);
    else
        console_printf("VM %s has no drive with removable media; `cdrom` in its section gives one.\n",
                       vm->name);
    return NULL;
}

static const struct boot_file *file_named(const char *name)
{
    char right[200] = "";

    for (unsigned i = 0; i < files.count; i++) {
        size_t used = strlen(right);

        if (strcmp(files.at[i].name, name) == 0)
            return &files.at[i];
        snprintf(right + used, sizeof(right) - used, ", %s", files.at[i].name);
    }
    console_printf("There is no file %s; right would be ram:SIZE%s.\n", name, right);
    return NULL;
}

/* A medium out of what the operator names; NULL, and a sentence: there is none. */
static struct block_device *medium_make(const struct vm *vm, const char *source)
{
    static const struct boot_file blank;
    const struct boot_file *file = &blank;
    struct block_device *medium = NULL;
    u64 bytes;
    bool right = config_disk_parse(span_of(source), &bytes);
    int error = -EINVAL;

    if (right && !bytes)
        file = file_named(source);
    if (!file)
        return NULL;
    if (right)
        error = block_rom_create(file, bytes, frame_owner_support(vm->index), &medium);
    if (!error)
        return medium;
    console_printf("%s can't be a medium: %s.\n", source,
                   error == -ENOMEM ? "so much memory is not left"
                                    : "right would be a file that is not empty, or ram:SIZE such as ram:64M");
    return NULL;
}

void media_insert_command(struct vm *vm, char *const *more)
{
    struct media *media = drive_named(vm, more[0]);
    struct block_device *medium = media && vm ? medium_make(vm, more[1]) : NULL;
    int error = -EPERM;

    if (!media || (vm && !medium))
        return;
    if (medium)
        error = media->ops->insert(media, medium);
    if (!error) {
        console_printf(WHO " has %s in it.\n", WHO_OF(media), more[1]);
        return;
    }
    if (medium)
        block_close(medium);
    if (error == -EPERM) {
        console_printf(WHO " is a drive of the machine; right would be to put a disc in by hand.\n",
                       WHO_OF(media));
        return;
    }
    console_printf("VM %s: %s has a medium in it already; right would be `media eject %s %s` before.\n",
                   vm->name, media->name, vm->name, media->name);
}

void media_eject_command(struct vm *vm, char *const *more)
{
    struct media *media = drive_named(vm, more[0]);
    int error;

    if (!media)
        return;
    if (more[1] && strcmp(more[1], "--force") != 0) {
        console_printf("\"%s\" is no word of media eject; right would be --force, or nothing.\n", more[1]);
        return;
    }
    error = media->ops->eject(media, more[1] != NULL);
    if (error == -ENOENT)
        console_printf(WHO " is empty.\n", WHO_OF(media));
    else if (error == -EIO)
        console_printf(WHO " is lost; the log says why.\n", WHO_OF(media));
    else if (error == -EAGAIN)
        console_printf(WHO " is locked by the guest, which finds an eject request now; with --force its "
                           "medium goes at once.\n",
                       WHO_OF(media));
    else if (error == -EINPROGRESS)
        console_printf(WHO " was told to open its tray; the log says when it has.\n", WHO_OF(media));
    else
        console_printf(WHO " is empty now.\n", WHO_OF(media));
}

/* At most seven digits, or -1; what is none is -2, which nobody takes. */
static s64 interval_parse(const char *text)
{
    s64 ms = 0;

    if (strcmp(text, "-1") == 0)
        return MEDIA_POLL_DEFAULT;
    if (!text[0] || strlen(text) > 7)
        return -2;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -2;
        ms = ms * 10 + (*text - '0');
    }
    return ms;
}

void media_poll_command(struct vm *vm, char *const *more)
{
    struct media *media = drive_named(vm, more[0]);

    if (!media)
        return;
    if (media_set_poll(media, interval_parse(more[1])))
        console_printf("\"%s\" is no interval; right would be -1 (the default), 0 (never) or ms up to %u.\n",
                       more[1], MEDIA_POLL_MS_MAX);
    else if (media_interval(media))
        console_printf(WHO " is asked every %u ms.\n", WHO_OF(media), media_interval(media));
    else
        console_printf(WHO " is not asked.\n", WHO_OF(media));
}
