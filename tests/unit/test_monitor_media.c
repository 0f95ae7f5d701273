/* SPDX-License-Identifier: MIT */
/* The monitor's words about media: a drive that is only a name and a state, and each sentence. */
// sources: hv/operator/monitor_media.c hv/operator/config_values.c hv/storage/media.c hv/lib/string.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hv/lib/errno.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/operator/console.h"
#include "hv/operator/monitor_media.h"
#include "hv/run/vm.h"
#include "hv/storage/block.h"
#include "hv/storage/media.h"

static struct vm web, db, off;
static struct media drives[2];
static struct block_device *inside, made, other;
static bool forced, by_hand;
static int block_error;
static unsigned closed, seen_count;
static char said[2000];
static const u8 bytes[] = {1};
static const struct boot_file boot_files[] = {
    {"vmlinuz", bytes, 1}, {"tools.iso", bytes, 1}, {"none.iso", bytes, 0}};

void console_printf(const char *format, ...)
{
    size_t used = strlen(said);
    va_list args;

    va_start(args, format);
    vsnprintf(said + used, sizeof(said) - used, format, args);
    va_end(args);
}

void log_line(enum log_level level, const char *format, ...)
{
    (void)level, (void)format;
    fail();
}

void panic_at(const char *file, int line, const char *format, ...)
{
    fail_msg("%s:%d: %s", file, line, format);
    abort();
}

int block_rom_create(const struct boot_file *base, u64 size, frame_owner_t owner,
                     struct block_device **device)
{
    (void)owner;
    assert_int_equal(size, base->start ? 0 : 1 << 20);
    made.name = base->start ? base->name : "ram";
    *device = &made;
    return base->size || size ? block_error : -EINVAL;
}

void block_close(struct block_device *device)
{
    (void)device;
    closed++;
}

/* ---------------------------------------------------------------- a drive */

static void check_events(struct media *media, u32 clearing)
{
    (void)clearing;
    media_checked(media, 0);
}

static void describe(struct media *media, char *text, size_t size)
{
    (void)media;
    snprintf(text, size, "%s", inside ? inside->name : "empty");
}

static int insert(struct media *media, struct block_device *medium)
{
    if (by_hand)
        return -EPERM;
    if (inside)
        return -EBUSY;
    inside = medium;
    media_notify(media, MEDIA_CHANGE);
    return 0;
}

static int eject(struct media *media, bool force)
{
    forced = force;
    if (!inside)
        return -ENOENT;
    if (inside == &other && !force)
        return -EAGAIN;
    inside = NULL;
    media_notify(media, MEDIA_CHANGE);
    return by_hand ? -EINPROGRESS : 0;
}

static void seen(struct media *media)
{
    (void)media;
    seen_count++;
}

static u64 clock_read(void)
{
    return 12345;
}

static void alarm_set(u64 ms)
{
    (void)ms;
}

static int setup(void **state)
{
    static const struct media_host host = {clock_read, alarm_set};
    static const struct media_ops ops = {
        .check_events = check_events, .describe = describe, .insert = insert, .eject = eject, .seen = seen};

    (void)state;
    media_start(&host);
    monitor_set_files(boot_files, ARRAY_SIZE(boot_files));
    string_copy(web.name, "web", sizeof(web.name));
    string_copy(db.name, "db", sizeof(db.name));
    string_copy(off.name, "off", sizeof(off.name));
    web.built = db.built = true;
    for (unsigned i = 0; i < 2; i++) {
        drives[i] = (struct media){.ops = &ops,
                                   .vm = &web,
                                   .supported = MEDIA_EVENTS,
                                   .by_itself = MEDIA_EVENTS,
                                   .poll_ms = MEDIA_POLL_DEFAULT};
        string_copy(drives[i].name, i ? "cd1" : "cd0", sizeof(drives[i].name));
        media_add(&drives[i]);
    }
    inside = NULL;
    block_error = 0;
    closed = 0;
    return 0;
}

static const char *say(void (*command)(struct vm *vm, char *const *more), struct vm *vm, char *first,
                       char *second)
{
    char *const more[] = {first, second, NULL};

    said[0] = '\0';
    command(vm, more);
    return said;
}

/* ---------------------------------------------------------------- sentences */

static void test_insert(void **state)
{
    char cd0[] = "cd0", cd7[] = "cd7", tools[] = "tools.iso", ram[] = "ram:1M", gone[] = "gone",
         odd[] = "ram:7", none[] = "none.iso";

    (void)state;
    assert_string_equal(say(media_insert_command, &web, cd0, tools), "VM web: cd0 has tools.iso in it.\n");
    assert_string_equal(
        say(media_insert_command, &web, cd0, ram),
        "VM web: cd0 has a medium in it already; right would be `media eject web cd0` before.\n");
    assert_int_equal(closed, 1); /* what was made for it */
    inside = NULL;
    assert_string_equal(say(media_insert_command, &web, cd0, ram), "VM web: cd0 has ram:1M in it.\n");
    inside = NULL;
    assert_string_equal(say(media_insert_command, &web, cd0, gone),
                        "There is no file gone; right would be ram:SIZE, vmlinuz, tools.iso, none.iso.\n");
    assert_string_equal(
        say(media_insert_command, &web, cd0, odd),
        "ram:7 can't be a medium: right would be a file that is not empty, or ram:SIZE such as "
        "ram:64M.\n");
    assert_non_null(strstr(say(media_insert_command, &web, cd0, none), "none.iso can't be a medium: right"));
    block_error = -ENOMEM;
    assert_string_equal(say(media_insert_command, &web, cd0, ram),
                        "ram:1M can't be a medium: so much memory is not left.\n");
    assert_string_equal(say(media_insert_command, &web, cd7, tools),
                        "VM web has no drive cd7; right would be one of cd0, cd1.\n");
    assert_string_equal(say(media_insert_command, &db, cd0, tools),
                        "VM db has no drive with removable media; `cdrom` in its section gives one.\n");
    assert_string_equal(
        say(media_insert_command, &off, cd0, tools),
        "VM off has no drives while it does not run; right would be `vm start off` before.\n");
    block_error = 0;
    by_hand = true;
    closed = 0;
    assert_string_equal(say(media_insert_command, &web, cd0, tools),
                        "VM web: cd0 is a drive of the machine; right would be to put a disc in by hand.\n");
    assert_int_equal(closed, 1);
    by_hand = false;
    assert_null(inside);
}

static void test_eject(void **state)
{
    char cd0[] = "cd0", force[] = "--force", wrong[] = "now";

    (void)state;
    assert_string_equal(say(media_eject_command, &web, cd0, NULL), "VM web: cd0 is empty.\n");
    inside = &other;
    assert_string_equal(say(media_eject_command, &web, cd0, wrong),
                        "\"now\" is no word of media eject; right would be --force, or nothing.\n");
    assert_string_equal(
        say(media_eject_command, &web, cd0, NULL),
        "VM web: cd0 is locked by the guest, which finds an eject request now; with --force its "
        "medium goes at once.\n");
    assert_string_equal(say(media_eject_command, &web, cd0, force), "VM web: cd0 is empty now.\n");
    assert_true(forced);
    assert_null(inside);
    inside = &other;
    by_hand = true;
    assert_string_equal(say(media_eject_command, &web, cd0, force),
                        "VM web: cd0 was told to open its tray; the log says when it has.\n");
    by_hand = false;
}

static void test_poll(void **state)
{
    char cd1[] = "cd1";
    char words[][8] = {"100", "0", "-1", "3600000"};
    char wrong[][9] = {"-2", "3600001", "12345678", "1x", "", "--1"};

    (void)state;
    assert_string_equal(say(media_poll_command, &web, cd1, words[0]), "VM web: cd1 is asked every 100 ms.\n");
    assert_int_equal(media_interval(&drives[1]), 100);
    assert_string_equal(say(media_poll_command, &web, cd1, words[1]), "VM web: cd1 is not asked.\n");
    assert_string_equal(say(media_poll_command, &web, cd1, words[2]), "VM web: cd1 is not asked.\n");
    assert_int_equal(drives[1].poll_ms, -1);
    assert_string_equal(say(media_poll_command, &web, cd1, words[3]),
                        "VM web: cd1 is asked every 3600000 ms.\n");
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_non_null(
            strstr(say(media_poll_command, &web, cd1, wrong[i]),
                   "is no interval; right would be -1 (the default), 0 (never) or ms up to 3600000."));
    assert_int_equal(media_interval(&drives[1]), 3600000);
}

static void test_lists(void **state)
{
    char cd0[] = "cd0", tools[] = "tools.iso";

    (void)state;
    say(media_insert_command, &web, cd0, tools);
    drives[1].by_itself = MEDIA_EJECT_REQUEST;
    say(media_list_command, NULL, NULL, NULL);
    assert_non_null(strstr(said, "\nweb                  cd0      change, eject change, eject change        "
                                 "      0 ms       1  tools.iso\n"));
    assert_non_null(strstr(said, "\nweb                  cd1      change, eject eject         -             "
                                 "   2000 ms       1  tools.iso\n"));
    assert_non_null(
        strstr(say(media_events_command, NULL, NULL, NULL), "12.345 s  web                  cd0   change\n"));
    assert_int_equal(drives[0].pending, MEDIA_CHANGE); /* which the guest has not seen */
}

/* A drive of the machine that no VM has is called by "-", and whoever reads the lists has seen its events. */
static void test_no_vm(void **state)
{
    char cd0[] = "cd0", ide[] = "ide:0", ram[] = "ram:1M", ms[] = "300";

    (void)state;
    assert_string_equal(
        say(media_eject_command, NULL, ide, NULL),
        "The CD drive ide:0 is a VM's, or not there; right would be a VM's name instead of -.\n");
    drives[1].vm = NULL;
    string_copy(drives[1].name, ide, sizeof(drives[1].name));
    assert_string_equal(say(media_eject_command, NULL, cd0, NULL),
                        "The CD drive cd0 is a VM's, or not there; right would be ide:0.\n");
    assert_string_equal(say(media_insert_command, NULL, ide, ram),
                        "-: ide:0 is a drive of the machine; right would be to put a disc in by hand.\n");
    assert_int_equal(closed, 0);
    assert_string_equal(say(media_poll_command, NULL, ide, ms), "-: ide:0 is asked every 300 ms.\n");
    inside = &other;
    assert_string_equal(say(media_eject_command, NULL, ide, NULL),
                        "-: ide:0 is locked by the guest, which finds an eject request now; with --force its "
                        "medium goes at once.\n");
    seen_count = 0;
    assert_non_null(strstr(say(media_list_command, NULL, NULL, NULL),
                           "\n-                    ide:0    change, eject change, eject -             "));
    say(media_events_command, NULL, NULL, NULL);
    assert_int_equal(seen_count, 2 * 2); /* each drive of this test has a hand for it */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_insert, setup), cmocka_unit_test_setup(test_eject, setup),
        cmocka_unit_test_setup(test_poll, setup),   cmocka_unit_test_setup(test_lists, setup),
        cmocka_unit_test_setup(test_no_vm, setup),
    };

    return cmocka_run_group_tests_name("monitor_media", tests, NULL, NULL);
}
